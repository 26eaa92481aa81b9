"""Sliding windows: kernel, strides, dilations and explicit padding of Conv and the pools."""

from __future__ import annotations

from dataclasses import dataclass

from fg_onnx.primal import Primal


@dataclass(frozen=True)
class Window:
    """How a window slides, one entry per spatial axis; padding is explicit."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]

    @property
    def rank(self) -> int:
        """How many spatial axes there are."""
        return len(self.kernel)

    @property
    def spans(self) -> tuple[int, ...]:
        """How many positions a window covers, its gaps included: d (k - 1) + 1."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def symmetric(self) -> bool:
        """Whether there is as much padding before as after."""
        return self.begin == self.end


def window(p: Primal, kernel: list[int]) -> Window:
    """The window of a node, ``auto_pad`` resolved.

    Raises:
        UnsupportedModelError: SAME padding of an input whose sizes are not static.
    """
    rank = len(kernel)
    strides = p.attrs.get("strides") or [1] * rank
    dilations = p.attrs.get("dilations") or [1] * rank
    pads = p.attrs.get("pads") or [0] * (2 * rank)
    auto = p.attrs.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same(p, auto, kernel, strides, dilations)
    elif auto == "VALID":
        pads = [0] * (2 * rank)
    return Window(
        tuple(kernel), tuple(strides), tuple(dilations), tuple(pads[:rank]), tuple(pads[rank:])
    )


def _same(
    p: Primal, auto: str, kernel: list[int], strides: list[int], dilations: list[int]
) -> list[int]:
    sizes = p.sizes(p.x, range(2, 2 + len(kernel)))
    begin, end = [], []
    for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((-(-size // s) - 1) * s + d * (k - 1) + 1 - size, 0)
        small, large = total // 2, total - total // 2
        begin.append(small if auto == "SAME_UPPER" else large)
        end.append(large if auto == "SAME_UPPER" else small)
    return [*begin, *end]
