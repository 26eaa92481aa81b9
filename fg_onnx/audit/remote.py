"""Files and folders behind URLs, through fsspec: ``s3://``, ``gs://``, ``file://`` and the like."""

from __future__ import annotations

import contextlib
import errno
import glob
import importlib
import json
import posixpath
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from fg_onnx.audit.unwritable import not_removable, not_writable
from fg_onnx.errors import InputError, RuntimeMissingError, first_line
from fg_onnx.samples import is_array

_STATE = ("ETag", "etag", "md5Hash", "checksum", "LastModified", "mtime", "last_modified")
"""What file systems say of a file that changes when its content does."""


def filesystem(url: str) -> tuple[Any, str]:
    """What reads a URL, and the path there.

    Raises:
        InputError: ``no-such-storage``.
        RuntimeMissingError: ``no-fsspec``.
    """
    try:
        fsspec = importlib.import_module("fsspec.core")
    except ImportError as error:
        raise RuntimeMissingError(
            "no-fsspec",
            f"fsspec, which reads `{url}`, is not installed",
            'pip install "fg-onnx[ray]"',
        ) from error
    try:
        found, path = fsspec.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(
            "no-such-storage",
            f"`{url}` cannot be reached: {first_line(error)}",
            "give a path, or a URL that an installed fsspec implementation reads",
        ) from error
    return found, str(path)


@dataclass(frozen=True)
class RemotePlace:
    """A folder behind a URL, as `fg_onnx.audit.places.Place`."""

    url: str

    def __post_init__(self) -> None:
        filesystem(self.url)

    def below(self, name: str) -> RemotePlace:
        """As `Place`."""
        return RemotePlace(self.at(name))

    def at(self, name: str) -> str:
        """As `Place`."""
        return f"{self.url.rstrip('/')}/{name}"

    def names(self) -> list[str]:
        """As `Place`."""
        found, path = filesystem(self.url)
        found.invalidate_cache()
        try:
            return [posixpath.basename(each) for each in found.ls(path, detail=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read(self, name: str) -> AbstractContextManager[BinaryIO]:
        """As `Place`."""
        found, path = filesystem(self.at(name))
        return cast(AbstractContextManager[BinaryIO], found.open(path, "rb"))

    @contextlib.contextmanager
    def write(self, name: str) -> Iterator[BinaryIO]:
        """As `Place`: written under another name, and moved."""
        try:
            with tempfile.TemporaryFile() as file:
                yield cast(BinaryIO, file)
                file.seek(0)
                self._upload(file, name)
        except OSError as error:
            raise not_writable(self.at(name), error) from error

    def _upload(self, file: Any, name: str) -> None:
        """Under another name first, for not every storage shows a file only when it is whole."""
        found, path = filesystem(self.at(name))
        parent = posixpath.dirname(path)
        stem, suffix = posixpath.splitext(name)
        temporary = f"{parent}/.{stem}.{uuid.uuid4().hex}{suffix}"
        try:
            found.makedirs(parent, exist_ok=True)
            try:
                with found.open(temporary, "wb") as remote:
                    shutil.copyfileobj(file, remote)
                found.mv(temporary, path)
            except BaseException:
                with contextlib.suppress(Exception):
                    found.rm(temporary)
                raise
        except Exception as error:  # every service has its own kinds
            raise not_writable(self.at(name), error) from error

    def remove(self, name: str) -> None:
        """As `Place`."""
        found, path = filesystem(self.at(name))
        try:
            found.rm(path)
        except FileNotFoundError:
            pass
        except Exception as error:
            raise not_removable(self.at(name), error) from error

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """As `Place`; what is behind a URL cannot be locked, and nothing is."""
        yield


@dataclass(frozen=True)
class RemoteFile:
    """A file behind a URL.

    Attributes:
        url: of the file.
        state: what changes when the file does, as its file system told it.
    """

    url: str
    state: str

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """Its last part."""
        return PurePosixPath(self.url).name

    @property
    def stem(self) -> str:
        """The same without the suffix."""
        return PurePosixPath(self.url).stem

    @property
    def suffix(self) -> str:
        """The suffix alone."""
        return PurePosixPath(self.url).suffix

    def as_posix(self) -> str:
        """The URL."""
        return self.url

    def read_bytes(self) -> bytes:
        """All of it.

        Raises:
            OSError: it cannot be read.
        """
        found, path = filesystem(self.url)
        try:
            return bytes(found.cat_file(path))
        except OSError:
            raise
        except Exception as error:  # every service has its own kinds
            raise OSError(errno.EIO, first_line(error)) from error


def find_remote(pattern: str, suffixes: Sequence[str]) -> list[RemoteFile]:
    """The files that a URL names: one, those of a folder with one of the suffixes, or a glob's.

    Raises:
        InputError: ``no-such-image``, or ``no-such-storage``.
        RuntimeMissingError: ``no-fsspec``.
    """
    found, path = filesystem(pattern)
    held: dict[str, Any] = {}
    try:
        if glob.has_magic(path):
            held = found.glob(path, detail=True)
        elif found.isdir(path):
            held = {
                each["name"]: each
                for each in found.ls(path, detail=True)
                if PurePosixPath(each["name"]).suffix.lower() in suffixes
            }
        else:
            held = {path: found.info(path)}
    except FileNotFoundError:
        pass
    except Exception as error:
        raise InputError(
            "no-such-image", f"`{pattern}` cannot be listed: {first_line(error)}", "check the URL"
        ) from error
    files = [
        RemoteFile(found.unstrip_protocol(name), _state(held[name]))
        for name in sorted(held)
        if held[name].get("type") == "file"
    ]
    if not files:
        raise InputError(
            "no-such-image",
            f"there is no image at `{pattern}`",
            "check the spelling; a folder gives its own files, a glob those that match",
        )
    for file in files:
        if is_array(file):
            raise InputError(
                "remote-array",
                f"`{file}` is an array behind a URL, and of those only photographs are read",
                "copy it to a folder of this machine",
            )
    return files


def _state(info: dict[str, Any]) -> str:
    return json.dumps([info.get("size"), *(str(info[name]) for name in _STATE if name in info)])
