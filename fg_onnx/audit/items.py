"""The images of an audit: listed once, and read one by one, whatever is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import numpy as np

from fg_onnx.audit.places import is_url
from fg_onnx.audit.remote import RemoteFile, find_remote
from fg_onnx.errors import InputError
from fg_onnx.pictures.images import IMAGE_SUFFIXES, find_images, prepare
from fg_onnx.pictures.preprocess import Preprocessing
from fg_onnx.samples import (
    ARRAY_SUFFIX,
    Sample,
    is_array,
    read_photograph,
    read_rows,
    row_sample,
)
from fg_onnx.session import Session

T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """One image.

    Attributes:
        path: of its file, here or behind a URL.
        row: in an array of several, else None.
    """

    path: Path | RemoteFile
    row: int | None = None

    @property
    def name(self) -> str:
        """The path, with ``[row]`` of an array of several; bytes that are no text are escaped."""
        text = as_text(str(self.path))
        return text if self.row is None else f"{text}[{self.row}]"

    @property
    def state(self) -> list[Any]:
        """What changes when the file does."""
        if isinstance(self.path, RemoteFile):
            return [self.name, self.path.state]
        try:
            found = self.path.stat()
        except OSError:
            return [self.name, None, None]
        return [self.name, found.st_size, found.st_mtime_ns]


@dataclass(frozen=True)
class Broken:
    """An image that could not be read, or that the model does not run on."""

    number: int
    reason: str


def as_text(path: str) -> str:
    r"""A path; its bytes that are no text as ``\xff``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def find_files(patterns: Sequence[str], session: Session) -> list[Path | RemoteFile]:
    """The files that paths, folders, globs and URLs of such name, as the model takes them.

    Raises:
        InputError: ``no-such-image``, ``no-such-storage`` or ``remote-array``.
        RuntimeMissingError: ``no-fsspec``.
    """
    suffixes = IMAGE_SUFFIXES if len(session.input_shape) == 4 else (ARRAY_SUFFIX,)
    here = [pattern for pattern in patterns if not is_url(pattern)]
    found: list[Path | RemoteFile] = []
    if here or not patterns:
        found += find_images(here, suffixes)
    for pattern in patterns:
        if is_url(pattern):
            found += find_remote(pattern, suffixes)
    return list(dict.fromkeys(found))


def list_items(paths: Sequence[Path | RemoteFile], session: Session) -> list[Item]:
    """Every image, and every row of every array; a broken array is one item."""
    found: list[Item] = []
    for path in paths:
        try:
            count = len(read_rows(path, session)) if _is_local_array(path) else 1
        except InputError:
            count = 1
        found += [Item(path, row if count > 1 else None) for row in range(count)]
    return found


def are_here(items: Sequence[Item]) -> bool:
    """Whether no image is behind a URL."""
    return all(isinstance(item.path, Path) for item in items)


def _is_local_array(path: Path | RemoteFile) -> TypeGuard[Path]:
    return isinstance(path, Path) and is_array(path)


def read_item(
    item: Item, number: int, session: Session, steps: Preprocessing | None
) -> Sample | Broken:
    """What the model is fed for it, in memory."""

    def read() -> Sample:
        if _is_local_array(item.path):
            return read_row(item, number, session)
        assert steps is not None
        return read_photograph(item.path, number, session, steps)

    return attempt(number, read)


def read_row(item: Item, number: int, session: Session) -> Sample:
    """A row of an array, in memory.

    Raises:
        InputError: as `fg_onnx.samples.read_rows`.
        IndexError: the array has become shorter.
    """
    assert isinstance(item.path, Path)
    rows = read_rows(item.path, session)
    found = row_sample(item.path, number, rows, item.row or 0)
    return Sample(number, item.path, item.row, np.array(found.array), None, None)


def attempt(number: int, read: Callable[[], T]) -> T | Broken:
    """What reading an image gives, or why it gives nothing."""
    try:
        return read()
    except (InputError, MemoryError, IndexError) as error:
        return Broken(number, str(getattr(error, "message", "")) or type(error).__name__)


def require_fit(session: Session, steps: Preprocessing) -> None:
    """Fail where no photograph at all could be fed.

    Raises:
        InputError: as `fg_onnx.prepare`.
    """
    blank = np.zeros((64, 64, 3), np.uint8)
    prepare(blank, steps, session.input_shape, session.manifest.layout)
