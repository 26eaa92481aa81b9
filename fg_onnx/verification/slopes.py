"""Finite differences of the score from end to end, through the model's own inputs.

A bias is varied relative to itself, ``b (1 + t)``: then df/dt at 0 is the site's column of the
contributions; likewise ``x (1 + t)`` and the input's column. Nothing is divided by a bias that may
be small, and nothing but the score is read of what was built.

float32 leaves no step that is right for all. So every step of a ladder states how far it can be
trusted: rounding of f over the step, how much f bends along it, and how far its neighbour is from
it. The step is chosen by that, without a look at the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

LADDER = tuple(4.0**-k for k in range(1, 7))
_ULP = 2.0**-24
_ROUNDINGS = 16
"""Of f, in units of the magnitudes that were added up. Measured on fashion_vgg: up to 18, most of
which is the same at neighbouring steps."""


@dataclass(frozen=True, eq=False)
class Slope:
    """df/dt of every image, and what it may be off by."""

    derivative: Array
    doubt: Array


def slope(f: Callable[[float], Array], scale: Array, rounding: float = _ULP) -> Slope:
    """Differentiate t -> f(t), float64 [N], at 0.

    Args:
        f: the score of every image.
        scale: [N], of what f adds up.
        rounding: the unit roundoff of f's precision.
    """
    middle = f(0.0)
    rungs, doubts = [], []
    for h in LADDER:
        above, below = f(h), f(-h)
        rungs.append((above - below) / (2 * h))
        bend = np.abs(above - 2 * middle + below) / h
        doubts.append(_ROUNDINGS * rounding * scale / h + bend)
    steps, doubt = np.array(rungs), np.array(doubts)
    doubt[:-1] += np.abs(np.diff(steps, axis=0))
    doubt[-1] = np.inf
    best = doubt.argmin(0)[None]
    return Slope(
        np.take_along_axis(steps, best, axis=0)[0], np.take_along_axis(doubt, best, axis=0)[0]
    )
