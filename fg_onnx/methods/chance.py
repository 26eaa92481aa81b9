"""What a method has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fg_onnx.methods.method import Drawing, Found
from fg_onnx.methods.task import Task


@dataclass(frozen=True, kw_only=True)
class Random(Drawing):
    """A map that knows nothing."""

    name: ClassVar[str] = "random"
    summary: ClassVar[str] = "uniform draws, independent of the model"
    citation: ClassVar[str] = "the baseline of Srinivas & Fleuret 2019, section 5"

    def maps(self, task: Task) -> Found:
        """Uniform on [0, 1), pixel by pixel."""
        clean = task.clean()
        rows = range(len(task.images))
        maps = np.stack([task.draws(self.seed, row).random(task.grid) for row in rows])
        return Found(maps, clean.targets, clean.scores)
