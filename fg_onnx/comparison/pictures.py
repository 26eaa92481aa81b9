"""The pictures of a comparison: what either model sees, both maps, and their difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.audit.measures import mass_of
from fg_onnx.audit.pictures import draw_map, size_of, to_uri
from fg_onnx.comparison import frames
from fg_onnx.comparison.running import Both, Pairs
from fg_onnx.pictures import render
from fg_onnx.pictures.colours import PERCENTILE

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Pictures:
    """Of one image, as data URIs; None where there is nothing flat to draw."""

    picture_a: str | None = None
    overlay_a: str | None = None
    picture_b: str | None = None
    overlay_b: str | None = None
    difference: str | None = None


def draw(pairs: Pairs, numbers: Sequence[int]) -> Iterator[Pictures]:
    """The pictures of some images."""
    for number in numbers:
        read = pairs.read(number)
        if not isinstance(read, Both):
            yield Pictures()
            continue
        ((a, b),) = pairs.explain([read])
        yield _drawn(read, a.saliency, b.saliency, signed=pairs.pair.psi == "signed")


def _drawn(read: Both, a: Array | None, b: Array | None, *, signed: bool) -> Pictures:
    if a is None or b is None or a.ndim != 2 or b.ndim != 2:
        return Pictures()
    placed = frames.to_one_grid(a, read.frame_a, b, read.frame_b)
    return Pictures(
        *draw_map(read.a, a, signed=signed),
        *draw_map(read.b, b, signed=signed),
        None if placed is None else draw_difference(*placed),
    )


def draw_difference(a: Array, b: Array) -> str | None:
    """Where B's map has less of its mass than A's, blue, and more, red.

    The strongest colours are where they differ by as much as either has in its strongest pixels, so
    that maps that are nearly alike are nearly white.

    Args:
        a: [H, W], on the common grid.
        b: likewise.
    """
    mass_a, mass_b = mass_of(a), mass_of(b)
    if mass_a is None or mass_b is None:
        return None
    apart = mass_b - mass_a
    scale = float(np.percentile([mass_a, mass_b], PERCENTILE)) or None
    size = size_of(apart.shape)
    return to_uri(render.heat_map(apart, signed=True, size=size, scale=scale))
