"""What a step makes of the layout of its operands, and what it tells of theirs.

Transpose moves the axes, a Reshape may write a grid row by row into one axis of tokens and back, a
product with a constant matrix changes the channels alone, and operators that keep a tensor's axes
keep its layout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import onnx_graphsurgeon as gs

from fg_onnx.graph.primal import Primal
from fg_onnx.grid.layout import Layout, Tokens, count_of
from fg_onnx.manifest import Dim
from fg_onnx.vjps.table import RULES

Way = Literal["down", "up"]
"""From operands to results, or back."""


def is_lost(p: Primal, layouts: Sequence[Layout]) -> bool:
    """Whether a step that cannot pass its operands' layouts on leaves none to be found either."""
    axes = RULES[p.op_type].axes
    if not layouts:  # they are known to have none
        return axes != "new"
    return axes == "channels-first" or (axes == "permuted" and layouts[0].unfolded is not None)


def moved(
    p: Primal, found: Sequence[tuple[gs.Tensor, Layout]], target: gs.Tensor, way: Way
) -> Layout | None:
    """The layout of ``target``, at the other side of a step where some layouts are known."""
    axes = RULES[p.op_type].axes
    source, layout = found[0]
    if axes == "permuted":
        return _permuted(p, layout, way)
    if axes == "reshaped":
        return _reshaped(layout, source.shape, target.shape)
    if axes == "new" or len(source.shape) != len(target.shape):
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
            found = through(layout, old, new)
            if found is not None:
                return found
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
    longer = len(new) - len(old)
    for holds, shift, channel in ((end == len(old), longer, 1), (first == 1, 0, 1 + count)):
        grid = slice(first + shift, end + shift)
        if not holds or list(new[grid]) != list(old[first:end]) or None in new[grid]:
            continue
        before = count_of([*old[1:first], *old[end:]])
        if before is not None and before == count_of([*new[1 : grid.start], *new[grid.stop :]]):
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
    count = count_of(old[1:])
    if count is None or count != count_of(new[1:]) or layout.tokens is not None:
        return None
    if layout.unfolded is not None:
        return layout
    if count_of(layout.grid(old)) == 1:
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
