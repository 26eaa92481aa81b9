"""What is measured of one map, and of one image's contributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

GRID = 16
"""Rows and columns of the small map that is kept of every image."""
OUTER = 0.1
"""The part of each side that counts as border."""
KINDS = ("input", "bias", "batchnorm", "implicit")


@dataclass(frozen=True, eq=False)
class MapMeasures:
    """What is measured of a flat map, as `fg_onnx.audit.document.ImageRow` has it.

    Attributes:
        concentration: the Gini coefficient of the magnitudes.
        centre: row and column of their centre, from 0 to 1.
        border: their share on the outer tenth of each side.
        small: float32 [GRID, GRID], the magnitudes on a coarse grid, which sum to 1.
    """

    concentration: float
    centre: tuple[float, float]
    border: float
    small: Array


def measure_map(saliency: Array) -> MapMeasures | None:
    """Of a map [H, W]; None where it is 0 everywhere or not finite, and so has no mass."""
    mass = mass_of(saliency)
    if mass is None:
        return None
    rows, columns = mass.sum(axis=1), mass.sum(axis=0)
    height, width = mass.shape
    centre = (
        float(rows @ (np.arange(height) + 0.5)) / height,
        float(columns @ (np.arange(width) + 0.5)) / width,
    )
    inner = [overlaps(n, [OUTER * n, (1 - OUTER) * n])[0] for n in mass.shape]
    border = float((mass * (1 - np.outer(*inner))).sum())
    return MapMeasures(gini(np.abs(saliency)), centre, border, coarse(mass).astype(np.float32))


def mass_of(saliency: Array) -> Array | None:
    """The magnitudes, float64, divided by their sum; None where that is 0 or not finite."""
    magnitude = np.abs(saliency.astype(np.float64))
    total = float(magnitude.sum())
    return magnitude / total if np.isfinite(total) and total > 0 else None


def gini(magnitude: Array) -> float:
    """0 where all are equal, 1 where one has everything; of magnitudes of which some are not 0.

    They are sorted in their own type, half as wide as the float64 in which they are summed.
    """
    count = magnitude.size
    if count == 1:
        return 0.0
    rising = np.sort(magnitude, axis=None).astype(np.float64)
    ranks = 2 * np.arange(1, count + 1) - count - 1
    return float(ranks @ rising) / float(rising.sum()) / (count - 1)


def coarse(mass: Array) -> Array:
    """The same mass on `GRID` x `GRID` cells, each pixel's divided by the area it shares."""
    height, width = mass.shape
    down = overlaps(height, np.linspace(0, height, GRID + 1))
    across = overlaps(width, np.linspace(0, width, GRID + 1))
    return np.asarray(down @ mass @ across.T)


def overlaps(count: int, edges: Sequence[float] | Array) -> Array:
    """How much of each of ``count`` pixels lies between neighbouring edges: [edges - 1, count]."""
    at = np.arange(count)
    low, high = np.asarray(edges)[:-1, None], np.asarray(edges)[1:, None]
    return np.asarray(np.clip(np.minimum(high, at + 1) - np.maximum(low, at), 0, 1))


def inside_share(saliency: Array, inside: Array) -> float | None:
    """The share of the mass that lies inside (energy), None of a map without mass.

    Args:
        saliency: [H, W].
        inside: [H, W], the share of each pixel that is inside.
    """
    mass = mass_of(saliency)
    return None if mass is None else float((mass * inside).sum())


def points_inside(saliency: Array, inside: Array) -> bool | None:
    """Whether the pixel of the largest magnitude lies inside by half (the pointing game)."""
    mass = mass_of(saliency)
    return None if mass is None else bool(inside.flat[int(mass.argmax())] >= 0.5)


def shares(contributions: Array, kinds: Sequence[str]) -> Mapping[str, float]:
    """Of each kind in the sum of magnitudes; empty where that is 0 or not finite.

    Args:
        contributions: [1 + S], the input's first.
        kinds: of the S sites.
    """
    magnitude = np.abs(contributions.astype(np.float64))
    total = float(magnitude.sum())
    if not np.isfinite(total) or total == 0:
        return {}
    columns = np.array(["input", *kinds])
    return {kind: float(magnitude[columns == kind].sum()) / total for kind in KINDS}
