"""What a model is fed for one thing to explain: a photograph, or a row of an array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.errors import InputError
from fg_onnx.pictures.images import Image, Readable, prepare, read_image
from fg_onnx.pictures.preprocess import Preprocessing
from fg_onnx.session import Session

ARRAY_SUFFIX = ".npy"

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Sample:
    """One thing to explain.

    Attributes:
        number: among all, from 0.
        path: of its file.
        row: in an array of several, None where the file holds one.
        array: what the model is fed, with a batch dimension of 1.
        view: the pixels behind it, None for an array.
        size: height and width of the photograph, None for an array.
    """

    number: int
    path: Readable
    row: int | None
    array: Array
    view: Image | None
    size: tuple[int, int] | None


def joined(arrays: Sequence[Array]) -> Array:
    """Arrays of one image as one of several; a single one itself."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def is_array(path: Readable) -> bool:
    """Whether a file holds an array, and no image."""
    return path.suffix.lower() == ARRAY_SUFFIX


def read_photograph(path: Readable, number: int, session: Session, steps: Preprocessing) -> Sample:
    """An image file, prepared for a model.

    Raises:
        InputError: it cannot be read, or does not fit the model.
    """
    return photograph_sample(path, number, read_image(path), session, steps)


def photograph_sample(
    path: Readable, number: int, image: Image, session: Session, steps: Preprocessing
) -> Sample:
    """A photograph that was read, prepared for a model.

    Raises:
        InputError: it does not fit the model.
    """
    prepared = prepare(image, steps, session.input_shape, session.manifest.layout)
    return Sample(
        number, path, None, prepared.array, prepared.view, (image.shape[0], image.shape[1])
    )


def read_rows(path: Path, session: Session) -> Array:
    """The samples in a .npy file, [N, ...] as the model is fed them; not loaded before use.

    Raises:
        InputError: ``not-an-array``, ``wrong-shape``, or ``no-images``.
    """
    array = read_array(path)
    rank = len(session.input_shape)
    rows = array if array.ndim == rank else array[None]
    if rows.ndim != rank or not all(
        not isinstance(dim, int) or dim == size
        for dim, size in zip(session.input_shape[1:], rows.shape[1:], strict=True)
    ):
        raise InputError(
            "wrong-shape",
            f"`{path}` holds an array of shape {list(array.shape)}, and the model takes "
            f"`{session.manifest.fed}` of shape {list(session.input_shape)}",
            "give one sample without the batch dimension, or several with it",
        )
    if not len(rows):
        raise InputError(
            "no-images",
            f"`{path}` holds no sample: its shape is {list(array.shape)}",
            "leave the file out",
        )
    return rows


def row_sample(path: Path, number: int, rows: Array, row: int) -> Sample:
    """One of the samples in an array."""
    own = row if len(rows) > 1 else None
    return Sample(number, path, own, rows[row : row + 1], None, None)


def read_array(path: Path) -> Array:
    """The array of numbers in a .npy file, not loaded before it is used.

    Raises:
        InputError: ``not-an-array``.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            "not-an-array", f"`{path}` cannot be read as an array", "give a .npy file of numbers"
        ) from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiub":
        raise InputError(
            "not-an-array", f"`{path}` holds no array of numbers", "give a .npy file of numbers"
        )
    return found
