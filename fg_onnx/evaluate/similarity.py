"""How alike two maps are, as Adebayo et al., Sanity Checks for Saliency Maps, 2018, measure it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.pictures.opencv import cv2

Array = npt.NDArray[Any]

_DEVIATION, _REACH = 1.5, 5  # of the Gaussian window of 11 x 11 pixels, in Wang et al., 2004
_STABLE = (0.01**2, 0.03**2)  # C1 and C2 there, for values between 0 and 1


def rank_correlation(one: Array, other: Array) -> float:
    """Spearman's, of two maps of one shape; NaN where one of them is even. Ties share a rank."""
    a, b = (_ranks(each.ravel()) for each in (one, other))
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else float("nan")


def structural_similarity(one: Array, other: Array) -> float:
    """SSIM (Wang, Bovik, Sheikh & Simoncelli, 2004) of two flat maps, each rescaled to 0..1.

    The Gaussian window lies wholly within the map. NaN where it does not fit, where a map is not
    flat, and where one is even.
    """
    if one.ndim != 2 or min(one.shape) < 2 * _REACH + 1:
        return float("nan")
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    a, b = ((each - each.min()) / np.ptp(each) for each in (one, other))
    mean_a, mean_b = _windowed(a), _windowed(b)
    var_a, var_b = _windowed(a * a) - mean_a**2, _windowed(b * b) - mean_b**2
    covariance = _windowed(a * b) - mean_a * mean_b
    c1, c2 = _STABLE
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    below = (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return float((above / below).mean())


def relative_change(one: Array, other: Array) -> float:
    """``|other - one| / |one|``, Euclidean; NaN where the first is 0 everywhere.

    It is 0 where nothing has changed at all, and sees what ranks and rescaled values do not.
    """
    scale = float(np.linalg.norm(one))
    return float(np.linalg.norm(other - one)) / scale if scale > 0 else float("nan")


SIMILARITIES: Mapping[str, Callable[[Array, Array], float]] = MappingProxyType(
    {
        "rank correlation": rank_correlation,
        "SSIM": structural_similarity,
        "|change of the map| / |map|": relative_change,
    }
)
"""Every measure by its name: of float64 maps before and after."""


def _ranks(values: Array) -> Array:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse])


def _windowed(values: Array) -> Array:
    """The weighted mean around every position whose window lies within the map."""
    at = np.arange(-_REACH, _REACH + 1)
    weights = np.exp(-0.5 * (at / _DEVIATION) ** 2)
    weights /= weights.sum()
    found = np.asarray(cv2.sepFilter2D(values, cv2.CV_64F, weights, weights))
    return found[_REACH:-_REACH, _REACH:-_REACH]
