"""The checks that are made on a sample: pixel perturbation, and randomised parameters."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from fg_onnx import Instrumented, Session
from fg_onnx.audit.model import Opened
from fg_onnx.audit.running import Subject
from fg_onnx.errors import FgOnnxError, InputError
from fg_onnx.evaluate.maps import Maps, spatial_axes
from fg_onnx.evaluate.parameters import parameters
from fg_onnx.evaluate.perturbation import Perturbation, perturb
from fg_onnx.evaluate.randomization import FedMaps, randomize
from fg_onnx.evaluate.randomization import Subject as Randomised
from fg_onnx.evaluate.scorer import Scorer
from fg_onnx.instrumentation import instrument
from fg_onnx.samples import Sample

Array = npt.NDArray[Any]

_FULLGRAD, _RANDOM = "fullgrad", "random"


@dataclass(frozen=True)
class Sampled:
    """What was found on a sample.

    Attributes:
        perturbation: the change of the score when the least salient pixels are removed, as a share
            of that when pixels are removed at random; None if that was not measured.
        randomization: the mean magnitude of the rank correlation between maps of the model and of
            one with other parameters; None likewise.
        reasons: why something was not measured, by the name of its check.
    """

    perturbation: float | None = None
    randomization: float | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Sampling:
    """On what it is done.

    Attributes:
        opened: the model.
        subject: its images.
        numbers: of those in the sample.
        seed: of what is drawn.
    """

    opened: Opened
    subject: Subject
    numbers: Sequence[int]
    seed: int

    def batches(self) -> list[Array]:
        """The sample as the model is fed it; what cannot be read any more is left out."""
        read = [self.subject.read(int(number)) for number in self.numbers]
        found = [one.array for one in read if isinstance(one, Sample)]
        groups = [list(g) for _, g in itertools.groupby(found, key=lambda array: array.shape)]
        size = self.subject.batch
        return [
            np.concatenate(group[at : at + size])
            for group in groups
            for at in range(0, len(group), size)
        ]


def choose(eligible: Array, count: int, seed: int) -> list[int]:
    """A sample of the numbers of images, rising."""
    numbers = np.flatnonzero(eligible)
    drawn = np.random.default_rng(seed).permutation(numbers)[:count]
    return sorted(int(number) for number in drawn)


def look(sampling: Sampling, percent: float | None, *, randomised: bool) -> Sampled:
    """Perturb by that share of the pixels, and randomise, as far as either is asked for."""
    reasons: dict[str, str] = {}
    if not sampling.numbers or (percent is None and not randomised):
        return Sampled()

    def measured(what: str, measure: Callable[[], float]) -> float | None:
        try:
            found = measure()
        except FgOnnxError as error:
            reasons[what] = error.message
            return None
        if np.isfinite(found):
            return found
        reasons[what] = "nothing moved, so that there is nothing to compare"
        return None

    return Sampled(
        measured("perturbation", lambda: _perturb(sampling, percent)) if percent else None,
        measured("randomization", lambda: _randomise(sampling)) if randomised else None,
        reasons,
    )


def _perturb(sampling: Sampling, percent: float) -> float:
    session = sampling.opened.session
    methods = {_FULLGRAD: _saliency(session), _RANDOM: _chance(session, sampling.seed)}
    steps = sampling.subject.steps
    chosen = Perturbation("least", "black" if steps else "mean", (percent,), sampling.seed)
    panel = perturb(Scorer.over(session), methods, sampling.batches(), chosen, steps)
    by_name = {curve.method: float(curve.mean[0]) for curve in panel.curves}
    by_chance = by_name[_RANDOM]
    return by_name[_FULLGRAD] / by_chance if by_chance > 0 else float("nan")


def _saliency(session: Session) -> Maps:
    def maps(images: Array, targets: Array) -> Array:
        found = session.explain(images, targets, outputs=["saliency"]).saliency
        assert found is not None  # it was asked for
        return np.abs(found)

    return maps


def _chance(session: Session, seed: int) -> Maps:
    draws = np.random.default_rng(seed)  # goes on from batch to batch: an order for every image

    def maps(images: Array, _: Array) -> Array:
        grid = [images.shape[axis] for axis in spatial_axes(session.manifest.layout)]
        return draws.random((len(images), *grid))

    return maps


def _randomise(sampling: Sampling) -> float:
    opened = sampling.opened
    if not opened.plain:
        raise InputError(
            "instrumented", f"`{opened.path}` is instrumented, and only a plain model is randomised"
        )
    layout = opened.session.manifest.layout
    spatial_axes(layout)
    assert layout is not None
    held = parameters(opened.source.proto)

    def open_scores(proto: onnx.ModelProto) -> tuple[Instrumented, Session]:
        made = instrument(proto, emit=(), **opened.chosen)
        return made, Session(made, device=opened.device)

    def open_maps(_: str, proto: onnx.ModelProto) -> FedMaps:
        psi = opened.session.manifest.psi
        made = instrument(proto, emit=("saliency",), psi=psi, **opened.chosen)
        session = Session(made, device=opened.device)

        def maps(images: Array, targets: Array, *, feeds: Any = None) -> Array:
            found = session.explain(images, targets, feeds=feeds, outputs=["saliency"]).saliency
            assert found is not None  # it was asked for
            return found

        return maps

    subject = Randomised(held, open_maps, open_scores, [_FULLGRAD], sampling.batches(), layout)
    # the last of the points has all layers randomised
    ranks, *_ = randomize(subject, "cascading", sampling.seed, most=2)
    alike = np.abs(ranks.curves[0].values[:, -1])
    alike = alike[np.isfinite(alike)]
    return float(alike.mean()) if len(alike) else float("nan")
