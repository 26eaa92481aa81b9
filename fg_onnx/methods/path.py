"""Integrated gradients: the gradient along the straight path from a baseline to the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fg_onnx.manifest import Emit
from fg_onnx.methods.baselines import BASELINES, baselines
from fg_onnx.methods.method import Attributing, Found
from fg_onnx.methods.task import Task

Array = npt.NDArray[Any]

_FIRST = 16  # intervals, where their number is not given


@dataclass(frozen=True, kw_only=True)
class IntegratedGradients(Attributing):
    """``(x - x') * the mean gradient between x' and x``, by the trapezoidal rule.

    Where ``steps`` is not given, the intervals of an image are halved until its attributions add
    up to ``f(x) - f(x')``; every gradient is used again.

    Attributes:
        baseline: x', one of `fg_onnx.methods.baselines.BASELINES`.
        steps: the number of intervals; None: as many as the tolerance needs.
        tolerance: of what is missing, as a share of ``f(x) - f(x')``.
        most_steps: where halving ends, whatever is missing.
    """

    name: ClassVar[str] = "integrated-gradients"
    summary: ClassVar[str] = "|sum over channels of (x - x') * mean gradient from x' to x|"
    citation: ClassVar[str] = (
        "Sundararajan, Taly & Yan, Axiomatic Attribution for Deep Networks, ICML 2017"
    )
    emit: ClassVar[tuple[Emit, ...]] = ("input-gradient",)
    samples_inputs: ClassVar[bool] = True
    baseline: str = "black"
    steps: int | None = None
    tolerance: float = 0.01
    most_steps: int = 1024

    def __post_init__(self) -> None:
        self.require("baseline", self.baseline in BASELINES, f"one of: {', '.join(BASELINES)}")
        self.require("steps", self.steps is None or self.steps >= 1, "1 or more")
        self.require("tolerance", self.tolerance > 0, "a number above 0")
        self.require("most_steps", self.most_steps >= _FIRST, f"{_FIRST} or more")

    def maps(self, task: Task) -> Found:
        """The attributions, reduced, with what is missing of their sum."""
        clean = task.clean("input-gradient", lambda found: found.input_gradient)
        assert clean.values is not None
        start, notes = baselines(task, self.baseline)
        path = _Path(task, clean.targets, start, clean.values)
        counts = np.zeros(len(task.images), dtype=np.int64)
        rows: Sequence[int] = range(len(task.images))
        count = self.steps or _FIRST
        path.start(rows, count)
        while True:
            counts[list(rows)] = count
            attributions, delta = path.attributions(counts, clean.scores)
            share = _share(delta, clean.scores - path.scores)
            # more steps make no number of what is none
            rows = [r for r in rows if share[r] > self.tolerance and np.isfinite(delta[r])]
            if self.steps is not None or not rows or 2 * count > self.most_steps:
                break
            path.halve(rows, count)
            count *= 2
        notes = (*notes, f"intervals: {', '.join(map(str, counts))}")
        return Found(
            self.reduced(task, attributions),
            clean.targets,
            clean.scores,
            signed=self.signed,
            residual=share,
            delta=delta,
            notes=notes,
            image_notes={row: self._missed(counts[row], share[row]) for row in rows},
        )

    def _missed(self, count: int, share: float) -> str:
        return (
            f"after {count} intervals {share:.2g} of f(x) - f(baseline) is missing, more than the "
            f"tolerance {self.tolerance:g}"
        )


class _Path:
    """The gradients' weighted sum along every image's path, [N, ...] in float64."""

    def __init__(self, task: Task, targets: Array, start: Array, last: Array) -> None:
        self._task = task
        self._targets = targets
        self._start = start
        self._way = task.images.astype(np.float64) - start
        self._total = 0.5 * last.astype(np.float64)
        self.scores = np.zeros(len(start))

    def start(self, rows: Sequence[int], count: int) -> None:
        """All points of ``count`` intervals but the image itself; f of the baselines."""
        for row, score, gradient, sample in self._run(rows, count, lambda k: k / count):
            if sample == 0:
                self.scores[row] = score
            self._total[row] += gradient * (0.5 if sample == 0 else 1.0)

    def halve(self, rows: Sequence[int], count: int) -> None:
        """The middles of ``count`` intervals."""
        for row, _, gradient, _ in self._run(rows, count, lambda k: (k + 0.5) / count):
            self._total[row] += gradient

    def attributions(self, counts: Array, scores: Array) -> tuple[Array, Array]:
        """The attributions by so many intervals, and what they sum to beyond f(x) - f(x')."""
        mean = self._total / counts.reshape(-1, *[1] * (self._way.ndim - 1))
        found = self._way * mean
        sums = found.reshape(len(found), -1).sum(axis=1)
        return found, sums - (scores.astype(np.float64) - self.scores)

    def _run(self, rows: Sequence[int], count: int, place: Any) -> Any:
        def make(row: int, sample: int) -> Array:
            return np.asarray(self._start[row] + place(sample) * self._way[row])

        runs = self._task.each(self._targets, rows, count, make, "input-gradient")
        for number, (row, found, index) in enumerate(runs):
            assert found.input_gradient is not None
            yield row, found.scores[index], found.input_gradient[index], number % count


def _share(delta: Array, difference: Array) -> Array:
    """``|delta| / |f(x) - f(x')|``, 0 where nothing is missing; of a NaN it is one."""
    gap, scale = np.abs(delta), np.abs(difference)
    undivided = np.where(gap == 0, 0.0, np.where(np.isnan(gap), np.nan, np.inf))
    return np.divide(gap, scale, out=undivided, where=scale > 0)
