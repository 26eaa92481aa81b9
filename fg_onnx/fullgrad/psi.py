"""psi, the post-processing of Eq. 2, written so that full-size arrays are touched least.

Every style sums a bias-gradient ``b_c ct_c`` over its channels *before* it is resized: resizing
is linear, so the order does not matter, and one channel is resized in the place of hundreds.
Rescaling is affine, so a layer's extremes can be applied to its sum, and the extremes of ``|ct|``
in each channel are enough to know them: ``max |b_c ct_c| = max_c |b_c| max_hw |ct_c|``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter

EPSILON = 1e-6
"""Of the rescaling, as in the authors' released code."""
_END = 2**31 - 1  # of any axis


@dataclass(frozen=True, eq=False)
class Channels:
    """``values * weight``: values [N, C, HW], the grid as one axis; weight [1, C] or None for 1.

    Where the channels lie last, values are [N, HW, C].
    """

    values: gs.Tensor
    weight: gs.Tensor | None
    count: int
    last: bool = False


@dataclass(frozen=True, eq=False)
class Extremes:
    """The least and the greatest entry of a layer, each [N, 1, 1]."""

    low: gs.Tensor
    high: gs.Tensor


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer's values summed over channels, [N, 1, HW].

    Where it has extremes, it is still to be rescaled: each of its ``count`` channels ``a`` to
    ``(a - low) / (high - low + eps)``. Its contribution, [N, 1, 1], is known where that is asked
    for too.
    """

    total: gs.Tensor
    extremes: Extremes | None
    count: int
    contribution: gs.Tensor | None = None


@dataclass(frozen=True)
class Psi:
    """A style: what is done to a layer, and how its map is resized.

    Attributes:
        layer: sums a bias-gradient over channels.
        coordinates: the ``coordinate_transformation_mode`` of the linear Resize.
        summary: one line, with its source.
        channelwise: whether the layer is to have its channels before its grid.
    """

    layer: Callable[[Emitter, Channels], Layer]
    coordinates: Literal["align_corners", "half_pixel"]
    summary: str
    channelwise: bool = False


_LayerOf: TypeAlias = Callable[[Emitter, Channels], Layer]


def contract(op: Emitter, channels: Channels, values: gs.Tensor, row: gs.Tensor | None) -> Layer:
    """sum_c row_c values_c; the row is [1, C], [N, 1, C], or None for 1."""
    if channels.last:  # along the last axis ReduceSum takes the CPU a quarter of a product's time
        each = values if row is None else op.Mul(values, row)
        total = op.Unsqueeze(op.ReduceSum(each, axes=[2], keepdims=0), axes=[1])
    else:  # and along another one eight times as long
        if row is None:
            row = op.constant(np.ones([1, channels.count]), values.dtype)
        total = op.MatMul(row, values)
    return Layer(total, None, channels.count)


def _magnitude(op: Emitter, channels: Channels) -> Channels:
    weight = channels.weight
    if weight is not None:
        # A row: OpenVINO drops Abs from a vector that is computed from constants (its issue
        # 38166, in 2026.4 still), and would sum the magnitudes with their signs.
        weight = op.Abs(weight)
    return replace(channels, values=op.Abs(channels.values), weight=weight)


def _column(op: Emitter, weight: gs.Tensor) -> gs.Tensor:
    """[C, 1] of [1, C]"""
    return op.Reshape(weight, [-1, 1])


def _weighted(op: Emitter, channels: Channels) -> gs.Tensor:
    """The product at full size."""
    weight = channels.weight
    if weight is None:
        return channels.values
    return op.Mul(channels.values, weight if channels.last else _column(op, weight))


def _per_layer(op: Emitter, channels: Channels) -> Layer:
    """The sum over channels and the extremes over C, h, w; nothing is negative."""
    if channels.last and channels.weight is not None:
        # Extremes of each channel would be along an axis before the last, where ReduceMax is slow.
        channels = replace(channels, values=_weighted(op, channels), weight=None)
    low = op.ReduceMin(channels.values, axes=[2], keepdims=1)
    high = op.ReduceMax(channels.values, axes=[2], keepdims=1)
    if channels.weight is not None:
        column = _column(op, channels.weight)
        low, high = op.Mul(low, column), op.Mul(high, column)
    extremes = Extremes(
        op.ReduceMin(low, axes=[1], keepdims=1), op.ReduceMax(high, axes=[1], keepdims=1)
    )
    total = contract(op, channels, channels.values, channels.weight).total
    return Layer(total, extremes, channels.count)


def _reference(op: Emitter, channels: Channels) -> Layer:
    return _per_layer(op, _magnitude(op, channels))


def _paper(op: Emitter, channels: Channels) -> Layer:
    # The minimum is taken off each channel at full size: a flat channel is divided by eps, which
    # would make the rounding of a sum over channels the largest thing in the map.
    magnitude = _magnitude(op, channels)
    low = op.ReduceMin(magnitude.values, axes=[2], keepdims=1)
    lifted = op.Sub(magnitude.values, low)
    span = op.ReduceMax(lifted, axes=[2], keepdims=0)
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
        product = _weighted(op, channels)
        part = op.Relu(product if sign > 0 else op.Neg(product))
        return _per_layer(op, replace(channels, values=part, weight=None))

    return layer


STYLES: Mapping[str, Psi] = MappingProxyType(
    {
        "reference": Psi(
            _reference, "align_corners", "magnitude, rescaled per layer (the authors' code)"
        ),
        "paper": Psi(
            _paper,
            "half_pixel",
            "magnitude, rescaled per channel (Eq. 2 as written)",
            channelwise=True,
        ),
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


def rescaled(op: Emitter, layers: Sequence[Layer]) -> gs.Tensor:
    """Layers of one size and style, side by side and rescaled: [N, len(layers), HW].

    All that is computed of a layer's cotangent is joined to one tensor, and then taken apart
    again, so that the cotangent can be forgotten before the next one is made; see
    `fg_onnx.graph.ordering`.
    """
    numbers = len(_numbers(op, layers[0]))
    rows = [
        op.Concat(*_numbers(op, layer), layer.total, axis=2) if numbers else layer.total
        for layer in layers
    ]
    joined = op.Concat(*rows, axis=1) if len(rows) > 1 else rows[0]
    totals = op.Slice(joined, [numbers], [_END], [2]) if numbers else joined
    if layers[0].extremes is None:
        return totals
    low, high = op.Slice(joined, [0], [1], [2]), op.Slice(joined, [1], [2], [2])
    counts = op.constant([[[float(layer.count)] for layer in layers]], joined.dtype)
    span = op.Sub(high, low)
    # A flat layer is 0 by definition; its sum is 0 up to rounding, which eps would blow up.
    varies = op.mask(op.Greater(span, 0.0), joined)
    scale = op.Div(varies, op.Add(span, EPSILON))
    return op.Mul(op.Sub(totals, op.Mul(low, counts)), scale)


def _numbers(op: Emitter, layer: Layer) -> list[gs.Tensor]:
    """What a layer has beside its total, each [N, 1, 1]."""
    found = [] if layer.extremes is None else [layer.extremes.low, layer.extremes.high]
    if layer.contribution is not None:
        found.append(op.cast(layer.contribution, layer.total.dtype))
    return found
