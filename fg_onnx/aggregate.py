"""Contributions, and the FullGrad map of Eq. 2, in graph operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from fg_onnx.emit import Emitter
from fg_onnx.layout import NCHW, Layout
from fg_onnx.psi import Channels, Psi
from fg_onnx.terms import Term


@dataclass(frozen=True, eq=False)
class LayerMap:
    """psi of one term: [N, 1, h, w], and its size where that is known."""

    tensor: gs.Tensor
    size: tuple[int | str | None, int | str | None]


def contributions(op: Emitter, x: gs.Tensor, terms: Sequence[Term]) -> gs.Tensor:
    """[N, len(terms)]: the total of every term, per image."""
    return op.Concat(*(_total(op, x, term) for term in terms), axis=1)


def _total(op: Emitter, x: gs.Tensor, term: Term) -> gs.Tensor:
    """[N, 1]"""
    if term.weight is not None and term.axis and _batch_first(x, term.shape):
        rest = [axis for axis in range(1, term.rank) if axis != term.axis]
        sums = op.ReduceSum(term.values, axes=rest, keepdims=0) if rest else term.values
        return op.MatMul(sums, op.Reshape(term.weight, [-1, 1]))
    total = _per_image(op, x, term.product(op), term.rank, term.shape)
    for tensor, rank in term.minus:
        total = op.Sub(total, _per_image(op, x, tensor, rank, term.shape))
    return total


def _batch_first(x: gs.Tensor, shape: Sequence[int | str | None]) -> bool:
    return bool(shape) and shape[0] == x.shape[0]


def _per_image(
    op: Emitter, x: gs.Tensor, tensor: gs.Tensor, rank: int, shape: Sequence[int | str | None]
) -> gs.Tensor:
    if _batch_first(x, shape):
        if rank == 1:
            return op.Unsqueeze(tensor, axes=[1])
        return op.Reshape(op.ReduceSum(tensor, axes=list(range(1, rank)), keepdims=0), [-1, 1])
    # The batch is the major part of another first axis (windows, folded groups).
    batch = op.Slice(op.shape(x), [0], [1], [0])
    rows = op.Reshape(tensor, op.Concat(batch, op.constant([-1]), axis=0))
    return op.ReduceSum(rows, axes=[1], keepdims=1)


def layer_map(op: Emitter, psi: Psi, term: Term, layout: Layout) -> LayerMap:
    """psi of a term on a spatial grid."""
    values, weight = term.values, term.weight
    if weight is not None and term.axis != layout.channel:
        values, weight = term.product(op), None
    height, width = (term.shape[axis] for axis in layout.spatial)
    count = term.shape[layout.channel]
    if not isinstance(count, int):
        raise ValueError(f"a term of unknown channel count: {term.shape}")
    if layout != NCHW:
        values = op.Transpose(values, perm=[0, layout.channel, *layout.spatial])
    return LayerMap(psi.layer_map(op, Channels(values, weight, count)), (height, width))


def saliency(
    op: Emitter, psi: Psi, maps: Sequence[LayerMap], x: gs.Tensor, layout: Layout
) -> gs.Tensor:
    """[N, 1, H, W]: the sum of all maps at the size of the input, each size resized once."""
    size = tuple(x.shape[axis] for axis in layout.spatial)
    groups: dict[tuple[int | str | None, int | str | None], list[gs.Tensor]] = {}
    for index, found in enumerate(maps):
        known = all(isinstance(dim, int) for dim in found.size)
        groups.setdefault(found.size if known else (None, index), []).append(found.tensor)
    resized = [
        total if found == size else _resize(op, psi, total, x, layout)
        for found, total in ((key, op.total(tensors)) for key, tensors in groups.items())
    ]
    return op.total(resized)


def _resize(op: Emitter, psi: Psi, tensor: gs.Tensor, x: gs.Tensor, layout: Layout) -> gs.Tensor:
    dims = op.shape(x)
    batch = op.Slice(dims, [0], [1], [0])
    grid = op.Gather(dims, op.constant(list(layout.spatial)), axis=0)
    sizes = op.Concat(batch, op.constant([1]), grid, axis=0)
    return op.Resize(
        tensor,
        None,
        None,
        sizes,
        mode="linear",
        coordinate_transformation_mode=psi.coordinates,
    )
