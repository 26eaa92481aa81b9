"""Rounding to integers: straight through inside the range that they have."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.graph.quantised import UNCLIPPED, quantisation
from fg_onnx.vjps.table import Cotangents, implicit, vjp


@vjp("QuantizeLinear", offset=implicit)
def quantize_linear(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct * [lowest <= round(x / scale) + zero_point <= highest], as PyTorch's fake quantisation."""
    rest = [None] * (len(p.inputs) - 1)
    if any(p.active[1:]):
        raise p.refusal("its scale depends on the explained input")
    if p.attrs.get(UNCLIPPED):
        return ct, *rest
    low, high = (_bound(op, p, limit) for limit in _limits(p.nodes[-1].outputs[0].dtype))
    inside = op.And(op.GreaterOrEqual(p.x, low), op.Less(p.x, high))
    return op.Mul(ct, op.mask(inside, ct)), *rest


def _limits(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Where rounding leads beyond the least and the greatest number of a quantised type.

    Halves are rounded to even: the upper limit itself is beyond for an even zero point.
    """
    if "int" in dtype.name:
        info: Any = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]
        return float(info.min) - 0.5, float(info.max) + 0.5
    highest = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
    return -highest, highest


def _bound(op: Emitter, p: Primal, limit: float) -> gs.Tensor:
    """``scale * (limit - zero_point)``, to be compared with x."""
    how = quantisation(p)
    steps = op.constant(limit, how.scale.dtype)
    if how.zero is not None:
        steps = op.Sub(steps, op.mask(how.zero, how.scale))
    return how.along(op, op.Mul(how.scale, steps), p.shape(p.x))


@vjp("DequantizeLinear")
def dequantize_linear(_: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct: the cotangent of the numbers is that of the integers that stand for them."""
    if any(p.active[1:]):
        raise p.refusal("its scale depends on the explained input")
    return ct, *[None] * (len(p.inputs) - 1)
