"""Arithmetic, selection, and elementary functions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..harness import NEWEST, Case, Fed
from .making import curved, exact, live, positive, weight, whole

_both = live(2, 5, kinks=(0.0,))


def _broadcasts(op_type: str, sample: Any, a: Any) -> list[Case]:
    """Two active operands, and either of them constant, in every way to broadcast."""
    make = curved if op_type == "Div" else exact
    return [
        make(op_type, a(2, 3, 4), sample(2, 3, 4), note="same-shapes"),
        make(op_type, a(2, 3, 4), sample(3, 1), note="second-broadcast"),
        make(op_type, a(1, 4), sample(2, 3, 4), note="first-broadcast"),
        make(op_type, a(2, 1, 4), sample(3, 1), note="both-broadcast"),
        make(op_type, a(2, 3), sample(), note="scalar", opset=NEWEST),
        make(op_type, a(2, 3), weight(3), note="constant-second"),
        make(op_type, a(2, 3), 0.75, note="constant-number"),
        make(op_type, weight(2, 1, 4), sample(3, 1), note="constant-first"),
        make(op_type, weight(4), sample(2, 3, 4), note="constant-first-row"),
        make(op_type, a(2, 3), Fed(weight(2, 3)), note="run-time-second"),
        make(
            op_type,
            replace(a(2, 3, 4), dims=("N", 3, 4)),
            replace(sample(2, 1, 4), dims=("N", 1, 4)),
            note="symbolic-batch",
        ),
    ]


def _extremes(op_type: str) -> list[Case]:
    clear = np.array([1.6, -1.6, 0.6, -0.6])  # each wins somewhere
    return [
        curved(op_type, whole(0.0, 2, 3), whole(0.5, 2, 3), note="two"),
        curved(op_type, whole(0.0, 2, 3), note="one"),
        curved(op_type, whole(0.0, 2, 1, 4), whole(0.3, 3, 1), whole(0.6, 4), note="three"),
        curved(op_type, whole(0.25, 2, 6), np.float64(0.5), note="constant"),
        curved(op_type, weight(6), whole(0.2, 2, 6), note="constant-first"),
        curved(op_type, whole(0.2, 2, 6), np.float64(0.0), note="zero"),
        curved(op_type, weight(6), whole(0.2, 2, 6), weight() * 0.9, note="constants"),
        curved(op_type, whole(0.0, 2, 1, 4), whole(0.3, 3, 1), clear, note="and-constant"),
    ]


_condition = np.array([[True, False, True], [False, False, True]])

ARITHMETIC = [
    exact("Neg", live(2, 3)),
    curved("Abs", _both),
    curved("Exp", live(2, 5)),
    curved("Log", positive(2, 5)),
    curved("Sqrt", positive(2, 5)),
    curved("Reciprocal", live(2, 5, kinks=(0.0,), low=-3.0, high=-0.5)),
    curved("Sin", live(2, 5)),
    curved("Cos", live(2, 5)),
    curved("Tan", live(2, 5, low=-1.0, high=1.0)),
    curved("Asin", live(2, 5, low=-0.9, high=0.9)),
    curved("Acos", live(2, 5, low=-0.9, high=0.9)),
    curved("Atan", live(2, 5)),
    curved("Sinh", live(2, 5)),
    curved("Cosh", live(2, 5)),
    curved("Asinh", live(2, 5)),
    curved("Acosh", live(2, 5, low=1.1, high=3.0)),
    curved("Atanh", live(2, 5, low=-0.9, high=0.9), opset=NEWEST),
    curved("Erf", live(2, 5)),
    *_broadcasts("Add", live, live),
    *_broadcasts("Sub", live, live),
    *_broadcasts("Mul", live, live),
    *_broadcasts("Div", positive, live),
    curved("Pow", live(2, 5), np.float64(2.0), note="square"),
    curved("Pow", live(2, 5), np.float64(3.0), note="cube"),
    curved("Pow", live(2, 5), np.float64(1.0), note="one"),
    curved("Pow", positive(2, 5), np.float64(0.5), note="root"),
    curved("Pow", positive(2, 3), weight(3), note="row-of-exponents"),
    curved("Pow", live(2, 5), np.array(2, np.int64), note="integer-exponent"),
    curved("Pow", positive(2, 1), weight(3), note="base-broadcast"),
    curved("Pow", live(2, 3), np.array([0.0, 2.0, 3.0]), note="zero-among-exponents"),
    curved("Pow", live(2, 3), Fed(np.array([0.0, 2.0, -1.0])), note="run-time-exponent"),
    curved("Pow", live(2, 3), Fed(np.array([0, 2, 3])), note="run-time-integers", opset=NEWEST),
    curved("Pow", positive(2, 3), live(2, 3), note="both"),
    curved("Pow", positive(2, 1), live(3), note="both-broadcast"),
    curved("Pow", np.abs(weight(2, 3)), live(3), note="exponent-alone"),
    curved("Mod", whole(0.25, 2, 6), np.float64(1.8), note="constant-divisor", fmod=1),
    curved("Mod", whole(0.25, 2, 6), positive(2, 6), note="floor", opset=28, runtime=False),
    curved("Mod", whole(0.25, 2, 6), positive(2, 6), note="both", fmod=1),
    curved("Mod", whole(0.25, 2, 1), positive(3), note="broadcast", fmod=1),
    curved("Mod", weight(2, 3) * 8, positive(3), note="divisor-alone", fmod=1),
    exact("Sum", live(2, 3), note="one"),
    exact("Sum", live(2, 3), live(2, 3), live(2, 3), note="three"),
    exact("Sum", live(2, 1, 4), live(3, 1), live(), note="broadcast"),
    exact("Sum", live(2, 3), weight(2, 3), live(2, 3), note="constant"),
    exact("Sum", live(2, 3), weight(2, 3), weight(3), note="constants"),
    exact("Sum", live(3), weight(2, 3), Fed(weight(3)), note="larger-constants"),
    exact("Mean", live(2, 3), live(2, 3), live(2, 3), note="three"),
    exact("Mean", live(2, 1, 4), live(3, 1), note="broadcast"),
    exact("Mean", live(2, 3), weight(3), note="constant"),
    exact("Mean", weight(2, 3), live(2, 3), weight(3), note="constants"),
    *_extremes("Max"),
    *_extremes("Min"),
    exact("Where", _condition, live(2, 3), live(2, 3), note="both"),
    exact("Where", _condition, live(2, 3), weight(3), note="first"),
    exact("Where", _condition, 0.5, live(2, 3), note="second"),
    exact("Where", _condition, live(2, 3), 0.0, note="zero"),
    exact("Where", _condition, weight(2, 3), live(1, 3), note="smaller-branch"),
    exact("Where", Fed(_condition), live(1, 3), live(), note="broadcast", opset=NEWEST),
    exact("Where", _condition[:, :1], live(3), live(2, 1), note="condition-broadcast"),
]
