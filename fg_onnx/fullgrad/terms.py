"""The bias-gradient ``ct_y * r`` of every site, as factors where it has some.

A bias along the channels needs no product at full size: its total is ``sum_c b_c sum_hw ct_c``
and its map a contraction of ``ct`` with ``b``. Only an implicit offset is written out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.fullgrad.adjoint import Pullback
from fg_onnx.fullgrad.sites import BoundSite
from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal, is_float
from fg_onnx.manifest import Dim
from fg_onnx.vjps.table import RULES, Scaled


@dataclass(frozen=True, eq=False)
class Term:
    """``values * weight * scale``, the weight [C] lying along ``axis``; no weight stands for 1.

    Attributes:
        values: the cotangent, or the whole product; the shape of the site's tensor.
        shape: of ``values``; unknown dimensions are str or None.
        weight: [C], or None.
        axis: of ``values``, along which the weight lies.
        scale: 1 where there is a weight.
    """

    values: gs.Tensor
    shape: tuple[Dim, ...]
    weight: gs.Tensor | None = None
    axis: int | None = None
    scale: float = 1.0

    @property
    def rank(self) -> int:
        """How many axes there are."""
        return len(self.shape)

    def product(self, op: Emitter) -> gs.Tensor:
        """The bias-gradient at full size."""
        if self.weight is None:
            return self.values if self.scale == 1.0 else op.Mul(self.values, self.scale)
        assert self.axis is not None
        dims = [-1 if axis == self.axis else 1 for axis in range(self.rank)]
        return op.Mul(self.values, op.Reshape(self.weight, dims))


def site_term(op: Emitter, bound: BoundSite, pullback: Pullback) -> Term:
    """The bias-gradient of a site."""
    p, offset, ct = pullback.primal, bound.offset, pullback.cts[0]
    assert ct is not None
    shape = tuple(p.shape(p.y))
    if offset.kind == "implicit":
        return _implicit_term(op, pullback, shape)
    if bound.site.promoted_input is None and offset.value is not None:
        value = offset.value(op, p)
    else:
        assert offset.operand is not None
        value = p.inputs[offset.operand]
    if not _is_finite(p, value):
        value = op.finite(value)
    if offset.scale != 1.0:
        value = op.Mul(value, offset.scale)
    axis = offset.axis if offset.axis is not None else _only_axis(value, len(shape))
    if axis is None:
        return Term(op.Mul(ct, value), shape)
    flat = value if value.shape is not None and len(value.shape) == 1 else op.Reshape(value, [-1])
    return Term(ct, shape, flat, axis)


def _is_finite(p: Primal, value: gs.Tensor) -> bool:
    """Whether a bias is known to be; attention masks hold -inf where no cotangent comes back."""
    operands = zip(p.inputs, p.active, strict=True)
    constant = [u for u, active in operands if u is not None and not active and is_float(u)]
    read = [value] if isinstance(value, gs.Constant) else constant
    return all(isinstance(u, gs.Constant) and np.all(np.isfinite(u.values)) for u in read)


def _only_axis(value: gs.Tensor, rank: int) -> int | None:
    """The one axis along which a value varies that broadcasts to ``rank`` axes, or None."""
    if value.shape is None:
        return None
    varying = [axis - len(value.shape) + rank for axis, dim in enumerate(value.shape) if dim != 1]
    return varying[0] if len(varying) == 1 and varying[0] > 0 else None


def _implicit_term(op: Emitter, pullback: Pullback, shape: Sequence[Dim]) -> Term:
    p, ct = pullback.primal, pullback.cts[0]
    assert ct is not None
    rule = RULES[p.op_type]
    if rule.term is not None:
        found = rule.term(op, p, ct, pullback.passed)
        if isinstance(found, Scaled):
            return Term(found.values, tuple(shape), scale=found.scale)
        return Term(found, tuple(shape))
    term = op.Mul(ct, p.y)
    for operand, active, passed in zip(p.inputs, p.active, pullback.passed, strict=False):
        if active and operand is not None and passed is not None:
            # what has another shape has no position in y: its rule has a form of its own
            assert p.shape(operand) == list(shape), p.op_type
            term = op.Sub(term, op.Mul(passed, operand))
    return Term(term, tuple(shape))
