"""Running sums and products along an axis."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.table import Cotangents, implicit, vjp


@vjp("CumSum")
def cum_sum(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """The running sum of ct from the other end."""
    exclusive, reverse = p.attrs["exclusive"], p.attrs["reverse"]
    return op.CumSum(ct, p.inputs[1], exclusive=exclusive, reverse=1 - reverse), None


def _product_term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
    """Of n factors ``J x = n y``; n is the running sum of ones."""
    axis = (p.integers(1) or [0])[0] % len(p.shape(p.x))
    (size,) = p.sizes(p.x, [axis])
    counts = np.arange(size, dtype=p.x.dtype) + (1 - p.attrs["exclusive"])
    if p.attrs["reverse"]:
        counts = counts[::-1]
    along = [size if i == axis else 1 for i in range(len(p.shape(p.x)))]
    return op.Mul(op.Mul(ct, p.y), op.constant(1 - counts.reshape(along)))


@vjp("CumProd", offset=implicit, term=_product_term)
def cum_prod(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """The sum of ct_k * (the product y_k without x) over the products y_k that x is part of."""
    rank = len(p.shape(p.x))
    axis = (p.integers(1) or [0])[0] % rank
    (size,) = p.sizes(p.x, [axis])
    # One row for every factor i, with 1 in its place: what is left of the products without it.
    own = np.eye(size, dtype=p.x.dtype)
    shape = [size if i in (axis, axis + 1) else 1 for i in range(rank + 1)]
    row = op.Unsqueeze(p.x, axes=[axis])
    without = op.Add(
        op.Mul(row, op.constant(1 - own.reshape(shape))), op.constant(own.reshape(shape))
    )
    flags = {"exclusive": p.attrs["exclusive"], "reverse": p.attrs["reverse"]}
    products = op.CumProd(without, op.constant(axis + 1, np.int64), **flags)
    among = np.tril(np.ones((size, size), p.x.dtype), -flags["exclusive"]).T
    if flags["reverse"]:
        among = among[::-1, ::-1]
    weights = op.Mul(op.Unsqueeze(ct, axes=[axis]), op.constant(among.reshape(shape)))
    return op.ReduceSum(op.Mul(products, weights), axes=[axis + 1], keepdims=0), None
