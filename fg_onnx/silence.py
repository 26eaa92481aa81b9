"""Quiet for libraries that write to stderr themselves."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator


class _Silence:
    """File descriptor 2, sent nowhere from the first who wants that until the last has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._kept: int | None = None

    def begin(self) -> None:
        with self._lock:
            if self._users == 0:
                self._kept = _redirect()
            self._users += 1

    def end(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._kept is not None:
                os.dup2(self._kept, 2)
                os.close(self._kept)


def _redirect() -> int | None:
    """What was there; None for a process without a stderr, which has none to keep clean."""
    try:
        kept = os.dup(2)
    except OSError:
        return None
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
    except OSError:
        os.close(kept)
        raise
    return kept


_silence = _Silence()


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Sends file descriptor 2 nowhere in the meantime, for every thread of this process.

    For what libraries in C write there, past Python and past every log level; libpng and libjpeg
    do, and Ray. Threads do not wait for each other.
    """
    _silence.begin()
    try:
        yield
    finally:
        _silence.end()
