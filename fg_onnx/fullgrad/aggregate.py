"""Contributions, and the FullGrad map of Eq. 2, in graph operators."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.errors import UnsupportedModelError
from fg_onnx.fullgrad.psi import Channels, Layer, Psi, rescaled
from fg_onnx.fullgrad.resizing import resized
from fg_onnx.fullgrad.terms import Term
from fg_onnx.graph.emit import Emitter, is_static
from fg_onnx.grid.layout import Layout
from fg_onnx.manifest import Dim


def totals(op: Emitter, x: gs.Tensor, terms: Mapping[str, Term]) -> dict[str, gs.Tensor]:
    """The total of every term per image, each [N, 1, 1]; the terms are those of sites."""
    found = {}
    for site, term in terms.items():
        op.at(site)
        found[site] = _total(op, x, term)
    op.at("")
    return found


def contributions(op: Emitter, columns: Sequence[gs.Tensor]) -> gs.Tensor:
    """[N, len(columns)] of columns [N, 1, 1]."""
    return op.Flatten(op.Concat(*columns, axis=1), axis=1)


def _total(op: Emitter, x: gs.Tensor, term: Term) -> gs.Tensor:
    """[N, 1, 1]"""
    row = _row(op, term) if _batch_first(x, term.shape) else None
    if row is not None:
        # Along the first axis a product takes the CPU a tenth of what ReduceSum does, and along the
        # others a half.
        found = op.MatMul(row, op.Reshape(term.values, [0, 0, -1]))
        return op.ReduceSum(found, axes=[2], keepdims=1)
    if term.weight is not None and term.axis and _batch_first(x, term.shape):
        total = op.MatMul(_over_grid(op, term, term.axis), term.weight)
    elif term.weight is not None:
        total = _per_image(op, x, term.product(op), term.shape)
    else:
        total = _per_image(op, x, term.values, term.shape)
        total = total if term.scale == 1.0 else op.Mul(total, term.scale)
    return op.Reshape(total, [-1, 1, 1])


def _row(op: Emitter, term: Term) -> gs.Tensor | None:
    """[1, C]: what the entries along the first axis after the batch are multiplied by, if known."""
    count = term.shape[1] if term.rank > 2 else None
    if not isinstance(count, int) or term.axis not in (1, None):
        return None
    if term.weight is not None:
        return op.Unsqueeze(term.weight, axes=[0])
    return op.constant(np.full([1, count], term.scale), term.values.dtype)


def _over_grid(op: Emitter, term: Term, axis: int) -> gs.Tensor:
    """[N, C]: the values summed over all axes but the batch and that of the weight."""
    rest = [each for each in range(1, term.rank) if each != axis]
    dims = term.shape[1:]
    if rest and axis == term.rank - 1 and is_static(dims):
        # ReduceSum along axes before the last takes the CPU eight times as long as a product
        *grid, channels = (int(dim) for dim in dims if isinstance(dim, int))
        rows = op.Reshape(term.values, [0, math.prod(grid), channels])
        ones = op.constant(np.ones([1, math.prod(grid)]), term.values.dtype)
        return op.Reshape(op.MatMul(ones, rows), [0, channels])
    return op.ReduceSum(term.values, axes=rest, keepdims=0) if rest else term.values


def _batch_first(x: gs.Tensor, shape: Sequence[Dim]) -> bool:
    return bool(shape) and shape[0] == x.shape[0]


def _batch_axis(x: gs.Tensor, shape: Sequence[Dim]) -> int | None:
    """Where the batch lies: first, else where its name stands; None where it is part of an axis."""
    if _batch_first(x, shape):
        return 0
    named = isinstance(x.shape[0], str) and list(shape).count(x.shape[0]) == 1
    return list(shape).index(x.shape[0]) if named else None


def _per_image(op: Emitter, x: gs.Tensor, tensor: gs.Tensor, shape: Sequence[Dim]) -> gs.Tensor:
    batch_axis = _batch_axis(x, shape)
    if batch_axis is not None:
        rest = [axis for axis in range(len(shape)) if axis != batch_axis]
        if len(rest) > 1:  # in two steps: the CPU shares the first one between threads
            tensor = op.ReduceSum(tensor, axes=rest[1:], keepdims=1)
        return op.ReduceSum(tensor, axes=rest, keepdims=0) if rest else tensor
    # The batch is the major part of another first axis (windows, folded groups).
    batch = op.Slice(op.shape(x), [0], [1], [0])
    rows = op.Reshape(tensor, op.Concat(batch, op.constant([-1]), axis=0))
    return op.ReduceSum(rows, axes=[1], keepdims=0)


@dataclass(frozen=True, eq=False)
class Placed:
    """A layer, the size of its grid as far as it is known, and the values.

    These are [N, C, *size], or [N, *size, C] where the size is static.
    """

    layer: Layer
    size: tuple[Dim, ...]
    values: gs.Tensor


def on_grid(
    op: Emitter, flat: gs.Tensor, count: int, like: gs.Tensor, size: Sequence[Dim]
) -> gs.Tensor:
    """[N, count, HW] as [N, count, *size]; ``like`` is a tensor [N, C, *size]."""
    if is_static(size):
        return op.Reshape(flat, op.constant([0, count, *size], np.int64))
    grid = op.Slice(op.Shape(like), [2], [2 + len(size)], [0])
    return op.Reshape(flat, op.Concat(op.constant([0, count]), grid, axis=0))


def layer_of(
    op: Emitter, psi: Psi, term: Term, layout: Layout, contribution: gs.Tensor | None = None
) -> Placed:
    """A term on a spatial grid, summed over channels by a style; its total is known or not."""
    values, weight = term.values, term.weight
    count = layout.channels(term.shape)
    along = layout.unfolded is None and term.axis == layout.channel
    if weight is not None and not (along and term.shape[layout.channel] == count):
        values, weight = term.product(op), None
    if count is None:
        raise UnsupportedModelError(
            "unknown-channels",
            f"the number of channels of a tensor of shape {list(term.shape)} is not known",
            "export the model with a fixed number of channels, or emit no maps",
        )
    size = layout.grid(term.shape)
    last = layout.is_channels_last(term.shape) and is_static(size) and not psi.channelwise
    if not last:
        values = channels_first(op, values, term.shape, layout)
    row = None if weight is None else op.Unsqueeze(weight, axes=[0])
    if row is None and term.scale != 1.0:
        row = op.constant(np.full([1, count], term.scale), values.dtype)
    flat = op.Reshape(values, [0, -1, count] if last else [0, 0, -1])
    found = psi.layer(op, Channels(flat, row, count, last))
    return Placed(replace(found, contribution=contribution), size, values)


def channels_first(
    op: Emitter, values: gs.Tensor, shape: Sequence[Dim], layout: Layout
) -> gs.Tensor:
    """[N, C, *grid]"""
    if layout.unfolded is not None:
        values, shape = op.Reshape(values, [0, *layout.unfolded]), (shape[0], *layout.unfolded)
    others = layout.others(shape)
    order = [0, layout.channel, *others, *layout.spatial]
    if order != list(range(len(shape))):
        values = op.Transpose(values, perm=order)
    if all(shape[axis] == 1 for axis in others):
        values = op.Squeeze(values, axes=list(range(2, 2 + len(others)))) if others else values
    else:
        values = op.Reshape(values, [0, -1, *(shape[axis] for axis in layout.spatial)])
    if layout.tokens is not None:
        start, grid = layout.tokens.start, layout.tokens.grid
        end = start + math.prod(grid)
        if (start, end) != (0, shape[layout.spatial[0]]):
            values = op.Slice(values, [start], [end], [2])
        values = op.Reshape(values, [0, 0, *grid])
    return values


@dataclass(frozen=True, eq=False)
class Group:
    """Layers of one size: their names, and their maps, float32 [N, len(names), *size]."""

    names: tuple[str, ...]
    maps: gs.Tensor
    size: tuple[Dim, ...]


def group_layers(op: Emitter, layers: Mapping[str, Placed]) -> list[Group]:
    """The layers rescaled, those of one size together; an unknown size stays alone."""
    by_size: dict[tuple[Dim, ...], list[str]] = {}
    for name, layer in layers.items():
        known = all(isinstance(dim, int) for dim in layer.size)
        by_size.setdefault(layer.size if known else (name,), []).append(name)
    return [_group(op, names, [layers[name] for name in names]) for names in by_size.values()]


def _group(op: Emitter, names: Sequence[str], placed: Sequence[Placed]) -> Group:
    flat = op.cast(rescaled(op, [each.layer for each in placed]), np.float32)
    maps = on_grid(op, flat, len(names), placed[0].values, placed[0].size)
    return Group(tuple(names), maps, placed[0].size)


def layer_maps(op: Emitter, groups: Sequence[Group]) -> dict[str, tuple[gs.Tensor, Group]]:
    """Every layer's own map [N, 1, *size]."""
    return {
        name: (op.Slice(group.maps, [index], [index + 1], [1]), group)
        for group in groups
        for index, name in enumerate(group.names)
    }


def saliency(
    op: Emitter, psi: Psi, groups: Sequence[Group], x: gs.Tensor, layout: Layout
) -> gs.Tensor:
    """[N, 1, *grid]: the sum of all maps at the size of the input, each size resized once."""
    size = layout.grid(x.shape)
    sums = [
        (op.ReduceSum(g.maps, axes=[1], keepdims=1) if len(g.names) > 1 else g.maps, g.size)
        for g in groups
    ]
    full = [
        total if found == size else resized(op, total, found, x, layout, psi.coordinates)
        for total, found in sums
    ]
    return op.total(full[::-1])  # what is near the output can be forgotten first
