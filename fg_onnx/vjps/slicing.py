"""Slice: zeros where nothing was taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.axiswise import Size, is_zero, pad_along, plus, size_of, times, vector
from fg_onnx.vjps.table import Cotangents, vjp


@dataclass(frozen=True, eq=False)
class _Taken:
    """What was taken along an axis: ``count`` positions, ``step`` apart, the lowest ``lowest``."""

    axis: int
    size: Size
    lowest: Size
    count: Size
    step: int

    def after(self, op: Emitter) -> Size:
        """How many positions follow the highest that was taken."""
        covered = plus(op, times(op, plus(op, self.count, -1), abs(self.step)), 1)
        return plus(op, self.size, times(op, plus(op, self.lowest, covered), -1))


@vjp("Slice")
def slice_(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct where the slice was taken, zeros around and between."""
    rank = len(p.shape(p.x))
    for taken in _all_taken(op, p):
        axis = taken.axis
        if taken.step < 0:
            ct = op.Slice(ct, [-1], [-(2**31)], [axis], [-1])
        if abs(taken.step) > 1:
            ct = _spread(op, ct, axis, rank, taken)
        ct = pad_along(op, ct, axis, rank, taken.lowest, taken.after(op))
    return ct, *[None] * (len(p.inputs) - 1)


def _all_taken(op: Emitter, p: Primal) -> list[_Taken]:
    rank, many = len(p.shape(p.x)), p.sizes(p.operand(1), [0])[0]
    axes = p.integers(3) or list(range(many))
    steps = p.integers(4) or [1] * many
    found = []
    for index, (axis, step) in enumerate(zip(axes, steps, strict=True)):
        size = p.shape(p.x)[axis]
        starts, ends = p.operand(1), p.operand(2)
        constant = isinstance(starts, gs.Constant) and isinstance(ends, gs.Constant)
        if isinstance(size, int) and constant:
            start, end = int(starts.values[index]), int(ends.values[index])
            found.append(_known(axis % rank, size, start, end, step))
        else:
            found.append(_measured(op, p, axis % rank, index, step))
    return found


def _known(axis: int, size: int, start: int, end: int, step: int) -> _Taken:
    # Python clamps as ONNX does, but reads a negative end as "from the back": INT_MIN and
    # everything below -size mean "through the first" for a negative step.
    stop = None if step < 0 and end < -size else end
    chosen = range(size)[start:stop:step]
    count = len(chosen)
    lowest = chosen.start if step > 0 else chosen.start + step * (count - 1)
    return _Taken(axis, size, lowest, count, step)


def _measured(op: Emitter, p: Primal, axis: int, index: int, step: int) -> _Taken:
    """The same at run time: the count is known from the output."""
    size, count = size_of(op, p, p.x, axis), size_of(op, p, p.y, axis)
    given = p.operand(1)
    start: Size
    if isinstance(given, gs.Constant):
        start = int(given.values[index])
    else:
        start = op.Cast(op.Slice(given, [index], [index + 1], [0]), to=onnx.TensorProto.INT64)
    first = _clamped(op, start, size, -1 if step < 0 else 0)
    lowest = first if step > 0 else plus(op, first, times(op, plus(op, count, -1), step))
    return _Taken(axis, size, lowest, count, step)


def _clamped(op: Emitter, start: Size, size: Size, last: int) -> Size:
    """Where a slice begins: counted from the front, and not outside of [0, size + last]."""
    if is_zero(start) and last == 0:
        return 0
    given, limit = vector(op, start), vector(op, plus(op, size, last))
    from_back = vector(op, plus(op, start, size))
    first = op.Where(op.Less(given, 0), from_back, given)
    first = op.Where(op.Less(limit, first), limit, first)
    return op.Where(op.Less(first, 0), op.constant([0], np.int64), first)


def _spread(op: Emitter, ct: gs.Tensor, axis: int, rank: int, taken: _Taken) -> gs.Tensor:
    """Put zeros between the positions along an axis."""
    step = abs(taken.step)
    apart = pad_along(op, op.Unsqueeze(ct, axes=[axis + 1]), axis + 1, rank + 1, 0, step - 1)
    # The dimensions before the axis are unchanged, those after it moved by one.
    dims = op.Shape(ct)
    merged = [op.Slice(dims, [0], [axis], [0])] if axis else []
    merged.append(vector(op, times(op, taken.count, step)))
    if axis + 1 < rank:
        merged.append(op.Slice(dims, [axis + 1], [rank], [0]))
    joined = op.Concat(*merged, axis=0) if len(merged) > 1 else merged[0]
    return op.Slice(op.Reshape(apart, joined), [0], [1 - step], [axis])
