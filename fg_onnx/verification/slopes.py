"""Finite differences of the score from end to end, through the model's own inputs.

A bias is varied relative to itself, ``b (1 + t)``: then df/dt at 0 is the site's column of the
contributions; likewise ``x (1 + t)`` and the input's column. Nothing is divided by a bias that may
be small, and nothing but the score is read of what was built.

float32 leaves no step that is right for all. So every step of a ladder states how far it can be
trusted: rounding of f over the step, how much f bends along it, and how far its neighbour is from
it. The step is chosen by that, without a look at the gradient; the ladder ends where one is
good enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

LADDER = tuple(4.0**-k for k in (3, 4, 2, 5, 1))
"""In the order in which they are tried; the neighbour of each is a quarter of it."""
_ULP = 2.0**-24
_ROUNDINGS = 16
"""Of f, in units of the magnitudes that were added up. Measured on fashion_vgg: up to 18, most of
which is the same at neighbouring steps."""


@dataclass(frozen=True, eq=False)
class Slope:
    """df/dt of every image, and what it may be off by: infinite where nothing is known."""

    derivative: Array
    doubt: Array


def slope(
    f: Callable[[float], Array],
    middle: Array,
    scale: Array,
    enough: Array,
    rounding: float = _ULP,
) -> Slope:
    """Differentiate t -> f(t), float64 [N], at 0.

    Args:
        f: the score of every image.
        middle: f(0).
        scale: [N], of what f adds up.
        enough: [N], a doubt that asks for no other step.
        rounding: the unit roundoff of f's precision.
    """
    rungs: dict[float, Slope] = {}

    def rung(h: float) -> Slope:
        if h not in rungs:
            above, below = f(h), f(-h)
            bend = np.abs(above - 2 * middle + below) / h
            doubt = _ROUNDINGS * rounding * scale / h + bend
            rungs[h] = Slope((above - below) / (2 * h), doubt)
        return rungs[h]

    best = Slope(np.full(len(middle), np.nan), np.full(len(middle), np.inf))
    for h in LADDER:
        found = rung(h)
        doubt = found.doubt + np.abs(found.derivative - rung(h / 4).derivative)
        better = doubt < best.doubt
        best = Slope(
            np.where(better, found.derivative, best.derivative), np.where(better, doubt, best.doubt)
        )
        if np.all(best.doubt <= enough):
            break
    return best
