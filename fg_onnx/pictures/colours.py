"""From a map's numbers to colours: how strong each is, between the percentiles, in 256 levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.errors import InputError
from fg_onnx.pictures.opencv import cv2

Picture = npt.NDArray[np.uint8]
Map = npt.NDArray[np.floating[Any]]
_Real = npt.NDArray[np.float64]

# the clipping of extreme values, in percent: one pixel in 200 may be brighter than the brightest
PERCENTILE = 99.5

# blue - white - red, of even lightness on both sides (ColorBrewer's RdBu, reversed)
_STOPS = np.array(
    [
        [5, 48, 97],
        [33, 102, 172],
        [67, 147, 195],
        [146, 197, 222],
        [247, 247, 247],
        [244, 165, 130],
        [214, 96, 77],
        [178, 24, 43],
        [103, 0, 31],
    ],
    dtype=np.float64,
)


# from one of these to the next are so many levels, so that each is met; 249 in all
_BETWEEN = 31


@dataclass(frozen=True, eq=False)
class Scale:
    """The levels of a strength, and their colours.

    Attributes:
        colours: uint8 [256, 3], RGB.
        strengths: float64 [256], the magnitude of what each stands for, 0..1.
        zero: the level of a strength of 0.
        steps: from there to the level of a strength of 1.
    """

    colours: Picture
    strengths: _Real
    zero: int
    steps: int

    def levels(self, strength: _Real) -> Picture:
        """uint8 [H, W]: the level next to every strength, the even one of two."""
        found = strength * self.steps
        np.rint(found, out=found)
        found += self.zero
        return found.astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Coloured:
    """A map in the colours of a scale.

    Attributes:
        levels: uint8 [H, W].
        scale: whose levels they are.
    """

    levels: Picture
    scale: Scale

    @property
    def picture(self) -> Picture:
        """uint8 [H, W, 3], RGB."""
        found = cv2.applyColorMap(self.levels, self.scale.colours[:, None])
        return np.asarray(found, dtype=np.uint8)


def coloured(
    saliency: Map, signed: bool, percentile: float = PERCENTILE, scale: float | None = None
) -> Coloured:
    """A map [H, W] in colours, as `fg_onnx.pictures.render.heat_map`.

    Raises:
        InputError: ``not-a-map``.
    """
    if signed:
        chosen, strength = _DIVERGING, _signed_strength(saliency, percentile, scale)
    else:
        chosen, strength = _SEQUENTIAL, _strength(saliency, percentile)
    return Coloured(chosen.levels(strength), chosen)


def palette(signed: bool = False) -> Picture:
    """The colours of a map, from the least value to the greatest, as uint8 [K, 3], RGB.

    Signed ones are to be interpolated; of the others a strength s takes number ``round(255 s)``.
    """
    return _to_picture(_STOPS) if signed else _SEQUENTIAL.colours.copy()


# --- scales -------------------------------------------------------------------------------------


def _sequential() -> Scale:
    """Inferno, from dark to bright."""
    levels = np.arange(256, dtype=np.uint8)[:, None]
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return Scale(np.asarray(colours, dtype=np.uint8)[:, 0], np.arange(256) / 255.0, 0, 255)


def _diverging() -> Scale:
    half = _BETWEEN * (len(_STOPS) // 2)
    strength = (np.arange(256) - half).clip(max=half) / half
    stops = np.linspace(-1.0, 1.0, len(_STOPS))
    colours = np.stack([np.interp(strength, stops, _STOPS[:, i]) for i in range(3)], axis=-1)
    return Scale(_to_picture(colours), np.abs(strength), half, half)


def _to_picture(pixels: _Real) -> Picture:
    return np.round(pixels).astype(np.uint8)


_SEQUENTIAL = _sequential()
_DIVERGING = _diverging()


# --- strengths ----------------------------------------------------------------------------------


def as_map(saliency: Map) -> _Real:
    """The numbers of a map, float64 [H, W].

    Raises:
        InputError: ``not-a-map``: they are not two-dimensional, or there are none.
    """
    values = np.asarray(saliency, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise InputError(
            "not-a-map",
            f"a map has a height and a width, and this one's shape is {list(values.shape)}",
            "give one channel of one image",
        )
    return values


def _strength(saliency: Map, percentile: float) -> _Real:
    """[H, W] in 0..1: between the low and the high percentile; 0 where not finite."""
    values = as_map(saliency)
    known = np.isfinite(values)
    finite = _only(values, known)
    if finite.size == 0:
        return np.zeros_like(values)
    low, high = -_high_percentile(-finite, percentile), _high_percentile(finite, percentile)
    if high <= low:  # nearly all pixels are equal: the few that are not are then all there is
        low, high = finite.min(), finite.max()
    if high <= low:
        return np.zeros_like(values)
    return _clipped((values - low) / (high - low), known, 0.0)


def _signed_strength(saliency: Map, percentile: float, scale: float | None = None) -> _Real:
    """[H, W] in -1..1, with 0 staying 0: divided by a scale, or the magnitude's percentile."""
    values = as_map(saliency)
    known = np.isfinite(values)
    magnitude = np.abs(_only(values, known))
    if magnitude.size == 0:
        return np.zeros_like(values)
    high = scale or _high_percentile(magnitude, percentile) or magnitude.max()
    if high == 0:
        return np.zeros_like(values)
    return _clipped(values / high, known, -1.0)


def _only(values: _Real, known: npt.NDArray[np.bool_]) -> _Real:
    """What is known, in one row."""
    return values.ravel() if known.all() else values[known]


def _clipped(strength: _Real, known: npt.NDArray[np.bool_], low: float) -> _Real:
    """Within ``low`` and 1, and 0 where not known; written into what is given."""
    if not known.all():
        strength[~known] = 0.0
    return strength.clip(low, 1.0, out=strength)


# of so many pixels one tells about where the largest lie
_EVERY = 32


def _high_percentile(values: _Real, percentile: float) -> float:
    """`np.percentile` of numbers in one row, found among the largest of them alone."""
    rank = (values.size - 1) * percentile / 100.0
    wanted = values.size - int(rank)  # so many are not below it
    # what twice as many of a sample exceed, nearly always more than that many of all exceed
    sample = np.sort(values[::_EVERY])
    largest = values[values >= sample[max(0, len(sample) - 4 - 2 * wanted // _EVERY)]]
    if len(largest) < wanted:
        largest = values
    at = len(largest) - wanted
    after = min(at + 1, len(largest) - 1)
    ordered = np.partition(largest, (at, after))
    return float(ordered[at] + (ordered[after] - ordered[at]) * (rank - int(rank)))
