"""Pooling by averages."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter, is_static
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.axiswise import Size, plus, size_of, times, vector
from fg_onnx.vjps.convolution import convolve_back, scatter_windows
from fg_onnx.vjps.reduction import count
from fg_onnx.vjps.stretching import repeated, stretched
from fg_onnx.vjps.table import Cotangents, vjp
from fg_onnx.vjps.windows import Window, window


@vjp("GlobalAveragePool", axes="channels-first")
def global_average_pool(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct / (H W) at every position."""
    spatial = list(range(2, len(p.shape(p.x))))
    share = op.Div(ct, count(op, p, spatial))
    grid = p.shape(p.x)[2:]
    if is_static(grid):  # half of the time that the CPU needs for Expand
        return (op.Mul(share, op.constant(np.ones([1, 1, *grid]), p.x.dtype)),)
    return (op.Expand(share, op.shape(p.x)),)


@vjp("AveragePool", axes="channels-first")
def average_pool(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct / (positions averaged), added over each window."""
    w = window(op, p, p.attrs["kernel_shape"])
    if w.tiles(p.shape(p.x)[2:]):
        share = op.Div(ct, float(np.prod(w.kernel)))
        return (repeated(op, share, w.kernel),)
    share = op.Div(ct, _divisor(op, p, w))
    (channels,) = p.sizes(p.x, [1])
    ones = op.constant(np.ones((channels, 1, *w.kernel), dtype=p.x.dtype))
    pads = w.adjoint_pads
    if pads is None:
        share, pads = stretched(op, p, share, w) or (share, None)
    if pads is not None:  # much faster than ConvTranspose on the CPU; 1 is 1 flipped
        return (convolve_back(op, share, ones, w, channels, pads),)
    return (scatter_windows(op, p, share, ones, w, channels),)


def _divisor(op: Emitter, p: Primal, w: Window) -> gs.Tensor | float:
    """How many positions each window averages: [1, 1, *spatial] or a number for all."""
    if w.pads == [0] * 2 * w.rank and not p.attrs.get("ceil_mode", 0):
        return float(np.prod(w.kernel))
    axes = range(2, 2 + w.rank)
    if w.pads is None or not is_static([*p.shape(p.x)[2:], *p.shape(p.y)[2:]]):
        return _divisor_at_run_time(op, p, w)
    counts = [
        _counts(*geometry, include=bool(p.attrs["count_include_pad"]))
        for geometry in zip(
            p.sizes(p.x, axes),
            p.sizes(p.y, axes),
            w.kernel,
            w.strides,
            w.dilations,
            w.pads[: w.rank],
            w.pads[w.rank :],
            strict=True,
        )
    ]
    grid = np.ones([1] * w.rank)
    for axis, along in enumerate(counts):
        grid = grid * along.reshape([-1 if i == axis else 1 for i in range(w.rank)])
    return op.constant(grid[None, None], p.x.dtype)


def _divisor_at_run_time(op: Emitter, p: Primal, w: Window) -> gs.Tensor:
    """The same by a convolution: a kernel of ones over ones where positions count."""
    before: list[Size] = [0, 0]
    after: list[Size] = [0, 0]
    counted: list[Size] = [1, 1]
    for axis in range(w.rank):
        size = size_of(op, p, p.x, 2 + axis)
        begin = w.begin[axis]
        if p.attrs["count_include_pad"]:
            size, begin = plus(op, plus(op, size, begin), w.end[axis]), 0
        reach = w.reach(op, axis, size_of(op, p, p.y, 2 + axis))
        counted.append(size)
        before.append(begin)
        after.append(plus(op, reach, times(op, plus(op, size, begin), -1)))
    ones = op.Expand(op.constant(1.0, p.x.dtype), vector(op, *counted))
    return op.Conv(
        op.Pad(ones, vector(op, *before, *after), mode="constant"),
        op.constant(np.ones((1, 1, *w.kernel), dtype=p.x.dtype)),
        dilations=list(w.dilations),
        kernel_shape=list(w.kernel),
        strides=list(w.strides),
    )


def _counts(
    size: int, out: int, k: int, s: int, d: int, begin: int, end: int, *, include: bool
) -> np.ndarray:
    """Along one axis: the positions of each window that count."""
    taps = np.arange(out)[:, None] * s - begin + np.arange(k)[None, :] * d
    low, high = (-begin, size + end) if include else (0, size)
    inside = (taps >= low) & (taps < high)
    return np.asarray(inside.sum(axis=1), dtype=np.float64)
