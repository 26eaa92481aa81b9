"""Operators that move values."""

from __future__ import annotations

import numpy as np

from ..harness import NEWEST, Fed, Live
from .making import exact, live, weight

_batch = Live((2, 3, 4), dims=("N", 3, 4))

_free = Live((2, 3, 4, 5), dims=("N", 3, "H", "W"))
_batch_first = {"batch_axis": 0, "time_axis": 1}
_rows, _columns = Live((2, 4), dims=(2, "H")), Live((2, 5), dims=(2, "W"))

SHAPING = [
    exact("Identity", live(2, 3)),
    exact("Dropout", live(2, 3), note="one-output"),
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
    exact("Concat", _rows, live(2, 3), _columns, note="symbolic-axis", axis=-1),
    exact("Tile", live(2, 3), [2, 3], note="both"),
    exact("Tile", live(2, 3, 4), [1, 2, 1], note="middle", opset=NEWEST),
    exact("Tile", _free, [1, 2, 3, 1], note="symbolic-sizes"),
    exact("Trilu", live(3, 4), note="upper"),
    exact("Trilu", live(2, 4, 3), np.array(-1), note="lower", upper=0, opset=NEWEST),
    exact("Trilu", live(3, 4), Fed(np.array(1)), note="run-time"),
    exact("ReverseSequence", live(4, 3), [3, 1, 4], note="default"),
    exact("ReverseSequence", _batch, Fed(np.array([3, 2])), note="batch-first", **_batch_first),
    exact("Split", live(2, 6), note="even", outputs=3, axis=1),
    exact("Split", live(6, 2), [1, 2, 3], note="sizes", outputs=3),
    exact("Split", live(2, 7), [3, 4], note="negative-axis", outputs=2, axis=-1),
    exact("Split", live(2, 6), note="unused", outputs=3, axis=1, used=(0, 2)),
    exact("Split", live(2, 6), [1, 5], note="first-unused", outputs=2, axis=1, used=(1,)),
    exact("Split", live(2, 7), note="num-outputs", outputs=2, axis=1, num_outputs=2, opset=18),
    exact("Split", _batch, note="N", outputs=2, axis=2, num_outputs=2, opset=NEWEST, used=(1,)),
]
