"""Sliding windows: kernel, strides, dilations and explicit padding of Conv and the pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.axiswise import Size, plus, require_size, size_of, times, vector


@dataclass(frozen=True, eq=False)
class Window:
    """How a window slides, one entry per spatial axis; padding is explicit."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[Size, ...]
    end: tuple[Size, ...]

    @property
    def rank(self) -> int:
        """How many spatial axes there are."""
        return len(self.kernel)

    @property
    def spans(self) -> tuple[int, ...]:
        """How many positions a window covers, its gaps included: d (k - 1) + 1."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def pads(self) -> list[int] | None:
        """The padding as an attribute; None where it is only known at run time."""
        both = [pad for pad in (*self.begin, *self.end) if isinstance(pad, int)]
        return both if len(both) == 2 * self.rank else None

    def tiles(self, shape: Sequence[int | str | None]) -> bool:
        """Whether, in two axes, the windows cover a grid of this shape once and without a rest."""
        return (
            self.rank == 2
            and self.kernel == self.strides
            and self.pads == [0] * 4
            and all(
                isinstance(size, int) and size % k == 0
                for size, k in zip(shape, self.kernel, strict=True)
            )
            and set(self.dilations) == {1}
        )

    @property
    def symmetric(self) -> bool:
        """Whether there is as much padding before as after, and how much is known."""
        return self.pads is not None and self.begin == self.end

    @property
    def adjoint_pads(self) -> list[int] | None:
        """The padding with which a Conv goes back; None where strides or padding forbid one."""
        if self.pads is None or set(self.strides) != {1}:
            return None
        flipped = [span - 1 - pad for span, pad in zip(self.spans * 2, self.pads, strict=True)]
        return flipped if min(flipped) >= 0 else None

    def reach(self, op: Emitter, axis: int, count: Size) -> Size:
        """How many positions a number of windows covers along an axis: s (count - 1) + span."""
        return plus(op, times(op, count, self.strides[axis]), self.spans[axis] - self.strides[axis])


def window(op: Emitter, p: Primal, kernel: list[int]) -> Window:
    """The window of a node, ``auto_pad`` resolved."""
    rank = len(kernel)
    strides = p.attrs.get("strides") or [1] * rank
    dilations = p.attrs.get("dilations") or [1] * rank
    pads: list[Size] = list(p.attrs.get("pads") or [0] * (2 * rank))
    auto = p.attrs.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same(op, p, auto, kernel, strides, dilations)
    elif auto == "VALID":
        pads = [0] * (2 * rank)
    found = Window(
        tuple(kernel), tuple(strides), tuple(dilations), tuple(pads[:rank]), tuple(pads[rank:])
    )
    if p.attrs.get("ceil_mode", 0):
        _require_counts(p, found)
    return found


def _require_counts(p: Primal, w: Window) -> None:
    """In ceil mode a window is left out that begins in the padding after the array."""
    for axis, size in enumerate(p.shape(p.x)[2:]):
        begin, end = w.begin[axis], w.end[axis]
        if isinstance(size, int) and isinstance(begin, int) and isinstance(end, int):
            count = -(-(size + begin + end - w.spans[axis]) // w.strides[axis]) + 1
            beyond = (count - 1) * w.strides[axis] >= size + begin
            require_size(p, 2 + axis, count - beyond)


def _same(
    op: Emitter, p: Primal, auto: str, kernel: list[int], strides: list[int], dilations: list[int]
) -> list[Size]:
    begin, end = [], []
    for index, (k, s, d) in enumerate(zip(kernel, strides, dilations, strict=True)):
        _require_padding(p, p.shape(p.x)[2 + index], s, d * (k - 1) + 1)
        total = _total(op, size_of(op, p, p.x, 2 + index), s, d * (k - 1) + 1)
        small = total // 2 if isinstance(total, int) else op.Div(total, 2)
        large = plus(op, total, times(op, small, -1))
        begin.append(small if auto == "SAME_UPPER" else large)
        end.append(large if auto == "SAME_UPPER" else small)
    return [*begin, *end]


def _require_padding(p: Primal, size: int | str | None, stride: int, span: int) -> None:
    """Refuse SAME padding that is less than nothing, since the strides leave so much out.

    From -3 on, ONNX Runtime cuts the array at its beginning too, as the standard's formula says;
    TensorFlow, whose padding it is, cuts nothing off.
    """
    left_out = stride - (-size % stride if isinstance(size, int) else 0)
    if span - left_out < -2:
        raise p.refusal(f"SAME padding with a stride of {stride} is not the same to all runtimes")


def _total(op: Emitter, size: Size, stride: int, span: int) -> Size:
    """The padding for which ceil(size / stride) windows fit: s (ceil(size / s) - 1) + span - size.

    At least 0; with stride 1 it does not depend on the size.
    """
    if isinstance(size, int):
        return max((-(-size // stride) - 1) * stride + span - size, 0)
    if stride == 1:
        return span - 1
    count = op.Div(plus(op, size, stride - 1), stride)
    total = plus(op, plus(op, times(op, count, stride), span - stride), times(op, size, -1))
    return op.Where(op.Less(vector(op, total), 0), op.constant([0], np.int64), total)
