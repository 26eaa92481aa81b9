"""MaxPool: the whole cotangent goes to the first maximum of each window, in row-major order.

The first maximum in row-major order lies in the first row that holds the maximum, and in that row
in the first column that does. So the choice is made one axis at a time, outermost first: between
the maxima of the rows (``MaxPool`` with a window of one row), then between the entries of the row
chosen. Along one axis the k taps of all windows are compared in order; a tap that equals the
maximum takes what is left of the cotangent.

``MaxPool``'s own Indices are not asked for: they leave the runtime's fast pooling kernel, and some
devices do not have them. Channels are moved last, where a tap is a slice of long runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.axiswise import Size, size_of
from fg_onnx.vjps.table import Cotangents, vjp
from fg_onnx.vjps.taps import Axis, KnownAxis, UnknownAxis
from fg_onnx.vjps.windows import Window, window


@vjp("MaxPool", axes="channels-first")
def max_pool(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct to the first maximum of each window, in row-major order."""
    w = window(op, p, p.attrs["kernel_shape"])
    spatial = range(2, 2 + w.rank)
    channels = size_of(op, p, p.x, 1)
    sizes = [size_of(op, p, p.x, axis) for axis in spatial]
    counts = [size_of(op, p, p.y, axis) for axis in spatial]
    # The CPU's blocked layout is left for channels last at once, in one slow step, or for channels
    # first, in which the mask of a ReLU is made, and then for channels last.
    turned = _in_two_steps if _is_rectified(p.x) else _channels_last
    x, maxima, ct = turned(op, p.x, sizes), turned(op, p.y, counts), turned(op, ct, counts)
    for i in range(w.rank):
        geometry = 1 + i, 2 + w.rank, w.kernel[i], w.strides[i], w.dilations[i]
        size, count, begin = sizes[i], counts[i], w.begin[i]
        axis: Axis
        if isinstance(size, int) and isinstance(count, int) and isinstance(begin, int):
            axis = KnownAxis(*geometry, size, count, begin)
        else:
            axis = UnknownAxis(*geometry, size, count, begin)
        entries = _pooled_after(op, p, w, x, i)
        shares = _choose(op, entries, maxima, ct, axis)
        ct = axis.scatter(op, shares, [*sizes[:i], *counts[i:], channels])
        maxima = entries
    return (op.Transpose(ct, perm=[0, 1 + w.rank, *range(1, 1 + w.rank)]),)


def _channels_last(op: Emitter, tensor: gs.Tensor, grid: Sequence[Size]) -> gs.Tensor:
    """[N, *grid, C] of [N, C, *grid]."""
    return op.Transpose(tensor, perm=[0, *range(2, 2 + len(grid)), 1])


def _in_two_steps(op: Emitter, tensor: gs.Tensor, grid: Sequence[Size]) -> gs.Tensor:
    """The same, by a Transpose that the CPU does not join with what it changes the layout by."""
    if not all(isinstance(size, int) for size in grid):
        return _channels_last(op, tensor, grid)
    flat = op.Transpose(op.Reshape(tensor, [0, 0, -1]), perm=[0, 2, 1])
    return op.Reshape(flat, [0, *grid, -1])


def _is_rectified(x: gs.Tensor) -> bool:
    return any(node.op == "Relu" for node in x.inputs)


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
