"""RISE: what the model says of the image behind random masks; it needs no gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fg_onnx.manifest import Emit
from fg_onnx.methods.baselines import BASELINES, baselines
from fg_onnx.methods.method import Drawing, Found
from fg_onnx.methods.task import Task

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Rise(Drawing):
    """The mean of random masks, weighed by the model's confidence in the image behind each.

    A mask is a coarse grid of cells that are kept or removed, enlarged linearly and shifted.

    Attributes:
        samples: how many masks.
        cells: of a mask along each axis.
        kept: the probability that a cell is kept.
        baseline: what a removed pixel becomes, one of `fg_onnx.methods.baselines.BASELINES`.
        confidence: ``probability``, the softmax of the scores, or ``score``, the score itself.
    """

    name: ClassVar[str] = "rise"
    summary: ClassVar[str] = "mean of random masks, weighed by the confidence in what they leave"
    citation: ClassVar[str] = "Petsiuk, Das & Saenko, RISE, BMVC 2018"
    emit: ClassVar[tuple[Emit, ...]] = ("probability",)
    samples_inputs: ClassVar[bool] = True
    samples: int = 4000
    cells: int = 7
    kept: float = 0.5
    baseline: str = "zero"
    confidence: str = "probability"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("samples", self.samples >= 1, "1 or more")
        self.require("cells", self.cells >= 1, "1 or more")
        self.require("kept", 0 < self.kept < 1, "a number between 0 and 1")
        self.require("baseline", self.baseline in BASELINES, f"one of: {', '.join(BASELINES)}")
        known = ("probability", "score")
        self.require("confidence", self.confidence in known, " or ".join(known))

    def maps(self, task: Task) -> Found:
        """``sum_i p_i M_i / (samples * kept)``."""
        clean = task.clean()
        removed, notes = baselines(task, self.baseline)
        total = np.zeros((len(task.images), *task.grid))

        def make(row: int, sample: int) -> Array:
            mask = task.along_channels(self.mask(task.grid, sample))
            return np.asarray(mask * task.images[row] + (1 - mask) * removed[row])

        rows = range(len(task.images))
        runs = task.each(clean.targets, rows, self.samples, make, "probability")
        for number, (row, found, index) in enumerate(runs):
            values = found.scores if self.confidence == "score" else found.methods["probability"]
            total[row] += float(values[index]) * self.mask(task.grid, number % self.samples)
        return Found(total / (self.samples * self.kept), clean.targets, clean.scores, notes=notes)

    def mask(self, grid: tuple[int, ...], sample: int) -> Array:
        """One mask [*grid], between 0 (removed) and 1 (kept); the same for all images."""
        draws = np.random.default_rng([self.seed, sample])
        cells = [min(self.cells, size) for size in grid]
        mask: Array = (draws.random(cells) < self.kept).astype(np.float64)
        for axis, (size, count) in enumerate(zip(grid, cells, strict=True)):
            cell = math.ceil(size / count)
            first = int(draws.integers(cell))
            rows = _enlarging(count, (count + 1) * cell)[first : first + size]
            mask = np.moveaxis(np.tensordot(rows, mask, (1, axis)), 0, axis)
        return np.asarray(mask)


def _enlarging(old: int, new: int) -> Array:
    """[new, old]: linear between the centres of the old positions, constant beyond the outer."""
    at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.asarray(np.maximum(0, 1 - np.abs(at[:, None] - np.arange(old))))
