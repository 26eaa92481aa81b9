"""Pixel perturbation, section 5.1: remove pixels by their salience, and see how the score moves.

A method that knows which pixels do not count moves it little when it removes the least salient.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.errors import InputError
from fg_onnx.evaluate.curves import Curve, Panel
from fg_onnx.evaluate.maps import Maps, Tick, maps_of, require_methods, spatial_axes
from fg_onnx.evaluate.removal import (
    Order,
    Replacement,
    count_of,
    pixel_order,
    remove,
    replacing_pixels,
)
from fg_onnx.evaluate.scorer import Scorer
from fg_onnx.pictures.preprocess import Preprocessing

Array = npt.NDArray[Any]

PERCENTS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0)


@dataclass(frozen=True)
class Perturbation:
    """What is done to the images.

    Attributes:
        order: which pixels go first.
        replacement: what stands in their place.
        percents: shares of the pixels that are removed, from 0 to 100.
        seed: of the order among equally salient pixels, and of ``random``.

    Raises:
        InputError: ``bad-percents``.
    """

    order: Order = "least"
    replacement: Replacement = "black"
    percents: Sequence[float] = PERCENTS
    seed: int = 0

    def __post_init__(self) -> None:
        require_percents(self.percents)


def require_percents(percents: Sequence[float]) -> None:
    """Fail where shares of the pixels are none, or do not rise.

    Raises:
        InputError: ``bad-percents``.
    """
    rising = all(a < b for a, b in itertools.pairwise(percents))
    if not percents or not rising or not (percents[0] >= 0 and percents[-1] <= 100):
        raise InputError(
            "bad-percents",
            f"{', '.join(f'{percent:g}' for percent in percents) or 'nothing'} is no rising list "
            "of percents",
            "give numbers from 0 to 100, such as 1,10,50,90",
        )


def perturb(
    scorer: Scorer,
    methods: Mapping[str, Maps],
    batches: Iterable[Array],
    perturbation: Perturbation,
    steps: Preprocessing | None = None,
    tick: Tick | None = None,
) -> Panel:
    """The absolute fractional change of the predicted class's score, ``|f(x') - f(x)| / |f(x)|``.

    The class is the one predicted for the whole image, in the maps and in every score. A score of
    0, or one that is not finite, has no fractions: the values of such an image are NaN.

    Args:
        scorer: the model.
        methods: what orders the pixels, by name.
        batches: images as the model is fed them, [N, ...] each.
        perturbation: what is done to them.
        steps: how they were prepared, of which black follows.
        tick: is called after every method on every batch.

    Raises:
        InputError: no method, or images that do not fit.
        NotJudgedError: maps that are none.
    """
    require_methods(list(methods))
    found: dict[str, list[Array]] = {name: [] for name in methods}
    seen = 0
    for images in batches:
        numbers = range(seen, seen + len(images))
        for name, changes in _changes(scorer, methods, images, numbers, perturbation, steps):
            found[name].append(changes)
            if tick is not None:
                tick(len(images))
        seen += len(images)
    return Panel(
        title=f"{perturbation.order}-{perturbation.replacement}",
        axis=_AXES[perturbation.order],
        quantity="|change of the score| / |score|",
        points=tuple(perturbation.percents),
        curves=tuple(Curve(name, np.concatenate(rows)) for name, rows in found.items()),
    )


_AXES = {
    "least": "least salient pixels removed, %",
    "most": "most salient pixels removed, %",
    "random": "pixels removed at random, %",
}


def _changes(
    scorer: Scorer,
    methods: Mapping[str, Maps],
    images: Array,
    numbers: Sequence[int],
    perturbation: Perturbation,
    steps: Preprocessing | None,
) -> Iterator[tuple[str, Array]]:
    """Of one batch, by each method: [N, percents]."""
    layout = scorer.layout
    pixels = math.prod(images.shape[axis] for axis in spatial_axes(layout))
    assert layout is not None  # it has a grid
    targets = scorer.predicted(images)
    whole = scorer.scores(images, targets)
    judged = np.flatnonzero(np.isfinite(whole) & (whole != 0))
    counts = [count_of(percent, pixels) for percent in perturbation.percents]
    changes = {name: np.full((len(numbers), len(counts)), np.nan) for name in methods}
    if not len(judged):
        yield from changes.items()
        return
    images, targets, whole = images[judged], targets[judged], whole[judged, None]
    those = [numbers[at] for at in judged.tolist()]
    instead = replacing_pixels(images, perturbation.replacement, layout, steps)
    for name, method in methods.items():
        if perturbation.order == "random":  # whatever the map
            maps = np.zeros((len(images), pixels))
        else:
            maps = maps_of(name, method, images, targets, layout)
        order = pixel_order(maps, perturbation.order, perturbation.seed, those)
        left = (remove(images, instead, order, count, layout) for count in counts)
        scores = np.stack([scorer.scores(each, targets) for each in left], axis=1)
        changes[name][judged] = np.abs(scores - whole) / np.abs(whole)
        yield name, changes[name]
