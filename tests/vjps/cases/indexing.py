"""Operators that pick values by index, or put them there."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..harness import NEWEST, Case, Fed, Live
from .making import curved, exact, live, weight, whole

_batch = Live((2, 3, 4), dims=("N", 3, 4))
_free = Live((2, 3, 4, 5), dims=("N", 3, "H", "W"))
_rows = np.array([[1, 0, 2, 2], [0, 0, -1, 1]])
_pairs = np.array([[0, 1], [1, 2], [0, 1], [-1, 0]])
_kept = np.array([True, False, True])


def _scatters(op_type: str, indices: Any, *shape: int, **attrs: Any) -> list[Case]:
    """Into [3, 4]; the indices are distinct, the updates of a shape."""
    base = live(3, 4)

    def case(data: Any, updates: Any, note: str, **more: Any) -> Case:
        return exact(op_type, data, indices, updates, note=note, **attrs, **more)

    return [
        case(base, live(*shape), "both"),
        case(base, weight(*shape), "constant-updates"),
        case(base, np.zeros(shape), "zero-updates"),
        case(weight(3, 4), live(*shape), "constant-data", opset=NEWEST),
        case(np.zeros((3, 4)), live(*shape), "zero-data"),
        case(base, live(*shape), "add", reduction="add"),
        case(base, weight(*shape), "add-constant", reduction="add"),
        case(weight(3, 4), live(*shape), "add-to-constant", reduction="add", opset=18),
        case(base, weight(*shape), "mul", reduction="mul"),
        *(
            curved(op_type, data, indices, updates, note=f"{how}-{note}", reduction=how, opset=18,
                   **attrs)
            for how in ("max", "min")
            for note, data, updates in (
                ("both", whole(0.0, 3, 4), whole(0.5, *shape)),
                ("data", whole(0.0, 3, 4), weight(*shape) * 0.9),
                ("updates", weight(3, 4) * 0.9, whole(0.5, *shape)),
            )
        ),
    ]  # fmt: skip


INDEXING = [
    exact("Gather", live(3, 4), np.array(1), note="scalar"),
    exact("Gather", live(3, 4), np.array(-1), note="negative-scalar", axis=1),
    exact("Gather", live(3, 4), [2, 0], note="row"),
    exact("Gather", live(2, 3, 4), [1, 1, 0, 1], note="duplicates", axis=1),
    exact("Gather", live(2, 3, 4), [-1, 0, -4], note="negative-indices", axis=-1),
    exact("Gather", live(2, 3, 4), np.array([1]), note="row-of-one", axis=1, opset=NEWEST),
    exact("Gather", _batch, np.array(2), note="symbolic-batch", axis=1),
    exact("Gather", live(2, 3, 4), _rows % 3, note="matrix", axis=1),
    exact("Gather", _free, np.array([[[2], [0]], [[1], [1]]]), note="cube", axis=1),
    exact("Gather", live(3, 4), Fed(np.array([2, 0, 2])), note="run-time"),
    exact("Gather", _batch, Fed(_rows), note="run-time-matrix", axis=2),
    exact("Gather", live(3, 4), Fed(np.array(-1)), note="run-time-scalar", axis=1),
    exact("Gather", live(2, 2048), np.arange(2048)[::-2].copy(), note="large", axis=1),
    exact("Compress", live(2, 3, 4), _kept, note="axis", axis=1),
    exact("Compress", live(2, 3, 4), _kept[:2], note="shorter", axis=-1),
    exact("Compress", live(2, 3), np.arange(6) % 3 > 0, note="flattened"),
    curved("TopK", live(2, 6, values="distinct"), [3], note="largest", outputs=2, used=(0,)),
    curved("TopK", Live((2, 6, 4), values="distinct", dims=("N", "C", 4)), [2], note="smallest",
           outputs=2, used=(0,), axis=1, largest=0),
    curved("TopK", live(6, values="distinct"), Fed(np.array([4])), note="run-time-k", outputs=2,
           used=(0,), sorted=0, runtime=False),
    exact("GatherElements", live(2, 3), _rows, note="last-axis", axis=1),
    exact("GatherElements", live(3, 4), Fed(_rows % 3), note="run-time"),
    exact("GatherElements", live(2, 3, 4), np.array([[[1, -1]], [[0, 0]]]), note="smaller",
          axis=-2, opset=NEWEST),
    exact("GatherND", live(2, 3), _pairs % 2, note="points"),
    exact("GatherND", live(2, 3, 4), _pairs, note="rows"),
    exact("GatherND", _free, Fed(np.array([[[2], [0]], [[1], [1]]])), note="batch", batch_dims=1),
    exact("GatherND", live(2, 3, 4), np.array([[[2], [0], [0]], [[1], [1], [-1]]]),
          note="two-batch-axes", batch_dims=2, opset=NEWEST),
    *_scatters("ScatterElements", np.array([[2, 0], [1, -1]]), 2, 2, axis=1),
    exact("ScatterElements", live(3, 4), Fed(np.array([[2, 0, 1, 1]])), live(1, 4),
          note="run-time"),
    *_scatters("ScatterND", np.array([[2], [0]]), 2, 4),
]  # fmt: skip
