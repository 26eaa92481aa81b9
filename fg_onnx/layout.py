"""Where the channels and the spatial grid of a tensor lie.

Convolutions and pools are [N, C, *grid] by definition. From there, and from the explained input,
layouts spread: Transpose moves the axes, a Reshape may write a grid row by row into one axis of
tokens and back, a product with a constant matrix changes the channels alone, and operators that
keep a tensor's axes keep its layout. A tensor that no such chain reaches has none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import onnx_graphsurgeon as gs

from fg_onnx.emit import is_static
from fg_onnx.manifest import Dim, LayoutName
from fg_onnx.primal import Primal
from fg_onnx.vjps.table import RULES

_MOST_IMAGE_CHANNELS = 4
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
        return _count([dims[axis] for axis in (self.channel, *self.others(shape))])

    def others(self, shape: Sequence[Dim]) -> list[int]:
        """The axes that are neither the batch nor named; most often of size 1, if there are any."""
        named = (0, self.channel, *self.spatial)
        return [axis for axis in range(len(self._image_like(shape))) if axis not in named]

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

Way = Literal["down", "up"]


class Layouts:
    """The layouts of all active tensors of a graph, found by walking it both ways.

    First the steps nearest to the input tell its layout, or its shape does. What is then known
    from the input onwards holds; only where nothing is known, a convolution tells.
    """

    def __init__(self, primals: Sequence[Primal], x: gs.Tensor) -> None:
        self._known: dict[str, Layout | None] = {}
        self._folds: dict[str, Fraction] = {}
        self._batch = x.shape[0] if x.shape else None
        self._follow_batch(primals)
        told = self._told(primals, x)
        self._rank = len(told.spatial) if told else 0
        self._known = {x.name: told} if told else {}
        for p in primals:
            self._claim(p)
            self._spread(p, "down")
        for p in reversed(primals):
            self._spread(p, "up")
        for p in primals:
            self._spread(p, "down")

    def of(self, tensor: gs.Tensor) -> Layout | None:
        """The layout, None where the tensor has no grid that lies on the explained input's.

        A grid of more axes than the input's does where those too many are of size 1.
        """
        layout = self._known.get(tensor.name)
        if layout is None:
            return None
        grid = layout.grid(tensor.shape)
        kept = list(range(len(grid)))
        for index, size in enumerate(grid):
            if len(kept) > self._rank and size == 1:
                kept.remove(index)
        if len(kept) != self._rank:
            return None
        if layout.tokens is None:
            return replace(layout, spatial=tuple(layout.spatial[index] for index in kept))
        sizes = tuple(layout.tokens.grid[index] for index in kept)
        return replace(layout, tokens=replace(layout.tokens, grid=sizes))

    def _told(self, primals: Sequence[Primal], x: gs.Tensor) -> Layout | None:
        for p in reversed(primals):
            self._claim(p)
            self._spread(p, "up")
        found = self._known.get(x.name)
        if found is None or len(x.shape) != 2 + len(found.spatial):
            return _guess(x)
        if found.tokens or found.unfolded or len(found.spatial) > MOST_SPATIAL:
            return _guess(x)
        return found

    def _claim(self, p: Primal) -> None:
        """What a step that demands [N, C, *grid] says, where nothing else is known."""
        if RULES[p.op_type].axes != "channels-first" or p.x.name in self._known:
            return
        rank = _rank(p.x)
        if rank is not None and rank > 2 and self._batch_first(p.x):
            for tensor in (p.x, *p.outputs):
                if tensor is not None and _rank(tensor) == rank:
                    self._known.setdefault(tensor.name, channels_first(rank - 2))

    def _spread(self, p: Primal, way: Way) -> None:
        given: list[gs.Tensor] = [u for u, on in zip(p.inputs, p.active, strict=True) if on]
        made: list[gs.Tensor] = [y for y in p.outputs if y is not None]
        sources, targets = (given, made) if way == "down" else (made, given)
        known = [s for s in sources if s.name in self._known]
        found = [(s, layout) for s in known if (layout := self._known[s.name]) is not None]
        for target in targets if known else ():
            if target.name in self._known or _rank(target) is None:
                continue
            layout = _moved(p, found, target, way) if found else None
            if layout is not None:
                self._known[target.name] = layout
            elif way == "down" and _is_lost(p, [layout for _, layout in found]):
                self._known[target.name] = None  # its axes are known not to be the image's

    # --- the batch --------------------------------------------------------------------------

    def _follow_batch(self, primals: Sequence[Primal]) -> None:
        """How many entries of the first axis belong to an image, where that can be told."""
        for p in primals:
            folds = [self._folds.get(u.name) for u in p.inputs if u is not None]
            fold = next((found for found in folds if found is not None), Fraction(1))
            if RULES[p.op_type].axes == "reshaped":
                old, new = (_count((t.shape or [None])[1:]) for t in (p.x, p.y))
                if old is not None and new:
                    fold *= Fraction(old, new)
            if fold != 1:
                self._folds.update({y.name: fold for y in p.outputs if y is not None})

    def _batch_first(self, tensor: gs.Tensor) -> bool:
        first = tensor.shape[0]
        alone = not isinstance(first, int) or first in (1, self._batch)
        return alone and tensor.name not in self._folds


# --- what a step does to a layout -----------------------------------------------------------------


def _is_lost(p: Primal, layouts: Sequence[Layout]) -> bool:
    """Whether a step that cannot pass its operands' layouts on leaves none to be found either."""
    axes = RULES[p.op_type].axes
    if not layouts:  # they are known to have none
        return axes != "new"
    return axes == "channels-first" or (axes == "permuted" and layouts[0].unfolded is not None)


def _moved(
    p: Primal, found: Sequence[tuple[gs.Tensor, Layout]], target: gs.Tensor, way: Way
) -> Layout | None:
    """The layout of ``target``, at the other side of a step where some layouts are known."""
    axes = RULES[p.op_type].axes
    source, layout = found[0]
    if axes == "permuted":
        return _permuted(p, layout, way)
    if axes == "reshaped":
        return _reshaped(layout, source.shape, target.shape)
    if axes == "new" or _rank(source) != _rank(target):
        return None
    if layout.unfolded is not None:
        same = list(source.shape[1:]) == list(target.shape[1:])
        return layout if same and axes == "kept" else None
    if axes == "joined" and layout.tokens is not None:
        return _joined(p, found, layout, target, way)
    if axes == "product":
        # A B with a constant B mixes the last axis alone, with a constant A the one before it.
        mixed = len(target.shape) - (1 if p.active[0] else 2)
        return layout if p.active.count(True) == 1 and layout.channel == mixed else None
    if axes == "channels-first":
        others = set(range(2, len(target.shape))) - set(layout.spatial)
        if layout.channel != 1 or any(t.shape[a] != 1 for a in others for t in (source, target)):
            return None
    same = source.shape[layout.spatial[0]] == target.shape[layout.spatial[0]]
    return layout if same or not layout.tokens else None


def _permuted(p: Primal, layout: Layout, way: Way) -> Layout | None:
    perm = p.attrs.get("perm")
    if not perm or perm[0] != 0 or layout.unfolded is not None:
        return None
    to = list(perm) if way == "up" else [list(perm).index(axis) for axis in range(len(perm))]
    return replace(layout, channel=to[layout.channel], spatial=tuple(to[a] for a in layout.spatial))


def _reshaped(layout: Layout, old: Sequence[Dim], new: Sequence[Dim] | None) -> Layout | None:
    """Through a Reshape that writes the grid into one axis or out of it, or moves axes of 1.

    Any other leaves the entries in their order at least.
    """
    if not new or (isinstance(old[0], int) and isinstance(new[0], int) and old[0] != new[0]):
        return None
    for candidate, shape in _reshapings(layout, old):
        if None not in shape and list(new[1:]) == shape:
            return candidate
    if layout.unfolded is None:
        for through in (_ones_moved, _channels_apart):
            moved = through(layout, old, new)
            if moved is not None:
                return moved
    return _unfolded(layout, old, new)


def _reshapings(layout: Layout, old: Sequence[Dim]) -> list[tuple[Layout, list[Dim]]]:
    """Layouts and the shapes, without the batch, in which they would hold."""
    rest = list(old[1:])
    if layout.unfolded is not None:
        return [(replace(layout, unfolded=None), [*layout.unfolded])]
    found = [(layout, rest)]
    first, count = layout.spatial[0], len(layout.spatial)
    if layout.tokens is not None:
        grid = layout.tokens.grid
        if layout.tokens.start == 0 and old[first] == math.prod(grid):
            spatial = tuple(range(first, first + len(grid)))
            channel = layout.channel + (len(grid) - 1) * (layout.channel > first)
            found.append((Layout(channel, spatial), [*rest[: first - 1], *grid, *rest[first:]]))
        return found
    sizes = [size for size in layout.grid(old) if isinstance(size, int)]
    in_order = layout.spatial == tuple(range(first, first + count))
    if count > 1 and len(sizes) == count and in_order:
        channel = layout.channel - (count - 1) * (layout.channel > first)
        merged = [*rest[: first - 1], math.prod(sizes), *rest[first - 1 + count :]]
        found.append((Layout(channel, (first,), Tokens(tuple(sizes))), merged))
    return found


def _channels_apart(layout: Layout, old: Sequence[Dim], new: Sequence[Dim]) -> Layout | None:
    """Where the grid stays first or last while the channels are taken apart or put together."""
    count = len(layout.spatial)
    first, end = min(layout.spatial), max(layout.spatial) + 1
    if end - first != count or len(new) < 2 + count:
        return None
    moved = len(new) - len(old)
    for holds, shift, channel in ((end == len(old), moved, 1), (first == 1, 0, 1 + count)):
        grid = slice(first + shift, end + shift)
        if not holds or list(new[grid]) != list(old[first:end]) or None in new[grid]:
            continue
        before = _count([*old[1:first], *old[end:]])
        if before is not None and before == _count([*new[1 : grid.start], *new[grid.stop :]]):
            spatial = tuple(axis + shift for axis in layout.spatial)
            return replace(layout, channel=channel, spatial=spatial)
    return None


def _ones_moved(layout: Layout, old: Sequence[Dim], new: Sequence[Dim]) -> Layout | None:
    """Where the named axes lie if nothing but axes of size 1 came or went."""
    if layout.tokens is not None:
        return None
    left = [a for a in range(1, len(old)) if a in (layout.channel, *layout.spatial) or old[a] != 1]
    to: dict[int, int] = {}
    for axis, size in enumerate(new[1:], start=1):
        while left and old[left[0]] == 1 != size and left[0] in layout.spatial:
            left.pop(0)
        if left and size is not None and old[left[0]] == size:
            to[left.pop(0)] = axis
        elif size != 1:
            return None
    spatial = tuple(to[axis] for axis in layout.spatial if axis in to)
    gone = all(old[axis] == 1 and axis in layout.spatial for axis in left)
    return (
        Layout(to[layout.channel], spatial) if gone and spatial and layout.channel in to else None
    )


def _unfolded(layout: Layout, old: Sequence[Dim], new: Sequence[Dim]) -> Layout | None:
    """The same entries in their order, in a shape of which nothing more is known."""
    count = _count(old[1:])
    if count is None or count != _count(new[1:]) or layout.tokens is not None:
        return None
    if layout.unfolded is not None:
        return layout
    if _count(layout.grid(old)) == 1:
        return None  # a vector, of no place but the whole image
    return replace(layout, unfolded=tuple(dim for dim in old[1:] if isinstance(dim, int)))


def _joined(
    p: Primal,
    found: Sequence[tuple[gs.Tensor, Layout]],
    layout: Layout,
    target: gs.Tensor,
    way: Way,
) -> Layout | None:
    """Through a Concat of tokens with others, such as a class token; two grids have no place."""
    (along,) = layout.spatial
    assert layout.tokens is not None
    if p.attrs["axis"] % len(target.shape) != along:
        return layout
    if way == "up" or len(found) > 1:
        return None
    start = layout.tokens.start
    for operand in p.inputs:
        if operand is found[0][0]:
            return replace(layout, tokens=replace(layout.tokens, start=start))
        if operand is None or operand.shape is None or not isinstance(operand.shape[along], int):
            return None
        start += operand.shape[along]
    return None


def _count(dims: Sequence[Dim]) -> int | None:
    """The product of sizes, None where one is not known."""
    static = [dim for dim in dims if isinstance(dim, int)]
    return math.prod(static) if len(static) == len(dims) else None


def _rank(tensor: gs.Tensor) -> int | None:
    return None if tensor.shape is None else len(tensor.shape)


def _guess(x: gs.Tensor) -> Layout | None:
    """An image's layout from its shape alone: the axis with as few entries as channels."""
    spatial = (_rank(x) or 0) - 2
    if not 1 <= spatial <= MOST_SPATIAL:
        return None
    few = [isinstance(dim, int) and dim <= _MOST_IMAGE_CHANNELS for dim in x.shape]
    if few[-1] and not few[1]:
        return Layout(1 + spatial, tuple(range(1, 1 + spatial)))
    return channels_first(spatial)
