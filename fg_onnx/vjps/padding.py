"""Pad. Where padding is negative, the runtime cuts first and pads what is left."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.axiswise import pad_along
from fg_onnx.vjps.table import Cotangents, Offset, vjp

_END = 2**31 - 1
_FIRST = -(2**31)


def _pads(p: Primal) -> list[tuple[int, int, int]]:
    """(axis, before, after) for every axis that is padded or cut."""
    rank = len(p.shape(p.x))
    given = p.integers(1) or []
    axes = p.integers(3) or list(range(rank))
    pads = zip(axes, given[: len(axes)], given[len(axes) :], strict=True)
    return [(axis % rank, before, after) for axis, before, after in pads if before or after]


def _border(op: Emitter, p: Primal) -> gs.Tensor:
    return op.Sub(p.y, op.Pad(p.x, p.inputs[1], None, *p.inputs[3:], mode="constant"))


def _pad_offset(p: Primal) -> Offset | None:
    value = p.input(2)
    if p.attrs["mode"] != "constant" or value is None:
        return None
    if isinstance(value, gs.Constant) and not np.any(value.values):
        return None
    return Offset("bias", value=_border)


@vjp("Pad", offset=_pad_offset)
def pad(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct without the border (zeros where padding was negative); a copied border is added back."""
    mode, rank = p.attrs["mode"], len(p.shape(p.x))
    if mode == "constant" and not isinstance(p.inputs[1], gs.Constant):
        ct = op.Pad(ct, op.Neg(p.inputs[1]), None, *p.inputs[3:], mode="constant")
        return ct, *[None] * (len(p.inputs) - 1)
    for axis, before, after in _pads(p):
        ct = _folded(op, p, ct, axis, max(before, 0), max(after, 0))
        ct = pad_along(op, ct, axis, rank, max(-before, 0), max(-after, 0))
    return ct, *[None] * (len(p.inputs) - 1)


def _folded(op: Emitter, p: Primal, ct: gs.Tensor, axis: int, before: int, after: int) -> gs.Tensor:
    """What lies inside of the border along an axis, the border's parts added where they came from.

    Before is ``before`` positions from the front of the inside (``edge``: its first one;
    ``wrap``: the last ones), and after likewise from the back.
    """
    if not before and not after:
        return ct
    inside = op.Slice(ct, [before], [-after if after else _END], [axis])
    mode = p.attrs["mode"]
    if mode == "constant":
        return inside
    if mode == "wrap":
        _once_around(p, axis, before, after)
    if before:
        border = _source(op, op.Slice(ct, [0], [before], [axis]), axis, mode)
        places = {"edge": (0, 1), "reflect": (1, before + 1), "wrap": (-before, _END)}
        inside = _added(op, inside, border, axis, *places[mode])
    if after:
        border = _source(op, op.Slice(ct, [-after], [_END], [axis]), axis, mode)
        places = {"edge": (-1, _END), "reflect": (-after - 1, -1), "wrap": (0, after)}
        inside = _added(op, inside, border, axis, *places[mode])
    return inside


def _source(op: Emitter, border: gs.Tensor, axis: int, mode: str) -> gs.Tensor:
    """A border in the order of the positions that it was copied from."""
    if mode == "edge":
        return op.ReduceSum(border, axes=[axis], keepdims=1)
    return op.Slice(border, [-1], [_FIRST], [axis], [-1]) if mode == "reflect" else border


def _added(
    op: Emitter, inside: gs.Tensor, border: gs.Tensor, axis: int, start: int, end: int
) -> gs.Tensor:
    """``inside[start:end] += border`` along an axis."""
    parts = [op.Add(op.Slice(inside, [start], [end], [axis]), border)]
    if start:
        parts.insert(0, op.Slice(inside, [0], [start], [axis]))
    if end != _END:
        parts.append(op.Slice(inside, [end], [_END], [axis]))
    return op.Concat(*parts, axis=axis)


def _once_around(p: Primal, axis: int, before: int, after: int) -> None:
    size = p.shape(p.x)[axis]
    cut = sum(min(pads[1], 0) + min(pads[2], 0) for pads in _pads(p) if pads[0] == axis)
    if isinstance(size, int) and max(before, after) > size + cut:
        raise p.refusal("its border wraps around more than once")
