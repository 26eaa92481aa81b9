"""Where an audit is kept: a folder here, or one behind a URL; its files are whole or not there.

This is all that the audit knows of storage.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO, Protocol

from fg_onnx.audit.unwritable import CHOOSE, not_removable, not_writable
from fg_onnx.errors import OutputError
from fg_onnx.files import replacing


class Place(Protocol):
    """A folder that need not be there before something is written."""

    def below(self, name: str) -> Place:
        """A folder in it."""

    def at(self, name: str) -> Path | str:
        """What a file in it is called."""

    def names(self) -> list[str]:
        """Of its files; none where it is not there."""

    def read(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A file's bytes, to seek in.

        Raises:
            OSError: it is not there, or cannot be read.
        """

    def write(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A file that takes its place if all goes well.

        Raises:
            OutputError: ``not-writable``.
        """

    def remove(self, name: str) -> None:
        """Take away a file, if it is there.

        Raises:
            OutputError: ``not-writable``.
        """

    def claimed(self) -> AbstractContextManager[None]:
        """Nobody else claims it meanwhile, as far as that can be had.

        Raises:
            OutputError: ``in-use``: somebody does; or ``not-writable``.
        """


def place_of(where: str | os.PathLike[str] | Place) -> Place:
    """The place that a path or a URL names.

    Raises:
        InputError: ``no-such-storage``: a URL of a kind that is not known.
        RuntimeMissingError: ``no-fsspec``: nothing is installed that reads URLs.
    """
    if isinstance(where, str) and is_url(where):
        from fg_onnx.audit.remote import RemotePlace  # noqa: PLC0415  # it needs fsspec

        return RemotePlace(where)
    if isinstance(where, str | os.PathLike):
        return LocalPlace(Path(where))
    return where


def clear(place: Place, names: Sequence[str]) -> None:
    """Take away files, and what was begun of them when a run was killed.

    Raises:
        OutputError: ``not-writable``.
    """
    begun = tuple(f".{PurePath(name).stem}." for name in names)
    there = place.names()
    for name in [*names, *(each for each in there if each.startswith(begun))]:
        if name in there:
            place.remove(name)


def is_url(text: str) -> bool:
    """Whether it is behind a protocol, as ``s3://bucket/folder``."""
    return "://" in text


@dataclass(frozen=True)
class LocalPlace:
    """A folder of this machine's files."""

    folder: Path

    def below(self, name: str) -> LocalPlace:
        """As `Place`."""
        return LocalPlace(self.folder / name)

    def at(self, name: str) -> Path:
        """As `Place`."""
        return self.folder / name

    def names(self) -> list[str]:
        """As `Place`."""
        try:
            return [path.name for path in self.folder.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read(self, name: str) -> AbstractContextManager[BinaryIO]:
        """As `Place`."""
        return (self.folder / name).open("rb")

    @contextlib.contextmanager
    def write(self, name: str) -> Iterator[BinaryIO]:
        """As `Place`."""
        with replacing(self.folder / name) as temporary, temporary.open("wb") as file:
            yield file

    def remove(self, name: str) -> None:
        """As `Place`."""
        try:
            (self.folder / name).unlink()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise not_removable(self.at(name), error) from error

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """As `Place`; the claim ends with the process, however that ends."""
        missing = [each for each in (self.folder, *self.folder.parents) if not each.exists()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_writable(self.folder, error) from error
        with contextlib.ExitStack() as stack:
            for each in reversed(missing):  # if nothing was written there
                stack.callback(_remove_empty, each)
            if os.name == "posix":
                held = os.open(self.folder, os.O_RDONLY)
                stack.callback(os.close, held)
                _lock(held, self.folder)
            yield


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _lock(held: int, folder: Path) -> None:
    import fcntl  # noqa: PLC0415  # there is none on Windows

    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(
            "in-use",
            f"another audit or comparison is at work in `{folder}`",
            f"wait for it, or {CHOOSE}",
        ) from error
    except OSError as error:
        # network file systems that lock no folders
        if error.errno not in (errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise not_writable(folder, error) from error
