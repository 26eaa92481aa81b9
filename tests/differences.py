"""Finite differences of an instrumented model's own score; no other framework.

The contract has all that is needed: ``fg_bias/<site>`` takes any bias, ``fg_target`` holds the
class fixed. A bias is varied relative to itself, ``b (1 + t s)``: then df/dt at t = 0 is
``sum_c s_c sum_positions fg_bias_gradient``, and nothing is divided by a bias that may be small.
Likewise ``x (1 + t s)`` and ``x * fg_input_gradient``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from fg_onnx import instrument
from fg_onnx.runtime import open_session


@dataclass(eq=False)
class Score:
    """f of a model, for a fixed class of each image, as a function of some changed inputs."""

    session: Any
    feeds: dict[str, np.ndarray]

    def __call__(self, **changed: np.ndarray) -> np.ndarray:
        (found,) = self.session.run(["fg_score"], {**self.feeds, **changed})
        return found.astype(np.float64)

    def along(
        self, name: str, value: np.ndarray, sign: np.ndarray
    ) -> Callable[[float], np.ndarray]:
        """t -> f with the input ``name`` at ``value * (1 + t sign)``."""

        def at(t: float) -> np.ndarray:
            return self(**{name: np.asarray(value * (1 + t * sign), dtype=np.float32)})

        return at


def score_of(source, feeds, target):
    """Without emits the instrumented model is the forward pass and the score."""
    proto = instrument(source, emit=()).model
    session = open_session(proto.SerializeToString())
    return Score(session, {**feeds, "fg_target": target}), defaults_of(proto)


def defaults_of(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The trained values of all promoted biases, by the name of the input."""
    return {
        weight.name: numpy_helper.to_array(weight)
        for weight in proto.graph.initializer
        if weight.name.startswith("fg_bias/")
    }


def settled_derivative(at: Callable[[float], np.ndarray], ladder: Sequence[float]) -> np.ndarray:
    """df/dt per image, at the step of a ladder of falling steps where it changes least.

    The step is chosen without a look at the gradient. Truncation (or, in a large net, the kinks
    met) falls with the step, rounding grows.
    """
    rungs = np.array([(at(h) - at(-h)) / (2 * h) for h in ladder])
    best = np.abs(np.diff(rungs, axis=0)).argmin(0)
    return np.take_along_axis((rungs[:-1] + rungs[1:]) / 2, best[None], axis=0)[0]


def finest_derivative(at: Callable[[float], np.ndarray]) -> float:
    """df/dt of one image, over the shortest step from which rounding leaves it good to `_GOOD`.

    The step is chosen without a look at the gradient: what rounding does to f shows in how far
    it is from linear along steps so short that nothing else is left.
    """
    return _difference(at, _finest_step(at))


def averaged_derivative(at: Callable[[float], np.ndarray]) -> float:
    """df/dt of one image, of the straight line through many values along a quarter of that step.

    A step that rounding forbids to shorten may hold kinks enough to bend f. Over a quarter of it
    the line through `_VALUES` evenly spaced values is about as good: the error that rounding leaves
    in its slope is ``sqrt(3 / _VALUES) / h``, in a difference ``sqrt(1 / 2) / h``, of that of a
    value. It is so where values round apart, so a step below `_APART` is not shortened.
    """
    step = _finest_step(at)
    h = min(step, max(step / 4, _APART))
    steps = h * np.linspace(-1, 1, _VALUES)
    return float(np.polyfit(steps, [at(t)[0] for t in steps], 1)[0])


def _difference(at: Callable[[float], np.ndarray], h: float) -> float:
    return float((at(h)[0] - at(-h)[0]) / (2 * h))


def _finest_step(at: Callable[[float], np.ndarray]) -> float:
    tiny = np.array([k * 2.0**-21 for k in (-8, -4, -2, 0, 2, 4, 8)])
    values = np.array([at(t)[0] for t in tiny])
    noise = np.abs(values - np.polyval(np.polyfit(tiny, values, 1), tiny)).max()
    noise = max(noise, 2.0**-23 * np.abs(values).max())
    about = abs(_difference(at, 2.0**-12)) or 2.0**-30
    power = np.ceil(np.log2(noise / (_GOOD * about)))
    return float(np.clip(2.0**power, _SHORTEST, 2.0**-3))


_GOOD = 5e-3
_SHORTEST = 2.0**-17
_VALUES = 64
_APART = 2.0**-14  # measured on seresnet50: errors of values 2^-18 apart are still correlated
