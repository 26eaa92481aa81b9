"""Pooling by p-norms, ``y = (sum |x|^p)^(1/p)``: homogeneous of degree 1."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.convolution import scatter_windows
from fg_onnx.vjps.table import Cotangents, vjp
from fg_onnx.vjps.windows import window


@vjp("GlobalLpPool", axes="channels-first")
def global_lp_pool(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct times sign(x) (|x| / y)^(p - 1), 0 where y = 0."""
    return (op.Mul(_powers(op, p), _over_norms(op, p, ct)),)


@vjp("LpPool", axes="channels-first")
def lp_pool(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """sign(x) |x|^(p - 1) times ct / y^(p - 1), 0 where y = 0, added over each window."""
    w = window(op, p, p.attrs["kernel_shape"])
    (channels,) = p.sizes(p.x, [1])
    ones = op.constant(np.ones((channels, 1, *w.kernel), dtype=p.x.dtype))
    added = scatter_windows(op, p, _over_norms(op, p, ct), ones, w, channels)
    return (op.Mul(_powers(op, p), added),)


def _powers(op: Emitter, p: Primal) -> gs.Tensor:
    """sign(x) |x|^(p - 1)."""
    order = int(p.attrs["p"])
    if order == 2:
        return p.x
    sign = op.sign(p.x)
    return sign if order == 1 else op.Mul(sign, op.Pow(op.Abs(p.x), float(order - 1)))


def _over_norms(op: Emitter, p: Primal, ct: gs.Tensor) -> gs.Tensor:
    """ct / y^(p - 1); where y is 0, so are all its x."""
    order = int(p.attrs["p"])
    if order == 1:
        return ct
    above_0 = op.Add(p.y, op.mask(op.LessOrEqual(p.y, 0.0), p.y))
    return op.Div(ct, above_0 if order == 2 else op.Pow(above_0, float(order - 1)))
