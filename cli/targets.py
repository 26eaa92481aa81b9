"""What of an image is to be explained: the predicted class, a number, a label, or the best K."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx import Session
from fg_onnx.errors import InputError
from fg_onnx.manifest import PREDICTED

from .labels import find_label

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Target:
    """One class for all images, or the best of each.

    Attributes:
        index: of the class; -1: the predicted one.
        best: how many of the best classes in its place; 0: none.
    """

    index: int = PREDICTED
    best: int = 0

    def of(self, session: Session, images: npt.NDArray[Any]) -> list[Indices]:
        """The indices to explain, [N] for every explanation of the N images."""
        if not self.best:
            return [np.full(len(images), self.index, dtype=np.int64)]
        order = np.argsort(-session.scores(images), axis=1, kind="stable")
        return list(order[:, : self.best].T)


def parse_target(text: str | None, labels: Sequence[str] | None, scores: int | None) -> Target:
    """What ``--target`` says: ``7``, ``top3``, or a label.

    Raises:
        InputError: ``target-range``, ``unknown-label`` or ``ambiguous-label``.
    """
    if text is None:
        return Target()
    if re.fullmatch(r"[+-]?\d+", text):
        return _in_range(Target(index=int(text)), text, scores)
    if match := re.fullmatch(r"top(\d+)", text, re.IGNORECASE):
        return _in_range(Target(best=int(match[1])), text, scores, none=match[1].strip("0") == "")
    return Target(index=find_label(text, labels))


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
