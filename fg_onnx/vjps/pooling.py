"""Pooling by averages."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.emit import Emitter
from fg_onnx.primal import Primal
from fg_onnx.vjps.convolution import scatter_windows
from fg_onnx.vjps.reduction import count
from fg_onnx.vjps.table import Cotangents, vjp
from fg_onnx.vjps.windows import Window, window


@vjp("GlobalAveragePool", axes="channels-first")
def global_average_pool(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct / (H W) at every position."""
    spatial = list(range(2, len(p.shape(p.x))))
    return (op.Expand(op.Div(ct, count(op, p, spatial)), op.shape(p.x)),)


@vjp("AveragePool", axes="channels-first")
def average_pool(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct / (positions averaged), added over each window."""
    w = window(p, p.attrs["kernel_shape"])
    if _tiles(p, w):
        share = op.Div(ct, float(np.prod(w.kernel)))
        scales = op.constant([1.0, 1.0, *map(float, w.kernel)], np.float32)
        return (
            op.Resize(
                share,
                None,
                scales,
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            ),
        )
    share = op.Div(ct, op.constant(_divisor(p, w), p.x.dtype))
    (channels,) = p.sizes(p.x, [1])
    ones = op.constant(np.ones((channels, 1, *w.kernel), dtype=p.x.dtype))
    return (scatter_windows(op, p, share, ones, w, channels),)


def _tiles(p: Primal, w: Window) -> bool:
    """Whether the windows cover the input once and without a rest."""
    shape = p.shape(p.x)[2:]
    return (
        w.rank == 2
        and w.kernel == w.strides
        and not any((*w.begin, *w.end))
        and all(isinstance(s, int) and s % k == 0 for s, k in zip(shape, w.kernel, strict=True))
        and set(w.dilations) == {1}
    )


def _divisor(p: Primal, w: Window) -> np.ndarray:
    """How many positions each window averages: [1, 1, *spatial] or a number for all."""
    padded = any((*w.begin, *w.end)) or p.attrs.get("ceil_mode", 0)
    if not padded:
        return np.asarray(float(np.prod(w.kernel)))
    axes = range(2, 2 + w.rank)
    counts = [
        _counts(*geometry, include=bool(p.attrs["count_include_pad"]))
        for geometry in zip(
            p.sizes(p.x, axes),
            p.sizes(p.y, axes),
            w.kernel,
            w.strides,
            w.dilations,
            w.begin,
            w.end,
            strict=True,
        )
    ]
    grid = np.ones([1] * w.rank)
    for axis, along in enumerate(counts):
        grid = grid * along.reshape([-1 if i == axis else 1 for i in range(w.rank)])
    return np.asarray(grid[None, None])


def _counts(
    size: int, out: int, k: int, s: int, d: int, begin: int, end: int, *, include: bool
) -> np.ndarray:
    """Along one axis: the positions of each window that count."""
    taps = np.arange(out)[:, None] * s - begin + np.arange(k)[None, :] * d
    low, high = (-begin, size + end) if include else (0, size)
    inside = (taps >= low) & (taps < high)
    return np.asarray(inside.sum(axis=1), dtype=np.float64)
