"""Where the channels and the spatial grid of a tensor lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fg_onnx.graph.emit import is_static
from fg_onnx.manifest import Dim, LayoutName

_NAMES: dict[tuple[int, bool], LayoutName] = {
    (1, True): "ncl",
    (1, False): "nlc",
    (2, True): "nchw",
    (2, False): "nhwc",
    (3, True): "ncdhw",
    (3, False): "ndhwc",
}
MOST_SPATIAL = max(rank for rank, _ in _NAMES)


@dataclass(frozen=True)
class Tokens:
    """A grid that is written row by row into one axis, from the position ``start`` on."""

    grid: tuple[int, ...]
    start: int = 0


@dataclass(frozen=True)
class Layout:
    """Axes of an image-like tensor [N, C, *grid] in any order; others than these are channels too.

    Attributes:
        channel: the axis of the channels.
        spatial: the axes of the grid, in the grid's order: (depth,) (height,) width.
        tokens: the grid that the one axis of ``spatial`` holds, None where it is plain.
        unfolded: of a tensor that only holds the entries of an image-like one in their order, the
            shape of that one without the batch; ``channel`` and ``spatial`` are its axes then.
    """

    channel: int
    spatial: tuple[int, ...]
    tokens: Tokens | None = None
    unfolded: tuple[int, ...] | None = None

    @property
    def name(self) -> LayoutName:
        """Such as ``nchw`` or ``nhwc``, which are the same for anything else."""
        return _NAMES[len(self.spatial), self.channel == 1]

    def grid(self, shape: Sequence[Dim]) -> tuple[Dim, ...]:
        """The sizes of the grid in a tensor of that shape."""
        if self.tokens is not None:
            return self.tokens.grid
        return tuple(self._image_like(shape)[axis] for axis in self.spatial)

    def channels(self, shape: Sequence[Dim]) -> int | None:
        """How many channels a tensor of that shape has, None where that is not known."""
        dims = self._image_like(shape)
        return count_of([dims[axis] for axis in (self.channel, *self.others(shape))])

    def others(self, shape: Sequence[Dim]) -> list[int]:
        """The axes that are neither the batch nor named; most often of size 1, if there are any."""
        named = (0, self.channel, *self.spatial)
        return [axis for axis in range(len(self._image_like(shape))) if axis not in named]

    def is_channels_last(self, shape: Sequence[Dim]) -> bool:
        """Whether a tensor of that shape is [N, *grid, C], with nothing else in it."""
        plain = self.tokens is None and self.unfolded is None
        order = (*self.spatial, self.channel)
        return plain and order == tuple(range(1, len(shape)))

    def is_mappable(self, shape: Sequence[Dim]) -> bool:
        """Whether the channels of a tensor of that shape can be added up."""
        dims = self._image_like(shape)
        plain = all(dims[axis] == 1 for axis in self.others(shape))
        return self.channels(shape) is not None and (plain or is_static(self.grid(shape)))

    def _image_like(self, shape: Sequence[Dim]) -> Sequence[Dim]:
        return shape if self.unfolded is None else (shape[0], *self.unfolded)


def channels_first(spatial: int) -> Layout:
    """[N, C, *grid] with that many spatial axes."""
    return Layout(1, tuple(range(2, 2 + spatial)))


NCHW = channels_first(2)
NHWC = Layout(3, (1, 2))


def count_of(dims: Sequence[Dim]) -> int | None:
    """The product of sizes, None where one is not known."""
    static = [dim for dim in dims if isinstance(dim, int)]
    return math.prod(static) if len(static) == len(dims) else None
