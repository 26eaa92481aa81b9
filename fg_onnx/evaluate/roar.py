"""ROAR, section 5.2: remove the most salient pixels of a whole data set, and train on what is left.

Hooker, Erhan, Kindermans & Kim, A Benchmark for Interpretability Methods in Deep Neural Networks,
2019. The better a method finds the pixels that tell the classes apart, the less a classifier can
learn without them. What it may still learn from is where pixels are missing, which is why a method
is to be compared with others and with chance, and not with the accuracy on whole images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from fg_onnx._version import __version__
from fg_onnx.errors import InputError
from fg_onnx.evaluate.curves import Curve, Panel
from fg_onnx.evaluate.flipping import require_classes
from fg_onnx.evaluate.kept import Kept
from fg_onnx.evaluate.labelled import Labelled, Part
from fg_onnx.evaluate.maps import Maps, Tick, maps_of, require_methods, spatial_axes
from fg_onnx.evaluate.perturbation import require_percents
from fg_onnx.evaluate.removal import count_of, pixel_order, remove, replacing_pixels
from fg_onnx.evaluate.scorer import Scorer
from fg_onnx.evaluate.training import Trainer, accuracy, identity
from fg_onnx.manifest import LayoutName
from fg_onnx.pictures.preprocess import Preprocessing
from fg_onnx.runtime import onnxruntime

Array = npt.NDArray[Any]
Level = Literal["mean", "black"]

LEVELS: tuple[Level, ...] = get_args(Level)
PERCENTS = (10.0, 30.0, 50.0, 70.0, 90.0)  # Hooker et al.'s
SEEDS = 3
PARTS = 100
"""Of a training, in which its progress is told."""

_KEPT_AT_ONCE = 1024  # images whose orders make a file: what a run that is killed loses
_AT_ONCE = 64  # images that a method is given


@dataclass(frozen=True)
class Roar:
    """What is done to the data set.

    Attributes:
        percents: shares of the pixels that are removed, from 0 to 100. Nothing removed is always
            measured too.
        seeds: a training from scratch with each.
        replacement: what stands in the place of a pixel, in all images the same: the mean colour of
            the images to train on, as in Hooker et al., or black. An image's own mean would tell
            of what was removed.
        seed: of the order among equally salient pixels.

    Raises:
        InputError: ``bad-percents`` or ``bad-seeds``.
    """

    percents: Sequence[float] = PERCENTS
    seeds: Sequence[int] = tuple(range(SEEDS))
    replacement: Level = "mean"
    seed: int = 0

    def __post_init__(self) -> None:
        require_percents(self.percents)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise InputError(
                "bad-seeds",
                f"{list(self.seeds)} are no seeds, each once and from 0 on",
                "such as 0, 1, 2",
            )

    @property
    def points(self) -> tuple[float, ...]:
        """The shares, with 0 before them."""
        return (0.0, *(float(percent) for percent in self.percents if percent > 0))


@dataclass(frozen=True)
class Cell:
    """One training.

    Attributes:
        method: by which pixels are removed; None where nothing is.
        percent: how many of them.
        seed: of the training.
    """

    method: str | None
    percent: float
    seed: int


class Retraining:
    """The experiment, which keeps what it has done: first `explain`, then `train`, then `panel`.

    What is explained is the class that the model predicts, of the images to train on and of those
    to test with: by the label, the pixels that are missing would tell it.

    Args:
        scorer: the model whose explanations are judged.
        methods: what gives its maps, by names that say all that the maps depend on beyond the
            model: by them it is known what is done.
        data: that the model was trained on, and is retrained with.
        trainer: that trains from scratch.
        roar: what is done.
        kept: where to keep what is done.
        steps: how the images were prepared, of which black follows.

    Raises:
        InputError: no method, a model that is no classifier of images, or images that do not fit
            it.
    """

    def __init__(
        self,
        scorer: Scorer,
        methods: Mapping[str, Maps],
        data: Labelled,
        trainer: Trainer,
        roar: Roar,
        kept: Kept,
        steps: Preprocessing | None = None,
    ) -> None:
        require_methods(list(methods))
        self._scorer = scorer
        self._methods = dict(methods)
        self._data = data
        self._trainer = trainer
        self._roar = roar
        self._kept = kept
        self._steps = steps
        axes = spatial_axes(scorer.layout)
        require_classes(scorer.manifest, ())
        for part in (data.train, data.test):
            part.require_classes(scorer.manifest.scores or 0)
        scorer.predicted(data.train.images[:1])  # fails for images that do not fit
        self._pixels = math.prod(data.train.images.shape[axis] for axis in axes)

    @property
    def _layout(self) -> LayoutName:
        assert self._scorer.layout is not None  # it has a grid
        return self._scorer.layout

    @cached_property
    def level(self) -> Array:
        """What stands in the place of a pixel, in the shape of one image, [1, ...].

        Raises:
            InputError: ``no-preprocessing``: without it black is not known.
        """
        images = self._data.train.images
        if self._roar.replacement == "black":
            return replacing_pixels(images[:1], "black", self._layout, self._steps)
        axes = (0, *spatial_axes(self._layout))
        mean = images.mean(axis=axes, keepdims=True, dtype=np.float64)
        if images.dtype.kind in "iu":
            mean = np.rint(mean)
        return np.broadcast_to(mean, images[:1].shape).astype(images.dtype)

    @property
    def colour(self) -> list[float]:
        """The same for each channel."""
        first = tuple(slice(None) if letter == "c" else slice(0, 1) for letter in self._layout)
        return [float(value) for value in self.level[first].ravel()]

    # --- what is left to do ---------------------------------------------------------------------

    def cells(self) -> list[Cell]:
        """All trainings, those of one seed after each other."""
        removed = [(m, p) for m in self._methods for p in self._roar.points[1:]]
        return [
            Cell(method, percent, seed)
            for seed in self._roar.seeds
            for method, percent in [(None, 0.0), *removed]
        ]

    def cells_left(self) -> list[Cell]:
        """Those that are not done."""
        return [cell for cell in self.cells() if self._accuracy(cell) is None]

    def images_left(self) -> int:
        """How many maps are wanted that are not there."""
        return sum(stop - start for _, _, start, stop in self._chunks_left())

    # --- doing it -------------------------------------------------------------------------------

    def explain(self, tick: Tick | None = None) -> None:
        """Find in what order pixels are removed, for the methods that are not done.

        Args:
            tick: is called after every few images.

        Raises:
            InputError: the images do not fit.
            NotJudgedError: maps that are none.
            OutputError: the orders cannot be kept.
        """
        for method, name, start, stop in self._chunks_left():
            images = self._part(name).images
            orders = []
            for first in range(start, stop, _AT_ONCE):
                last = min(first + _AT_ONCE, stop)
                orders.append(self._orders(method, name, images[first:last], first))
                if tick is not None:
                    tick(last - first)
            self._kept.keep_array(self._order_key(method, name, start, stop), np.vstack(orders))

    def train(self, tick: Tick | None = None) -> None:
        """Train whatever is not done; the orders that it takes have to be there.

        Args:
            tick: is told of hundredths (1 / `PARTS`) of a training.

        Raises:
            TrainingError: the trainer fails.
            OutputError: an accuracy cannot be kept.
        """
        for cell in self.cells_left():
            advance = _Hundredths(tick)
            parts = [self._without(name, cell) for name in ("train", "test")]
            found = accuracy(self._trainer, parts[0], parts[1], cell.seed, advance.to)
            self._kept.keep_number(self._cell_key(cell), found)
            advance.to(1.0)

    def panel(self) -> Panel:
        """The accuracies: rows are seeds, points shares, and every curve begins with whole images.

        All trainings have to be done.
        """

        def row(method: str, seed: int) -> list[float]:
            cells = [Cell(None, 0.0, seed)]
            cells += [Cell(method, percent, seed) for percent in self._roar.points[1:]]
            found = [self._accuracy(cell) for cell in cells]
            return [float("nan") if value is None else value for value in found]

        return Panel(
            title=f"retrained-{self._roar.replacement}",
            axis="most salient pixels removed, %",
            quantity="test accuracy after retraining",
            points=self._roar.points,
            curves=tuple(
                Curve(name, np.array([row(name, seed) for seed in self._roar.seeds]))
                for name in self._methods
            ),
        )

    # --- the orders of pixels -------------------------------------------------------------------

    def _orders(self, method: str, part: str, images: Array, first: int) -> Array:
        """Of some images, in the narrowest type that holds them: [N, pixels]."""
        offset = first + (len(self._data.train.labels) if part == "test" else 0)
        targets = self._scorer.predicted(images)
        maps = maps_of(method, self._methods[method], images, targets, self._layout)
        numbers = range(offset, offset + len(images))
        order = pixel_order(maps, "most", self._roar.seed, numbers)
        return order.astype(np.min_scalar_type(self._pixels - 1))

    def _chunks_left(self) -> list[tuple[str, str, int, int]]:
        """Method, part, and from which to which image: wanted for a training, and not there."""
        methods = dict.fromkeys(cell.method for cell in self.cells_left())
        return [
            (method, name, start, stop)
            for method in methods
            if method is not None
            for name in ("train", "test")
            for start, stop in self._chunks(name)
            if not self._kept.has_array(self._order_key(method, name, start, stop))
        ]

    def _chunks(self, name: str) -> Iterator[tuple[int, int]]:
        count = len(self._part(name).labels)
        for start in range(0, count, _KEPT_AT_ONCE):
            yield start, min(start + _KEPT_AT_ONCE, count)

    def _part(self, name: str) -> Part:
        return self._data.train if name == "train" else self._data.test

    # --- the images that are left ---------------------------------------------------------------

    def _without(self, name: str, cell: Cell) -> tuple[Array, Array]:
        """Images with pixels removed, and their labels."""
        part = self._part(name)
        if cell.method is None:
            return np.array(part.images), part.labels
        count = count_of(cell.percent, self._pixels)
        left = np.empty_like(part.images)
        for start, stop in self._chunks(name):
            order = self._kept.array(self._order_key(cell.method, name, start, stop))
            assert order is not None  # `explain` has been called
            left[start:stop] = remove(
                part.images[start:stop], self.level, order, count, self._layout
            )
        return left, part.labels

    # --- what findings depend on ----------------------------------------------------------------

    @cached_property
    def _common(self) -> dict[str, Any]:
        return {"tool_version": __version__, "data": self._data.digest}

    @cached_property
    def _explained(self) -> dict[str, Any]:
        held = self._scorer.manifest
        return {
            "model": held.source_sha256,
            "input": held.input,
            "output": held.output,
            "preprocessing": self._steps.to_dict() if self._steps else None,
            "ties": self._roar.seed,
            "runtime": onnxruntime().__version__,
            "device": self._scorer.session.device,
        }

    @cached_property
    def _training(self) -> dict[str, Any]:
        return identity(self._trainer)

    def _order_key(self, method: str, part: str, start: int, stop: int) -> dict[str, Any]:
        rows = {"part": part, "start": start, "stop": stop}
        return {**self._common, **self._explained, "method": method, **rows}

    def _cell_key(self, cell: Cell) -> dict[str, Any]:
        found = {**self._common, "trainer": self._training, "seed": cell.seed}
        found["percent"] = cell.percent
        if cell.method is not None:
            removed = {**self._explained, "method": cell.method, "colour": self.colour}
            found["removed"] = removed
        return found

    def _accuracy(self, cell: Cell) -> float | None:
        return self._kept.number(self._cell_key(cell))


class _Hundredths:
    """Tells of shares in whole steps that never go back."""

    def __init__(self, tick: Tick | None) -> None:
        self._tick = tick
        self._told = 0

    def to(self, share: float) -> None:
        step = int(min(share, 1.0) * PARTS) - self._told
        if step > 0 and self._tick is not None:
            self._tick(step)
            self._told += step


def roar(
    scorer: Scorer,
    methods: Mapping[str, Maps],
    data: Labelled,
    trainer: Trainer,
    chosen: Roar,
    kept: Kept,
    steps: Preprocessing | None = None,
) -> Panel:
    """All of it at once: the accuracy of classifiers that are trained without the salient pixels.

    Args:
        scorer: as `Retraining` takes it, and so the others.
        methods: likewise.
        data: likewise.
        trainer: likewise.
        chosen: likewise.
        kept: likewise.
        steps: likewise.

    Raises:
        InputError: no method, or data or a trainer that do not fit.
        NotJudgedError: maps that are none.
        TrainingError: the trainer fails.
        OutputError: what is found cannot be kept.
    """
    retraining = Retraining(scorer, methods, data, trainer, chosen, kept, steps)
    retraining.explain()
    retraining.train()
    return retraining.panel()
