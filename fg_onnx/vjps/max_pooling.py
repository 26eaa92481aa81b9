"""MaxPool: the whole cotangent goes to the first maximum of each window, in row-major order.

The first maximum in row-major order lies in the first row that holds the maximum, and in that row
in the first column that does. So the choice is made one axis at a time, outermost first: between
the maxima of the rows (``MaxPool`` with a window of one row), then between the entries of the row
chosen. Along one axis the k taps of all windows are compared in order; a tap that equals the
maximum takes what is left of the cotangent.

``MaxPool``'s own Indices are not asked for: they leave the runtime's fast pooling kernel, and some
devices do not have them. Channels are moved last, where a tap is a slice of long runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.emit import Emitter
from fg_onnx.primal import Primal
from fg_onnx.vjps.table import Cotangents, vjp
from fg_onnx.vjps.windows import Window, window


@dataclass(frozen=True)
class _Axis:
    """The windows along one axis of an array: where, how many, and how they step."""

    index: int
    rank: int
    size: int
    count: int
    kernel: int
    stride: int
    dilation: int
    begin: int

    def shift(self, tap: int) -> int:
        """Window o's tap lies at position ``stride * o + shift``."""
        return tap * self.dilation - self.begin

    def windows(self, tap: int) -> range:
        """The windows whose tap does not lie in the padding."""
        shift = self.shift(tap)
        first = max(0, -(shift // self.stride))
        return range(first, min(self.count, (self.size - 1 - shift) // self.stride + 1))

    @property
    def taps(self) -> list[int]:
        """The taps that some window has inside, in order."""
        return [tap for tap in range(self.kernel) if self.windows(tap)]


@vjp("MaxPool", axes="channels-first")
def max_pool(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct to the first maximum of each window, in row-major order."""
    w = window(p, p.attrs["kernel_shape"])
    spatial = list(range(2, 2 + w.rank))
    (channels,) = p.sizes(p.x, [1])
    sizes, counts = p.sizes(p.x, spatial), p.sizes(p.y, spatial)
    maxima = _channels_last(op, p.y, w.rank)
    ct = _channels_last(op, ct, w.rank)
    for i in range(w.rank):
        axis = _Axis(
            index=1 + i,
            rank=2 + w.rank,
            size=sizes[i],
            count=counts[i],
            kernel=w.kernel[i],
            stride=w.strides[i],
            dilation=w.dilations[i],
            begin=w.begin[i],
        )
        entries = _channels_last(op, _pooled_after(op, p, w, i), w.rank)
        shares = _choose(op, entries, maxima, ct, axis)
        ct = _scatter(op, shares, axis, [*sizes[:i], *counts[i:], channels])
        maxima = entries
    return (op.Transpose(ct, perm=[0, 1 + w.rank, *range(1, 1 + w.rank)]),)


def _channels_last(op: Emitter, tensor: gs.Tensor, rank: int) -> gs.Tensor:
    return op.Transpose(tensor, perm=[0, *range(2, 2 + rank), 1])


def _pooled_after(op: Emitter, p: Primal, w: Window, axis: int) -> gs.Tensor:
    """The maxima over the axes after ``axis`` alone: x itself for the last one."""
    if axis == w.rank - 1:
        return p.x
    kept = axis + 1
    return op.MaxPool(
        p.x,
        ceil_mode=p.attrs.get("ceil_mode", 0),
        dilations=[1] * kept + list(w.dilations[kept:]),
        kernel_shape=[1] * kept + list(w.kernel[kept:]),
        pads=[0] * kept + list(w.begin[kept:]) + [0] * kept + list(w.end[kept:]),
        strides=[1] * kept + list(w.strides[kept:]),
    )


def _choose(
    op: Emitter, entries: gs.Tensor, maxima: gs.Tensor, ct: gs.Tensor, axis: _Axis
) -> dict[int, gs.Tensor]:
    """For every tap, the cotangent of the windows whose first maximum it is."""
    shares = {}
    rest = ct
    *earlier, last = axis.taps
    for tap in earlier:
        here = _tap(op, entries, axis, tap)
        shares[tap] = op.Mul(rest, op.mask(op.GreaterOrEqual(here, maxima), ct))
        rest = op.Sub(rest, shares[tap])
    return {**shares, last: rest}


def _tap(op: Emitter, entries: gs.Tensor, axis: _Axis, tap: int) -> gs.Tensor:
    """One tap of all windows; where it lies in the padding, the lowest number."""
    windows, shift = axis.windows(tap), axis.shift(tap)
    start, end = (axis.stride * o + shift for o in (windows.start, windows.stop - 1))
    inside = op.Slice(entries, [start], [end + 1], [axis.index], [axis.stride])
    lowest = op.constant(np.finfo(entries.dtype).min, entries.dtype)
    return _padded(op, inside, axis, windows.start, axis.count - windows.stop, lowest)


def _scatter(op: Emitter, shares: dict[int, gs.Tensor], axis: _Axis, shape: list[int]) -> gs.Tensor:
    """Add every tap's share at the tap's position; ``shape`` is the shares', the batch left out.

    Positions are dealt with by their remainder modulo the stride: within one, taps of windows
    are neighbours. Then the remainders are interleaved.
    """
    length = -(-axis.size // axis.stride)
    remainders: list[list[gs.Tensor]] = [[] for _ in range(axis.stride)]
    for tap, share in shares.items():
        offset, remainder = divmod(axis.shift(tap), axis.stride)
        remainders[remainder].append(_placed(op, share, axis, offset, length))
    some = next(op.total(here) for here in remainders if here)
    parts = [op.total(here) if here else op.Mul(some, 0.0) for here in remainders]
    if len(parts) == 1:
        return parts[0]
    # Side by side along the next axis, [length, stride * n] is [length * stride, n] in memory.
    together = op.Concat(*parts, axis=axis.index + 1)
    before, after = shape[: axis.index - 1], shape[axis.index :]
    whole = op.Reshape(together, [-1, *before, length * axis.stride, *after])
    if length * axis.stride == axis.size:
        return whole
    return op.Slice(whole, [0], [axis.size], [axis.index])


def _placed(op: Emitter, share: gs.Tensor, axis: _Axis, offset: int, length: int) -> gs.Tensor:
    """Window o's share at position ``offset + o`` of ``length``; what lies outside falls away."""
    first, last = max(0, -offset), min(axis.count, length - offset)
    if (first, last) != (0, axis.count):
        share = op.Slice(share, [first], [last], [axis.index])
    zero = op.constant(0.0, share.dtype)
    return _padded(op, share, axis, first + offset, length - last - offset, zero)


def _padded(
    op: Emitter, tensor: gs.Tensor, axis: _Axis, before: int, after: int, value: gs.Tensor
) -> gs.Tensor:
    if before == after == 0:
        return tensor
    pads = [0] * (2 * axis.rank)
    pads[axis.index], pads[axis.rank + axis.index] = before, after
    return op.Pad(tensor, pads, value, mode="constant")
