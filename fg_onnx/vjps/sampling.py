"""GridSample, ``y[n, :, p] = x[n, :, grid[n, p]]``, and AffineGrid, which makes such grids."""

from __future__ import annotations

import math

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.interpolation import (
    Corner,
    Edge,
    coordinate_gradients,
    corners,
    cubic,
    linear,
    moved,
    nearest,
    scatter,
)
from fg_onnx.vjps.table import IMPLICIT, Cotangents, Offset, vjp

_KERNELS = {
    "nearest": nearest,
    "linear": linear,
    "bilinear": linear,
    "cubic": cubic,
    "bicubic": cubic,
}


def _grid_offset(p: Primal) -> Offset | None:
    """Linear in x; in the grid it is not even homogeneous."""
    return IMPLICIT if p.wants(1) else None


def _grid_term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
    """``J x = y``; of the grid the slopes of every sample times its coordinates."""
    rank = len(p.shape(p.x)) - 2
    sizes = p.sizes(p.x, range(2, 2 + rank))
    grid = op.cast(op.Reshape(p.operand(1), [0, -1, rank]), p.x.dtype)
    along = [
        op.Mul(_coordinate(op, grid, axis, rank), _scale(p, size))
        for axis, size in enumerate(sizes)
    ]
    like = op.Reshape(p.y, [0, 0, -1])
    by_grid = moved(op, op.Reshape(p.x, [0, 0, -1]), like, _corners(op, p, sizes), along)
    rest = op.reshape_like(by_grid, p.y)
    return op.Mul(ct, op.Neg(rest) if p.wants(0) else op.Sub(p.y, rest))


@vjp("GridSample", offset=_grid_offset, term=_grid_term, axes="channels-first")
def grid_sample(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct added at the pixels of each sample by their weights; to the grid, ct times the slopes."""
    rank = len(p.shape(p.x)) - 2
    sizes = p.sizes(p.x, range(2, 2 + rank))
    where = _corners(op, p, sizes)
    flat = op.Reshape(ct, [0, 0, -1])
    to_x = to_grid = None
    if p.wants(0):
        to_x = op.reshape_like(scatter(op, flat, where, math.prod(sizes)), p.x)
    if p.wants(1):
        found = coordinate_gradients(op, op.Reshape(p.x, [0, 0, -1]), flat, where)
        scaled = [op.Mul(c, _scale(p, n)) for c, n in zip(found, sizes, strict=True)]
        together = op.Transpose(op.Concat(*reversed(scaled), axis=1), perm=[0, 2, 1])
        grid = p.operand(1)
        to_grid = op.reshape_like(op.cast(together, grid.dtype), grid)
    return to_x, to_grid


def _corners(op: Emitter, p: Primal, sizes: list[int]) -> list[Corner]:
    rank = len(sizes)
    grid = op.cast(op.Reshape(p.operand(1), [0, -1, rank]), p.x.dtype)
    aligned = bool(p.attrs["align_corners"])
    taps = []
    for axis, size in enumerate(sizes):
        along = _coordinate(op, grid, axis, rank)
        edge = Edge(size, p.attrs["padding_mode"], aligned)
        taps.append(_KERNELS[p.attrs["mode"]](op, _position(op, along, size, aligned), edge))
    return corners(op, taps, sizes)


def _coordinate(op: Emitter, grid: gs.Tensor, axis: int, rank: int) -> gs.Tensor:
    """[N, 1, P] of [N, P, rank]; a grid names the columns first."""
    last = rank - 1 - axis
    return op.Transpose(op.Slice(grid, [last], [last + 1], [2]), perm=[0, 2, 1])


def _position(op: Emitter, along: gs.Tensor, size: int, aligned: bool) -> gs.Tensor:
    """A coordinate of -1 to 1 in pixels."""
    from_0 = op.Add(along, 1.0)
    if aligned:
        return op.Mul(op.Div(from_0, 2.0), size - 1.0)
    return op.Div(op.Sub(op.Mul(from_0, float(size)), 1.0), 2.0)


def _scale(p: Primal, size: int) -> float:
    return (size - 1 if p.attrs["align_corners"] else size) / 2


@vjp("AffineGrid", axes="new")
def affine_grid(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct^T times the positions [x, y, 1] that theta maps; the unit theta gives them as they are."""
    (rank,) = p.sizes(p.x, [1])
    size = p.operand(1)
    one_image = op.Concat(op.constant([1]), op.Slice(size, [1], [2 + rank], [0]), axis=0)
    unit = op.constant(np.eye(rank, 1 + rank)[None], p.x.dtype)
    grid = op.AffineGrid(unit, one_image, align_corners=p.attrs["align_corners"])
    positions = op.Reshape(grid, [-1, rank])
    ones = op.Add(op.Mul(op.Slice(positions, [0], [1], [1]), 0.0), 1.0)
    homogeneous = op.Concat(positions, ones, axis=1)
    rows = op.Transpose(op.Reshape(ct, [0, -1, rank]), perm=[0, 2, 1])
    return op.MatMul(rows, homogeneous), None
