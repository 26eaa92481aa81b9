"""What every method works on: images whose targets are known, and a model to run on many more."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.attribution import Attribution
from fg_onnx.pictures.preprocess import Preprocessing
from fg_onnx.session import Session

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]
"""Told after every run of the model: images run so far, and in all as far as that is known."""


@dataclass(frozen=True, eq=False)
class Clean:
    """The images themselves: what is explained of them, and what was asked for beside it.

    Attributes:
        targets: int64 [N].
        scores: [N], the explained scalar.
        values: with N rows, None if nothing was asked for.
    """

    targets: Array
    scores: Array
    values: Array | None


@dataclass(frozen=True, eq=False)
class Task:
    """Images to be explained.

    Attributes:
        session: the instrumented model.
        images: [N, ...] as the model takes them, in the type of its input.
        asked: int64 [N], the targets; -1: the predicted class of the image itself.
        feeds: further inputs by name, one row for all images or one for each.
        batch: how many images the model is fed at once.
        preprocessing: of the images, None where it is not known.
        progress: is told how far it is.
    """

    session: Session
    images: Array
    asked: Array
    feeds: Mapping[str, Array]
    batch: int
    preprocessing: Preprocessing | None = None
    progress: Progress | None = None
    _done: list[int] = field(default_factory=lambda: [0, 0])

    @cached_property
    def channel(self) -> int:
        """The axis of the channels."""
        return (self.session.manifest.layout or "").index("c")

    @cached_property
    def spatial(self) -> tuple[int, ...]:
        """The axes of the grid."""
        return tuple(axis for axis in range(1, self.images.ndim) if axis != self.channel)

    @property
    def grid(self) -> tuple[int, ...]:
        """The sizes of the grid."""
        return tuple(self.images.shape[axis] for axis in self.spatial)

    def along_channels(self, grids: Array) -> Array:
        """[*grid] as an image of one channel, which broadcasts over all."""
        return np.expand_dims(grids, self.channel - 1)

    def draws(self, seed: int, row: int, sample: int = 0) -> np.random.Generator:
        """The source of chance for one sample of one image.

        It follows from the seed, the image and the sample's number, whatever else is in the batch.
        """
        image = zlib.crc32(np.ascontiguousarray(self.images[row]).tobytes())
        return np.random.default_rng([seed, image, sample])

    def clean(
        self, output: str | None = None, pick: Callable[[Attribution], Any] | None = None
    ) -> Clean:
        """Run the images themselves, and bring one output beside scores and targets."""
        targets, scores = [], []
        values: list[Array] = []
        self._expect(len(self.images))
        for start in range(0, len(self.images), self.batch):
            rows = np.arange(start, min(start + self.batch, len(self.images)))
            found = self._run(
                self.images[rows], rows, self.asked[rows], () if output is None else (output,)
            )
            assert found.targets is not None
            targets.append(found.targets)
            scores.append(found.scores)
            if pick is not None:
                values.append(pick(found))
        joined = np.concatenate(values) if values else None
        return Clean(np.concatenate(targets), np.concatenate(scores), joined)

    def each(
        self,
        targets: Array,
        rows: Sequence[int],
        samples: int,
        make: Callable[[int, int], Array],
        *outputs: str,
    ) -> Iterator[tuple[int, Attribution, int]]:
        """Run other images in the place of each, ``make(row, sample)`` of shape [...].

        Args:
            targets: int64 [N], of the images, whatever the others' predicted class is.
            rows: of the images that are meant.
            samples: how many for each image.
            make: gives them.
            outputs: what is brought beside the scores.

        Yields:
            The image's row, the attribution of a batch and the row in that; image by image, and
            sample by sample, whatever the size of a batch.
        """
        pairs = itertools.product(rows, range(samples))
        self._expect(len(rows) * samples)
        while chunk := list(itertools.islice(pairs, self.batch)):
            chosen = np.array([row for row, _ in chunk])
            made = np.stack([make(row, sample) for row, sample in chunk])
            found = self._run(made.astype(self.images.dtype), chosen, targets[chosen], outputs)
            for index, row in enumerate(chosen):
                yield int(row), found, index

    def _run(
        self, images: Array, rows: Array, targets: Array, outputs: Sequence[str]
    ) -> Attribution:
        fed = {name: self._rows(name, value, rows) for name, value in self.feeds.items()}
        found = self.session.explain(images, targets, feeds=fed, outputs=outputs)
        self._done[0] += len(images)
        if self.progress is not None:
            self.progress(*self._done)
        return found

    def _rows(self, name: str, value: Array, rows: Array) -> Array:
        """The rows of a further input, where it has one for every image."""
        own = name in self.session.further_inputs and self.session.is_per_image(name)
        rank = len(self.session.further_inputs.get(name, ()))
        has_rows = own and value.ndim == rank and len(value) == len(self.images) != 1
        return value[rows] if has_rows else value

    def _expect(self, count: int) -> None:
        self._done[1] += count
