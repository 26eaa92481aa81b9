"""Sampling between the pixels of an image at coordinates that are known at run time only.

Along each axis a sample is a weighted sum of a few pixels, its taps; in space it is one over all
combinations of them, its corners. The adjoint adds each corner's share of a cotangent at its pixel,
which takes ScatterElements: no other operator has it at a cost that does not grow with the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, TypeAlias

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter

Border: TypeAlias = Literal["zeros", "border", "reflection"]
_CUBIC = -0.75


@dataclass(frozen=True, eq=False)
class Tap:
    """A pixel that samples take part of, along one axis; tensors [B, 1, P] or of size 1.

    Attributes:
        index: the pixel, within the image.
        weight: its share of the sample.
        slope: the derivative of the weight by the coordinate.
    """

    index: gs.Tensor
    weight: gs.Tensor
    slope: gs.Tensor


@dataclass(frozen=True, eq=False)
class Corner:
    """A pixel that samples take part of, in space.

    Attributes:
        index: the pixel in row-major order, int64 [B, 1, P].
        weight: its share of the sample.
        slopes: the derivatives of the weight by the coordinates.
    """

    index: gs.Tensor
    weight: gs.Tensor
    slopes: tuple[gs.Tensor, ...]


@dataclass(frozen=True)
class Edge:
    """How an axis of pixels goes on beyond its ends.

    Attributes:
        size: how many pixels there are.
        border: what lies beyond.
        aligned: whether the ends are the first and last pixel's middle, and not their outer edge.
    """

    size: int
    border: Border
    aligned: bool = False

    def inside(self, op: Emitter, index: gs.Tensor) -> gs.Tensor:
        """1 where a pixel exists, else 0."""
        low, high = op.GreaterOrEqual(index, 0.0), op.LessOrEqual(index, self.size - 1.0)
        return op.Mul(op.mask(low, index), op.mask(high, index))

    def clipped(self, op: Emitter, position: gs.Tensor) -> gs.Tensor:
        """The nearest position within the image."""
        return op.Clip(position, 0.0, self.size - 1.0)

    def held(self, op: Emitter, position: gs.Tensor) -> tuple[gs.Tensor, gs.Tensor]:
        """The nearest position within the image, and its slope: 0 at the ends, as PyTorch's."""
        low, high = op.Greater(position, 0.0), op.Less(position, self.size - 1.0)
        slope = op.Mul(op.mask(low, position), op.mask(high, position))
        return self.clipped(op, position), slope

    def folded(self, op: Emitter, position: gs.Tensor) -> tuple[gs.Tensor, gs.Tensor]:
        """A position reflected at the ends until it lies between them, and its slope."""
        start = 0.0 if self.aligned else -0.5
        width = self.size - 1.0 if self.aligned else float(self.size)
        if width == 0:
            return op.Mul(position, 0.0), op.Mul(position, 0.0)
        beyond = op.Sub(position, start)
        turns = op.Floor(op.Div(beyond, 2 * width))
        within = op.Sub(op.Sub(beyond, op.Mul(turns, 2 * width)), width)  # [-width, width)
        slope = op.Sub(1.0, op.Mul(op.mask(op.GreaterOrEqual(within, 0.0), position), 2.0))
        return op.Add(op.Sub(width, op.Abs(within)), start), slope

    def pixel(self, op: Emitter, index: gs.Tensor, weight: gs.Tensor, slope: gs.Tensor) -> Tap:
        """A tap of an index that may lie beyond the ends."""
        if self.border == "zeros":
            inside = self.inside(op, index)
            weight, slope = op.Mul(weight, inside), op.Mul(slope, inside)
        elif self.border == "reflection":
            index, _ = self.folded(op, index)
        return Tap(self.clipped(op, index), weight, slope)


def nearest(op: Emitter, position: gs.Tensor, edge: Edge) -> list[Tap]:
    """The nearest pixel, the even one of two."""
    one, zero = op.constant([[[1.0]]], position.dtype), op.constant([[[0.0]]], position.dtype)
    return [edge.pixel(op, op.Round(position), one, zero)]


def linear(op: Emitter, position: gs.Tensor, edge: Edge) -> list[Tap]:
    """The pixels on both sides."""
    slope = op.constant([[[1.0]]], position.dtype)
    if edge.border == "reflection":
        position, slope = edge.folded(op, position)
    if edge.border != "zeros":
        position, kept = edge.held(op, position)
        slope = op.Mul(slope, kept)
    before = op.Floor(position)
    part = op.Sub(position, before)
    return [
        edge.pixel(op, before, op.Sub(1.0, part), op.Neg(slope)),
        edge.pixel(op, op.Add(before, 1.0), part, slope),
    ]


def cubic(op: Emitter, position: gs.Tensor, edge: Edge) -> list[Tap]:
    """Two pixels on either side, the border's again where there are no more."""
    before = op.Floor(position)
    part = op.Sub(position, before)
    taps = []
    for offset in (-1, 0, 1, 2):
        sign = 1.0 if offset <= 0 else -1.0
        away = op.Mul(op.Sub(part, float(offset)), sign)  # the distance, 0 to 2
        weight, slope = _cubic(op, away, far=offset in (-1, 2))
        taps.append(edge.pixel(op, op.Add(before, float(offset)), weight, op.Mul(slope, sign)))
    return taps


def _cubic(op: Emitter, d: gs.Tensor, *, far: bool) -> tuple[gs.Tensor, gs.Tensor]:
    """The weight at a distance of 0 to 1, or of 1 to 2, and its derivative."""
    a = _CUBIC
    powers = [a, -5 * a, 8 * a, -4 * a] if far else [a + 2, -(a + 3), 0.0, 1.0]
    slopes = [3 * powers[0], 2 * powers[1], powers[2]]
    return _polynomial(op, d, powers), _polynomial(op, d, slopes)


def _polynomial(op: Emitter, d: gs.Tensor, powers: Sequence[float]) -> gs.Tensor:
    total = op.Add(op.Mul(d, powers[0]), powers[1])
    for power in powers[2:]:
        total = op.Add(op.Mul(total, d), power)
    return total


def corners(op: Emitter, axes: Sequence[Sequence[Tap]], sizes: Sequence[int]) -> list[Corner]:
    """All combinations of the axes' taps."""
    strides = [int(np.prod(sizes[axis + 1 :])) for axis in range(len(sizes))]
    found = []
    for taps in product(*axes):
        parts = [
            op.Mul(op.Cast(tap.index, to=onnx.TensorProto.INT64), stride)
            for tap, stride in zip(taps, strides, strict=True)
        ]
        weights = [tap.weight for tap in taps]
        slopes = tuple(
            _product(op, [*weights[:axis], tap.slope, *weights[axis + 1 :]])
            for axis, tap in enumerate(taps)
        )
        found.append(Corner(op.total(parts), _product(op, weights), slopes))
    return found


def _product(op: Emitter, factors: Sequence[gs.Tensor]) -> gs.Tensor:
    first, *rest = factors
    for factor in rest:
        first = op.Mul(first, factor)
    return first


def scatter(op: Emitter, ct: gs.Tensor, where: Sequence[Corner], pixels: int) -> gs.Tensor:
    """The cotangent [B, C, P] of samples, at the pixels that they are of: [B, C, pixels]."""
    shares = op.Concat(*(op.Mul(ct, corner.weight) for corner in where), axis=2)
    indices = op.Concat(*(corner.index for corner in where), axis=2)
    shape = op.Concat(op.Slice(op.Shape(ct), [0], [2], [0]), op.constant([pixels]), axis=0)
    nothing = op.Expand(op.constant(0.0, ct.dtype), shape)
    everywhere = op.Expand(indices, op.Shape(shares))
    return op.ScatterElements(nothing, everywhere, shares, axis=2, reduction="add")


def through(op: Emitter, x: gs.Tensor, ct: gs.Tensor, corner: Corner) -> gs.Tensor:
    """The cotangent [B, 1, P] of a corner's weight: that of the samples times the pixels."""
    pixels = op.GatherElements(x, op.Expand(corner.index, op.Shape(ct)), axis=2)
    return op.ReduceSum(op.Mul(ct, pixels), axes=[1], keepdims=1)


def moved(
    op: Emitter,
    x: gs.Tensor,
    like: gs.Tensor,
    where: Sequence[Corner],
    along: Sequence[gs.Tensor],
) -> gs.Tensor:
    """How the samples move with their places, [B, C, P]: slopes times ``along``, axis by axis.

    ``x`` are the pixels [B, C, pixels], ``like`` has the shape of the samples, and ``along`` is how
    the coordinates move: [B, 1, P] of every axis.
    """
    size = op.Shape(like)
    steps = []
    for corner in where:
        pixels = op.GatherElements(x, op.Expand(corner.index, size), axis=2)
        step = op.total([op.Mul(s, a) for s, a in zip(corner.slopes, along, strict=True)])
        steps.append(op.Mul(pixels, step))
    return op.total(steps)


def coordinate_gradients(
    op: Emitter, x: gs.Tensor, ct: gs.Tensor, where: Sequence[Corner]
) -> list[gs.Tensor]:
    """The cotangents [B, 1, P] of the coordinates along each axis.

    ``x`` are the pixels [B, C, pixels] and ``ct`` the cotangent [B, C, P] of the samples.
    """
    return [
        op.total([op.Mul(through(op, x, ct, c), c.slopes[axis]) for c in where])
        for axis in range(len(where[0].slopes))
    ]
