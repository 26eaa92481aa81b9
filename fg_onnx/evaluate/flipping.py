"""Digit flipping, section 6: remove what speaks for one class and against another.

Shrikumar, Greenside & Kundaje, Learning Important Features Through Propagating Activation
Differences, 2017, turn an 8 into a 3 so: pixels with the largest positive ``S_8 - S_3`` go first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fg_onnx.errors import InputError
from fg_onnx.evaluate.curves import Curve, Panel
from fg_onnx.evaluate.maps import Maps, Tick, maps_of, require_methods, spatial_axes
from fg_onnx.evaluate.perturbation import require_percents
from fg_onnx.evaluate.removal import (
    Replacement,
    count_of,
    pixel_order,
    remove,
    replacing_pixels,
)
from fg_onnx.evaluate.scorer import Scorer
from fg_onnx.manifest import Manifest
from fg_onnx.pictures.preprocess import Preprocessing
from fg_onnx.session import Session

Array = npt.NDArray[Any]

Contrast: TypeAlias = Callable[[Array, int, int], Array]
"""Images [N, ...] and two classes: maps [N, *grid], larger where a pixel speaks for the first one
against the second."""

PERCENTS = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0)
"""Up to what Shrikumar et al. remove, 157 of 784 pixels."""


@dataclass(frozen=True)
class Flipping:
    """What is done to the images.

    Attributes:
        source: the class that they are of.
        target: the class that they are to be taken for.
        replacement: what stands in the place of a pixel.
        percents: shares of the pixels that are removed, from 0 to 100; less where fewer speak for
            the source.
        seed: of the order among equal pixels.

    Raises:
        InputError: ``bad-percents``, or ``one-class``.
    """

    source: int
    target: int
    replacement: Replacement = "black"
    percents: Sequence[float] = PERCENTS
    seed: int = 0

    def __post_init__(self) -> None:
        require_percents(self.percents)
        if self.source == self.target:
            raise InputError(
                "one-class",
                f"class {self.source} cannot be told from itself",
                "name two classes, such as --from 8 --to 3",
            )


def difference(maps: Maps) -> Contrast:
    """The map of the one class minus that of the other, as Shrikumar et al. define it."""

    def contrast(images: Array, source: int, target: int) -> Array:
        one, other = (maps(images, np.full(len(images), at)) for at in (source, target))
        return np.asarray(one.astype(np.float64) - other)

    return contrast


def alone(maps: Maps) -> Contrast:
    """The map of the one class, for maps that no class changes."""
    return lambda images, source, _: maps(images, np.full(len(images), source))


def seeded(session: Session) -> Contrast:
    """The map of ``f_source - f_target`` itself, by a model that takes a cotangent."""

    def contrast(images: Array, source: int, target: int) -> Array:
        require_classes(session.manifest, (source, target))
        seed = np.zeros((len(images), session.manifest.scores or 0), dtype=np.float32)
        seed[:, source], seed[:, target] = 1, -1
        found = session.explain(images, seed=seed, outputs=("saliency",)).saliency
        assert found is not None  # it was asked for
        return found

    return contrast


def require_classes(manifest: Manifest, classes: Iterable[int]) -> None:
    """Fail where a model has no such classes, or several scores for each.

    Raises:
        InputError: ``no-classes`` or ``target-range``.
    """
    count = manifest.scores
    if count is None or manifest.dense or len(manifest.score_shape or ()) != 1:
        raise InputError(
            "no-classes",
            f"`{manifest.output}` is no row of scores, one for each class",
            "name such a tensor with --output",
        )
    for index in classes:
        if not 0 <= index < count:
            raise InputError(
                "target-range",
                f"there is no class {index}: the model has {count}",
                f"give 0 to {count - 1}",
            )


def flip(
    scorer: Scorer,
    methods: Mapping[str, Contrast],
    batches: Iterable[Array],
    flipping: Flipping,
    steps: Preprocessing | None = None,
    tick: Tick | None = None,
) -> list[Panel]:
    """The change of the log-odds of source against target, and the share of images that flip.

    The log-odds are ``f_source - f_target``, for logits; the change is counted towards the target:
    what a method takes from them is the better the larger it is. An image whose log-odds do not
    speak for the source to begin with cannot flip: its share is NaN.

    Args:
        scorer: the model.
        methods: what orders the pixels, by name.
        batches: images of the source class as the model is fed them, [N, ...] each.
        flipping: what is done to them.
        steps: how they were prepared, of which black follows.
        tick: is called after every method on every batch.

    Raises:
        InputError: no method, no such class, or images that do not fit.
        NotJudgedError: maps that are none.
    """
    require_methods(list(methods))
    require_classes(scorer.manifest, (flipping.source, flipping.target))
    layout = scorer.layout
    axes = spatial_axes(layout)
    assert layout is not None  # it has a grid
    odds: dict[str, list[Array]] = {name: [] for name in methods}
    flipped: dict[str, list[Array]] = {name: [] for name in methods}
    seen = 0
    for images in batches:
        pixels = int(np.prod([images.shape[axis] for axis in axes]))
        numbers = range(seen, seen + len(images))
        seen += len(images)
        before = _log_odds(scorer, images, flipping)
        instead = replacing_pixels(images, flipping.replacement, layout, steps)
        for name, method in methods.items():
            maps = maps_of(name, _at(method, flipping), images, before, layout)
            order = pixel_order(maps, "most", flipping.seed, numbers)
            speak = (maps > 0).reshape(len(maps), -1).sum(axis=1)
            after = []
            for percent in flipping.percents:
                count = np.minimum(count_of(percent, pixels), speak)
                left = remove(images, instead, order, count, layout)
                after.append(_log_odds(scorer, left, flipping))
            found = np.stack(after, axis=1)
            odds[name].append(before[:, None] - found)
            flipped[name].append(_flips(before[:, None], found))
            if tick is not None:
                tick(len(images))

    def panel(quantity: str, found: Mapping[str, Sequence[Array]]) -> Panel:
        curves = tuple(Curve(name, np.concatenate(rows)) for name, rows in found.items())
        title = f"{flipping.source} to {flipping.target}"
        return Panel(title, "pixels removed, %", quantity, tuple(flipping.percents), curves)

    return [panel("change of the log-odds", odds), panel("share of images that flip", flipped)]


def _flips(before: Array, after: Array) -> Array:
    """1 where the log-odds have turned, 0 where not; NaN where there was nothing to turn."""
    known = (before > 0) & np.isfinite(before) & np.isfinite(after)
    return np.where(known, after < 0, np.nan)


def _at(method: Contrast, flipping: Flipping) -> Maps:
    return lambda images, _: method(images, flipping.source, flipping.target)


def _log_odds(scorer: Scorer, images: Array, flipping: Flipping) -> Array:
    """Of the source against the target, float64 [N]."""
    return scorer.scores(images, flipping.source) - scorer.scores(images, flipping.target)
