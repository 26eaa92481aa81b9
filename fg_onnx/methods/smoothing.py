"""Methods that average over noise; the target is that of the image without noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fg_onnx.attribution import Attribution
from fg_onnx.manifest import Emit
from fg_onnx.methods.averaged import averaged_map
from fg_onnx.methods.gradients import require_psi
from fg_onnx.methods.method import Drawing, Found, Magnitudes, OverChannels
from fg_onnx.methods.task import Clean, Task

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Noisy(Drawing):
    """A method that runs every image with noise added.

    Attributes:
        samples: how many times.
        noise: the standard deviation, as a share of the image's range max(x) - min(x).
    """

    samples_inputs: ClassVar[bool] = True
    samples: int = 50
    noise: float = 0.15

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("samples", self.samples >= 1, "1 or more")
        self.require("noise", 0 <= self.noise < np.inf, "0 or more")

    def noisy(self, task: Task, row: int, sample: int) -> Array:
        """One image with noise."""
        image = task.images[row].astype(np.float64)
        draws = task.draws(self.seed, row, sample).standard_normal(image.shape)
        return np.asarray(image + self.noise * np.ptp(image) * draws)

    def mean_gradient(self, task: Task, clean: Clean, power: Callable[[Array], Array]) -> Array:
        """The mean over the samples of a function of the gradient, float64 [N, ...]."""
        total = np.zeros(task.images.shape)
        rows = range(len(total))

        def make(row: int, sample: int) -> Array:
            return self.noisy(task, row, sample)

        runs = task.each(clean.targets, rows, self.samples, make, "input-gradient")
        for row, found, index in runs:
            total[row] += power(_gradient(found, index))
        return total / self.samples


def _gradient(found: Attribution, index: int) -> Array:
    assert found.input_gradient is not None
    return np.asarray(found.input_gradient[index], dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class SmoothGrad(Noisy, OverChannels):
    """The mean gradient around the image."""

    name: ClassVar[str] = "smooth-grad"
    summary: ClassVar[str] = "|mean gradient of x + noise|, summed over channels"
    citation: ClassVar[str] = "Smilkov, Thorat, Kim, Viegas & Wattenberg, SmoothGrad, 2017"
    emit: ClassVar[tuple[Emit, ...]] = ("input-gradient",)

    def maps(self, task: Task) -> Found:
        """The mean, reduced."""
        clean = task.clean()
        mean = self.mean_gradient(task, clean, lambda gradient: gradient)
        maps = self.reduced(task, mean)
        return Found(maps, clean.targets, clean.scores, signed=self.signed)


@dataclass(frozen=True, kw_only=True)
class SmoothGradSquared(Noisy, Magnitudes):
    """The mean squared gradient around the image, which has no sign."""

    name: ClassVar[str] = "smooth-grad-squared"
    summary: ClassVar[str] = "mean gradient^2 of x + noise, summed over channels"
    citation: ClassVar[str] = (
        "Hooker, Erhan, Kindermans & Kim, A Benchmark for Interpretability Methods, NeurIPS 2019"
    )
    emit: ClassVar[tuple[Emit, ...]] = ("input-gradient",)

    def maps(self, task: Task) -> Found:
        """The mean, reduced."""
        clean = task.clean()
        maps = self.reduced(task, self.mean_gradient(task, clean, np.square))
        return Found(maps, clean.targets, clean.scores)


@dataclass(frozen=True, kw_only=True)
class SmoothFullGrad(Noisy):
    """FullGrad of the mean input term and the mean bias-gradients around the image.

    Attributes:
        psi: one of `fg_onnx.fullgrad.psi.STYLES`; ``signed`` keeps the sign.
    """

    name: ClassVar[str] = "smooth-fullgrad"
    summary: ClassVar[str] = "FullGrad of the decomposition's mean over x + noise"
    citation: ClassVar[str] = "the released code of Srinivas & Fleuret 2019, smooth_fullgrad.py"
    emit: ClassVar[tuple[Emit, ...]] = ("input-gradient", "bias-gradients")
    samples: int = 25
    psi: str = "reference"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_psi(self, self.psi)

    def maps(self, task: Task) -> Found:
        """Image by image, so that one image's bias-gradients are held at a time."""
        clean = task.clean()
        maps = [self._map(task, clean, row) for row in range(len(task.images))]
        signed = self.psi == "signed"
        return Found(np.stack(maps), clean.targets, clean.scores, signed=signed)

    def _map(self, task: Task, clean: Clean, row: int) -> Array:
        sites = [site for site in task.session.manifest.sites if site.spatial]
        input_term = np.zeros(task.images.shape[1:])
        totals: dict[str, Array] = {}

        def make(row: int, sample: int) -> Array:
            return self.noisy(task, row, sample).astype(task.images.dtype)

        # A model without a single site has no bias-gradients to be asked for.
        outputs = self.emit if task.session.manifest.sites else ("input-gradient",)
        runs = task.each(clean.targets, [row], self.samples, make, *outputs)
        for sample, (_, found, index) in enumerate(runs):
            input_term += _gradient(found, index) * make(row, sample)
            for site in sites:
                values = found.bias_gradients[site.name][index]
                total = totals.setdefault(site.name, np.zeros(values.shape))
                total += values
        terms = {site.name: totals[site.name] / self.samples for site in sites}
        return averaged_map(task, input_term / self.samples, sites, terms, self.psi)
