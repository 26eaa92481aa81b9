"""Plain float64 kernels in the place of those of onnx.reference that round, crash or err.

test_rules.py compares them, as all others, with ONNX Runtime's in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from math import erf
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops import op_resize


class Erf(OpRun):
    """onnx.reference rounds it to float32."""

    def _run(self, x: np.ndarray) -> tuple[np.ndarray]:
        return (np.vectorize(erf, otypes=[np.float64])(x).astype(x.dtype),)


class Gelu(OpRun):
    """onnx.reference computes it through its Erf."""

    def _run(self, x: np.ndarray, approximate: str | None = None) -> tuple[np.ndarray]:
        if approximate == "tanh":
            t = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
        else:
            t = np.vectorize(erf, otypes=[np.float64])(x * np.sqrt(0.5))
        return ((x / 2 * (1 + t)).astype(x.dtype),)


class Mean(OpRun):
    """onnx.reference does not broadcast."""

    def _run(self, *operands: np.ndarray) -> tuple[np.ndarray]:
        return ((sum(operands[1:], operands[0]) / len(operands)).astype(operands[0].dtype),)


class Pad(OpRun):
    """onnx.reference takes no negative padding: that is cut off before the rest is padded."""

    def _run(
        self, x: np.ndarray, pads: Any, value: Any = None, axes: Any = None, mode: str | None = None
    ) -> tuple[np.ndarray]:
        widths = [(0, 0)] * x.ndim
        chosen = range(x.ndim) if axes is None else axes
        for index, axis in enumerate(chosen):
            widths[axis] = (int(pads[index]), int(pads[len(chosen) + index]))
        kept = (
            slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, widths, strict=True)
        )
        how: dict[str, Any] = {"mode": mode or "constant"}
        if how["mode"] == "constant":
            how["constant_values"] = 0 if value is None else np.asarray(value).item()
        return (np.pad(x[tuple(kept)], [(max(a, 0), max(b, 0)) for a, b in widths], **how),)


class ConvTranspose(OpRun):
    """onnx.reference crashes for 1 < group < channels.

    y[n, g m + o, s i + d t - pad] gets x[n, g c + k, i] w[g c + k, o, t] for all g, k, i and t.
    """

    def _run(
        self,
        x: np.ndarray,
        w: np.ndarray,
        b: np.ndarray | None = None,
        auto_pad: Any = None,
        dilations: Any = None,
        group: int = 1,
        kernel_shape: Any = None,
        output_padding: Any = None,
        output_shape: Any = None,
        pads: Any = None,
        strides: Any = None,
    ) -> tuple[np.ndarray]:
        rank = x.ndim - 2
        strides, dilations = strides or [1] * rank, dilations or [1] * rank
        more = output_padding or [0] * rank
        sizes, kernel = x.shape[2:], w.shape[2:]
        grid = [
            s * (n - 1) + d * (k - 1) + 1 + extra
            for s, n, d, k, extra in zip(strides, sizes, dilations, kernel, more, strict=True)
        ]
        auto = auto_pad or "NOTSET"
        wanted = output_shape
        if wanted is None and auto.startswith("SAME"):
            wanted = [min(s * n, whole) for s, n, whole in zip(strides, sizes, grid, strict=True)]
        if wanted is None:
            pads = (None if auto == "VALID" else pads) or [0] * 2 * rank
        else:
            pads = _cut(grid, wanted, auto)
            grid = [max(pair) for pair in zip(grid, wanted, strict=True)]
        n, m = x.shape[0], w.shape[1]
        xs = x.reshape(n, group, -1, *sizes)
        ws = w.reshape(group, -1, m, *kernel)
        y = np.zeros((n, group, m, *grid), x.dtype)
        for tap in product(*map(range, kernel)):
            here = tuple(
                slice(d * t, d * t + s * (size - 1) + 1, s)
                for d, t, s, size in zip(dilations, tap, strides, sizes, strict=True)
            )
            y[:, :, :, *here] += np.einsum("ngk...,gko->ngo...", xs, ws[:, :, :, *tap])
        ends = [size - end for size, end in zip(grid, pads[rank:], strict=True)]
        inside = tuple(map(slice, pads[:rank], ends))
        y = y.reshape(n, group * m, *grid)[:, :, *inside]
        return (y if b is None else y + b.reshape(-1, *[1] * rank),)


def _cut(grid: list[int], wanted: list[int], auto: str) -> list[int]:
    """What comes off a grid at both ends for a wanted size; SAME_UPPER leaves more at the end."""
    totals = [max(whole - size, 0) for whole, size in zip(grid, wanted, strict=True)]
    before = [total // 2 if auto == "SAME_UPPER" else (total + 1) // 2 for total in totals]
    return [*before, *(total - first for total, first in zip(totals, before, strict=True))]


class MaxPool(OpRun):
    """onnx.reference pads SAME_LOWER as if it were SAME_UPPER; here without Indices."""

    def _run(
        self,
        x: np.ndarray,
        auto_pad: str | None = None,
        ceil_mode: int | None = None,
        dilations: Any = None,
        kernel_shape: Any = None,
        pads: Any = None,
        storage_order: int | None = None,
        strides: Any = None,
    ) -> tuple[np.ndarray]:
        how = kernel_shape, strides, dilations, pads, auto_pad, ceil_mode
        return (_pooled(x, partial(np.max, initial=-np.inf), *how),)


def _pooled(
    x: np.ndarray,
    reduce: Callable[..., np.ndarray],
    kernel: Any,
    strides: Any,
    dilations: Any,
    pads: Any,
    auto: str | None,
    ceil: int | None,
) -> np.ndarray:
    """Maxima or sums over boxes: those of a box are those of its sides in turn."""
    rank = x.ndim - 2
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    pads = pads or [0] * 2 * rank
    for axis, (k, s, d) in enumerate(zip(kernel, strides, dilations, strict=True)):
        padding = (pads[axis], pads[rank + axis])
        x = _along(x, reduce, axis + 2, k, s, d, padding, auto or "NOTSET", ceil or 0)
    return x


def _along(
    x: np.ndarray,
    reduce: Callable[..., np.ndarray],
    axis: int,
    k: int,
    s: int,
    d: int,
    pads: tuple[int, int],
    auto: str,
    ceil: int,
) -> np.ndarray:
    """Maxima or sums over the windows along one axis."""
    size, span, (before, after) = x.shape[axis], d * (k - 1) + 1, pads
    if auto.startswith("SAME"):
        count = -(-size // s)
        total = max((count - 1) * s + span - size, 0)
        before = total // 2 if auto == "SAME_UPPER" else total - total // 2
        after = total - before
    room = size + before + after - span
    count = (-(-room // s) if ceil else room // s) + 1
    if (count - 1) * s >= size + before:  # a window that begins in the padding after is left out
        count -= 1
    windows = []
    for index in range(count):
        taps = np.arange(k) * d + index * s - before
        inside = taps[(taps >= 0) & (taps < size)]
        windows.append(reduce(np.take(x, inside, axis), axis=axis))
    return np.stack(windows, axis)


class LpPool(OpRun):
    """onnx.reference scales the sums of windows that ceil_mode lets hang over."""

    def _run(
        self,
        x: np.ndarray,
        auto_pad: str | None = None,
        ceil_mode: int | None = None,
        dilations: Any = None,
        kernel_shape: Any = None,
        p: int = 2,
        pads: Any = None,
        strides: Any = None,
    ) -> tuple[np.ndarray]:
        how = kernel_shape, strides, dilations, pads, auto_pad, ceil_mode
        return ((_pooled(np.abs(x) ** p, np.sum, *how) ** (1 / p)).astype(x.dtype),)


class GlobalMaxPool(OpRun):
    """onnx.reference keeps no dimensions but an image's."""

    def _run(self, x: np.ndarray) -> tuple[np.ndarray]:
        return (x.max(tuple(range(2, x.ndim)), keepdims=True),)


class GlobalLpPool(OpRun):
    """onnx.reference has none."""

    def _run(self, x: np.ndarray, p: int = 2) -> tuple[np.ndarray]:
        sums = (np.abs(x) ** p).sum(tuple(range(2, x.ndim)), keepdims=True)
        return ((sums ** (1 / p)).astype(x.dtype),)


class LRN(OpRun):
    """onnx.reference leaves out the last channel of each window, and takes images only."""

    def _run(
        self, x: np.ndarray, alpha: float, beta: float, bias: float, size: int
    ) -> tuple[np.ndarray]:
        before, after = (size - 1) // 2, size // 2
        padded = np.pad(x**2, [(0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)])
        sums = sum(padded[:, i : i + x.shape[1]] for i in range(size))
        return ((x / (bias + alpha / size * sums) ** beta).astype(x.dtype),)


class Resize(op_resize.Resize):
    """onnx.reference takes no negative axes."""

    def _run(self, x: np.ndarray, *operands: Any, **attrs: Any) -> tuple[np.ndarray]:
        if attrs.get("axes"):
            attrs["axes"] = [axis % x.ndim for axis in attrs["axes"]]
        (y,) = super()._run(x, *operands, **attrs)
        return (y.astype(x.dtype),)


class LpNormalization(OpRun):
    """onnx.reference forgets the magnitude of odd powers."""

    def _run(self, x: np.ndarray, axis: int = -1, p: int = 2) -> tuple[np.ndarray]:
        norm = np.linalg.norm(x, p, axis, keepdims=True)
        return (np.divide(x, norm, out=np.zeros_like(x), where=norm > 0),)


class GroupNormalization(OpRun):
    """onnx.reference computes it in float32."""

    def _run(
        self,
        x: np.ndarray,
        scale: np.ndarray,
        bias: np.ndarray,
        epsilon: float = 1e-5,
        num_groups: int = 1,
        stash_type: Any = None,
    ) -> tuple[np.ndarray]:
        grouped = x.reshape(len(x), num_groups, -1)
        middle = grouped - grouped.mean(2, keepdims=True)
        hat = (middle / np.sqrt((middle**2).mean(2, keepdims=True) + epsilon)).reshape(x.shape)
        along = [part.reshape(-1, *[1] * (x.ndim - 2)) for part in (scale, bias)]
        return (hat * along[0] + along[1],)


class MeanVarianceNormalization(OpRun):
    """onnx.reference adds a float32 constant, and to nothing else."""

    def _run(self, x: np.ndarray, axes: Any = None) -> tuple[np.ndarray]:
        middle = x - x.mean(tuple(axes), keepdims=True)
        return (middle / (middle.std(tuple(axes), keepdims=True) + 1e-9),)


class AffineGrid(OpRun):
    """onnx.reference computes in float32 what it is not given in float64."""

    def _run(self, theta: np.ndarray, size: Any, align_corners: int = 0) -> tuple[np.ndarray]:
        ends = [(n - 1) / n if not align_corners else 1.0 for n in size[2:]]
        axes = [np.linspace(-end, end, n) for end, n in zip(ends, size[2:], strict=True)]
        places = np.stack([*np.meshgrid(*axes, indexing="ij")][::-1], axis=-1)
        homogeneous = np.concatenate([places, np.ones((*places.shape[:-1], 1))], axis=-1)
        return (np.einsum("nij,...j->n...i", theta, homogeneous).astype(theta.dtype),)


class GridSample(OpRun):
    """onnx.reference rounds to float32, and with cubic it keeps positions to the border."""

    def _run(
        self, x: np.ndarray, grid: np.ndarray, align_corners: int, mode: str, padding_mode: str
    ) -> tuple[np.ndarray]:
        sizes = x.shape[2:]
        y = np.zeros((*x.shape[:2], *grid.shape[1:-1]), x.dtype)
        for n, *at in np.ndindex(grid.shape[:-1]):
            axes = [
                _sample_taps(
                    float(g), size, bool(align_corners), mode.removeprefix("bi"), padding_mode
                )
                for g, size in zip(grid[n, *at][::-1], sizes, strict=True)
            ]
            for taps in product(*axes):
                share = np.prod([weight for _, weight in taps])
                y[n, :, *at] += share * x[n, :, *(index for index, _ in taps)]
        return (y,)


def _sample_taps(
    g: float, size: int, aligned: bool, mode: str, padding: str
) -> list[tuple[int, float]]:
    """The pixels along one axis that a sample is of, and their weights."""
    low, high = (0.0, size - 1.0) if aligned else (-0.5, size - 0.5)
    at = (g + 1) / 2 * (size - 1) if aligned else ((g + 1) * size - 1) / 2
    if padding == "border" and mode != "cubic":
        at = min(max(at, 0.0), size - 1.0)
    if mode == "nearest":
        taps = [(round(at), 1.0)]
    elif mode in ("linear", "cubic"):
        first = int(np.floor(at))
        reach = range(first, first + 2) if mode == "linear" else range(first - 1, first + 3)
        taps = [(index, _share(abs(at - index), mode)) for index in reach]
    if padding == "zeros":
        return [(index, weight) for index, weight in taps if 0 <= index < size]
    if padding == "reflection":
        taps = [(_reflected(index, low, high), weight) for index, weight in taps]
    return [(min(max(index, 0), size - 1), weight) for index, weight in taps]


def _share(d: float, mode: str) -> float:
    """The weight of a pixel at a distance."""
    if mode == "linear":
        return 1 - d
    a = -0.75
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    return near if d <= 1 else a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a


def _reflected(index: int, low: float, high: float) -> int:
    while low < high and not low <= index <= high:
        index = round(2 * low - index if index < low else 2 * high - index)
    return index


class DeformConv(OpRun):
    """onnx.reference rounds positions to float32."""

    def _run(
        self,
        x: np.ndarray,
        w: np.ndarray,
        offset: np.ndarray,
        b: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        dilations: Any = None,
        group: int = 1,
        kernel_shape: Any = None,
        offset_group: int = 1,
        pads: Any = None,
        strides: Any = None,
    ) -> tuple[np.ndarray]:
        strides, dilations, pads = strides or [1, 1], dilations or [1, 1], pads or [0] * 4
        (n, c, *_), (m, c_w, *kernel), grid = x.shape, w.shape, offset.shape[2:]
        offset = offset.reshape(n, offset_group, *kernel, 2, *grid)
        shares = 1.0 if mask is None else mask.reshape(n, offset_group, *kernel, *grid)
        shares = np.broadcast_to(shares, (n, offset_group, *kernel, *grid))
        col = np.zeros((n, c, *kernel, *grid), x.dtype)
        for image, channel, *at in np.ndindex(col.shape):
            owner = channel * offset_group // c
            taps = [
                _linear_taps(
                    at[2 + a] * strides[a] - pads[a] + at[a] * dilations[a]
                    + float(offset[image, owner, at[0], at[1], a, at[2], at[3]]),
                    x.shape[2 + a],
                )
                for a in (0, 1)
            ]  # fmt: skip
            value = sum(
                u * v * x[image, channel, i, j] for (i, u), (j, v) in product(taps[0], taps[1])
            )
            col[image, channel, *at] = value * shares[image, owner, *at]
        ws = w.reshape(group, m // group, c_w, *kernel)
        y = np.einsum("gmcij,ngcijhw->ngmhw", ws, col.reshape(n, group, c_w, *kernel, *grid))
        y = y.reshape(n, m, *grid)
        return (y if b is None else y + b.reshape(-1, 1, 1),)


def _linear_taps(at: float, size: int) -> list[tuple[int, float]]:
    """The pixels on both sides of a position, as far as there are any."""
    first = int(np.floor(at))
    return [(i, 1 - abs(at - i)) for i in (first, first + 1) if 0 <= i < size]


def _places(indices: np.ndarray, axis: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Every position of the indices, and the one that it points at."""
    for here in np.ndindex(indices.shape):
        there = list(here)
        there[axis] = int(indices[here])
        yield here, tuple(there)


class GatherElements(OpRun):
    """onnx.reference wants as many indices as there are values along the other axes."""

    def _run(self, x: np.ndarray, indices: np.ndarray, axis: int = 0) -> tuple[np.ndarray]:
        y = np.empty(indices.shape, x.dtype)
        for here, there in _places(indices, axis):
            y[here] = x[there]
        return (y,)


class ScatterElements(OpRun):
    """onnx.reference wants as many indices as there are values along the other axes."""

    def _run(
        self,
        x: np.ndarray,
        indices: np.ndarray,
        updates: np.ndarray,
        axis: int = 0,
        reduction: str | None = None,
    ) -> tuple[np.ndarray]:
        combine = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}.get(
            reduction or "none", lambda _, update: update
        )
        y = x.copy()
        for here, there in _places(indices, axis):
            y[there] = combine(y[there], updates[here])
        return (y,)


KERNELS = [
    AffineGrid,
    DeformConv,
    GridSample,
    Erf,
    GlobalLpPool,
    GlobalMaxPool,
    LRN,
    LpPool,
    Gelu,
    Mean,
    Pad,
    ConvTranspose,
    MaxPool,
    Resize,
    LpNormalization,
    GroupNormalization,
    MeanVarianceNormalization,
    GatherElements,
    ScatterElements,
]
