"""How the images of one call are parted among runs on the CPU.

The tensors of one photograph stay in the caches, where those of several evict each other. But of
small images several belong together, lest threads and operators wait for each other more than they
work; and so they do where a model has more weights than caches hold, which every run reads
(docs/performance.md).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence

from fg_onnx.manifest import LayoutName

PIXELS = 224 * 224
"""Of the images of one run, together, unless one has more."""

WEIGHTS = 64 * 2**20
"""Bytes of weights for each of which a run has an image, up to `MOST_FOR_WEIGHTS`."""

MOST_FOR_WEIGHTS = 4

LIGHT = 2 * 3 * PIXELS
"""Numbers in an input of a run that takes little memory: twice `PIXELS` of three channels."""


def pixels_of(shape: Sequence[int], layout: LayoutName | None) -> int:
    """Of one image in a batch of that shape; where it has no grid, the numbers it consists of."""
    channel = layout.index("c") if layout else 0
    return math.prod(size for axis, size in enumerate(shape) if axis not in (0, channel))


def images_of_a_run(pixels: int, weights: int) -> int:
    """How many images of so many pixels a run takes at most, by a model of so many bytes."""
    return max(1, PIXELS // max(1, pixels), min(weights // WEIGHTS, MOST_FOR_WEIGHTS))


def are_light(inputs: Collection[Sequence[int | None] | None], weights: int) -> bool:
    """Whether runs take little memory, by the shapes of a model's inputs and its bytes.

    A run has one image then, or several that are small: where their size is known, and parts of a
    call are not made larger for the weights. None is a shape of which nothing is known.
    """
    return bool(inputs) and weights < 2 * WEIGHTS and all(map(_is_small, inputs))


def _is_small(shape: Sequence[int | None] | None) -> bool:
    """Of one input; a batch that is not known is one."""
    if shape is None or None in shape[1:]:
        return False
    return math.prod(dim for dim in shape if dim is not None) <= LIGHT


def parts(count: int, most: int, runs: int) -> list[slice]:
    """``count`` images as parts of at most ``most``, where ``runs`` of them go on side by side.

    All of them in one part, where there are fewer than keep all runs busy.
    """
    if count < most * runs:
        return [slice(0, count)]
    number = runs * math.ceil(count / (most * runs))
    ends = [count * i // number for i in range(number + 1)]
    # Where the last round has fewer images than runs, some parts have none.
    return [slice(a, b) for a, b in itertools.pairwise(ends) if b > a]
