"""Where the instrumented model holds the bias-gradient of every site, found by looking for it.

The manifest names no cotangent. But every column of the contributions is the total of one, so that
it is among what the column is computed from: a tensor in the shape of the site's own, the
bias-gradient ``ct * r`` itself or the cotangent. Which of them adds up to the column is seen from
its values; a tensor that does so by chance does not pass what is asked of it then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx import manifest
from fg_onnx.verification.graphs import Graph

Array = npt.NDArray[Any]

STEPS = (3, 6, 12)
"""From a column to what it adds up: most lie near, and all of what lies far takes memory."""
_ONLY_MOVED = frozenset({"Identity", "Cast", "Transpose", "Reshape", "Flatten"})
_ROUNDING = 5e-7
_ADDS_UP = {"float64": 1e-5, "float32": 1e-5, "float16": 5e-3, "bfloat16": 5e-2}
"""Of the magnitudes: sums in float32, of offsets that may be narrow."""


def columns(model: Graph, count: int) -> list[str]:
    """The tensors that are joined to the contributions, in order; none where there is no such."""
    name = manifest.CONTRIBUTIONS
    while name in model.makers and model.makers[name].op_type in _ONLY_MOVED:
        name = model.makers[name].input[0]
    node = model.makers.get(name)
    if node is None or node.op_type != "Concat" or len(node.input) != count:
        return [name] if count == 1 and node is not None else []
    return list(node.input)


def candidates(model: Graph, column: str, own: frozenset[str], steps: int) -> list[str]:
    """What a column is computed from in so many steps, the nearest first.

    What the forward part holds (``own``) is left out. A cotangent that is fed is that of the
    explained tensor.
    """
    found: list[str] = []
    level = [column]
    for _ in range(steps):
        found += [name for name in level if name not in found]
        nodes = [model.makers[name] for name in level if name in model.makers]
        level = [
            name
            for node in nodes
            for name in node.input
            if (name in model.makers or name == manifest.SEED)
            and name not in own
            and name not in found
        ]
    return found


@dataclass(frozen=True, eq=False)
class Term:
    """The bias-gradient of a site, or of the input term.

    Attributes:
        name: of the site, ``""`` of the input.
        tensor: in the source, at whose positions it lies.
        column: its totals, float64 [N].
        offset: r, float64 in the shape of the tensor; of the input x itself.
        values: ``ct * r``, float64, or None where the model holds it nowhere at full size.
    """

    name: str
    tensor: str
    column: Array
    offset: Array
    values: Array | None


@dataclass(frozen=True, eq=False)
class Found:
    """What adds up to a column.

    Attributes:
        values: ``ct * r``; None where nothing does.
        gap: by how much it does not, of its magnitudes.
    """

    values: Array | None
    gap: float

    @property
    def is_exact(self) -> bool:
        """Whether it does so to rounding."""
        return self.gap <= _ROUNDING


def find_values(
    offset: Array, column: Array, names: Sequence[str], arrays: Mapping[str, Array], precision: str
) -> Found:
    """``ct * r``: what adds up to the column, as the model holds it or its ct multiplied by r.

    Where nothing does to rounding, what does so best.
    """
    plain = [
        name
        for name in names
        if name in arrays and arrays[name].shape == offset.shape and arrays[name].dtype.kind == "f"
    ]
    best = Found(None, _ADDS_UP[precision])
    for factor in (None, offset):
        for name in plain:
            values = arrays[name].astype(np.float64)
            if factor is not None:
                values *= factor
            gap = abs(values.sum() - column.sum()) / (np.abs(values).sum() or 1e-30)
            if gap < best.gap:
                best = Found(values, gap)
            if best.is_exact:
                return best
    return best
