"""Operators that move values without changing them."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.axiswise import plus, size_of, vector
from fg_onnx.vjps.table import Cotangents, Offset, vjp


@vjp("Identity", "Dropout")
def identity(_: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct; Dropout is the identity at inference."""
    training = p.input(2) if p.op_type == "Dropout" else None
    if training is not None and (
        not isinstance(training, gs.Constant) or bool(np.any(training.values))
    ):
        raise p.refusal("it is in training mode")
    return (ct, *[None] * (len(p.inputs) - 1))


@vjp("Cast")
def cast(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct, cast back."""
    return (op.Cast(ct, to=onnx.helper.np_dtype_to_tensor_dtype(p.x.dtype)),)


@vjp("Reshape", "Flatten", "Squeeze", "Unsqueeze", axes="reshaped")
def reshape(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct in the shape of x."""
    return op.reshape_like(ct, p.x), *[None] * (len(p.inputs) - 1)


@vjp("Transpose", axes="permuted")
def transpose(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct under the inverse permutation."""
    perm = p.attrs.get("perm") or list(reversed(range(len(p.shape(p.x)))))
    return (op.Transpose(ct, perm=[int(axis) for axis in np.argsort(perm)]),)


@vjp("Expand")
def expand(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct, summed where x was repeated."""
    return op.sum_to(ct, p.shape(p.y), p.x), None


@vjp("Tile", axes="new")
def tile(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct summed over the copies."""
    rank = len(p.shape(p.x))
    for axis, copies in enumerate(p.integers(1) or []):
        if copies > 1:
            apart = op.regroup(ct, rank, axis, 1, [copies, -1])
            ct = op.ReduceSum(apart, axes=[axis], keepdims=0)
    return ct, None


@vjp("Trilu")
def trilu(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """The same triangle of ct."""
    k = p.input(1)
    return op.Trilu(*([ct] if k is None else [ct, k]), upper=p.attrs["upper"]), None


@vjp("ReverseSequence")
def reverse_sequence(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct, reversed back."""
    attrs = {name: p.attrs[name] for name in ("batch_axis", "time_axis")}
    return op.ReverseSequence(ct, p.inputs[1], **attrs), None


def _constant_parts(p: Primal) -> Offset | None:
    if all(p.active):
        return None
    return Offset("bias", value=_constant_parts_of_concat)


def _constant_parts_of_concat(op: Emitter, p: Primal) -> gs.Tensor:
    parts = [op.Mul(u, 0.0) if p.wants(i) else u for i, u in enumerate(p.inputs)]
    return op.Concat(*parts, axis=p.attrs["axis"])


@vjp("Concat", offset=_constant_parts, axes="joined")
def concat(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """The part of ct that each operand became."""
    axis = p.attrs["axis"]
    sizes = [size_of(op, p, operand, axis) for operand in p.inputs]
    ends = list(accumulate(sizes, lambda end, size: plus(op, end, size)))
    return [
        op.Slice(ct, vector(op, start), vector(op, end), [axis]) if p.wants(i) else None
        for i, (start, end) in enumerate(zip([0, *ends], ends, strict=False))
    ]


@vjp("Split", outputs=None)
def split(op: Emitter, p: Primal, *cts: gs.Tensor | None) -> Cotangents:
    """The parts' cotangents side by side, zeros for a part that leads nowhere."""
    axis = p.attrs["axis"]
    parts = [op.Mul(y, 0.0) if ct is None else ct for y, ct in zip(p.outputs, cts, strict=True)]
    return op.Concat(*parts, axis=axis), None
