"""The taps of sliding windows along one axis: what a tap of all windows sees, and the way back.

Window o's tap t lies at position ``stride * o + dilation * t - begin``. On the way back, positions
are dealt with by their remainder modulo the stride: within one, taps of windows are neighbours.
Then the remainders are interleaved.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.vjps.axiswise import Size, pad_along, plus, times, vector

Taps: TypeAlias = "dict[int, Callable[[], gs.Tensor]]"
"""For every tap that some window has inside, in order, how to take it out of the entries."""


@dataclass(frozen=True, eq=False)
class Axis(ABC):
    """The windows along one axis of an array, and how they step."""

    index: int
    rank: int
    kernel: int
    stride: int
    dilation: int

    @abstractmethod
    def taps(self, op: Emitter, entries: gs.Tensor) -> Taps:
        """Every tap of all windows; where it lies in the padding, the lowest number."""

    @abstractmethod
    def scatter(
        self, op: Emitter, shares: Mapping[int, gs.Tensor], shape: Sequence[Size]
    ) -> gs.Tensor:
        """Add every tap's share at its position; ``shape`` is the shares', but for the batch."""

    def _interleaved(
        self,
        op: Emitter,
        remainders: Sequence[Sequence[gs.Tensor]],
        shape: Sequence[Size],
        length: Size,
    ) -> gs.Tensor:
        """All that was placed, by remainders of ``length`` positions each, in one array."""
        some = next(op.total(here) for here in remainders if here)
        parts = [op.total(here) if here else op.Mul(some, 0.0) for here in remainders]
        if len(parts) == 1:
            return parts[0]
        # Side by side along the next axis, [length, stride * n] is [length * stride, n] in memory.
        together = op.Concat(*parts, axis=self.index + 1)
        before, after = shape[: self.index - 1], shape[self.index :]
        whole = times(op, length, self.stride)
        return op.Reshape(together, vector(op, -1, *before, whole, *after))


@dataclass(frozen=True, eq=False)
class KnownAxis(Axis):
    """An axis of known size, windows and padding: nothing outside of them is touched."""

    size: int
    count: int
    begin: int

    def taps(self, op: Emitter, entries: gs.Tensor) -> Taps:
        """Slices of the entries, with the lowest number for windows whose tap lies outside."""
        inside = [tap for tap in range(self.kernel) if self._windows(tap)]
        return {tap: partial(self._tap, op, entries, tap) for tap in inside}

    def _shift(self, tap: int) -> int:
        return tap * self.dilation - self.begin

    def _windows(self, tap: int) -> range:
        """The windows whose tap does not lie in the padding."""
        shift = self._shift(tap)
        first = max(0, -(shift // self.stride))
        return range(first, min(self.count, (self.size - 1 - shift) // self.stride + 1))

    def _tap(self, op: Emitter, entries: gs.Tensor, tap: int) -> gs.Tensor:
        windows, shift = self._windows(tap), self._shift(tap)
        start, end = (self.stride * o + shift for o in (windows.start, windows.stop - 1))
        inside = op.Slice(entries, [start], [end + 1], [self.index], [self.stride])
        before, after = windows.start, self.count - windows.stop
        return pad_along(op, inside, self.index, self.rank, before, after, _lowest(entries))

    def scatter(
        self, op: Emitter, shares: Mapping[int, gs.Tensor], shape: Sequence[Size]
    ) -> gs.Tensor:
        """Every share cut to the windows whose tap lies inside."""
        length = -(-self.size // self.stride)
        remainders: list[list[gs.Tensor]] = [[] for _ in range(self.stride)]
        for tap, share in shares.items():
            offset, remainder = divmod(self._shift(tap), self.stride)
            remainders[remainder].append(self._placed(op, share, offset, length))
        whole = self._interleaved(op, remainders, shape, length)
        if length * self.stride == self.size:
            return whole
        return op.Slice(whole, [0], [self.size], [self.index])

    def _placed(self, op: Emitter, share: gs.Tensor, offset: int, length: int) -> gs.Tensor:
        """Window o's share at ``offset + o`` of ``length``; what lies outside falls away."""
        first, last = max(0, -offset), min(self.count, length - offset)
        if (first, last) != (0, self.count):
            share = op.Slice(share, [first], [last], [self.index])
        before, after = first + offset, length - last - offset
        return pad_along(op, share, self.index, self.rank, before, after)


@dataclass(frozen=True, eq=False)
class UnknownAxis(Axis):
    """An axis of unknown size: it is padded, or cut, to what the windows cover."""

    size: Size
    count: Size
    begin: Size

    @property
    def _span(self) -> int:
        return self.dilation * (self.kernel - 1) + 1

    def _covered(self, op: Emitter) -> Size:
        """How many positions the windows cover, from the first of the padding on."""
        return plus(op, times(op, self.count, self.stride), self._span - self.stride)

    def _after(self, op: Emitter, whole: Size) -> Size:
        """How many of ``whole`` positions lie beyond the array; less than 0 where it goes on."""
        return plus(op, whole, times(op, plus(op, self.begin, self.size), -1))

    def taps(self, op: Emitter, entries: gs.Tensor) -> Taps:
        """Slices of the entries, padded with the lowest number once for all taps."""
        after = self._after(op, self._covered(op))
        lowest = _lowest(entries)
        padded = pad_along(op, entries, self.index, self.rank, self.begin, after, lowest)
        return {tap: partial(self._tap, op, padded, tap) for tap in range(self.kernel)}

    def _tap(self, op: Emitter, padded: gs.Tensor, tap: int) -> gs.Tensor:
        first = tap * self.dilation
        end = plus(op, times(op, self.count, self.stride), first - self.stride + 1)
        return op.Slice(padded, [first], vector(op, end), [self.index], [self.stride])

    def scatter(
        self, op: Emitter, shares: Mapping[int, gs.Tensor], shape: Sequence[Size]
    ) -> gs.Tensor:
        """Every share placed as if nothing were padded, which is then cut off."""
        most = (self._span - 1) // self.stride
        remainders: list[list[gs.Tensor]] = [[] for _ in range(self.stride)]
        for tap, share in shares.items():
            offset, remainder = divmod(tap * self.dilation, self.stride)
            placed = pad_along(op, share, self.index, self.rank, offset, most - offset)
            remainders[remainder].append(placed)
        length = plus(op, self.count, most)
        whole = self._interleaved(op, remainders, shape, length)
        before = times(op, self.begin, -1)
        after = times(op, self._after(op, times(op, length, self.stride)), -1)
        return pad_along(op, whole, self.index, self.rank, before, after)


def _lowest(entries: gs.Tensor) -> float:
    return float(np.finfo(entries.dtype).min)
