"""Which class each image really is of: ``--labels``, a CSV of image,label."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.audit.items import Item
from fg_onnx.audit.matching import Matching
from fg_onnx.errors import InputError

UNKNOWN = -1

_HEADS = ("file", "filename", "id", "image", "name", "path")
_HINT = "give a CSV of image,label, where the label is a class's number or name"


@dataclass(frozen=True, eq=False)
class Truths:
    """The classes of the images.

    Attributes:
        classes: int64 [images]; `UNKNOWN` where the file names none.
        unused: names in the file that stand for no image.
    """

    classes: npt.NDArray[Any]
    unused: Sequence[str]


def read_truths(
    path: Path, items: Sequence[Item], names: Sequence[str] | None, classes: int | None
) -> Truths:
    """What the file says of the images.

    Args:
        path: of the CSV; its first line may name the columns.
        items: the images.
        names: of the classes, None where they are not known.
        classes: how many there are, None likewise.

    Raises:
        InputError: ``bad-labels``: it cannot be read, or makes no sense.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise _bad(f"cannot read the labels `{path}`: {reason}") from error
    found: dict[str, int] = {}
    reader = csv.reader(io.StringIO(text))
    try:
        for cells in reader:
            where = f"`{path}`, line {reader.line_num}"
            if not cells or (reader.line_num == 1 and cells[0].strip().casefold() in _HEADS):
                continue
            if len(cells) < 2:
                raise _bad(f"{where}: one cell, and an image and its label are wanted")
            name, label = cells[0].strip(), _class_of(cells[1].strip(), names, classes, where)
            if found.setdefault(name, label) != label:
                raise _bad(f"{where}: `{name}` has another label further up")
    except csv.Error as error:
        raise _bad(f"`{path}`, line {reader.line_num}: {error}") from error
    if not found:
        raise _bad(f"the labels `{path}` are empty")
    labels = list(found.values())
    matching = Matching(list(found), items, str(path), "bad-labels")
    truths = np.full(len(items), UNKNOWN)
    for number, at in matching.found.items():
        truths[number] = labels[at]
    return Truths(truths, matching.unused)


def _class_of(text: str, names: Sequence[str] | None, classes: int | None, where: str) -> int:
    if text.isdecimal():
        index = int(text)
        if classes is not None and index >= classes:
            raise _bad(f"{where}: there is no class {index}, the model has {classes}")
        return index
    if names is None:
        raise _bad(f"{where}: `{text}` is no number, and the names of the classes are not known")
    wanted = text.casefold()
    at = [index for index, name in enumerate(names) if name.casefold() == wanted]
    if len(at) != 1:
        several = f"the classes {', '.join(map(str, at))} have" if at else "no class has"
        raise _bad(f"{where}: {several} the name `{text}`")
    return at[0]


def _bad(message: str) -> InputError:
    return InputError("bad-labels", message, _HINT)
