"""Slice."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..harness import NEWEST, Case, Fed, Live
from .making import exact, live

INT_MAX, INT_MIN = 2**31 - 1, -(2**31)
_batch = Live((2, 3, 4), dims=("N", 3, 4))


def _slice(note: str, starts: list[int], ends: list[int], *rest: Any, **settings: Any) -> Case:
    """Of an operand [2, 5, 6]."""
    return exact("Slice", live(2, 5, 6), starts, ends, *rest, note=note, **settings)


def _symbolic(note: str, starts: Any, ends: Any, *rest: Any, **settings: Any) -> Case:
    """Of an operand [2, 5, 6] whose sizes are not known."""
    unknown = Live((2, 5, 6), dims=("N", "H", "W"))
    return exact("Slice", unknown, starts, ends, *rest, note=f"symbolic-{note}", **settings)


SLICING = [
    _slice("axes-omitted", [0, 1], [2, 4]),
    _slice("one-axis", [1], [4], [1]),
    _slice("negative-axis", [1], [3], [-1]),
    _slice("several-axes", [1, 2], [4, 6], [1, 2]),
    _slice("axes-out-of-order", [2, 1], [6, 4], [2, 1], opset=NEWEST),
    _slice("negative-start-and-end", [-4], [-1], [2]),
    _slice("end-clamped", [2], [INT_MAX], [2]),
    _slice("end-clamped-far", [2], [2**63 - 1], [1]),
    _slice("start-clamped", [-100], [3], [1]),
    _slice("step", [0], [6], [2], [2]),
    _slice("step-with-rest", [1], [6], [2], [3]),
    _slice("step-beyond", [1], [5], [1], [7]),
    _slice("step-first-axis", [1], [2], [0], [2]),
    _slice("steps", [0, 1], [5, 6], [1, 2], [2, 2]),
    _slice("reversed", [-1], [INT_MIN], [2], [-1]),
    _slice("reversed-far", [INT_MAX], [-(2**63)], [1], [-1]),
    _slice("reversed-by-two", [4], [0], [1], [-2]),
    _slice("reversed-part", [-2], [-5], [2], [-1]),
    _slice("reversed-start-clamped", [100], [1], [2], [-3]),
    _slice("reversed-through-first", [3], [-7], [2], [-2]),
    _slice("reversed-both", [-1, -1], [INT_MIN, INT_MIN], [1, 2], [-2, -1], opset=NEWEST),
    exact("Slice", _batch, [1], [3], [2], [1], note="symbolic-batch"),
    exact("Slice", _batch, [0], [4], [2], [2], note="symbolic-batch-step"),
    _symbolic("one", [1], [4], [1]),
    _symbolic("both", [0, 2], [4, INT_MAX], [1, 2]),
    _symbolic("from-back", [-4], [-1], [2]),
    _symbolic("from-back-clamped", [-100], [3], [-2]),
    _symbolic("strides", [0, 1], [INT_MAX, INT_MAX], [1, 2], [2, 3]),
    _symbolic("reversed", [-1], [INT_MIN], [2], [-1]),
    _symbolic("reversed-clamped", [100], [0], [1], [-1]),
    _symbolic("reversed-by-two", [-2, 4], [INT_MIN, 0], [2, 1], [-2, -3]),
    _symbolic("run-time", Fed(np.array([1, -3])), Fed(np.array([4, -1])), [1, 2], opset=NEWEST),
    _slice("run-time", Fed(np.array([-4])), Fed(np.array([INT_MIN])), [2], [-1]),
    _slice("run-time-end", [1], Fed(np.array([4])), [2]),
]
