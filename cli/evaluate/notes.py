"""What methods say of their numbers, gathered over all images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..console import note

if TYPE_CHECKING:
    from fg_onnx.evaluate.maps import Array
    from fg_onnx.evaluate.randomization import FedMaps, Feeds
    from fg_onnx.methods import Explainer, MethodMaps

_COUNTS = re.compile(r"(.+): (\d+(?:, \d+)*)")  # a whole number for each image of a batch


class Notes:
    """What a method says of all its maps, each thing once.

    Attributes:
        lines: what it says in words.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._ranges: dict[str, tuple[int, int]] = {}
        self._maps = 0
        self._of_images: list[str] = []

    def add(self, found: MethodMaps) -> None:
        """What it says of a batch."""
        for line in found.notes:
            counts = _COUNTS.fullmatch(line)
            if counts:
                numbers = [*map(int, counts[2].split(", ")), *self._ranges.get(counts[1], ())]
                self._ranges[counts[1]] = min(numbers), max(numbers)
            elif line not in self.lines:
                self.lines.append(line)
        self._maps += len(found.maps)
        self._of_images += found.image_notes.values()

    @property
    def counts(self) -> list[str]:
        """What differs from image to image."""
        told = [f"{name}: {least} to {most}" for name, (least, most) in self._ranges.items()]
        if self._of_images:
            count = len(self._of_images)
            told.append(f"{count} of {self._maps} maps, one of them: {self._of_images[0]}")
        return told


def listening(explainer: Explainer, notes: Notes) -> FedMaps:
    """A method's maps, and what it says of them into the notes."""

    def maps(images: Array, targets: Array, *, feeds: Feeds | None = None) -> Array:
        found = explainer.attribute(images, targets, feeds=feeds)
        notes.add(found)
        return found.maps

    return maps


def tell(notes: Mapping[str, Notes]) -> dict[str, list[str]]:
    """Every note on stderr; and all of them by method, as a document holds them."""
    told = {method: [*each.lines, *each.counts] for method, each in notes.items()}
    for method, lines in told.items():
        for line in lines:
            note(f"{method}: {line}")
    return {method: lines for method, lines in told.items() if lines}
