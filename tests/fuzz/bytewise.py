"""Changes to the bytes of a file, whatever they mean."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_Change = Callable[[np.random.Generator, bytes], bytes]

# Where models hold varints: the ends of their ranges.
_EXTREMES = (b"\x00", b"\x7f", b"\xff" * 9 + b"\x01", b"\x80" * 9 + b"\x01", b"\xff" * 10)


def change(draws: np.random.Generator, data: bytes) -> tuple[bytes, str]:
    """The data with one change, and its name."""
    made = _CHANGES[draws.integers(len(_CHANGES))]
    return made(draws, data), made.__name__


def flip(draws: np.random.Generator, data: bytes) -> bytes:
    """Some bits of some bytes."""
    array = np.frombuffer(data, np.uint8).copy()
    where = draws.integers(len(array), size=1 + draws.integers(8)) if len(array) else []
    for index in where:
        array[index] ^= np.uint8(1 << draws.integers(8))
    return array.tobytes()


def truncate(draws: np.random.Generator, data: bytes) -> bytes:
    """The start alone."""
    return data[: draws.integers(len(data) + 1)]


def insert(draws: np.random.Generator, data: bytes) -> bytes:
    """Random bytes in between."""
    where = draws.integers(len(data) + 1)
    return data[:where] + draws.bytes(int(1 + draws.integers(16))) + data[where:]


def remove(draws: np.random.Generator, data: bytes) -> bytes:
    """Some bytes are gone."""
    where = draws.integers(len(data) + 1)
    return data[:where] + data[where + 1 + draws.integers(16) :]


def splice(draws: np.random.Generator, data: bytes) -> bytes:
    """A part of the file stands elsewhere, too."""
    start, where = draws.integers(len(data) + 1, size=2)
    return data[:where] + data[start : start + 1 + draws.integers(256)] + data[where:]


def extreme(draws: np.random.Generator, data: bytes) -> bytes:
    """A byte becomes a number at the end of its range."""
    where = draws.integers(len(data) + 1)
    return data[:where] + _EXTREMES[draws.integers(len(_EXTREMES))] + data[where + 1 :]


_CHANGES: tuple[_Change, ...] = (flip, flip, truncate, insert, remove, splice, extreme)
