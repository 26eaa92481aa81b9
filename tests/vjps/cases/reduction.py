"""Reductions, and softmaxes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..harness import NEWEST, Case, Live
from .making import curved, distinct, exact, live, positive


def _reductions(op_type: str, make: Any, operand: Any, axes_as_input: int) -> list[Case]:
    """Axes as attribute below an opset, as input from it on."""
    before = max(17, axes_as_input - 1)
    old = [] if axes_as_input <= 17 else [
        make(op_type, operand(2, 3, 4), note="axes-attribute", opset=before, axes=[1]),
        make(op_type, operand(2, 3, 4), note="negative", opset=before, axes=[-1, 0], keepdims=0),
        make(op_type, operand(2, 3), note="all", opset=before, keepdims=0),
    ]  # fmt: skip
    new = max(17, axes_as_input)
    return [
        *old,
        make(op_type, operand(2, 3, 4), [1], note="axes-input", opset=new),
        make(op_type, operand(2, 3, 4), [-1, 0], note="negative", opset=NEWEST, keepdims=0),
        make(op_type, operand(2, 3, 4), [-2], note="inner", opset=NEWEST, keepdims=0),
        make(op_type, operand(2, 3), note="all", opset=NEWEST),
        make(op_type, operand(2, 3), note="all-dropped", opset=new, keepdims=0),
        make(
            op_type,
            replace(operand(2, 3, 4), dims=("N", 3, 4)),
            [1, 2],
            note="symbolic-batch",
            opset=new,
            keepdims=0,
        ),
    ]


def _noop(op_type: str, make: Any, operand: Live, **settings: Any) -> Case:
    """No axes, and so every entry on its own."""
    return make(op_type, operand, note="noop", noop_with_empty_axes=1, **settings)


def _signed(*shape: int) -> Live:
    return live(*shape, kinks=(0.0,))


_unsized = Live((2, 3, 4, 5), dims=("N", "C", "H", "W"))

REDUCTION = [
    *_reductions("ReduceSum", exact, live, 13),
    *_reductions("ReduceMean", exact, live, 18),
    *_reductions("ReduceL2", curved, positive, 18),
    *_reductions("ReduceSumSquare", exact, live, 18),
    *_reductions("ReduceL1", curved, _signed, 18),
    *_reductions("ReduceLogSum", curved, positive, 18),
    *_reductions("ReduceLogSumExp", curved, live, 18),
    *_reductions("ReduceMax", curved, distinct, 18),
    *_reductions("ReduceMin", curved, distinct, 18),
    *_reductions("ReduceProd", curved, live, 18),
    _noop("ReduceL1", curved, _signed(2, 3), opset=18),
    _noop("ReduceL2", curved, _signed(2, 3), opset=18),
    _noop("ReduceSumSquare", exact, live(2, 3), opset=18),
    _noop("ReduceLogSum", curved, positive(2, 3), opset=18),
    _noop("ReduceLogSumExp", curved, live(2, 3), opset=18),
    _noop("ReduceMax", exact, live(2, 3), opset=18),
    _noop("ReduceMin", exact, live(2, 3), opset=NEWEST),
    _noop("ReduceProd", exact, live(2, 3), opset=18),
    exact("ReduceMean", _unsized, [-1, 2], note="symbolic-sizes", keepdims=0, opset=18),
    exact("ReduceMean", _unsized, [1], note="symbolic-size", opset=NEWEST),
    exact("ReduceSum", _unsized, [-1, 2], note="symbolic-sizes", keepdims=0),
    exact("ReduceSum", live(2, 3), note="noop", noop_with_empty_axes=1),
    exact("ReduceMean", live(2, 3), note="noop", noop_with_empty_axes=1, opset=18),
]
