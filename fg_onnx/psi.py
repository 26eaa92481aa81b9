"""psi, the post-processing of Eq. 2, written so that full-size arrays are touched least.

Every style maps a bias-gradient ``b_c ct_c`` to a layer map [N, 1, h, w], summed over channels
*before* it is resized: resizing is linear, so the order does not matter, and one channel is
resized in the place of hundreds. Rescaling is affine, so the extremes of ``|ct_c|`` are enough:
``max |b_c ct_c| = max_c |b_c| max_hw |ct_c|``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

import onnx_graphsurgeon as gs

from fg_onnx.emit import Emitter

EPSILON = 1e-6
"""Of the rescaling, as in the authors' released code."""

Style: TypeAlias = Literal["reference", "paper", "abs", "signed", "positive", "negative"]


@dataclass(frozen=True, eq=False)
class Channels:
    """A bias-gradient as ``values * weight``: values [N, C, H, W], weight [C] or None for 1."""

    values: gs.Tensor
    weight: gs.Tensor | None
    count: int


LayerMap: TypeAlias = Callable[[Emitter, Channels], gs.Tensor]


@dataclass(frozen=True)
class Psi:
    """A style: what is done to a layer, and how its map is resized.

    Attributes:
        layer_map: bias-gradient -> [N, 1, h, w].
        coordinates: the ``coordinate_transformation_mode`` of the bilinear Resize.
        summary: one line, with its source.
    """

    layer_map: LayerMap
    coordinates: Literal["align_corners", "half_pixel"]
    summary: str


def _weighted(op: Emitter, per_channel: gs.Tensor, weight: gs.Tensor | None) -> gs.Tensor:
    return per_channel if weight is None else op.Mul(per_channel, weight)


def _contract(op: Emitter, values: gs.Tensor, weight: gs.Tensor | None) -> gs.Tensor:
    """sum_c weight_c values_c -> [N, 1, H, W]; the weight is [C] or [N, 1, C]."""
    if weight is None:
        return op.ReduceSum(values, axes=[1], keepdims=1)
    flat = op.Reshape(values, [0, 0, -1])
    row = weight if weight.shape is None else op.Reshape(weight, [1, -1])
    size = op.Slice(op.Shape(values), [2], [4], [0])
    shape = op.Concat(op.constant([0, 1]), size, axis=0)
    return op.Reshape(op.MatMul(row, flat), shape)


def _per_image(op: Emitter, scalar: gs.Tensor) -> gs.Tensor:
    """[N, 1] as [N, 1, 1, 1]."""
    return op.Unsqueeze(scalar, axes=[2, 3])


def _rescaled(op: Emitter, magnitude: gs.Tensor, channels: Channels) -> gs.Tensor:
    """sum_c (a_c - min a) / (max a - min a + eps), extremes over C, H, W; a = magnitude * |b|."""
    weight = None if channels.weight is None else op.Abs(channels.weight)
    highs = _weighted(op, op.ReduceMax(magnitude, axes=[2, 3], keepdims=0), weight)
    lows = _weighted(op, op.ReduceMin(magnitude, axes=[2, 3], keepdims=0), weight)
    high = op.ReduceMax(highs, axes=[1], keepdims=1)
    low = op.ReduceMin(lows, axes=[1], keepdims=1)
    span = op.Add(op.Sub(high, low), EPSILON)
    total = _contract(op, magnitude, weight)
    lifted = op.Sub(total, _per_image(op, op.Mul(low, float(channels.count))))
    return op.Div(lifted, _per_image(op, span))


def _reference(op: Emitter, channels: Channels) -> gs.Tensor:
    return _rescaled(op, op.Abs(channels.values), channels)


def _paper(op: Emitter, channels: Channels) -> gs.Tensor:
    magnitude = op.Abs(channels.values)
    weight = None if channels.weight is None else op.Abs(channels.weight)
    highs = _weighted(op, op.ReduceMax(magnitude, axes=[2, 3], keepdims=0), weight)
    lows = _weighted(op, op.ReduceMin(magnitude, axes=[2, 3], keepdims=0), weight)
    scale = op.Reciprocal(op.Add(op.Sub(highs, lows), EPSILON))
    total = _contract(op, magnitude, op.Unsqueeze(_weighted(op, scale, weight), axes=[1]))
    low = op.ReduceSum(op.Mul(lows, scale), axes=[1], keepdims=1)
    return op.Sub(total, _per_image(op, low))


def _abs(op: Emitter, channels: Channels) -> gs.Tensor:
    weight = None if channels.weight is None else op.Abs(channels.weight)
    return _contract(op, op.Abs(channels.values), weight)


def _signed(op: Emitter, channels: Channels) -> gs.Tensor:
    return _contract(op, channels.values, channels.weight)


def _part(sign: float) -> LayerMap:
    def layer_map(op: Emitter, channels: Channels) -> gs.Tensor:
        product = channels.values
        if channels.weight is not None:
            product = op.Mul(product, op.Reshape(channels.weight, [1, -1, 1, 1]))
        part = op.Relu(product if sign > 0 else op.Neg(product))
        return _rescaled(op, part, Channels(part, None, channels.count))

    return layer_map


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
