"""What is measured of one image in two models: of two maps, two scores, two ledgers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.audit.measures import mass_of
from fg_onnx.comparison.document import Better
from fg_onnx.evaluate.similarity import rank_correlation, structural_similarity

Array = npt.NDArray[Any]

TOP = 0.1
"""The share of the pixels that counts as the top of a map."""

MEASURES: Mapping[str, Better] = MappingProxyType(
    {
        "score": "low",
        "output": "low",
        "spearman": "high",
        "ssim": "high",
        "top": "high",
        "shift": "low",
        "drift": "low",
    }
)
"""Every measure of an image, and which values say that the models are alike."""


@dataclass(frozen=True)
class MapAgreement:
    """How alike two maps are; None where a measure is not defined.

    Attributes:
        spearman: the rank correlation.
        ssim: the structural similarity.
        top: the intersection of the pixels on top over their union.
        shift: between the centres of mass, in sides of the map.
    """

    spearman: float | None
    ssim: float | None
    top: float | None
    shift: float | None


def tells(saliency: Array) -> bool:
    """Whether a map tells pixels apart: it is finite, and not the same everywhere."""
    return bool(np.isfinite(saliency).all()) and float(np.ptp(saliency)) > 0


def compare_maps(one: Array, other: Array) -> MapAgreement:
    """Of two maps on one grid [*grid], both of which tell pixels apart.

    Where pooling has left nothing to tell on the common grid, nothing is defined.
    """
    if not (tells(one) and tells(other)):
        return MapAgreement(None, None, None, None)
    return MapAgreement(
        _known(rank_correlation(one, other)),
        _known(structural_similarity(one, other)),
        top_overlap(one, other),
        shift(one, other),
    )


def top_overlap(one: Array, other: Array) -> float:
    """Intersection over union of the tenth of the pixels with the largest magnitudes.

    Pixels that are equal at the edge count in equal parts, so that no order among them matters.
    """
    a, b = on_top(np.abs(one)), on_top(np.abs(other))
    return float(np.minimum(a, b).sum() / np.maximum(a, b).sum())


def on_top(magnitude: Array) -> Array:
    """How much each pixel belongs to the top, 0 to 1; the parts sum to the number on top."""
    count = math.ceil(TOP * magnitude.size)
    edge = np.partition(magnitude, magnitude.size - count, axis=None)[magnitude.size - count]
    above, at = magnitude > edge, magnitude == edge
    return np.where(above, 1.0, np.where(at, (count - above.sum()) / at.sum(), 0.0))


def shift(one: Array, other: Array) -> float | None:
    """The distance between the centres of mass, each axis counted in sides of the map."""
    a, b = centre(one), centre(other)
    return None if a is None or b is None else float(np.linalg.norm(a - b))


def centre(saliency: Array) -> Array | None:
    """The centre of the magnitudes along every axis, 0 to 1; None of a map without mass."""
    mass = mass_of(saliency)
    if mass is None:
        return None
    axes = range(mass.ndim)
    along = [mass.sum(axis=tuple(other for other in axes if other != axis)) for axis in axes]
    return np.array([sums @ (np.arange(len(sums)) + 0.5) / len(sums) for sums in along])


def score_change(one: float, other: float) -> float | None:
    """``|other - one| / max(|one|, |other|)``: 0 where they are equal; None if not finite."""
    if not (math.isfinite(one) and math.isfinite(other)):
        return None
    scale = max(abs(one), abs(other))
    return abs(other - one) / scale if scale > 0 else 0.0


def output_change(one: Array, other: Array) -> float | None:
    """The largest difference between outputs, in units of the largest magnitude of either."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    scale = float(np.abs([a, b]).max(initial=0))
    return float(np.abs(b - a).max(initial=0)) / scale if scale > 0 else 0.0


def drift(one: Array, other: Array, matches: Array) -> float | None:
    """``sum |c_B - c_A|`` over the terms that both have, over A's ``sum |c|`` of all terms.

    Args:
        one: A's contributions [1 + S].
        other: B's [1 + T].
        matches: [M, 2], the columns of the same terms in A and B.
    """
    total = float(np.abs(one).sum())
    apart = float(np.abs(other[matches[:, 1]] - one[matches[:, 0]]).sum())
    if not (math.isfinite(total) and math.isfinite(apart)) or total == 0:
        return None
    return apart / total


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
