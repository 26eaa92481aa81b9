"""What was measured of every image, in Parquet: parts that are there whole or not at all.

A part holds neighbouring images, and its name a digest of all that its numbers depend on: what
was measured under other circumstances is never taken for it. So an audit that was stopped goes on
where it was, and one part does not know of another.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import onnxruntime

from fg_onnx._version import __version__
from fg_onnx.audit.items import Item
from fg_onnx.audit.places import Place
from fg_onnx.errors import OutputError, RuntimeMissingError
from fg_onnx.pictures.opencv import cv2

PART = 64
"""Images in a part."""
FOLDER = "parts"
_OWN = re.compile(r"(\.)?\d{6,}\.[0-9a-f]{24}(?(1)\.\w+)\.parquet")
"""What a part is called, and what it is called while it is written."""

Array = npt.NDArray[Any]
Few: TypeAlias = Annotated[Sequence[float], "float32"]
"""Numbers of which few digits are kept."""

Row = TypeVar("Row")


@dataclass(frozen=True)
class Measured:
    """What was measured of one image; all but the name is None where it is broken.

    Attributes:
        number: among all, from 0.
        name: of the image.
        broken: why it could not be read or run, None if it could.
        target: the explained class.
        score: the explained scalar.
        residual: of completeness.
        contributions: of the input and of every site.
        concentration: of the map; this and what follows is None without a flat map.
        centre_row: from 0 to 1, as is the column.
        centre_column: likewise.
        border: the share of the map's mass there.
        inside: the share of the map's mass inside the given boxes or mask.
        pointing: whether the largest value lies inside.
        small: the coarse map, row by row.
        activity: of every probed activation, the shares of its values at either end.
    """

    number: int
    name: str
    broken: str | None = None
    target: int | None = None
    score: float | None = None
    residual: float | None = None
    contributions: Sequence[float] | None = None
    concentration: float | None = None
    centre_row: float | None = None
    centre_column: float | None = None
    border: float | None = None
    inside: float | None = None
    pointing: bool | None = None
    small: Few | None = None
    activity: Few | None = None


def require_parquet() -> Any:
    """The module ``pyarrow``, with ``pyarrow.parquet`` in it.

    Raises:
        RuntimeMissingError: ``no-pyarrow``.
    """
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise RuntimeMissingError(
            "no-pyarrow",
            "pyarrow, which keeps what is measured of every image, is not installed",
            'pip install "fg-onnx[audit]"',
        ) from error


def versions() -> dict[str, str]:
    """Of what the numbers of every image are computed with."""
    own = {"fg-onnx": __version__}
    return own | {each.__name__: each.__version__ for each in (np, cv2, onnxruntime)}


class Records(Generic[Row]):
    """The parts of one audit; a copy in another process is of the same parts.

    Args:
        row: what is kept of an image: a dataclass of numbers, texts and lists of numbers, with a
            ``number`` from 0, and a reason in ``broken`` where there is nothing else.
        place: of the audit.
        key: all that the numbers of every image depend on, as JSON can hold it.
        items: the images.
        size: of a part.
        folder: in which the parts are.

    Raises:
        RuntimeMissingError: ``no-pyarrow``.
    """

    def __init__(
        self,
        row: type[Row],
        place: Place,
        key: Mapping[str, Any],
        items: Sequence[Item],
        size: int = PART,
        folder: str = FOLDER,
    ) -> None:
        require_parquet()
        self._row = row
        self._place = place.below(folder)
        self._items = items
        self.size = size
        text = json.dumps(key, sort_keys=True)
        starts = range(0, len(items), size)
        self._names = [
            self._name(at, text, items[first : first + size]) for at, first in enumerate(starts)
        ]

    def __len__(self) -> int:
        """How many parts there are."""
        return len(self._names)

    @property
    def images(self) -> int:
        """How many images there are, broken ones included."""
        return len(self._items)

    def numbers(self, part: int) -> range:
        """The images of a part."""
        return range(part * self.size, min((part + 1) * self.size, len(self._items)))

    def name_of(self, number: int) -> str:
        """The name of an image."""
        return self._items[number].name

    def pending(self) -> list[int]:
        """The parts that are not there yet."""
        there = set(self._place.names())
        return [
            part
            for part, name in enumerate(self._names)
            if name not in there or not self.is_whole(part)
        ]

    def images_left(self) -> int:
        """How many images are in the parts that are not there yet."""
        return sum(len(self.numbers(part)) for part in self.pending())

    def write(self, part: int, rows: Sequence[Row]) -> None:
        """Keep the rows of one part.

        Raises:
            OutputError: the folder cannot be written.
        """
        pa = require_parquet()
        columns = {
            name: pa.array([getattr(row, name) for row in rows], kind)
            for name, kind in _kinds(self._row, pa).items()
        }
        held = pa.BufferOutputStream()
        pa.parquet.write_table(pa.table(columns), held)
        with self._place.write(self._names[part]) as file:
            file.write(held.getvalue())

    def require_writable(self) -> None:
        """Fail before anything is run where nothing could be kept.

        Raises:
            OutputError: the folder cannot be written.
        """
        with self._place.write(".writable"):
            pass
        self._place.remove(".writable")

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """Every part as a ``pyarrow.Table``, in order, one at a time.

        Raises:
            OutputError: ``no-such-part``: a part went away since it was written.
        """
        read_table = require_parquet().parquet.read_table
        kept = None if columns is None else list(columns)
        for name in self._names:
            try:
                with self._place.read(name) as file:
                    table = read_table(file, columns=kept, partitioning=None)
                yield table
            except (OSError, ValueError) as error:
                raise OutputError(
                    "no-such-part",
                    f"`{self._place.at(name)}` was there and cannot be read any more",
                    "run the same command again: what is missing is measured again",
                ) from error

    def column(self, name: str) -> Array:
        """A column of numbers, float64 [images]; NaN where there is none."""
        kind = require_parquet().float64()
        found = [
            table[name].cast(kind).to_numpy(zero_copy_only=False) for table in self.tables([name])
        ]
        return np.concatenate(found).astype(np.float64)

    def arrays(self, name: str) -> Iterator[tuple[Array, Array]]:
        """A column of lists, part by part: the numbers of the images that have one, and these."""
        at = 0
        for table in self.tables([name]):
            column = table[name].combine_chunks()
            has = column.is_valid().to_numpy(zero_copy_only=False)
            values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
            numbers = at + np.flatnonzero(has)
            yield numbers, values.reshape(len(numbers), -1) if len(numbers) else np.empty((0, 0))
            at += len(has)

    def rows(self, numbers: Collection[int]) -> dict[int, Row]:
        """Some images in full, by their numbers."""
        wanted = sorted(numbers)
        found = {}
        for part, table in enumerate(self.tables()):
            own = self.numbers(part)
            for number in wanted:
                if number in own:
                    (row,) = table.slice(number - own.start, 1).to_pylist()
                    found[number] = self._row(**row)
        return found

    def reasons(self) -> dict[int, str]:
        """Why the broken images are."""
        found = {}
        for part, table in enumerate(self.tables(["broken"])):
            for at, reason in enumerate(table["broken"].to_pylist()):
                if reason is not None:
                    found[self.numbers(part).start + at] = reason
        return found

    def discard_others(self) -> None:
        """Remove what other circumstances, or a run that was stopped, left in the folder.

        Raises:
            OutputError: it cannot be removed.
        """
        for name in set(self._place.names()).difference(self._names):
            if _OWN.fullmatch(name):
                self._place.remove(name)

    def is_whole(self, part: int) -> bool:
        """Whether a part is there, with all its rows."""
        try:
            with self._place.read(self._names[part]) as file:
                held = require_parquet().parquet.read_metadata(file)
        except (OSError, ValueError):
            return False
        return bool(held.num_rows == len(self.numbers(part)))

    @staticmethod
    def _name(part: int, key: str, items: Sequence[Item]) -> str:
        text = json.dumps([key, part, [item.state for item in items]])
        return f"{part:06d}.{hashlib.sha256(text.encode()).hexdigest()[:24]}.parquet"


def _kinds(row: type[Any], pa: Any) -> dict[str, Any]:
    """The types of the columns, by the fields' names."""
    known = {
        int: pa.int64(),
        float: pa.float64(),
        str: pa.string(),
        bool: pa.bool_(),
        Sequence[float]: pa.list_(pa.float64()),
        Few: pa.list_(pa.float32()),
    }
    hints = typing.get_type_hints(row, include_extras=True)
    return {
        name: next(known[kind] for kind in (hint, *typing.get_args(hint)) if kind in known)
        for name, hint in hints.items()
    }
