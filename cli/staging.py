"""Files that come into their folder together, so that a run that fails early leaves nothing."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path
from types import TracebackType

from fg_onnx.errors import InputError
from fg_onnx.files import not_writable


class Staging:
    """Files written beside their place, inside the folder, and moved there at the end.

    An interrupted run keeps what it has finished; after an `InputError`, a file that could not be
    read, the folder is as it was before.

    Args:
        folder: where the files come to lie; it is made when the first one is written.
        document: a file there that lists them; an earlier run's is removed before any is replaced.
    """

    def __init__(self, folder: Path, document: str) -> None:
        self._folder = folder
        self._document = document
        self._missing: list[Path] = []
        self._stage: Path | None = None
        self._beginning = threading.Lock()

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stage is None:
            return
        try:
            if kind is None or not issubclass(kind, InputError):
                self._move()
        finally:
            shutil.rmtree(self._stage, ignore_errors=True)
            for each in self._missing:
                if each.is_dir() and not any(each.iterdir()):
                    each.rmdir()

    def write(self, name: str, data: bytes | memoryview) -> None:
        """A file of that name; called in several threads.

        Raises:
            OutputError: the folder cannot be written.
        """
        try:
            (self._begun() / name).write_bytes(data)
        except OSError as error:
            raise not_writable(self._folder / name, error) from error

    def _begun(self) -> Path:
        with self._beginning:
            if self._stage is None:
                self._missing = [p for p in (self._folder, *self._folder.parents) if not p.exists()]
                self._folder.mkdir(parents=True, exist_ok=True)
                self._stage = Path(tempfile.mkdtemp(prefix=".explaining.", dir=self._folder))
            return self._stage

    def _move(self) -> None:
        assert self._stage is not None
        place = self._folder / self._document
        try:
            place.unlink(missing_ok=True)
            for path in sorted(self._stage.iterdir()):
                place = self._folder / path.name
                path.replace(place)
        except OSError as error:
            raise not_writable(place, error) from error
