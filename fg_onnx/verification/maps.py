"""Eq. 2 of the paper in NumPy, from bias-gradients at full size: psi, layer maps, their sum.

    saliency = psi(grad * x) + sum over layers and channels of psi(bias-gradient)

psi takes magnitudes (or keeps the sign, or takes one part), rescales to [0, 1] and resizes to the
image: ``reference`` over all of a layer and with corners aligned, as the authors' released code;
``paper`` every channel by itself. The others do not rescale, or rescale over a layer.

Rescaling divides by what may be next to nothing, and makes rounding large. So every map comes with
a bound for what rounding of the bias-gradients may do to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.manifest import Site

Array = npt.NDArray[Any]

_EPSILON = 1e-6  # of the rescaling, in the authors' code
_CORNERS = "reference"  # the style that resizes with corners aligned


@dataclass(frozen=True, eq=False)
class LayerMap:
    """A map summed over channels, float64 [N, *grid], and [N], what each entry may be off by."""

    values: Array
    doubt: Array


def image_like(values: Array, site: Site) -> Array:
    """A site's bias-gradient as [N, C, *grid]."""
    assert site.channel_axis is not None
    assert site.spatial_axes is not None
    if site.unfolded is not None:
        values = values.reshape(len(values), *site.unfolded)
    return along(values, site.channel_axis, site.spatial_axes, site.grid, site.grid_start)


def along(
    values: Array,
    channel: int,
    spatial: Sequence[int],
    grid: Sequence[int] | None = None,
    start: int = 0,
) -> Array:
    """[N, C, *grid] of a tensor whose channels and grid lie along given axes."""
    sizes = [values.shape[axis] for axis in spatial]
    others = [a for a in range(1, values.ndim) if a != channel and a not in spatial]
    ordered = values.transpose(0, channel, *others, *spatial)
    ordered = ordered.reshape(len(values), -1, *sizes)
    if grid is None:
        return ordered
    return ordered[:, :, start : start + math.prod(grid)].reshape(*ordered.shape[:2], *grid)


def layer_map(values: Array, style: str, rounding: float) -> LayerMap:
    """psi of [N, C, *grid] before it is resized, summed over channels.

    ``rounding`` is what an entry may be off by, of the largest.
    """
    grid = tuple(range(2, values.ndim))
    every = tuple(range(1, values.ndim))
    if style == "signed":
        return LayerMap(values.sum(1), rounding * np.abs(values).sum(1).max(axis=_less(grid)))
    taken = {
        "positive": lambda: np.maximum(values, 0.0),
        "negative": lambda: np.maximum(-values, 0.0),
    }.get(style, lambda: np.abs(values))()
    if style == "abs":
        return LayerMap(taken.sum(1), rounding * taken.sum(1).max(axis=_less(grid)))
    axes = grid if style == "paper" else every
    low, high = taken.min(axis=axes, keepdims=True), taken.max(axis=axes, keepdims=True)
    # Rounding of a: what a subtraction leaves of it, divided by the span.
    doubt = np.broadcast_to(
        rounding * high / (high - low + _EPSILON), taken.shape[:2] + (1,) * len(grid)
    )
    return LayerMap(
        ((taken - low) / (high - low + _EPSILON)).sum(1),
        doubt.reshape(*taken.shape[:2]).sum(1),
    )


def _less(grid: Sequence[int]) -> tuple[int, ...]:
    """The axes of a grid after the channels are summed."""
    return tuple(axis - 1 for axis in grid)


def resized(values: Array, size: Sequence[int], style: str) -> Array:
    """[N, *grid] at another size, linear along every axis."""
    for axis, (old, new) in enumerate(zip(values.shape[1:], size, strict=True), start=1):
        if old != new:
            weights = _weights(old, new, corners=style == _CORNERS)
            values = np.moveaxis(np.tensordot(values, weights, axes=(axis, 1)), -1, axis)
    return values


def _weights(old: int, new: int, *, corners: bool) -> Array:
    """[new, old]"""
    if corners:
        places = np.arange(new) * ((old - 1) / (new - 1) if new > 1 else 0.0)
    else:
        places = (np.arange(new) + 0.5) * (old / new) - 0.5
    places = np.clip(places, 0, old - 1)
    before = np.floor(places).astype(int)
    after = np.minimum(before + 1, old - 1)
    found = np.zeros((new, old))
    np.add.at(found, (np.arange(new), before), 1 - (places - before))
    np.add.at(found, (np.arange(new), after), places - before)
    return found
