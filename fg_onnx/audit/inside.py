"""What was marked in the photographs, boxes or masks, where the model sees it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.audit.items import Item, as_text
from fg_onnx.audit.matching import Matching
from fg_onnx.audit.measures import overlaps
from fg_onnx.errors import InputError
from fg_onnx.manifest import LayoutName
from fg_onnx.pictures.images import (
    IMAGE_SUFFIXES,
    Placement,
    find_images,
    placement,
    prepare_mask,
    read_image,
)
from fg_onnx.pictures.preprocess import Preprocessing
from fg_onnx.samples import Sample

Array = npt.NDArray[Any]
Box = tuple[float, float, float, float]
Shape = Sequence[int | str | None]

_HINT = (
    "give a CSV of image,x0,y0,x1,y1, a JSON object of image: [[x0, y0, x1, y1], ...], or a folder "
    "of masks named like the images"
)


@dataclass(frozen=True, eq=False)
class Inside:
    """What was marked in each image.

    Attributes:
        boxes: by the image's number.
        masks: likewise, files.
        steps: how photographs are prepared.
        input_shape: of the model's input.
        layout: likewise.
        digest: of all that was marked.
        unused: names that stand for no image.
    """

    boxes: Mapping[int, Sequence[Box]]
    masks: Mapping[int, Path]
    steps: Preprocessing | None
    input_shape: Shape
    layout: LayoutName | None
    digest: str
    unused: Sequence[str]

    def marked(self, images: int) -> Array:
        """Of which of so many images something was marked."""
        found = np.zeros(images, dtype=bool)
        found[[*self.boxes, *self.masks]] = True
        return found

    def of(self, item: Item, sample: Sample, grid: tuple[int, ...]) -> Array | None:
        """The share of each pixel of the input that is marked, float64 [H, W].

        None where nothing was marked, or nothing of it is left in what the model sees.
        """
        number = sample.number
        if number in self.boxes:
            inside = self._boxes(self.boxes[number], sample, grid)
        elif number in self.masks:
            inside = self._mask(self.masks[number], item, sample, grid)
        else:
            return None
        return inside if bool(inside.any()) else None

    def _boxes(self, boxes: Sequence[Box], sample: Sample, grid: tuple[int, ...]) -> Array:
        if sample.size is None or self.steps is None:  # an array is what the model sees
            placed = Placement((grid[0], grid[1]), 0, 0, (grid[0], grid[1]))
            size = placed.resized
        else:
            size = sample.size
            placed = placement(size, self.steps, self.input_shape, self.layout)
        return map_boxes(boxes, size, placed)

    def _mask(self, path: Path, item: Item, sample: Sample, grid: tuple[int, ...]) -> Array:
        mask = read_image(path)
        size = (mask.shape[0], mask.shape[1])
        if size != (sample.size or grid):
            height, width = sample.size or grid
            raise InputError(
                "wrong-size",
                f"the mask `{path}` has {size[0]} x {size[1]} pixels (height x width), and "
                f"`{item.name}` {height} x {width}",
                "draw the mask over the photograph itself",
            )
        if sample.size is None or self.steps is None:
            return np.asarray(mask.any(axis=2), dtype=np.float64)
        found = prepare_mask(mask, self.steps, self.input_shape, self.layout)
        return found.astype(np.float64)


def map_boxes(boxes: Sequence[Box], size: tuple[int, int], placed: Placement) -> Array:
    """Boxes in a photograph, as shares of the pixels that the model sees: float64 [H, W].

    Args:
        boxes: x0, y0, x1, y1 in pixels of the photograph; pixel i reaches from i to i + 1.
        size: of the photograph, height and width.
        placed: where it comes to lie.
    """
    height, width = placed.target
    found = np.zeros((height, width))
    down, across = placed.resized[0] / size[0], placed.resized[1] / size[1]
    for x0, y0, x1, y1 in boxes:
        rows = overlaps(height, [y0 * down - placed.top, y1 * down - placed.top])[0]
        columns = overlaps(width, [x0 * across - placed.left, x1 * across - placed.left])[0]
        found = np.maximum(found, np.outer(rows, columns))
    return found


def read_inside(
    path: Path,
    items: Sequence[Item],
    steps: Preprocessing | None,
    input_shape: Shape,
    layout: LayoutName | None,
) -> Inside:
    """What ``--boxes`` names: a file of boxes, or a folder of masks.

    Raises:
        InputError: ``bad-boxes``: it cannot be read, or is of none of the images.
    """
    boxes: dict[int, Sequence[Box]] = {}
    masks: dict[int, Path] = {}
    if path.is_dir():
        files = find_images([path], IMAGE_SUFFIXES)
        matching = Matching([as_text(file.stem) for file in files], items, str(path), "bad-boxes")
        masks = {number: files[at] for number, at in matching.found.items()}
        digest = [Item(file).state for file in files]
    else:
        text = _read(path)
        given = _from_json(text, path) if path.suffix.lower() == ".json" else _from_csv(text, path)
        matching = Matching(list(given), items, str(path), "bad-boxes")
        values = list(given.values())
        boxes = {number: values[at] for number, at in matching.found.items()}
        digest = [[text]]
    held = hashlib.sha256(json.dumps(digest).encode()).hexdigest()
    return Inside(boxes, masks, steps, input_shape, layout, held, matching.unused)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise _bad(f"cannot read the boxes `{path}`: {reason}") from error


def _from_json(text: str, path: Path) -> dict[str, list[Box]]:
    try:
        held = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad(f"`{path}` is not JSON: {type(error).__name__}") from error
    if not isinstance(held, dict) or not held:
        raise _bad(f"`{path}` is no JSON object of images")
    found = {}
    for name, boxes in held.items():
        if isinstance(boxes, list) and len(boxes) == 4 and not isinstance(boxes[0], list):
            boxes = [boxes]
        if not isinstance(boxes, list):
            raise _bad(f"`{path}`: the boxes of `{name}` are no list")
        found[name] = [_box(box, f"`{path}`, `{name}`") for box in boxes]
    return found


def _from_csv(text: str, path: Path) -> dict[str, list[Box]]:
    found: dict[str, list[Box]] = {}
    for line, cells in _lines(text, path):
        if line == 1 and len(cells) == 5 and not any(map(_is_number, cells[1:])):
            continue  # the names of the columns
        if len(cells) != 5:
            raise _bad(f"`{path}`, line {line}: {len(cells)} cells, and 5 are wanted")
        found.setdefault(cells[0].strip(), []).append(_box(cells[1:], f"`{path}`, line {line}"))
    if not found:
        raise _bad(f"`{path}` holds no box")
    return found


def _lines(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text))
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise _bad(f"`{path}`, line {reader.line_num}: {error}") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _box(values: Any, where: str) -> Box:
    try:
        x0, y0, x1, y1 = map(float, values)
    except (TypeError, ValueError) as error:
        raise _bad(f"{where}: a box is four numbers, x0, y0, x1, y1") from error
    if not all(map(math.isfinite, (x0, y0, x1, y1))) or x1 <= x0 or y1 <= y0:
        raise _bad(f"{where}: the box {x0:g}, {y0:g}, {x1:g}, {y1:g} is empty or turned around")
    return x0, y0, x1, y1


def _bad(message: str) -> InputError:
    return InputError("bad-boxes", message, _HINT)
