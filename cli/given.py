"""What ``fg-onnx explain`` is given to explain: photographs, arrays, and further inputs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

import fg_onnx
from fg_onnx.errors import InputError
from fg_onnx.pictures.images import IMAGE_SUFFIXES, find_images
from fg_onnx.samples import (
    ARRAY_SUFFIX,
    Sample,
    is_array,
    read_array,
    read_photograph,
    read_rows,
    row_sample,
)

if TYPE_CHECKING:
    from fg_onnx import Preprocessing, Session

_BATCH = 8  # images at once: enough to keep two cores busy, little enough for any memory

Array = npt.NDArray[Any]


def find_samples(patterns: Sequence[str], session: Session) -> list[Path]:
    """The files that are named; of a folder, the images, or the arrays if the model takes no image.

    Raises:
        InputError: ``no-such-image``.
    """
    takes_images = len(session.input_shape) == 4
    return find_images(patterns, IMAGE_SUFFIXES if takes_images else (ARRAY_SUFFIX,))


def count_named(patterns: Sequence[str]) -> int | None:
    """How many files are named; None where they hold arrays, which may be many samples each.

    Raises:
        InputError: ``no-such-image``.
    """
    found = find_images(patterns, (*IMAGE_SUFFIXES, ARRAY_SUFFIX))
    return None if any(map(is_array, found)) else len(found)


def read_samples(
    paths: Sequence[Path], session: Session, steps: Preprocessing | None
) -> Iterator[Sample]:
    """Every image, and every row of every array, in order.

    Raises:
        InputError: a file that cannot be read, or does not fit the model.
    """
    number = 0
    for path in paths:
        for sample in _read(path, number, session, steps):
            yield sample
            number += 1


@dataclass(frozen=True)
class Place:
    """Where one sample lies, which has not been read.

    Attributes:
        number: among all, from 0.
        path: of its file.
        row: in an array; 0 of a photograph.
    """

    number: int
    path: Path
    row: int

    def read(self, session: Session, steps: Preprocessing | None) -> Sample:
        """The sample, prepared for a model.

        Raises:
            InputError: the file cannot be read, or does not fit the model.
        """
        if is_array(self.path):
            return row_sample(self.path, self.number, read_rows(self.path, session), self.row)
        assert steps is not None
        return read_photograph(self.path, self.number, session, steps)


def list_places(paths: Sequence[Path], session: Session) -> list[Place]:
    """Every image, and every row of every array, in order; of photographs nothing is read.

    Raises:
        InputError: an array that cannot be read, or does not fit the model.
    """
    found: list[Place] = []
    for path in paths:
        count = len(read_rows(path, session)) if is_array(path) else 1
        found += [Place(len(found) + row, path, row) for row in range(count)]
    return found


def _read(
    path: Path, number: int, session: Session, steps: Preprocessing | None
) -> Iterator[Sample]:
    if not is_array(path):
        assert steps is not None
        yield read_photograph(path, number, session, steps)
        return
    rows = read_rows(path, session)
    for row in range(len(rows)):
        yield row_sample(path, number + row, rows, row)


def batches(samples: Iterator[Sample], most: int = _BATCH) -> Iterator[list[Sample]]:
    """Neighbours of one size, at most so many at once."""
    for _, equals in itertools.groupby(samples, key=lambda sample: sample.array.shape):
        while batch := list(itertools.islice(equals, most)):
            yield batch


class Feeds:
    """Further inputs, ``--feed NAME=FILE`` each: one row for all samples, or one for each.

    Args:
        files: by the input's name.
        session: the model.
        steps: how an image among them is prepared, None if that is not known.

    Raises:
        InputError: a file that cannot be read, or an image where none is taken.
    """

    def __init__(
        self, files: Mapping[str, Path], session: Session, steps: Preprocessing | None
    ) -> None:
        self._session = session
        self._values = {name: self._value(name, path, steps) for name, path in files.items()}

    def of(self, batch: Sequence[Sample]) -> dict[str, Array]:
        """What a batch is fed."""
        first, end = batch[0].number, batch[-1].number + 1
        return {
            name: value[first:end] if self._has_rows(name, value) else value
            for name, value in self._values.items()
        }

    def require_count(self, count: int) -> None:
        """Fail where rows and samples do not pair up.

        Raises:
            InputError: ``wrong-feed``.
        """
        for name, value in self._values.items():
            if self._has_rows(name, value) and len(value) != count:
                raise InputError(
                    "wrong-feed",
                    f"`{name}` is fed {len(value)} rows for {count} samples",
                    "give one row for all, or one for each",
                )

    def _has_rows(self, name: str, value: Array) -> bool:
        shape = self._session.further_inputs.get(name, ())
        per_image = name in self._session.further_inputs and self._session.is_per_image(name)
        return per_image and value.ndim == len(shape) and len(value) != 1

    def _value(self, name: str, path: Path, steps: Preprocessing | None) -> Array:
        if is_array(path):
            return read_array(path)
        shape = self._session.further_inputs.get(name, ())
        if len(shape) != 4:
            raise InputError(
                "wrong-feed", f"`{name}` takes no image: {list(shape)}", "give a .npy file"
            )
        if steps is None:
            raise InputError(
                "no-preprocessing",
                f"how to prepare `{path}` for `{name}` is not known",
                "give --preprocess",
            )
        layout = self._session.manifest.layout
        return fg_onnx.prepare(fg_onnx.read_image(path), steps, shape, layout).array


def parse_feeds(texts: Sequence[str]) -> Mapping[str, Path]:
    """``NAME=FILE`` each; a name may hold a ``=`` itself, a file's name may not.

    Raises:
        InputError: ``bad-feed``.
    """
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, file = text.rpartition("=")
        if not equals or not name or not file or name in found:
            raise InputError(
                "bad-feed", f"`--feed {text}` is not one NAME=FILE", "such as --feed age=age.npy"
            )
        found[name] = Path(file)
    return found
