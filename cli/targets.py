"""What of an image is to be explained: the predicted class, a number, a label, or the best K."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fg_onnx.errors import InputError
from fg_onnx.manifest import PREDICTED, Manifest

from .labels import find_label

if TYPE_CHECKING:
    Scores = Callable[[], npt.NDArray[Any]]

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Target:
    """One score for all images, the best of a class in each, or the best of all in each.

    Attributes:
        index: of the score; -1: the predicted one.
        best: how many of the best scores in its place; 0: none.
        of_class: the largest score of this class in its place, for dense outputs.
    """

    index: int = PREDICTED
    best: int = 0
    of_class: int | None = None

    def of(self, count: int, scores: Scores, class_axis: int | None = None) -> list[Indices]:
        """The indices to explain, [N] for every explanation of the N images.

        Args:
            count: N.
            scores: gives what ranks them, [N, *scores]; called only if that is needed.
            class_axis: among the scores of an image.
        """
        if self.of_class is not None:
            assert class_axis is not None
            found = scores()
            own = np.arange(found.shape[1 + class_axis]) == self.of_class
            own = own.reshape(-1, *[1] * (found.ndim - 2 - class_axis))
            others_out = np.where(own, found, -np.inf).reshape(count, -1)
            return [others_out.argmax(axis=1)]
        if not self.best:
            return [np.full(count, self.index, dtype=np.int64)]
        order = np.argsort(-scores().reshape(count, -1), axis=1, kind="stable")
        return list(order[:, : self.best].T)


def parse_target(
    text: str | None, labels: Sequence[str] | None, manifest: Manifest, *, region: bool = False
) -> Target:
    """What ``--target`` says: ``7``, ``top3``, or a label.

    Over a region numbers count classes, else scores: a dense output has many of each class, and a
    label stands for the largest.

    Raises:
        InputError: ``target-range``, ``unknown-label`` or ``ambiguous-label``.
    """
    if text is None:
        return Target(best=1) if region else Target()
    count = manifest.classes if region else manifest.scores
    if re.fullmatch(r"[+-]?\d+", text):
        target = Target(index=int(text))
        if region and target.index == PREDICTED:
            target = Target(best=1)
        return _in_range(target, text, count)
    if match := re.fullmatch(r"top(\d+)", text, re.IGNORECASE):
        return _in_range(Target(best=int(match[1])), text, count, none=match[1].strip("0") == "")
    found = find_label(text, labels)
    return Target(of_class=found) if manifest.dense and not region else Target(index=found)


def _in_range(target: Target, text: str, scores: int | None, *, none: bool = False) -> Target:
    low = target.index < PREDICTED or none
    high = scores is not None and max(target.index, target.best - 1) >= scores
    if not (low or high):
        return target
    known = "the model" if scores is None else f"the model has {scores} scores"
    last = "the number of classes" if scores is None else str(scores - 1)
    best = "K" if scores is None else str(scores)
    raise InputError(
        "target-range",
        f"the target {text} is out of range: {known}",
        f"give 0 to {last}, top1 to top{best}, or leave it out for the predicted class",
    )
