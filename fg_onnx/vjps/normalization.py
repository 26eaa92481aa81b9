"""BatchNormalization, whose statistics are constants, and Softmax."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.table import Cotangents, Offset, implicit, vjp


def _shift_into_bias(p: Primal) -> bool:
    """Rewrite BN(x; scale, B, mean, var) as BN(x; scale, shift, 0, var).

    ``shift = B - mean * scale / sqrt(var + eps)`` is the offset of the paper's section 4.1; the
    runtime computes the same sum at load, so the output keeps its value up to the rounding of
    ``shift`` to the model's type.
    """
    (node,) = p.nodes
    parameters = [p.operand(index) for index in range(1, 5)]
    if not all(isinstance(tensor, gs.Constant) for tensor in parameters):
        return False
    values = [np.asarray(tensor.values, dtype=np.float64) for tensor in parameters]
    scale, bias, mean, variance = values
    shift = bias - mean * scale / np.sqrt(variance + p.attrs["epsilon"])
    dtype = p.operand(2).dtype
    node.inputs[2] = gs.Constant(f"fg/{p.y.name}/shift", shift.astype(dtype))
    node.inputs[3] = gs.Constant(f"fg/{p.y.name}/mean", np.zeros_like(mean, dtype=dtype))
    return True


def _shift(op: Emitter, p: Primal) -> gs.Tensor:
    _, scale, bias, mean, variance = p.inputs
    deviation = op.Sqrt(op.Add(variance, p.attrs["epsilon"]))
    return op.Sub(bias, op.Div(op.Mul(mean, scale), deviation))


def _batch_normalization_offset(_: Primal) -> Offset:
    return Offset("batchnorm", operand=2, axis=1, normalise=_shift_into_bias, value=_shift)


@vjp("BatchNormalization", offset=_batch_normalization_offset, axes="channels-first")
def batch_normalization(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """Inference: ct * scale / sqrt(var + eps), along the channels."""
    if p.attrs.get("training_mode", 0):
        raise p.refusal("it is in training mode, where it mixes the images of a batch")
    if any(p.active[1:]):
        raise p.refusal("its parameters depend on the explained input")
    scale, variance = p.inputs[1], p.inputs[4]
    slope = op.Div(scale, op.Sqrt(op.Add(variance, p.attrs["epsilon"])))
    along = op.Reshape(slope, [-1] + [1] * (len(p.shape(p.x)) - 2))
    return op.Mul(ct, along), None, None, None, None


def _softmax_term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
    """``J x = y * (x - sum(y * x))``, where a masked score may be -inf."""
    x = op.finite(p.x)
    mean = op.ReduceSum(op.Mul(p.y, x), axes=[p.attrs["axis"]], keepdims=1)
    return op.Mul(op.Mul(ct, p.y), op.Add(op.Sub(mean, x), 1.0))


@vjp("Softmax", offset=implicit, term=_softmax_term)
def softmax(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """y * (ct - sum(ct * y)) along the axis."""
    inner = op.ReduceSum(op.Mul(ct, p.y), axes=[p.attrs["axis"]], keepdims=1)
    return (op.Mul(p.y, op.Sub(ct, inner)),)


def _log_softmax_term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
    """``y - J x = sum(exp(y) * y)``: the negative entropy."""
    terms = op.Mul(op.Exp(p.y), op.finite(p.y))
    return op.Mul(ct, op.ReduceSum(terms, axes=[p.attrs["axis"]], keepdims=1))


@vjp("LogSoftmax", offset=implicit, term=_log_softmax_term)
def log_softmax(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct - exp(y) * sum(ct) along the axis."""
    inner = op.ReduceSum(ct, axes=[p.attrs["axis"]], keepdims=1)
    return (op.Sub(ct, op.Mul(op.Exp(p.y), inner)),)
