"""Operators between channels and space."""

from __future__ import annotations

import numpy as np

from ..harness import NEWEST, Fed, Live
from .making import exact, live

_symbolic = Live((2, 8, 2, 3), dims=("N", 8, "H", "W"))
_batch = Live((2, 8, 2, 3), dims=("N", 8, 2, 3))
_indices = np.array([[[[0, 3], [10, 14]], [[17, 19], [26, 31]]]])

REARRANGING = [
    exact("DepthToSpace", live(1, 8, 2, 3), note="default", blocksize=2),
    exact("DepthToSpace", live(2, 18, 2, 1), note="rows-first", blocksize=3, mode="DCR"),
    exact("DepthToSpace", live(2, 18, 2, 1), note="columns-first", blocksize=3, mode="CRD"),
    exact("DepthToSpace", _symbolic, note="symbolic", blocksize=2),
    exact("DepthToSpace", _symbolic, note="symbolic-columns", blocksize=2, mode="CRD"),
    exact("DepthToSpace", _batch, note="symbolic-batch", blocksize=2, opset=NEWEST),
    exact("SpaceToDepth", live(1, 2, 4, 6), note="two", blocksize=2),
    exact("SpaceToDepth", live(1, 2, 4, 6), note="CRD", blocksize=2, mode="CRD", opset=28,
          runtime=False),
    exact("SpaceToDepth", live(2, 3, 3, 6), note="three", blocksize=3, opset=NEWEST),
    exact("SpaceToDepth", Live((1, 2, 4, 2), dims=("N", 2, "H", "W")), note="N", blocksize=2),
    exact("Col2Im", live(1, 8, 9), [4, 4], [2, 2], note="overlap", opset=18),
    exact("Col2Im", live(2, 12, 6), [5, 5], [2, 3], note="strides", strides=[3, 1], opset=18),
    exact(
        "Col2Im", live(2, 12, 6), [5, 6], [2, 3], note="pads-dilations", opset=NEWEST,
        dilations=[2, 1], pads=[0, 1, 1, 1], strides=[2, 2],
    ),
    exact("Col2Im", Live((2, 6, 4), dims=("N", 6, "L")), [5], [2], note="1-D", opset=18),
    exact(
        "MaxUnpool", live(1, 2, 2, 2), Fed(_indices), note="run-time",
        kernel_shape=[2, 2], strides=[2, 2],
    ),
    exact(
        "MaxUnpool", live(1, 2, 2, 2), _indices, note="constant", opset=NEWEST,
        kernel_shape=[2, 2], strides=[2, 2],
    ),
]  # fmt: skip
