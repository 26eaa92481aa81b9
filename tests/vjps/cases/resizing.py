"""Resizing."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..harness import NEWEST, Case, Fed, Live, Operand
from .making import exact, live

COORDINATES = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
REGION = [0.0, 0.0, 0.1, -0.2, 1.0, 1.0, 0.8, 1.3]


def single(*values: float) -> np.ndarray:
    """Scales and regions are float32, whatever the model."""
    return np.array(values, np.float32)


def to_size(note: str, x: Live, *sizes: int, **settings: Any) -> Case:
    return exact("Resize", x, None, None, list(sizes), note=note, **settings)


def by_scale(note: str, x: Live, *scales: float, **settings: Any) -> Case:
    return exact("Resize", x, None, single(*scales), note=note, **settings)


def cropped(note: str, size: Operand, **settings: Any) -> Case:
    operands = (None, size) if isinstance(size, list) else (size,)
    crop = "tf_crop_and_resize"
    settings["coordinate_transformation_mode"] = crop
    return exact("Resize", live(1, 2, 5, 4), single(*REGION), *operands, note=note, **settings)


_symbolic = Live((2, 3, 4, 5), dims=("N", 3, "H", "W"))

RESIZING = [
    *(
        to_size(
            f"{mode}-{coordinates}", live(2, 2, 4, 5), 2, 2, 7, 3,
            mode=mode, coordinate_transformation_mode=coordinates,
        )
        for mode in ("nearest", "linear", "cubic")
        for coordinates in COORDINATES
    ),
    *(
        to_size(f"{coordinates}-{rounding}", live(2, 2, 4, 5), 2, 2, 8, 3,
            coordinate_transformation_mode=coordinates, nearest_mode=rounding,
        )
        for coordinates in ("half_pixel", "asymmetric")
        for rounding in ROUNDINGS
    ),
    *(
        by_scale(
            f"by-two-{coordinates}-{rounding}", live(1, 3, 3, 4), 1, 1, 2, 3,
            coordinate_transformation_mode=coordinates, nearest_mode=rounding,
        )
        for coordinates in COORDINATES
        for rounding in ROUNDINGS
    ),
    to_size(
        "symmetric", live(1, 2, 4, 5), 1, 2, 7, 10, opset=19,
        mode="linear", coordinate_transformation_mode="half_pixel_symmetric",
    ),
    by_scale(
        "symmetric-by-two", live(1, 2, 4, 5), 1, 1, 2, 2, opset=19,
        coordinate_transformation_mode="half_pixel_symmetric",
    ),
    by_scale("linear-down", live(1, 2, 8, 6), 1, 1, 0.5, 0.5, mode="linear"),
    by_scale("scale-beyond-size", live(1, 2, 4, 4), 1, 1, 1.625, 1.125, mode="linear"),
    by_scale("nearest-down", live(1, 2, 8, 6), 1, 1, 0.5, 0.25),
    by_scale("cubic-up", live(1, 2, 4, 3), 1, 1, 2, 2.5, mode="cubic", cubic_coeff_a=-0.5),
    by_scale("cubic-inside", live(1, 2, 4, 3), 1, 1, 2, 2.5, mode="cubic", exclude_outside=1),
    to_size("one-pixel", live(1, 2, 4, 5), 1, 2, 1, 1, mode="linear"),
    to_size("from-one-pixel", live(1, 2, 1, 1), 1, 2, 3, 4, mode="linear"),
    to_size("same", live(1, 2, 4, 5), 1, 2, 4, 5, mode="linear"),
    to_size("newest", live(1, 2, 4, 5), 1, 2, 7, 3, mode="linear", opset=NEWEST),
    to_size("antialias-linear", live(1, 2, 7, 8), 1, 2, 3, 4, mode="linear", antialias=1, opset=18),
    to_size("antialias-cubic", live(1, 2, 7, 8), 1, 2, 3, 5, mode="cubic", antialias=1, opset=18),
    to_size("axes", live(1, 2, 4, 5), 7, 3, mode="linear", axes=[2, 3], opset=18),
    to_size("axes-turned", live(1, 2, 4, 5), 7, 3, mode="linear", axes=[-1, -2], opset=18),
    by_scale("one-axis", live(1, 2, 4, 5), 2, axes=[3], opset=18),
    to_size(
        "not-larger", live(1, 2, 4, 8), 6, 6, opset=18,
        mode="linear", axes=[2, 3], keep_aspect_ratio_policy="not_larger",
    ),
    to_size(
        "not-smaller", live(1, 2, 4, 8), 6, 6, opset=18,
        axes=[2, 3], keep_aspect_ratio_policy="not_smaller",
    ),
    to_size("1-D", live(2, 3, 5), 2, 3, 8, mode="nearest"),
    by_scale("1-D-by-two", live(2, 3, 5), 1, 1, 2),
    by_scale("3-D", live(1, 2, 2, 3, 4), 1, 1, 2, 1.5, 0.5, mode="linear"),
    by_scale("3-D-by-two", live(1, 2, 2, 3, 2), 1, 1, 2, 1, 2),
    by_scale("nhwc-by-two", live(1, 3, 4, 2), 1, 2, 2, 1),
    to_size("nhwc-linear", live(1, 3, 4, 2), 1, 7, 5, 2, mode="linear"),
    cropped("crop", [1, 2, 3, 6], mode="linear"),
    cropped("crop-extrapolated", [1, 2, 3, 6], mode="linear", extrapolation_value=1.5),
    cropped("crop-nearest", [1, 2, 8, 6], mode="nearest", extrapolation_value=-0.5),
    cropped("crop-cubic", [1, 2, 7, 6], mode="cubic", extrapolation_value=0.25),
    exact(
        "Resize", live(1, 2, 4, 5), None, Fed(single(1, 1, 1.5, 2)), note="run-time-scales",
        mode="linear",
    ),
    exact(
        "Resize", live(1, 2, 4, 5), None, None, Fed(np.array([1, 2, 7, 3])), note="run-time-sizes",
        mode="linear",
    ),
    by_scale("symbolic-by-two", _symbolic, 1, 1, 2, 2),
    by_scale("symbolic-linear", _symbolic, 1, 1, 2, 2, mode="linear"),
    by_scale("symbolic-down", _symbolic, 1, 1, 0.5, 0.75, mode="linear"),
    exact(
        "Resize", _symbolic, None, None, Fed(np.array([2, 3, 7, 3])), note="symbolic-sizes",
        mode="linear", coordinate_transformation_mode="align_corners",
    ),
    to_size("symbolic-batch", Live((2, 3, 4, 5), dims=("N", 3, 4, 5)), 2, 3, 7, 3, mode="linear"),
]  # fmt: skip
