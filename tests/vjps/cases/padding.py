"""Pad."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..harness import NEWEST, Case, Fed, Live, Operand
from .making import exact, live

_half = np.float64(0.5)
_batch = Live((2, 3, 4), dims=("N", 3, 4))
_symbolic = Live((1, 2, 4, 5), dims=("N", 2, "H", "W"))


def _copied(note: str, x: Live, pads: list[int], *rest: Operand, **settings: Any) -> list[Case]:
    return [
        exact(
            "Pad", x, pads, *rest, note=f"{mode}-{note}", mode=mode,
            **{"opset": 19 if mode == "wrap" else 17, **settings},
        )
        for mode in ("reflect", "edge", "wrap")
    ]  # fmt: skip


PADDING = [
    exact("Pad", live(2, 3), [0, 1, 2, 0], note="zeros"),
    exact("Pad", live(2, 3), [0, 1, 2, 0], _half, note="value"),
    exact("Pad", live(2, 3), [1, 0, 0, 2], np.float64(0.0), note="zero-value"),
    exact("Pad", live(4, 5), [-1, 0, 0, -2], note="negative"),
    exact("Pad", live(4, 5), [-1, 2, 1, -2], _half, note="negative-and-value"),
    exact("Pad", live(2, 3, 4), [1, 2], _half, [-1], note="axes", opset=18),
    exact("Pad", live(2, 3, 4), [1, 0, 2, 1], None, [2, 1], note="axes-no-value", opset=NEWEST),
    exact("Pad", _batch, [0, 0, 1, 0, 0, 1], _half, note="symbolic"),
    exact("Pad", _symbolic, [0, 0, 1, 2, 0, 0, -1, 3], _half, note="symbolic-sizes"),
    exact("Pad", live(4, 5), Fed(np.array([-1, 2, 1, -2])), _half, note="run-time-pads"),
    exact(
        "Pad", _symbolic, Fed(np.array([1, 0, 2, 3])), Fed(_half), [2, 3], note="run-time-axes",
        opset=18,
    ),
    *_copied("one-axis", live(2, 5), [0, 2, 0, 3]),
    *_copied("before", live(2, 4), [0, 3, 0, 0]),
    *_copied("after", live(4, 2), [0, 0, 3, 0]),
    *_copied("image", live(1, 2, 4, 5), [0, 0, 1, 2, 0, 0, 3, 1]),
    *_copied("channels", live(1, 4, 3, 2), [0, 2, 1, 0, 0, 1, 1, 0]),
    *_copied("negative", live(2, 5), [0, -1, 1, 2]),
    *_copied("negative-after", live(2, 5), [0, 2, 1, -2]),
    *_copied("axes", live(2, 4, 5), [1, 2, 0, 1], None, [-1, 1], opset=NEWEST),
    *_copied("symbolic-sizes", _symbolic, [0, 0, 1, 2, 0, 0, 3, 1]),
]  # fmt: skip
