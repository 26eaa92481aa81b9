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
    return Pictures(
        *draw_map(read.a, a, signed=signed),
        *draw_map(read.b, b, signed=signed),
        _difference(frames.to_one_grid(a, read.frame_a, b, read.frame_b)),
    )


def _difference(maps: tuple[Array, Array] | None) -> str | None:
    """Where B has less of its mass than A, blue, and more, red."""
    masses = [mass_of(each) for each in maps or ()]
    if len(masses) != 2 or masses[0] is None or masses[1] is None:
        return None
    apart = masses[1] - masses[0]
    return to_uri(render.heat_map(apart, signed=True, size=size_of(np.shape(apart))))
