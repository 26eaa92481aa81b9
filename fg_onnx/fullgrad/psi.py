"""psi, the post-processing of Eq. 2, written so that full-size arrays are touched least.

Every style sums a bias-gradient ``b_c ct_c`` over its channels *before* it is resized: resizing
is linear, so the order does not matter, and one channel is resized in the place of hundreds.
Rescaling is affine, so a layer's extremes can be applied to its sum, and the extremes of ``|ct|``
in each channel are enough to know them: ``max |b_c ct_c| = max_c |b_c| max_hw |ct_c|``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter, is_static
from fg_onnx.manifest import Dim

EPSILON = 1e-6
"""Of the rescaling, as in the authors' released code."""


@dataclass(frozen=True, eq=False)
class Channels:
    """``values * weight``: values [N, C, *size], weight [C], [1, C] or None for 1."""

    values: gs.Tensor
    weight: gs.Tensor | None
    count: int
    size: tuple[Dim, ...]

    @property
    def axes(self) -> list[int]:
        """Of the grid."""
        return _grid_axes(self.size)


def _grid_axes(size: Sequence[Dim]) -> list[int]:
    return list(range(2, 2 + len(size)))


@dataclass(frozen=True, eq=False)
class Extremes:
    """The least and the greatest entry of a layer, each [N, 1]."""

    low: gs.Tensor
    high: gs.Tensor


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer's values summed over channels, [N, 1, *size].

    Where it has extremes, it is still to be rescaled: each of its ``count`` channels ``a`` to
    ``(a - low) / (high - low + eps)``.
    """

    total: gs.Tensor
    extremes: Extremes | None
    count: int
    size: tuple[Dim, ...]


@dataclass(frozen=True)
class Psi:
    """A style: what is done to a layer, and how its map is resized.

    Attributes:
        layer: sums a bias-gradient over channels.
        coordinates: the ``coordinate_transformation_mode`` of the linear Resize.
        summary: one line, with its source.
    """

    layer: Callable[[Emitter, Channels], Layer]
    coordinates: Literal["align_corners", "half_pixel"]
    summary: str


_LayerOf: TypeAlias = Callable[[Emitter, Channels], Layer]


def contract(op: Emitter, channels: Channels, values: gs.Tensor, row: gs.Tensor | None) -> Layer:
    """sum_c row_c values_c -> [N, 1, *size]; the row is [C], [1, C], [N, 1, C], or None for 1."""
    if row is None:  # ReduceSum along channels takes the CPU eight times as long as this product
        row = op.constant(np.ones([1, channels.count]), values.dtype)
    product = op.MatMul(row, op.Reshape(values, [0, 0, -1]))
    total = op.Reshape(product, _map_shape(op, values, channels.size))
    return Layer(total, None, channels.count, channels.size)


def _map_shape(op: Emitter, values: gs.Tensor, size: tuple[Dim, ...]) -> gs.Tensor:
    if is_static(size):
        return op.constant([-1, 1, *size])
    grid = op.Slice(op.Shape(values), [2], [2 + len(size)], [0])
    return op.Concat(op.constant([-1, 1]), grid, axis=0)


def _magnitude(op: Emitter, channels: Channels) -> Channels:
    weight = channels.weight
    if weight is not None:
        # As a row: OpenVINO drops Abs from a vector that is computed from constants (its issue
        # 38166, in 2026.4 still), and would sum the magnitudes with their signs.
        weight = op.Abs(op.Unsqueeze(weight, axes=[0]))
    return Channels(op.Abs(channels.values), weight, channels.count, channels.size)


def _channel_extremes(op: Emitter, channels: Channels) -> Extremes:
    """The extremes in every channel, each [N, C]; values and weight are not negative."""
    low = op.ReduceMin(channels.values, axes=channels.axes, keepdims=0)
    high = op.ReduceMax(channels.values, axes=channels.axes, keepdims=0)
    if channels.weight is None:
        return Extremes(low, high)
    return Extremes(op.Mul(low, channels.weight), op.Mul(high, channels.weight))


def _per_layer(op: Emitter, channels: Channels) -> Layer:
    """The sum over channels and the extremes over C, h, w; nothing is negative."""
    total = contract(op, channels, channels.values, channels.weight).total
    each = _channel_extremes(op, channels)
    extremes = Extremes(
        op.ReduceMin(each.low, axes=[1], keepdims=1), op.ReduceMax(each.high, axes=[1], keepdims=1)
    )
    return Layer(total, extremes, channels.count, channels.size)


def _reference(op: Emitter, channels: Channels) -> Layer:
    return _per_layer(op, _magnitude(op, channels))


def _paper(op: Emitter, channels: Channels) -> Layer:
    # The minimum is taken off each channel at full size: a flat channel is divided by eps, which
    # would make the rounding of a sum over channels the largest thing in the map.
    magnitude = _magnitude(op, channels)
    low = op.ReduceMin(magnitude.values, axes=channels.axes, keepdims=1)
    lifted = op.Sub(magnitude.values, low)
    span = op.ReduceMax(lifted, axes=channels.axes, keepdims=0)
    if magnitude.weight is None:
        row = op.Reciprocal(op.Add(span, EPSILON))
    else:
        row = op.Div(magnitude.weight, op.Add(op.Mul(span, magnitude.weight), EPSILON))
    return contract(op, magnitude, lifted, op.Unsqueeze(row, axes=[1]))


def _abs(op: Emitter, channels: Channels) -> Layer:
    magnitude = _magnitude(op, channels)
    return contract(op, magnitude, magnitude.values, magnitude.weight)


def _signed(op: Emitter, channels: Channels) -> Layer:
    return contract(op, channels, channels.values, channels.weight)


def _part(sign: float) -> _LayerOf:
    def layer(op: Emitter, channels: Channels) -> Layer:
        product = channels.values
        if channels.weight is not None:
            along = [1, -1, *[1] * len(channels.size)]
            product = op.Mul(product, op.Reshape(channels.weight, along))
        part = op.Relu(product if sign > 0 else op.Neg(product))
        return _per_layer(op, Channels(part, None, channels.count, channels.size))

    return layer


STYLES: Mapping[str, Psi] = MappingProxyType(
    {
        "reference": Psi(
            _reference, "align_corners", "magnitude, rescaled per layer (the authors' code)"
        ),
        "paper": Psi(_paper, "half_pixel", "magnitude, rescaled per channel (Eq. 2 as written)"),
        "abs": Psi(_abs, "half_pixel", "magnitude, not rescaled (section 6, pixel perturbation)"),
        "signed": Psi(_signed, "half_pixel", "sign kept, not rescaled (section 6, digit flipping)"),
        "positive": Psi(
            _part(1.0), "half_pixel", "positive part, rescaled per layer (section 4.2)"
        ),
        "negative": Psi(
            _part(-1.0), "half_pixel", "negative part, rescaled per layer (section 4.2)"
        ),
    }
)


def rescaled(op: Emitter, layers: list[Layer]) -> gs.Tensor:
    """Layers of one size and style, side by side and rescaled: [N, len(layers), *size]."""
    totals = _beside(op, [layer.total for layer in layers])
    extremes = [layer.extremes for layer in layers if layer.extremes is not None]
    if not extremes:
        return totals
    low = _beside(op, [pair.low for pair in extremes])
    high = _beside(op, [pair.high for pair in extremes])
    counts = op.constant([[float(layer.count) for layer in layers]], totals.dtype)
    span = op.Sub(high, low)
    # A flat layer is 0 by definition; its sum is 0 up to rounding, which eps would blow up.
    varies = op.mask(op.Greater(span, 0.0), totals)
    scale = op.Div(varies, op.Add(span, EPSILON))
    axes = _grid_axes(layers[0].size)
    lifted = op.Sub(totals, op.Unsqueeze(op.Mul(low, counts), axes=axes))
    return op.Mul(lifted, op.Unsqueeze(scale, axes=axes))


def _beside(op: Emitter, tensors: list[gs.Tensor]) -> gs.Tensor:
    return op.Concat(*tensors, axis=1) if len(tensors) > 1 else tensors[0]
