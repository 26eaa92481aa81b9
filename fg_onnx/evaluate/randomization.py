"""Sanity checks, section 4.1: a map that explains a model changes when the model does.

Adebayo et al., Sanity Checks for Saliency Maps, 2018, randomise parameters; Example 2 of the paper
changes biases alone, to which input-gradients are blind within a linear region.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from fg_onnx.errors import UnsupportedModelError
from fg_onnx.evaluate.curves import Curve, Panel
from fg_onnx.evaluate.maps import Tick, maps_of, require_methods
from fg_onnx.evaluate.parameters import Parameters
from fg_onnx.evaluate.similarity import SIMILARITIES
from fg_onnx.instrumentation import Instrumented
from fg_onnx.manifest import LayoutName
from fg_onnx.session import Session

Array = npt.NDArray[Any]
Feeds: TypeAlias = Mapping[str, Array]
Mode = Literal["cascading", "independent", "biases"]

MODES: tuple[Mode, ...] = get_args(Mode)
AMOUNTS = (1e-6, 1e-5, 1e-4, 0.001, 0.01, 0.1, 1.0)
"""Of noise on the biases, as shares of their root mean square."""


class FedMaps(Protocol):
    """`maps.Maps` that also takes further inputs by name, ``fg_bias/<site>`` among them."""

    def __call__(self, images: Array, targets: Array, *, feeds: Feeds | None = None) -> Array:
        """The maps, float [N, *grid]."""


Open: TypeAlias = Callable[[str, onnx.ModelProto], FedMaps]
"""A method by its name, at work on a model."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What is randomised, and on which images it is looked at.

    Attributes:
        parameters: of the model.
        open_maps: gives a method at work on it, and on every randomised one.
        open_scores: gives the model with its biases promoted, to run.
        methods: by name.
        batches: images as the model is fed them.
        layout: of the images.
    """

    parameters: Parameters
    open_maps: Open
    open_scores: Callable[[onnx.ModelProto], tuple[Instrumented, Session]]
    methods: Sequence[str]
    batches: Sequence[Array]
    layout: LayoutName


@dataclass(frozen=True, eq=False)
class Change:
    """One thing that is done to the model.

    Attributes:
        point: its name, or its amount.
        proto: the model that is looked at.
        feeds: what it is fed beside the images.
    """

    point: float | str
    proto: onnx.ModelProto
    feeds: Feeds


def randomize(
    subject: Subject,
    mode: Mode,
    seed: int = 0,
    *,
    most: int | None = None,
    tick: Tick | None = None,
) -> list[Panel]:
    """How far every method's maps, and the scores, move as a model is randomised.

    ``cascading`` randomises the layers from the output down, each with all those behind it;
    ``independent`` one at a time. ``biases`` leaves the file alone: noise of rising size is added
    to all biases at once, through their inputs. The class that is explained stays the one that the
    trained model predicts.

    Args:
        subject: what is randomised.
        mode: how.
        seed: of what is drawn.
        most: layers that are looked at, evenly spread; None: all.
        tick: is called after every method on every changed model.

    Returns:
        A panel for every measure of `SIMILARITIES`, and one for the scores.

    Raises:
        InputError: no method, or images that do not fit.
        NotJudgedError: maps that are none.
        UnsupportedModelError: ``no-biases``.
    """
    require_methods(subject.methods)
    proto = subject.parameters.proto
    instrumented, session = subject.open_scores(proto)
    changes = _changes(subject.parameters, instrumented, mode, seed, most)
    targets = [_targets(session.explain(images).targets) for images in subject.batches]
    methods = {method: subject.open_maps(method, proto) for method in subject.methods}
    scores = _scores(subject, session, targets, {})
    before = {name: _maps(subject, name, maps, targets, {}) for name, maps in methods.items()}
    points: list[float | str] = []
    moved: list[Array] = []
    alike: dict[tuple[str, str], list[list[float]]] = {}
    for change in changes:
        points.append(change.point)
        if change.proto is not proto:
            _, session = subject.open_scores(change.proto)
        moved.append(_fraction(scores, _scores(subject, session, targets, change.feeds)))
        for name, maps in methods.items():
            if change.proto is not proto:
                maps = subject.open_maps(name, change.proto)
            after = _maps(subject, name, maps, targets, change.feeds)
            for quantity, measure in SIMILARITIES.items():
                rows = [measure(a, b) for a, b in zip(before[name], after, strict=True)]
                alike.setdefault((quantity, name), []).append(rows)
            if tick is not None:
                tick(len(scores))

    def panel(quantity: str, found: Mapping[str, Sequence[Any]]) -> Panel:
        curves = tuple(Curve(name, np.stack(rows, axis=1)) for name, rows in found.items())
        return Panel(mode, _AXES[mode], quantity, tuple(points), curves)

    return [
        *(panel(key, {name: alike[key, name] for name in methods}) for key in SIMILARITIES),
        panel("|change of the score| / |score|", {SCORE: moved}),
    ]


SCORE = "score of the model"
"""The curve that says how far the function itself has moved."""

_AXES = {
    "cascading": "randomised down to this layer",
    "independent": "randomised layer",
    "biases": "noise on all biases / their root mean square",
}


def count_of_changes(held: Parameters, mode: Mode, most: int | None = None) -> int:
    """How many changed models `randomize` looks at."""
    if mode == "biases":
        return len(AMOUNTS)
    return len(held.layers) if most is None else min(most, len(held.layers))


def _changes(
    held: Parameters, instrumented: Instrumented, mode: Mode, seed: int, most: int | None
) -> Iterator[Change]:
    """What is done, in order."""
    if mode == "biases":
        noisy = _noisy(instrumented, seed)
        yield from (Change(amount, held.proto, noisy(amount)) for amount in AMOUNTS)
        return
    from_the_top = held.layers[::-1]
    last, count = len(from_the_top) - 1, count_of_changes(held, mode, most)
    chosen = [round(i * last / max(count - 1, 1)) for i in range(count)]
    for at in chosen:
        start = 0 if mode == "cascading" else at
        yield Change(from_the_top[at].name, held.redrawn(from_the_top[start : at + 1], seed), {})


def require_biases(instrumented: Instrumented) -> None:
    """Fail where the mode ``biases`` has nothing to change.

    Raises:
        UnsupportedModelError: ``no-biases``.
    """
    if not _promoted(instrumented):
        raise UnsupportedModelError(
            "no-biases",
            "the model has no biases that can be fed",
            "leave the mode `biases` out",
        )


def _promoted(instrumented: Instrumented) -> set[str]:
    """The inputs through which biases are fed."""
    stored = {tensor.name for tensor in instrumented.model.graph.initializer}
    return stored & {str(site.promoted_input) for site in instrumented.manifest.sites}


def _noisy(instrumented: Instrumented, seed: int) -> Callable[[float], Feeds]:
    """By the amount, every promoted bias with noise of one direction."""
    require_biases(instrumented)
    names = _promoted(instrumented)
    trained = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in instrumented.model.graph.initializer
        if tensor.name in names
    }
    noise = {}
    for name, values in trained.items():
        size = np.sqrt(np.mean(np.square(values.astype(np.float64))))
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        noise[name] = size * rng.standard_normal(values.shape)

    def fed(amount: float) -> Feeds:
        return {k: (v + amount * noise[k]).astype(v.dtype) for k, v in trained.items()}

    return fed


def _maps(
    subject: Subject, method: str, maps: FedMaps, targets: Sequence[Array], feeds: Feeds
) -> list[Array]:
    """The maps of all images."""

    def fed(images: Array, classes: Array) -> Array:
        return maps(images, classes, feeds=feeds)

    found: list[Array] = []
    for images, classes in zip(subject.batches, targets, strict=True):
        found += list(maps_of(method, fed, images, classes, subject.layout))
    return found


def _scores(subject: Subject, session: Session, targets: Sequence[Array], feeds: Feeds) -> Array:
    """The scores of all images, float64."""
    runs = zip(subject.batches, targets, strict=True)
    found = [session.explain(images, classes, feeds=feeds).scores for images, classes in runs]
    return np.concatenate(found).astype(np.float64)


def _targets(found: Array | None) -> Array:
    assert found is not None  # the model was instrumented without --seed
    return found


def _fraction(before: Array, after: Array) -> Array:
    """``|after - before| / |before|``; NaN where that is 0."""
    size = np.abs(before)
    change = np.abs(after - before)
    return np.asarray(np.divide(change, size, out=np.full(size.shape, np.nan), where=size > 0))
