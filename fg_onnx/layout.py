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
    """Axes of an image-like tensor [N, C, *grid] in any order; axes not named are of size 1.

    Attributes:
        channel: the axis of the channels.
        spatial: the axes of the grid, in the grid's order: (depth,) (height,) width.
        tokens: the grid that the one axis of ``spatial`` holds, None where it is plain.
    """

    channel: int
    spatial: tuple[int, ...]
    tokens: Tokens | None = None

    @property
    def name(self) -> LayoutName:
        """Such as ``nchw`` or ``nhwc``, which are the same for anything else."""
        return _NAMES[len(self.spatial), self.channel == 1]

    def grid(self, shape: Sequence[Dim]) -> tuple[Dim, ...]:
        """The sizes of the grid in a tensor of that shape."""
        return self.tokens.grid if self.tokens else tuple(shape[axis] for axis in self.spatial)


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
        if found is None or found.tokens or len(found.spatial) > MOST_SPATIAL:
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
            elif way == "down" and RULES[p.op_type].axes in ("channels-first", "kept"):
                self._known[target.name] = None  # its axes are known not to be the image's

    # --- the batch --------------------------------------------------------------------------

    def _follow_batch(self, primals: Sequence[Primal]) -> None:
        """How many entries of the first axis belong to an image, where that can be told."""
        for p in primals:
            folds = [self._folds.get(u.name) for u in p.inputs if u is not None]
            fold = next((found for found in folds if found is not None), Fraction(1))
            if RULES[p.op_type].axes == "reshaped":
                old, new = ((t.shape or [None])[1:] for t in (p.x, p.y))
                if is_static(old) and is_static(new) and math.prod(new):
                    fold *= Fraction(math.prod(old), math.prod(new))
            if fold != 1:
                self._folds.update({y.name: fold for y in p.outputs if y is not None})

    def _batch_first(self, tensor: gs.Tensor) -> bool:
        first = tensor.shape[0]
        alone = not isinstance(first, int) or first in (1, self._batch)
        return alone and tensor.name not in self._folds


# --- what a step does to a layout -----------------------------------------------------------------


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
    if axes == "joined" and layout.tokens is not None:
        return _joined(p, found, layout, target, way)
    if axes == "product":
        # A B with a constant B mixes the last axis alone, with a constant A the one before it.
        mixed = len(target.shape) - (1 if p.active[0] else 2)
        return layout if p.active.count(True) == 1 and layout.channel == mixed else None
    if axes == "channels-first":
        grid = list(range(2, len(target.shape)))
        if layout.channel != 1 or sorted(layout.spatial) != grid:
            return None
    same = source.shape[layout.spatial[0]] == target.shape[layout.spatial[0]]
    return layout if same or not layout.tokens else None


def _permuted(p: Primal, layout: Layout, way: Way) -> Layout | None:
    perm = p.attrs.get("perm")
    if not perm or perm[0] != 0:
        return None
    to = list(perm) if way == "up" else [list(perm).index(axis) for axis in range(len(perm))]
    return replace(layout, channel=to[layout.channel], spatial=tuple(to[a] for a in layout.spatial))


def _reshaped(layout: Layout, old: Sequence[Dim], new: Sequence[Dim] | None) -> Layout | None:
    """Through a Reshape that writes the grid into one axis, out of it, or drops an axis of 1."""
    if new is None or (isinstance(old[0], int) and isinstance(new[0], int) and old[0] != new[0]):
        return None
    for candidate, shape in _reshapings(layout, old):
        if None not in shape and list(new[1:]) == shape:
            return candidate
    return None


def _reshapings(layout: Layout, old: Sequence[Dim]) -> list[tuple[Layout, list[Dim]]]:
    """Layouts and the shapes, without the batch, in which they would hold."""
    rest = list(old[1:])
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
    for axis in layout.spatial if count > 1 else ():
        if old[axis] == 1:
            kept = tuple(a - (a > axis) for a in layout.spatial if a != axis)
            without = Layout(layout.channel - (layout.channel > axis), kept)
            found.append((without, [*rest[: axis - 1], *rest[axis:]]))
    return found


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
