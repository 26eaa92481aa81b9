"""Files: read whole, and replaced whole; and the folder that keeps what was fetched."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fg_onnx.errors import ModelError, OutputError

INFIX = ".fg"
"""Of an instrumented model, where no other name is chosen: ``net.fg.onnx`` beside ``net.onnx``."""


def instrumented_path(source: Path) -> Path:
    """``net.onnx`` -> ``net.fg.onnx``; the suffix is added to any other name."""
    return source.with_name(source.name.removesuffix(".onnx") + f"{INFIX}.onnx")


def source_path(instrumented: Path) -> Path | None:
    """``net.fg.onnx`` -> ``net.onnx``; None of any other name."""
    stem, ending = instrumented.name, f"{INFIX}.onnx"
    if not stem.endswith(ending):
        return None
    return instrumented.with_name(stem.removesuffix(ending) + ".onnx")


def existing(path: str | os.PathLike[str]) -> Path:
    """The path, if it can be read.

    Raises:
        ModelError: there is no such file, or it cannot be read.
    """
    read_bytes(Path(path), 1)
    return Path(path)


def read_bytes(path: Path, most: int = -1) -> bytes:
    """The first bytes of a file; all of them by default.

    Raises:
        ModelError: there is no such file, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ModelError(
            "unreadable", f"cannot read `{path}`: {reason}", "give the path of an .onnx file"
        ) from error


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path that takes the place of ``path`` if all goes well.

    Raises:
        OutputError: the place cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise not_writable(path, error) from error


def require_folder(path: Path) -> None:
    """Fail where no file can be written in a folder, which need not be there, nor is afterwards.

    Raises:
        OutputError: the place cannot be written.
    """
    missing = [each for each in (path, *path.parents) if not each.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise not_writable(path, error) from error
    finally:
        for each in missing:
            with contextlib.suppress(OSError):
                each.rmdir()


def not_writable(path: Path, error: OSError) -> OutputError:
    """What is said where a file cannot be written."""
    reason = error.strerror or type(error).__name__
    if isinstance(error, FileExistsError | NotADirectoryError):
        reason = "a part of the path is not a folder"
    return OutputError(
        "not-writable",
        f"cannot write `{path}`: {reason}",
        "choose another place with -o",
    )


def cache_dir() -> Path:
    """The folder for what was fetched or installed, made if it is not there.

    It is ``FG_ONNX_CACHE``, else ``~/.cache/fg-onnx``.

    Raises:
        OutputError: ``cache-not-writable``.
    """
    folder = Path(os.environ.get("FG_ONNX_CACHE") or Path.home() / ".cache" / "fg-onnx")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            "cache-not-writable",
            f"the cache folder {folder} cannot be made: {error.strerror}",
            "set FG_ONNX_CACHE to a folder that can be written",
        ) from error
    return folder
