"""Two maps of one image on one grid, be their sizes and their parts of the image what they may.

A model sees a rectangle of the photograph: all of it, or what the preprocessing leaves of it. Maps
are compared where both see, on a grid of as many pixels as the coarser one has there. What a cell
holds is the map's values times the areas of the pixels that lie in it, so that nothing is lost or
made up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.audit.measures import overlaps
from fg_onnx.manifest import LayoutName
from fg_onnx.pictures.images import placement
from fg_onnx.pictures.preprocess import Preprocessing

Array = npt.NDArray[Any]
Span = tuple[float, float]


@dataclass(frozen=True)
class Frame:
    """What a model sees of an image.

    Attributes:
        spans: along every axis of the grid, from where to where, 0 and 1 being the image's ends.
    """

    spans: tuple[Span, ...]

    @property
    def size(self) -> float:
        """The share of the image."""
        return float(np.prod([high - low for low, high in self.spans]))


def whole(axes: int) -> Frame:
    """All of an array."""
    return Frame(((0.0, 1.0),) * axes)


def frame_of(
    size: tuple[int, int],
    steps: Preprocessing,
    input_shape: Sequence[int | str | None],
    layout: LayoutName | None,
) -> Frame:
    """What is left of a photograph of that height and width."""
    placed = placement(size, steps, input_shape, layout)
    starts = (placed.top, placed.left)
    return Frame(
        tuple(
            (start / full, (start + kept) / full)
            for start, kept, full in zip(starts, placed.target, placed.resized, strict=True)
        )
    )


def common(a: Frame, b: Frame) -> Frame | None:
    """Where both see; None where there is no such place."""
    spans = tuple(
        (max(one[0], other[0]), min(one[1], other[1]))
        for one, other in zip(a.spans, b.spans, strict=True)
    )
    return Frame(spans) if all(low < high for low, high in spans) else None


def seen_by_both(a: Frame, b: Frame) -> float:
    """The area of what both see over that of what either sees: 1 where it is the same."""
    both = common(a, b)
    area = both.size if both is not None else 0.0
    return area / (a.size + b.size - area)


def to_one_grid(a: Array, of_a: Frame, b: Array, of_b: Frame) -> tuple[Array, Array] | None:
    """Both maps [*grid] where both models see, float64 on one grid; None where there is none."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if of_a == of_b and a.shape == b.shape:
        return a, b
    both = common(of_a, of_b)
    if both is None:
        return None
    for axis, span in enumerate(both.spans):
        at_a = _places(span, of_a.spans[axis], a.shape[axis])
        at_b = _places(span, of_b.spans[axis], b.shape[axis])
        cells = max(1, round(min(at_a[1] - at_a[0], at_b[1] - at_b[0])))
        a, b = _pooled(a, axis, at_a, cells), _pooled(b, axis, at_b, cells)
    return a, b


def _places(span: Span, own: Span, count: int) -> Span:
    """Where a span of the image lies among the pixels of an axis."""
    low, high = ((end - own[0]) / (own[1] - own[0]) * count for end in span)
    return low, high


def _pooled(values: Array, axis: int, ends: Span, cells: int) -> Array:
    weights = overlaps(values.shape[axis], np.linspace(*ends, cells + 1))
    return np.moveaxis(np.tensordot(weights, values, axes=(1, axis)), 0, axis)
