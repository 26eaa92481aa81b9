"""Arithmetic: unary functions, and binary operators with NumPy broadcasting."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.emit import Emitter
from fg_onnx.primal import Primal
from fg_onnx.vjps.table import (
    IMPLICIT,
    Cotangents,
    Offset,
    OffsetOf,
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


def _erf(op: Emitter, p: Primal) -> gs.Tensor:
    return op.Mul(op.Exp(op.Neg(op.Mul(p.x, p.x))), 2.0 / math.sqrt(math.pi))


elementwise("Abs", lambda op, p: op.sign(p.x), "ct * sign(x), 0 at 0", offset=homogeneous)
elementwise("Erf", _erf, "ct * 2 / sqrt(pi) * exp(-x^2)")


def _unbroadcast(op: Emitter, p: Primal, index: int, ct: gs.Tensor) -> gs.Tensor:
    operand = p.inputs[index]
    assert operand is not None
    p.shape(operand)
    return op.sum_to(ct, p.shape(p.y), operand)


def _addend(*signs: float) -> OffsetOf:
    """The offset of a sum: its one constant operand, with its sign."""

    def offset(p: Primal) -> Offset | None:
        constant = [index for index, active in enumerate(p.active) if not active]
        if not constant:
            return None
        if len(constant) > 1:
            return IMPLICIT
        return Offset("bias", operand=constant[0], scale=signs[constant[0]])

    return offset


@vjp("Add", offset=_addend(1.0, 1.0))
def add(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct to both operands, summed where they were broadcast."""
    return [_unbroadcast(op, p, i, ct) if p.wants(i) else None for i in range(2)]


@vjp("Sub", offset=_addend(1.0, -1.0))
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


@vjp("Pow", offset=_power_offset)
def power(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct * e * x^(e - 1), for a constant exponent e."""
    base, exponent = p.operand(0), p.operand(1)
    if not isinstance(exponent, gs.Constant):
        raise p.refusal("its exponent is computed at run time")
    e = np.asarray(exponent.values, dtype=base.dtype)
    slope = op.Mul(op.Pow(base, op.constant(e - 1)), op.constant(e))
    return _unbroadcast(op, p, 0, op.Mul(ct, slope)), None


@vjp("Sum", offset=lambda p: None if all(p.active) else IMPLICIT)
def sum_(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct to every operand."""
    return [_unbroadcast(op, p, i, ct) if p.wants(i) else None for i in range(len(p.inputs))]


@vjp("Mean", offset=lambda p: None if all(p.active) else IMPLICIT)
def mean(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct / n to every one of n operands."""
    share = op.Mul(ct, 1.0 / len(p.inputs))
    return [_unbroadcast(op, p, i, share) if p.wants(i) else None for i in range(len(p.inputs))]


def _extreme(op: Emitter, p: Primal, ct: gs.Tensor, winners: Sequence[gs.Tensor]) -> Cotangents:
    # Operands that tie share the cotangent, as PyTorch's maximum and amax do.
    share = op.Div(ct, op.total(winners)) if len(winners) > 1 else ct
    return [
        _unbroadcast(op, p, i, op.Mul(share, winner)) if p.wants(i) else None
        for i, winner in enumerate(winners)
    ]


@vjp("Max", offset=lambda p: None if all(p.active) else IMPLICIT)
def maximum(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct * [u_i = y] / (number of operands that tie)."""
    return _extreme(op, p, ct, [op.mask(op.GreaterOrEqual(u, p.y), p.y) for u in p.inputs])


@vjp("Min", offset=lambda p: None if all(p.active) else IMPLICIT)
def minimum(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct * [u_i = y] / (number of operands that tie)."""
    return _extreme(op, p, ct, [op.mask(op.LessOrEqual(u, p.y), p.y) for u in p.inputs])


@vjp("Where", offset=lambda p: None if p.wants(1) and p.wants(2) else IMPLICIT)
def where(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct where the branch was taken, 0 elsewhere."""
    taken = op.mask(p.inputs[0], p.y)
    first = _unbroadcast(op, p, 1, op.Mul(ct, taken)) if p.wants(1) else None
    second = _unbroadcast(op, p, 2, op.Mul(ct, op.Sub(1.0, taken))) if p.wants(2) else None
    return None, first, second
