"""Operators that move values without changing them."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from fg_onnx.emit import Emitter
from fg_onnx.primal import Primal
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
    sizes = [p.sizes(operand, [axis])[0] for operand in p.inputs]
    starts = [0, *accumulate(sizes)]
    return [
        op.Slice(ct, [start], [start + size], [axis]) if p.wants(i) else None
        for i, (start, size) in enumerate(zip(starts, sizes, strict=False))
    ]


@vjp("Split", outputs=None)
def split(op: Emitter, p: Primal, *cts: gs.Tensor | None) -> Cotangents:
    """The parts' cotangents side by side, zeros for a part that leads nowhere."""
    axis = p.attrs["axis"]
    parts = [op.Mul(y, 0.0) if ct is None else ct for y, ct in zip(p.outputs, cts, strict=True)]
    return op.Concat(*parts, axis=axis), None


def _padded(op: Emitter, ct: gs.Tensor, rank: int, axis: int, before: int, after: int) -> gs.Tensor:
    if before == after == 0:
        return ct
    pads = [0] * (2 * rank)
    pads[axis], pads[rank + axis] = before, after
    return op.Pad(ct, pads, mode="constant")


def _slices(p: Primal) -> list[tuple[int, int, int, int, int]]:
    """(axis, size, first, count, step) for every sliced axis, with the ends as ONNX clamps them."""
    rank = len(p.shape(p.x))
    starts, ends = p.integers(1) or [], p.integers(2) or []
    axes = p.integers(3) or list(range(len(starts)))
    steps = p.integers(4) or [1] * len(starts)
    found = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        (size,) = p.sizes(p.x, [axis % rank])
        # Python clamps as ONNX does, but reads a negative end as "from the back": INT_MIN and
        # everything below -size mean "through the first" for a negative step.
        stop = None if step < 0 and end < -size else end
        chosen = range(size)[start:stop:step]
        found.append((axis % rank, size, chosen.start, len(chosen), step))
    return found


@vjp("Slice")
def slice_(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct where the slice was taken, zeros around and between."""
    rank = len(p.shape(p.x))
    for axis, size, first, count, step in _slices(p):
        if step < 0:
            ct = op.Slice(ct, [-1], [-(2**31)], [axis], [-1])
            first, step = first + step * (count - 1), -step
        if step > 1:
            ct = _spread(op, p, ct, axis, count, step)
        ct = _padded(op, ct, rank, axis, first, size - first - (1 + step * (count - 1)))
    return ct, *[None] * (len(p.inputs) - 1)


def _spread(op: Emitter, p: Primal, ct: gs.Tensor, axis: int, count: int, step: int) -> gs.Tensor:
    """Put ``step - 1`` zeros between the positions along an axis."""
    rank = len(p.shape(p.x))
    apart = _padded(op, op.Unsqueeze(ct, axes=[axis + 1]), rank + 1, axis + 1, 0, step - 1)
    # 0 keeps a dimension; those before the axis are unchanged, those after it moved by one.
    dims = op.Shape(ct)
    merged = [op.Slice(dims, [0], [axis], [0])] if axis else []
    merged.append(op.constant([count * step], np.int64))
    if axis + 1 < rank:
        merged.append(op.Slice(dims, [axis + 1], [rank], [0]))
    joined = op.Concat(*merged, axis=0) if len(merged) > 1 else merged[0]
    return op.Slice(op.Reshape(apart, joined), [0], [1 + step * (count - 1)], [axis])


@vjp("Gather", axes="new")
def gather(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct added up at the indices it was gathered from."""
    if not isinstance(p.inputs[1], gs.Constant):
        raise p.refusal("its indices are computed at run time")
    indices = np.asarray(p.inputs[1].values)
    rank = len(p.shape(p.x))
    axis = p.attrs["axis"] % rank
    (size,) = p.sizes(p.x, [axis])
    if indices.ndim > 1:
        raise p.refusal("its indices have more than one dimension")
    if indices.ndim == 0:
        ct = op.Unsqueeze(ct, axes=[axis])
    chosen = np.eye(size, dtype=p.x.dtype)[indices.reshape(-1)]
    last = [*(i for i in range(rank) if i != axis), axis]
    there = op.MatMul(op.Transpose(ct, perm=last), op.constant(chosen))
    return op.Transpose(there, perm=[int(i) for i in np.argsort(last)]), None


def _pads(p: Primal) -> tuple[list[int], list[int]]:
    """Padding before and after every axis."""
    rank = len(p.shape(p.x))
    given = p.integers(1) or []
    axes = p.integers(3) or list(range(rank))
    before, after = [0] * rank, [0] * rank
    for index, axis in enumerate(axes):
        before[axis % rank] = given[index]
        after[axis % rank] = given[len(axes) + index]
    return before, after


def _border(op: Emitter, p: Primal) -> gs.Tensor:
    before, after = _pads(p)
    return op.Sub(p.y, op.Pad(p.x, [*before, *after], mode="constant"))


def _pad_offset(p: Primal) -> Offset | None:
    value = p.input(2)
    if value is None or (isinstance(value, gs.Constant) and not np.any(value.values)):
        return None
    return Offset("bias", value=_border)


@vjp("Pad", offset=_pad_offset)
def pad(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct without the border (and zeros where padding was negative)."""
    if p.attrs["mode"] != "constant":
        raise p.refusal(f"mode `{p.attrs['mode']}` has no rule yet")
    rank = len(p.shape(p.x))
    for axis, (before, after) in enumerate(zip(*_pads(p), strict=True)):
        if before > 0 or after > 0:
            end = -after if after > 0 else 2**31 - 1
            ct = op.Slice(ct, [max(before, 0)], [end], [axis])
        ct = _padded(op, ct, rank, axis, max(-before, 0), max(-after, 0))
    return ct, *[None] * (len(p.inputs) - 1)
