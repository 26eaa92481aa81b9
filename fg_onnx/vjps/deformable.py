"""Deformable convolution: the taps of every window lie at offsets of their own.

``col[n, c, t, p] = mask[n, t, p] x[n, c, place(t, p) + offset[n, t, p]]`` for every tap t and
output position p, and y is the weight times col. The channels of an offset group share both.
"""

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
    linear,
    moved,
    scatter,
    through,
)
from fg_onnx.vjps.table import IMPLICIT, Cotangents, Offset, vjp

_WEIGHT, _OFFSET, _BIAS, _MASK = 1, 2, 3, 4


def _offset(p: Primal) -> Offset | None:
    """The bias alone where only x is active; offsets and mask make it a product."""
    if p.wants(_OFFSET) or p.wants(_MASK):
        return IMPLICIT
    return Offset("bias", operand=_BIAS, axis=1) if p.input(_BIAS) is not None else None


def _term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
    """``J x = J mask = y - b``; of the offsets the slopes of every tap times these, weighted."""
    bias, mask = p.input(_BIAS), p.input(_MASK)
    rest = bias_free = p.y
    if bias is not None:
        bias_free = op.Sub(p.y, op.Reshape(bias, [1, -1, 1, 1]))
    for part in (0, _MASK):
        if p.wants(part):
            rest = op.Sub(rest, bias_free)
    if p.wants(_OFFSET):
        rest = op.Sub(rest, _moved(op, p, mask))
    return op.Mul(ct, rest)


def _moved(op: Emitter, p: Primal, mask: gs.Tensor | None) -> gs.Tensor:
    sizes = p.sizes(p.x, [2, 3])
    weight, group, shared = p.operand(_WEIGHT), p.attrs["group"], p.attrs["offset_group"]
    m, c = p.sizes(weight, [0, 1])
    (channels,) = p.sizes(p.x, [1])
    many, places = math.prod(_kernel(p)), math.prod(p.sizes(p.y, [2, 3]))
    pixels = op.Reshape(p.x, [-1, channels // shared, math.prod(sizes)])
    # of the shape of all taps
    like = op.Expand(
        _taps_in_a_row(op, p, _offsets(op, p, 0)), op.constant([1, channels // shared, 1])
    )
    along = [_taps_in_a_row(op, p, _offsets(op, p, axis)) for axis in (0, 1)]
    taps = moved(op, pixels, like, _corners(op, p, sizes), along)
    if mask is not None:
        taps = op.Mul(taps, _taps_in_a_row(op, p, mask))
    columns = op.Reshape(taps, [-1, group, c * many, places])
    sums = op.MatMul(op.Reshape(weight, [group, m // group, c * many]), columns)
    return op.reshape_like(sums, p.y)


def _offsets(op: Emitter, p: Primal, axis: int) -> gs.Tensor:
    many, places = math.prod(_kernel(p)), math.prod(p.sizes(p.y, [2, 3]))
    offsets = op.Reshape(p.operand(_OFFSET), [-1, many, 2, places])
    return op.Slice(offsets, [axis], [axis + 1], [2])


@vjp("DeformConv", offset=_offset, term=_term, axes="channels-first")
def deform_conv(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """W^T ct times mask, added at the pixels of each tap; to offsets and mask by the slopes."""
    if p.wants(_WEIGHT) or p.wants(_BIAS):
        raise p.refusal("its weight or bias depends on the explained input")
    sizes = p.sizes(p.x, [2, 3])
    where = _corners(op, p, sizes)
    col = _columns(op, p, ct)
    mask = p.input(_MASK)
    masked = col if mask is None else op.Mul(col, _taps_in_a_row(op, p, mask))
    to_x = to_offset = to_mask = None
    if p.wants(0):
        to_x = op.reshape_like(scatter(op, masked, where, math.prod(sizes)), p.x)
    (channels,) = p.sizes(p.x, [1])
    pixels = op.Reshape(p.x, [-1, channels // p.attrs["offset_group"], math.prod(sizes)])
    if p.wants(_OFFSET):
        many, places = math.prod(_kernel(p)), math.prod(p.sizes(p.y, [2, 3]))
        along = [
            op.Reshape(ct_axis, [-1, many, 1, places])
            for ct_axis in coordinate_gradients(op, pixels, masked, where)
        ]
        to_offset = op.reshape_like(op.Concat(*along, axis=2), p.operand(_OFFSET))
    if mask is not None and p.wants(_MASK):
        shares = [op.Mul(through(op, pixels, col, c), c.weight) for c in where]
        to_mask = op.reshape_like(op.total(shares), mask)
    return (to_x, None, to_offset, None, to_mask)[: len(p.inputs)]


def _kernel(p: Primal) -> list[int]:
    return p.sizes(p.operand(_WEIGHT), [2, 3])


def _columns(op: Emitter, p: Primal, ct: gs.Tensor) -> gs.Tensor:
    """The cotangent of all taps, before the mask: [N * offset groups, C / offset groups, T P]."""
    weight, group = p.operand(_WEIGHT), p.attrs["group"]
    m, c = p.sizes(weight, [0, 1])
    many, places = math.prod(_kernel(p)), math.prod(p.sizes(p.y, [2, 3]))
    matrix = op.Transpose(op.Reshape(weight, [group, m // group, c * many]), perm=[0, 2, 1])
    col = op.MatMul(matrix, op.Reshape(ct, [-1, group, m // group, places]))
    return op.Reshape(col, [-1, group * c // p.attrs["offset_group"], many * places])


def _taps_in_a_row(op: Emitter, p: Primal, tensor: gs.Tensor) -> gs.Tensor:
    """[N, offset groups * T, ...] as [N * offset groups, 1, T P]."""
    many, places = math.prod(_kernel(p)), math.prod(p.sizes(p.y, [2, 3]))
    return op.Reshape(tensor, [-1, 1, many * places])


def _corners(op: Emitter, p: Primal, sizes: list[int]) -> list[Corner]:
    taps = []
    for axis, (size, grid) in enumerate(zip(sizes, _places(p), strict=True)):
        position = op.Add(
            _taps_in_a_row(op, p, _offsets(op, p, axis)), op.constant(grid, p.x.dtype)
        )
        taps.append(linear(op, position, Edge(size, "zeros")))
    return corners(op, taps, sizes)


def _places(p: Primal) -> list[np.ndarray]:
    """Where the taps would lie without offsets, along each axis: [1, 1, T P]."""
    strides, dilations = (p.attrs.get(name) or [1, 1] for name in ("strides", "dilations"))
    pads = p.attrs.get("pads") or [0] * 4
    rows, columns = p.sizes(p.y, [2, 3])
    tall, wide = _kernel(p)
    grids = np.meshgrid(
        np.arange(tall) * dilations[0] - pads[0],
        np.arange(wide) * dilations[1] - pads[1],
        np.arange(rows) * strides[0],
        np.arange(columns) * strides[1],
        indexing="ij",
    )
    return [(grids[axis] + grids[2 + axis]).reshape(1, 1, -1) for axis in (0, 1)]
