"""A progress bar over images, on a terminal only; what takes long of one image moves it too."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Any

import typer

_PARTS = 1000  # of an image


class Bar:
    """A bar over so many images, or nothing where it is not to be shown; moved by any thread.

    Args:
        images: how many there are.
        wanted: whether it is worth while; it is only shown if stderr is a terminal.
    """

    def __init__(self, images: int, *, wanted: bool) -> None:
        self._bar: Any = None
        if wanted and sys.stderr.isatty():
            length = images * _PARTS
            self._bar = typer.progressbar(length=length, label="explaining", file=sys.stderr)
        self._done = 0
        self._shown = 0
        self._moving = threading.Lock()

    def __enter__(self) -> Bar:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)

    def within(self, images: int, share: float) -> None:
        """How much is done of the next images; it never goes back."""
        with self._moving:
            self._show(self._done + int(images * _PARTS * min(share, 1.0)))

    def finish(self, images: int) -> None:
        """So many images are done."""
        with self._moving:
            self._done += images * _PARTS
            self._show(self._done)

    def _show(self, place: int) -> None:
        if self._bar is not None and place > self._shown:
            self._bar.update(place - self._shown)
            self._shown = place
