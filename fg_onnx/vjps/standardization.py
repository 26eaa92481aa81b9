"""Normalisation by statistics of the tensor itself: y = scale * hat + bias, hat = (x - m) / s.

``m`` is the mean and ``s = sqrt(v + eps)`` along some axes, ``v`` the mean of ``(x - m)^2``; RMS
forms have ``m = 0``. With ``c = scale * ct`` the adjoint is symmetric::

    ct_x = (c - mean(c) - hat * mean(c * hat)) / s

without ``mean(c)`` where ``m = 0``. Along ``x`` itself ``J x = scale * hat * eps / (v + eps)``, so
the offset is ``bias + scale * hat * v / (v + eps)``: the bias, which can be promoted, and an
implicit rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.table import (
    IMPLICIT,
    Axes,
    Cotangents,
    Offset,
    OffsetOf,
    implicit,
    vjp,
)

View: TypeAlias = Callable[[gs.Tensor], gs.Tensor]


def _same(tensor: gs.Tensor) -> gs.Tensor:
    return tensor


@dataclass(frozen=True, eq=False)
class Norm:
    """A node taken apart.

    Attributes:
        axes: of the view, along which the statistics are taken.
        epsilon: added to the variance.
        centred: whether the mean is taken off.
        scale: broadcasts to y, None for 1.
        view: x, or what has its shape, as the statistics need it.
        back: a view in the shape of x.
    """

    axes: Sequence[int]
    epsilon: float
    centred: bool = True
    scale: gs.Tensor | None = None
    view: View = _same
    back: View = _same

    def statistics(self, op: Emitter, x: gs.Tensor) -> tuple[gs.Tensor, gs.Tensor, gs.Tensor]:
        """``hat``, ``s`` and ``v / (v + eps)``, in the view."""
        x = self.view(x)
        middle = op.Sub(x, self.mean(op, x)) if self.centred else x
        variance = self.mean(op, op.Mul(middle, middle))
        raised = op.Add(variance, self.epsilon)
        deviation = op.Sqrt(raised)
        return op.Div(middle, deviation), deviation, op.Div(variance, raised)

    def mean(self, op: Emitter, tensor: gs.Tensor) -> gs.Tensor:
        """Along the axes."""
        return op.ReduceMean(tensor, axes=list(self.axes), keepdims=1)

    def scaled(self, op: Emitter, ct: gs.Tensor) -> gs.Tensor:
        """``c``, in the view."""
        return self.view(ct if self.scale is None else op.Mul(ct, self.scale))


def _register(
    op_type: str,
    taken_apart: Callable[[Emitter, Primal], Norm],
    formula: str,
    *,
    offset: OffsetOf = implicit,
    axes: Axes = "kept",
    since: int = 1,
) -> None:
    def rule(
        op: Emitter, p: Primal, ct: gs.Tensor | None, *statistics: gs.Tensor | None
    ) -> Cotangents:
        if any(p.active[1:]):
            raise p.refusal("its scale or bias depends on the explained input")
        if ct is None or any(other is not None for other in statistics):
            raise p.refusal("its Mean or InvStdDev leads to the explained output")
        norm = taken_apart(op, p)
        hat, deviation, _ = norm.statistics(op, p.x)
        c = norm.scaled(op, ct)
        rest = op.Sub(c, op.Mul(hat, norm.mean(op, op.Mul(c, hat))))
        if norm.centred:
            rest = op.Sub(rest, norm.mean(op, c))
        return norm.back(op.Div(rest, deviation)), *[None] * (len(p.inputs) - 1)

    def term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
        norm = taken_apart(op, p)
        hat, _, share = norm.statistics(op, p.x)
        return norm.back(op.Mul(op.Mul(norm.scaled(op, ct), hat), share))

    rule.__doc__ = formula
    vjp(op_type, offset=offset, term=term, outputs=None, axes=axes, since=since)(rule)


def _bias(axis: int | None) -> OffsetOf:
    def offset(p: Primal) -> Offset | tuple[Offset, ...]:
        if p.input(2) is None:
            return IMPLICIT
        return Offset("bias", operand=2, axis=axis), IMPLICIT

    return offset


def _layer(_: Emitter, p: Primal) -> Norm:
    rank = len(p.shape(p.x))
    # A step recognised from several nodes names its axes; the operator has all from one on.
    axes = p.attrs.get("axes") or range(p.attrs["axis"] % rank, rank)
    centred = p.op_type != "RMSNormalization"
    return Norm(axes, p.attrs["epsilon"], centred, p.input(1))


_register(
    "LayerNormalization",
    _layer,
    "(c - mean(c) - hat * mean(c * hat)) / s, with c = scale * ct, hat = (x - mean) / s",
    offset=_bias(None),
)
_register(
    "RMSNormalization",
    _layer,
    "(c - hat * mean(c * hat)) / s, with c = scale * ct, hat = x / s",
)


def _along_channels(op: Emitter, p: Primal, parameter: gs.Tensor) -> gs.Tensor:
    return op.Reshape(parameter, [-1] + [1] * (len(p.shape(p.x)) - 2))


def _instance(op: Emitter, p: Primal) -> Norm:
    positions = range(2, len(p.shape(p.x)))
    scale = _along_channels(op, p, p.operand(1))
    return Norm(positions, p.attrs["epsilon"], True, scale)


_register(
    "InstanceNormalization",
    _instance,
    "As LayerNormalization, over the positions of each channel",
    offset=_bias(1),
)


def _group(op: Emitter, p: Primal) -> Norm:
    scale = _along_channels(op, p, p.operand(1))
    groups = [0, p.attrs["num_groups"], -1]
    return Norm(
        (2,),
        p.attrs["epsilon"],
        scale=scale,
        view=lambda tensor: op.Reshape(tensor, groups),
        back=lambda tensor: op.reshape_like(tensor, p.x),
    )


_register(
    "GroupNormalization",
    _group,
    "As LayerNormalization, over the channels and positions of each group",
    offset=_bias(1),
    since=21,  # before, it had a scale and a bias for each group
)

# The operator adds 1e-9 to the standard deviation. Its square, added to the variance, is the same
# where the variance is 0, and nothing elsewhere.
_TINY = 1e-18


def _mean_variance(_: Emitter, p: Primal) -> Norm:
    rank = len(p.shape(p.x))
    axes = sorted(axis % rank for axis in p.attrs["axes"])
    if 0 in axes and p.shape(p.x)[0] != 1:
        raise p.refusal("it mixes the images of a batch")
    return Norm(axes, _TINY)


_register(
    "MeanVarianceNormalization",
    _mean_variance,
    "As LayerNormalization without scale and bias, over any axes but the batch's",
)


def _degree_0_term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
    return op.Mul(ct, p.y)


@vjp("LpNormalization", offset=implicit, term=_degree_0_term)
def lp_normalization(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """(ct - d * sum(ct * y)) / norm, d = y for p = 2, sign(x) for p = 1; 0 where the norm is 0."""
    axis = p.attrs["axis"]
    if p.attrs["p"] == 1:
        # Not ReduceL1: below opset 18 OpenVINO reduces all axes.
        norm, direction = op.ReduceSum(op.Abs(p.x), axes=[axis], keepdims=1), op.sign(p.x)
    else:
        norm, direction = op.ReduceL2(p.x, axes=[axis], keepdims=1), p.y
    some = op.mask(op.Greater(norm, 0.0), norm)
    inverse = op.Div(some, op.Add(norm, op.Sub(1.0, some)))
    along = op.ReduceSum(op.Mul(ct, p.y), axes=[axis], keepdims=1)
    return (op.Mul(op.Sub(ct, op.Mul(direction, along)), inverse),)
