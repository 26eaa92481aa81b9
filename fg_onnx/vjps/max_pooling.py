"""MaxPool: the whole cotangent goes to the first maximum of each window, in row-major order.

The first maximum in row-major order lies in the first row that holds the maximum, and in that row
in the first column that does. So the choice is made one axis at a time, outermost first. Two forms:

- Of any windows: between the maxima of the rows (``MaxPool`` with a window of one row), then
  between the entries of the row chosen. Along one axis the k taps of all windows are compared in
  order; a tap that equals the maximum takes what is left of the cotangent.
- Of small windows that cover the array once: the maximum lies in one of the first rows if the
  ``MaxPool`` of these alone finds it, and likewise in one of the first columns.

``MaxPool``'s own Indices are not asked for: they leave the runtime's fast pooling kernel, and some
devices do not have them. Channels are moved last, where a tap is a slice of long runs.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.axiswise import Size, size_of
from fg_onnx.vjps.table import Cotangents, vjp
from fg_onnx.vjps.taps import Axis, KnownAxis, UnknownAxis
from fg_onnx.vjps.windows import Window, window

_MOST_TAPS = 4
"""Of a window, each of which has a ``MaxPool`` of its own where windows cover the array once."""


@vjp("MaxPool", axes="channels-first")
def max_pool(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct to the first maximum of each window, in row-major order."""
    w = window(op, p, p.attrs["kernel_shape"])
    tiles = w.tiles(p.shape(p.x)[2:]) and math.prod(w.kernel) <= _MOST_TAPS
    spread = _spread_tiles if tiles else _spread
    if len(p.inputs) == 1:
        return (spread(op, p, w, ct),)
    return None, spread(op, p, w, op.Mul(ct, op.above(p.y)))  # x is rectified


def _spread(op: Emitter, p: Primal, w: Window, ct: gs.Tensor) -> gs.Tensor:
    channels, sizes, counts = _geometry(op, p, w)
    maxima, ct, x = (_channels_last(op, tensor, w.rank) for tensor in (p.y, ct, p.x))
    for i in range(w.rank):
        axis = _axis(w, i, sizes[i], counts[i])
        entries = _pooled_after(op, p, w, x, i)
        shares = _choose(op, entries, maxima, ct, axis)
        ct = axis.scatter(op, shares, [*sizes[:i], *counts[i:], channels])
        maxima = entries
    return _channels_first(op, ct, w.rank)


def _spread_tiles(op: Emitter, p: Primal, w: Window, ct: gs.Tensor) -> gs.Tensor:
    """x is pooled as it came, in whatever layout the runtime has it."""
    channels, sizes, counts = _geometry(op, p, w)

    def spread(chosen: tuple[int, ...], share: gs.Tensor) -> gs.Tensor:
        """The shares of the windows whose maximum has these first coordinates, where they belong.

        They are channels-last, of the sizes that x has along the other axes.
        """
        i = len(chosen)
        if i == w.rank:
            return _channels_last(op, share, w.rank)
        shares = {}
        for tap in range(w.kernel[i] - 1):
            first = [at + 1 for at in (*chosen, tap)]
            seen = [*first, *w.kernel[i + 1 :]]
            most = op.MaxPool(p.x, kernel_shape=seen, strides=list(w.strides))
            found = op.Mul(share, op.mask(op.GreaterOrEqual(most, p.y), ct))
            shares[tap] = spread((*chosen, tap), found)
            share = op.Sub(share, found)
        last = w.kernel[i] - 1
        shares[last] = spread((*chosen, last), share)
        axis = _axis(w, i, sizes[i], counts[i])
        return axis.scatter(op, shares, [*counts[: i + 1], *sizes[i + 1 :], channels])

    return _channels_first(op, spread((), ct), w.rank)


def _geometry(op: Emitter, p: Primal, w: Window) -> tuple[Size, list[Size], list[Size]]:
    """The number of channels, and the sizes of the array and of the grid of windows."""
    spatial = range(2, 2 + w.rank)
    sizes = [size_of(op, p, p.x, axis) for axis in spatial]
    counts = [size_of(op, p, p.y, axis) for axis in spatial]
    return size_of(op, p, p.x, 1), sizes, counts


def _axis(w: Window, i: int, size: Size, count: Size) -> Axis:
    """The windows along a spatial axis of an array that has its channels last."""
    geometry = 1 + i, 2 + w.rank, w.kernel[i], w.strides[i], w.dilations[i]
    begin = w.begin[i]
    if isinstance(size, int) and isinstance(count, int) and isinstance(begin, int):
        return KnownAxis(*geometry, size, count, begin)
    return UnknownAxis(*geometry, size, count, begin)


def _channels_last(op: Emitter, tensor: gs.Tensor, rank: int) -> gs.Tensor:
    return op.Transpose(tensor, perm=[0, *range(2, 2 + rank), 1])


def _channels_first(op: Emitter, tensor: gs.Tensor, rank: int) -> gs.Tensor:
    return op.Transpose(tensor, perm=[0, 1 + rank, *range(1, 1 + rank)])


def _pooled_after(op: Emitter, p: Primal, w: Window, x: gs.Tensor, axis: int) -> gs.Tensor:
    """The maxima over the axes after ``axis`` alone: x itself for the last one.

    x has its channels last. To the pooling, its first spatial axis, which is never pooled here, is
    the channels. Pooled as it came, x would be kept in the runtime's blocked layout, beside itself,
    from the forward pass on until here.
    """
    if axis == w.rank - 1:
        return x
    pooled = slice(axis + 1, w.rank)
    if w.pads is None:  # a window of one position is never padded
        padding = {"auto_pad": p.attrs["auto_pad"]}
    else:
        begins, ends = w.pads[: w.rank][pooled], w.pads[w.rank :][pooled]
        padding = {"pads": [0] * axis + begins + [0] + [0] * axis + ends + [0]}
    return op.MaxPool(
        x,
        ceil_mode=p.attrs.get("ceil_mode", 0),
        dilations=[1] * axis + list(w.dilations[pooled]) + [1],
        kernel_shape=[1] * axis + list(w.kernel[pooled]) + [1],
        strides=[1] * axis + list(w.strides[pooled]) + [1],
        **padding,
    )


def _choose(
    op: Emitter, entries: gs.Tensor, maxima: gs.Tensor, ct: gs.Tensor, axis: Axis
) -> dict[int, gs.Tensor]:
    """For every tap, the cotangent of the windows whose first maximum it is."""
    shares = {}
    rest = ct
    of_tap = axis.taps(op, entries)
    *earlier, last = of_tap
    for tap in earlier:
        shares[tap] = op.Mul(rest, op.mask(op.GreaterOrEqual(of_tap[tap](), maxima), ct))
        rest = op.Sub(rest, shares[tap])
    return {**shares, last: rest}


@vjp("GlobalMaxPool", axes="channels-first")
def global_max_pool(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct to the first maximum of each channel, in row-major order."""
    entries, maxima = op.Reshape(p.x, [0, 0, -1]), op.Reshape(p.y, [0, 0, 1])
    hit = op.mask(op.GreaterOrEqual(entries, maxima), ct)
    so_far = op.CumSum(hit, op.constant(2, np.int64))
    first = op.Mul(hit, op.mask(op.Less(so_far, 1.5), ct))
    return (op.reshape_like(op.Mul(op.Reshape(ct, [0, 0, 1]), first), p.x),)
