"""Operators that move values."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..harness import NEWEST, Case, Fed, Live
from .making import exact, live, weight

INT_MAX, INT_MIN = 2**31 - 1, -(2**31)
_batch = Live((2, 3, 4), dims=("N", 3, 4))
_half = np.float64(0.5)


def _slice(note: str, starts: list[int], ends: list[int], *rest: Any, **settings: Any) -> Case:
    """Of an operand [2, 5, 6]."""
    return exact("Slice", live(2, 5, 6), starts, ends, *rest, note=note, **settings)


SHAPING = [
    exact("Identity", live(2, 3), pointwise=True),
    exact("Dropout", live(2, 3), note="one-output", pointwise=True),
    exact("Dropout", live(2, 3), np.float64(0.5), note="ratio", opset=NEWEST),
    exact("Dropout", live(2, 3), None, np.array(False), note="inference", outputs=2, used=(0,)),
    exact("Cast", live(2, 3, values="eighths"), note="same-type", to=11),
    exact("Cast", live(2, 3, values="eighths"), note="narrower", to=1),
    exact("Reshape", live(2, 3, 4), [2, 12], note="plain"),
    exact("Reshape", live(2, 3, 4), [0, -1], note="zero-and-rest"),
    exact("Reshape", live(2, 3, 4), [4, -1, 3], note="rest", opset=NEWEST),
    exact("Reshape", _batch, [0, -1], note="symbolic-batch"),
    exact("Reshape", _batch, [-1, 4], note="symbolic-rest"),
    exact("Reshape", _batch, Fed(np.array([2, 12])), note="run-time-shape"),
    exact(
        "Reshape",
        Live((2, 3, 4, 5), dims=("N", 3, "H", "W")),
        [0, 3, -1],
        note="symbolic-sizes",
    ),
    exact("Flatten", live(2, 3, 4), note="default"),
    exact("Flatten", live(2, 3, 4), note="axis0", axis=0),
    exact("Flatten", _batch, note="negative-axis", axis=-1, opset=NEWEST),
    exact("Squeeze", live(2, 1, 3, 1), note="all"),
    exact("Squeeze", live(2, 1, 3, 1), [-1], note="negative-axis"),
    exact("Squeeze", live(2, 1, 3, 1), [1, 3], note="two-axes", opset=NEWEST),
    exact("Unsqueeze", live(2, 3), [1], note="one"),
    exact("Unsqueeze", Live((2, 3), dims=("N", 3)), [-1, 0], note="negative", opset=NEWEST),
    exact("Transpose", live(2, 3, 4), note="default"),
    exact("Transpose", live(2, 3, 4), note="cycle", perm=[1, 2, 0]),
    exact("Transpose", live(2, 3, 2, 4), note="nhwc", perm=[0, 2, 3, 1], opset=NEWEST),
    exact("Expand", live(3, 1), [2, 3, 4], note="lead-and-inner"),
    exact("Expand", live(2, 3), [1, 1], note="nothing"),
    exact("Expand", live(2, 3), [3], note="shorter-shape"),
    exact("Expand", live(), [2, 3], note="scalar", opset=NEWEST),
    exact("Expand", Live((2, 1, 4), dims=("N", 1, 4)), [1, 3, 1], note="symbolic-batch"),
    exact("Concat", live(2, 3), live(2, 1), live(2, 4), note="three", axis=1),
    exact("Concat", live(2, 3, 4), live(2, 3, 2), note="negative-axis", axis=-1),
    exact("Concat", live(2, 3), weight(2, 2), note="constant-last", axis=1),
    exact("Concat", weight(2, 2), live(2, 3), weight(2, 1), note="constants", axis=-1),
    exact("Concat", live(2, 3), live(1, 3), note="batch", axis=0, opset=NEWEST),
    exact("Concat", _batch, _batch, note="symbolic-batch", axis=1),
    exact("Split", live(2, 6), note="even", outputs=3, axis=1),
    exact("Split", live(6, 2), [1, 2, 3], note="sizes", outputs=3),
    exact("Split", live(2, 7), [3, 4], note="negative-axis", outputs=2, axis=-1),
    exact("Split", live(2, 6), note="unused", outputs=3, axis=1, used=(0, 2)),
    exact("Split", live(2, 6), [1, 5], note="first-unused", outputs=2, axis=1, used=(1,)),
    exact("Split", live(2, 7), note="num-outputs", outputs=2, axis=1, num_outputs=2, opset=18),
    exact("Split", _batch, note="N", outputs=2, axis=2, num_outputs=2, opset=NEWEST, used=(1,)),
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
    exact("Gather", live(3, 4), np.array(1), note="scalar"),
    exact("Gather", live(3, 4), np.array(-1), note="negative-scalar", axis=1),
    exact("Gather", live(3, 4), [2, 0], note="row"),
    exact("Gather", live(2, 3, 4), [1, 1, 0, 1], note="duplicates", axis=1),
    exact("Gather", live(2, 3, 4), [-1, 0, -4], note="negative-indices", axis=-1),
    exact("Gather", live(2, 3, 4), np.array([1]), note="row-of-one", axis=1, opset=NEWEST),
    exact("Gather", _batch, np.array(2), note="symbolic-batch", axis=1),
    exact("Pad", live(2, 3), [0, 1, 2, 0], note="zeros"),
    exact("Pad", live(2, 3), [0, 1, 2, 0], _half, note="value"),
    exact("Pad", live(2, 3), [1, 0, 0, 2], np.float64(0.0), note="zero-value"),
    exact("Pad", live(4, 5), [-1, 0, 0, -2], note="negative"),
    exact("Pad", live(4, 5), [-1, 2, 1, -2], _half, note="negative-and-value"),
    exact("Pad", live(2, 3, 4), [1, 2], _half, [-1], note="axes", opset=18),
    exact("Pad", live(2, 3, 4), [1, 0, 2, 1], None, [2, 1], note="axes-no-value", opset=NEWEST),
    exact("Pad", Live((2, 3, 4), dims=("N", 3, 4)), [0, 0, 1, 0, 0, 1], _half, note="symbolic"),
]
