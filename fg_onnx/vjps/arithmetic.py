"""Arithmetic: unary functions, and binary operators with NumPy broadcasting."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.table import (
    IMPLICIT,
    Cotangents,
    Offset,
    elementwise,
    homogeneous,
    vjp,
)

elementwise("Neg", lambda op, p: op.constant(-1.0, p.y.dtype), "-ct", offset=homogeneous)
elementwise("Exp", lambda _, p: p.y, "ct * y")
elementwise("Log", lambda op, p: op.Reciprocal(p.x), "ct / x")
elementwise("Sqrt", lambda op, p: op.Div(0.5, p.y), "ct / (2 * y)")
elementwise("Reciprocal", lambda op, p: op.Neg(op.Mul(p.y, p.y)), "-ct * y^2")
elementwise("Sin", lambda op, p: op.Cos(p.x), "ct * cos(x)")
elementwise("Cos", lambda op, p: op.Neg(op.Sin(p.x)), "-ct * sin(x)")
elementwise("Tan", lambda op, p: op.Add(op.Mul(p.y, p.y), 1.0), "ct * (1 + y^2)")


def _from_square(op: Emitter, p: Primal, times: float, plus: float) -> gs.Tensor:
    """``times * x^2 + plus``."""
    square = op.Mul(p.x, p.x)
    return op.Add(op.Neg(square) if times < 0 else square, plus)


def _inverse_root(op: Emitter, p: Primal, times: float, plus: float) -> gs.Tensor:
    return op.Reciprocal(op.Sqrt(_from_square(op, p, times, plus)))


elementwise("Asin", lambda op, p: _inverse_root(op, p, -1.0, 1.0), "ct / sqrt(1 - x^2)")
elementwise("Acos", lambda op, p: op.Neg(_inverse_root(op, p, -1.0, 1.0)), "-ct / sqrt(1 - x^2)")
elementwise("Atan", lambda op, p: op.Reciprocal(_from_square(op, p, 1.0, 1.0)), "ct / (1 + x^2)")
elementwise("Asinh", lambda op, p: _inverse_root(op, p, 1.0, 1.0), "ct / sqrt(x^2 + 1)")
elementwise("Acosh", lambda op, p: _inverse_root(op, p, 1.0, -1.0), "ct / sqrt(x^2 - 1)")
elementwise("Atanh", lambda op, p: op.Reciprocal(_from_square(op, p, -1.0, 1.0)), "ct / (1 - x^2)")


def _hyperbolic(op: Emitter, p: Primal, sign: float) -> gs.Tensor:
    # Sinh and Cosh themselves have a kernel on the CPU only.
    below = op.Exp(op.Neg(p.x))
    both = op.Add(op.Exp(p.x), below) if sign > 0 else op.Sub(op.Exp(p.x), below)
    return op.Mul(both, 0.5)


elementwise("Sinh", lambda op, p: _hyperbolic(op, p, 1.0), "ct * cosh(x)")
elementwise("Cosh", lambda op, p: _hyperbolic(op, p, -1.0), "ct * sinh(x)")


def _erf(op: Emitter, p: Primal) -> gs.Tensor:
    return op.Mul(op.Exp(op.Neg(op.Mul(p.x, p.x))), 2.0 / math.sqrt(math.pi))


elementwise("Abs", lambda op, p: op.sign(p.x), "ct * sign(x), 0 at 0", offset=homogeneous)
elementwise("Erf", _erf, "ct * 2 / sqrt(pi) * exp(-x^2)")


def _unbroadcast(op: Emitter, p: Primal, index: int, ct: gs.Tensor) -> gs.Tensor:
    operand = p.inputs[index]
    assert operand is not None
    p.shape(operand)
    return op.sum_to(ct, p.shape(p.y), operand)


def _constant(p: Primal) -> list[int]:
    """The operands that carry no cotangent."""
    return [index for index, active in enumerate(p.active) if not active]


def _are_zero(p: Primal, indices: Sequence[int]) -> bool:
    operands = [p.operand(index) for index in indices]
    return all(isinstance(u, gs.Constant) and not np.any(u.values) for u in operands)


def _constants_added(p: Primal, *scales: float) -> Offset | None:
    """The offset of a sum: its constant operand, to be promoted, or the total of several."""
    indices = _constant(p)
    if not indices:
        return None
    scale = scales[indices[0]]
    if len(indices) == 1:
        return Offset("bias", operand=indices[0], scale=scale)
    return Offset("bias", value=_total_of_constants, scale=scale)


def _total_of_constants(op: Emitter, p: Primal) -> gs.Tensor:
    return op.total([p.operand(index) for index in _constant(p)])


@vjp("Add", offset=lambda p: _constants_added(p, 1.0, 1.0))
def add(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct to both operands, summed where they were broadcast."""
    return [_unbroadcast(op, p, i, ct) if p.wants(i) else None for i in range(2)]


@vjp("Sub", offset=lambda p: _constants_added(p, 1.0, -1.0))
def sub(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct to the first operand, -ct to the second."""
    first = _unbroadcast(op, p, 0, ct) if p.wants(0) else None
    second = op.Neg(_unbroadcast(op, p, 1, ct)) if p.wants(1) else None
    return first, second


def _product(p: Primal) -> Offset | None:
    """Linear in each factor; of two active factors, y - 2y = -y."""
    return IMPLICIT if all(p.active[:2]) else None


def _product_term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
    return op.Neg(op.Mul(ct, p.y))


@vjp("Mul", offset=_product, term=_product_term)
def mul(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct times the other factor."""
    a, b = p.inputs
    return [
        _unbroadcast(op, p, 0, op.Mul(ct, b)) if p.wants(0) else None,
        _unbroadcast(op, p, 1, op.Mul(ct, a)) if p.wants(1) else None,
    ]


def _quotient(p: Primal) -> Offset | None:
    """a/b is linear in a. In b it is of degree -1: r = 2y; of both, of degree 0: r = y."""
    return IMPLICIT if p.wants(1) else None


def _quotient_term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
    term = op.Mul(ct, p.y)
    return term if p.wants(0) else op.Mul(term, 2.0)


@vjp("Div", offset=_quotient, term=_quotient_term)
def div(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct / b, and -ct * y / b."""
    b = p.inputs[1]
    over = op.Div(ct, b)
    return [
        _unbroadcast(op, p, 0, over) if p.wants(0) else None,
        _unbroadcast(op, p, 1, op.Neg(op.Mul(over, p.y))) if p.wants(1) else None,
    ]


def _power_offset(p: Primal) -> Offset | None:
    exponent = p.inputs[1]
    one = isinstance(exponent, gs.Constant) and bool(np.all(exponent.values == 1))
    return None if one else IMPLICIT


def _constant_power_slope(op: Emitter, base: gs.Tensor, exponent: gs.Constant) -> gs.Tensor:
    e = np.asarray(exponent.values, dtype=base.dtype)
    if np.all(e == 2):
        return op.Mul(base, 2.0)
    # x^0 has slope 0, at 0 too, where x^-1 is infinite.
    less = np.where(e == 0, 0, e - 1)
    return op.Mul(op.Pow(base, op.constant(less)), op.constant(e))


def _log_of_positive(op: Emitter, base: gs.Tensor) -> gs.Tensor:
    """log(1) = 0 in the place of what is not finite."""
    positive = op.mask(op.Greater(base, 0.0), base)
    return op.Log(op.Add(op.Mul(base, positive), op.Sub(1.0, positive)))


def _power_slope(op: Emitter, base: gs.Tensor, exponent: gs.Tensor) -> gs.Tensor:
    e = exponent if exponent.dtype == base.dtype else op.mask(exponent, base)
    none = op.Sub(1.0, op.Abs(op.sign(e)))
    return op.Mul(op.Pow(base, op.Sub(op.Add(e, none), 1.0)), e)


def _power_term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
    """``J x = e y`` of the base, ``J e = e log(x) y`` of the exponent."""
    base, exponent = p.operand(0), p.operand(1)
    e = exponent if exponent.dtype == base.dtype else op.mask(exponent, base)
    if not p.wants(1):
        rest = op.Sub(1.0, e)
    else:
        along = op.Mul(e, _log_of_positive(op, base))
        rest = op.Sub(1.0, op.Add(along, e) if p.wants(0) else along)
    return op.Mul(op.Mul(ct, p.y), rest)


@vjp("Pow", offset=_power_offset, term=_power_term)
def power(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct * e * x^(e - 1), and ct * y * log(x) for the exponent e, 0 where x <= 0."""
    base, exponent = p.operand(0), p.operand(1)
    cts: list[gs.Tensor | None] = [None, None]
    if p.wants(0):
        constant = isinstance(exponent, gs.Constant)
        slope = (_constant_power_slope if constant else _power_slope)(op, base, exponent)
        cts[0] = _unbroadcast(op, p, 0, op.Mul(ct, slope))
    if p.wants(1):
        log = _log_of_positive(op, base)
        cts[1] = _unbroadcast(op, p, 1, op.Mul(op.Mul(ct, p.y), log))
    return cts


def _remainder_term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
    """``J a = a``, ``J b = y - a``."""
    return op.Mul(ct, op.Sub(p.y, p.operand(0)) if p.wants(0) else p.operand(0))


@vjp("Mod", offset=lambda p: None if all(p.active) else IMPLICIT, term=_remainder_term)
def mod(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """y = a - q b, q a whole number: ct, and -ct * q."""
    cts: list[gs.Tensor | None] = [None, None]
    if p.wants(0):
        cts[0] = _unbroadcast(op, p, 0, ct)
    if p.wants(1):
        whole = op.Div(op.Sub(p.y, p.operand(0)), p.operand(1))
        cts[1] = _unbroadcast(op, p, 1, op.Mul(ct, whole))
    return cts


def _sum_offset(p: Primal) -> Offset | None:
    return _constants_added(p, *[1.0] * len(p.inputs))


@vjp("Sum", offset=_sum_offset)
def sum_(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct to every operand."""
    return [_unbroadcast(op, p, i, ct) if p.wants(i) else None for i in range(len(p.inputs))]


def _mean_offset(p: Primal) -> Offset | None:
    return _constants_added(p, *[1.0 / len(p.inputs)] * len(p.inputs))


@vjp("Mean", offset=_mean_offset)
def mean(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct / n to every one of n operands."""
    share = op.Mul(ct, 1.0 / len(p.inputs))
    return [_unbroadcast(op, p, i, share) if p.wants(i) else None for i in range(len(p.inputs))]


def _shares(op: Emitter, p: Primal) -> list[gs.Tensor]:
    """For every operand 1 where it wins; 1/n where n operands tie, as in PyTorch's maximum."""
    compare = op.GreaterOrEqual if p.op_type == "Max" else op.LessOrEqual
    winners = [op.mask(compare(u, p.y), p.y) for u in p.inputs]
    if len(winners) == 1:
        return winners
    count = op.total(winners)
    return [op.Div(winner, count) for winner in winners]


def _extreme_offset(p: Primal) -> Offset | None:
    indices = _constant(p)
    if _are_zero(p, indices):
        return None
    return Offset("bias", value=_constant_winners)


def _constant_winners(op: Emitter, p: Primal) -> gs.Tensor:
    shares = _shares(op, p)
    return op.Mul(p.y, op.total([shares[index] for index in _constant(p)]))


@vjp("Max", "Min", offset=_extreme_offset)
def extreme(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct * [u_i = y] / (number of operands that tie)."""
    return [
        _unbroadcast(op, p, i, op.Mul(ct, share)) if p.wants(i) else None
        for i, share in enumerate(_shares(op, p))
    ]


def _where_offset(p: Primal) -> Offset | None:
    if _are_zero(p, [index for index in _constant(p) if index > 0]):
        return None
    return Offset("bias", value=_constant_branch)


def _constant_branch(op: Emitter, p: Primal) -> gs.Tensor:
    condition, first, second = p.inputs
    none = op.constant(0.0, p.y.dtype)
    return op.Where(condition, none if p.wants(1) else first, none if p.wants(2) else second)


@vjp("Where", offset=_where_offset)
def where(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct where the branch was taken, 0 elsewhere."""
    taken = op.mask(p.inputs[0], p.y)
    first = _unbroadcast(op, p, 1, op.Mul(ct, taken)) if p.wants(1) else None
    second = _unbroadcast(op, p, 2, op.Mul(ct, op.Sub(1.0, taken))) if p.wants(2) else None
    return None, first, second
