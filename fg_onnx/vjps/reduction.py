"""Reductions."""

from __future__ import annotations

import math

import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter, is_static
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.table import IMPLICIT, Cotangents, Offset, implicit, vjp


def reduced_axes(p: Primal) -> list[int]:
    """The axes, counted from the front, whether they come as attribute, input or not at all."""
    rank = len(p.shape(p.x))
    axes = p.attrs.get("axes")
    if axes is None:
        axes = p.integers(1)
    if axes is None or not axes:
        return [] if p.attrs.get("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(axis % rank for axis in axes)


def _unreduced(op: Emitter, p: Primal, ct: gs.Tensor, axes: list[int]) -> gs.Tensor:
    """``ct`` with the reduced axes back, of size 1."""
    if p.attrs["keepdims"] or not axes:
        return ct
    return op.Unsqueeze(ct, axes=axes)


def count(op: Emitter, p: Primal, axes: list[int]) -> float | gs.Tensor:
    """How many positions of x lie along the axes: a number, or [1] at run time."""
    shape = p.shape(p.x)
    if is_static([shape[axis] for axis in axes]):
        return float(math.prod(p.sizes(p.x, axes)))
    sizes = op.mask(op.Shape(p.x), p.x)
    total = op.Slice(sizes, [axes[0]], [axes[0] + 1], [0])
    for axis in axes[1:]:
        total = op.Mul(total, op.Slice(sizes, [axis], [axis + 1], [0]))
    return total


@vjp("ReduceMean")
def reduce_mean(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct / n at each of the n positions."""
    axes = reduced_axes(p)
    share = op.Div(_unreduced(op, p, ct, axes), count(op, p, axes))
    return op.Expand(share, op.shape(p.x)), None


@vjp("ReduceSum")
def reduce_sum(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct at each of the positions."""
    axes = reduced_axes(p)
    return op.Expand(_unreduced(op, p, ct, axes), op.shape(p.x)), None


@vjp("ReduceL2")
def reduce_l2(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct * x / y, 0 where y = 0; homogeneous of degree 1."""
    axes = reduced_axes(p)
    y = _unreduced(op, p, p.y, axes)
    above_0 = op.Add(y, op.mask(op.LessOrEqual(y, 0.0), y))  # where y is 0, so are all its x
    ratio = op.Div(_unreduced(op, p, ct, axes), above_0)
    return op.Mul(p.x, ratio), None


def _degree_2_term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
    """``J x = 2 y``."""
    return op.Neg(op.Mul(ct, p.y))


@vjp("ReduceSumSquare", offset=implicit, term=_degree_2_term)
def reduce_sum_square(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """2 * ct * x."""
    axes = reduced_axes(p)
    return op.Mul(op.Mul(p.x, _unreduced(op, p, ct, axes)), 2.0), None


@vjp("ReduceL1")
def reduce_l1(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct * sign(x), 0 at 0."""
    return op.Mul(op.sign(p.x), _unreduced(op, p, ct, reduced_axes(p))), None


def _log_sum_term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
    """``J x = 1``."""
    return op.Mul(ct, op.Sub(p.y, 1.0))


@vjp("ReduceLogSum", offset=implicit, term=_log_sum_term)
def reduce_log_sum(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct / sum(x) at each of the positions."""
    axes = reduced_axes(p)
    share = op.Mul(ct, op.Exp(op.Neg(p.y)))
    return op.Expand(_unreduced(op, p, share, axes), op.shape(p.x)), None


def _not_alone(p: Primal) -> Offset | None:
    """Without axes the operator is the identity."""
    return IMPLICIT if reduced_axes(p) else None


def _log_sum_exp_term(op: Emitter, p: Primal, ct: gs.Tensor, cts: Cotangents) -> gs.Tensor:
    """``J x`` is the mean of x by the weights that the rule gives its positions."""
    along = op.Mul(cts[0], p.x)
    reduced = op.ReduceSum(along, axes=reduced_axes(p), keepdims=p.attrs["keepdims"])
    return op.Sub(op.Mul(ct, p.y), reduced)


@vjp("ReduceLogSumExp", offset=_not_alone, term=_log_sum_exp_term)
def reduce_log_sum_exp(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct * exp(x - y)."""
    axes = reduced_axes(p)
    softmax = op.Exp(op.Sub(p.x, _unreduced(op, p, p.y, axes)))
    return op.Mul(softmax, _unreduced(op, p, ct, axes)), None


@vjp("ReduceMax", "ReduceMin")
def reduce_extreme(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct * [x = y] / (number of positions that tie), as PyTorch's amax and amin."""
    axes = reduced_axes(p)
    y = _unreduced(op, p, p.y, axes)
    wins = op.GreaterOrEqual(p.x, y) if p.op_type == "ReduceMax" else op.LessOrEqual(p.x, y)
    winners = op.mask(wins, p.x)
    share = _unreduced(op, p, ct, axes)
    if axes:
        share = op.Div(share, op.ReduceSum(winners, axes=axes, keepdims=1))
    return op.Mul(winners, share), None


def _product_term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
    """Of n factors ``J x = n y``."""
    n = count(op, p, reduced_axes(p))
    return op.Mul(op.Mul(ct, p.y), 1.0 - n if isinstance(n, float) else op.Sub(1.0, n))


@vjp("ReduceProd", offset=_not_alone, term=_product_term)
def reduce_prod(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct times the product of the other positions, exactly 0 where another of them is 0."""
    axes = reduced_axes(p)
    if not axes:
        return ct, None
    zeros = op.mask(op.And(op.LessOrEqual(p.x, 0.0), op.GreaterOrEqual(p.x, 0.0)), p.x)
    without = op.Add(p.x, zeros)  # with 1 in the place of 0
    others = op.Div(op.ReduceProd(without, axes=[*axes], keepdims=1), without)
    other_zeros = op.Sub(op.ReduceSum(zeros, axes=[*axes], keepdims=1), zeros)
    slope = op.Mul(others, op.mask(op.LessOrEqual(other_zeros, 0.0), p.x))
    return op.Mul(slope, _unreduced(op, p, ct, axes)), None
