"""What an experiment that takes long keeps of what it has done, so that it can go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fg_onnx.files import replacing

Array = npt.NDArray[Any]

Key: TypeAlias = Mapping[str, Any]
"""All that a finding depends on, as JSON can hold it."""


class Kept:
    """Findings in a folder, each in a file of its own that is there whole or not at all.

    A file is named after a digest of what the finding depends on: what was found under other
    circumstances is never taken for it. The folder may be deleted; then all is done again.

    Args:
        folder: made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def number(self, key: Key) -> float | None:
        """A number that was kept, None where there is none."""
        try:
            held = json.loads(self._path(key, ".json").read_text(encoding="utf-8"))
            found = float(held["found"])
            return found if held["of"] == _plain(key) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # what cannot be read is found again

    def keep_number(self, key: Key, found: float) -> None:
        """Keep a number, beside what it depends on.

        Raises:
            OutputError: the folder cannot be written.
        """
        text = json.dumps({"of": _plain(key), "found": found}, indent=2)
        with replacing(self._path(key, ".json")) as temporary:
            temporary.write_text(f"{text}\n", encoding="utf-8")

    def array(self, key: Key) -> Array | None:
        """An array that was kept, not loaded before it is used; None where there is none."""
        try:
            found = np.load(self._path(key, ".npy"), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return np.asarray(found)

    def keep_array(self, key: Key, found: Array) -> None:
        """Keep an array.

        Raises:
            OutputError: the folder cannot be written.
        """
        with replacing(self._path(key, ".npy")) as temporary:
            np.save(temporary, found)

    def has_array(self, key: Key) -> bool:
        """Whether such an array is kept."""
        return self.array(key) is not None

    def _path(self, key: Key, suffix: str) -> Path:
        text = json.dumps(_plain(key), sort_keys=True)
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}{suffix}"


def _plain(key: Key) -> Any:
    """The key as JSON gives it back."""
    return json.loads(json.dumps(key))
