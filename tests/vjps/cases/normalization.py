"""Normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..harness import NEWEST, Case, Fed, Live
from .making import curved, exact, live, weight


def norm(*shape: int, note: str, **attrs: Any) -> Case:
    channels = weight(shape[1])
    parameters = (channels, channels / 2, channels[::-1].copy() * 3, np.abs(channels) + 0.5)
    return exact("BatchNormalization", live(*shape), *parameters, note=note, **attrs)


NORMALIZATION = [
    norm(2, 3, 4, 4, note="2-D"),
    norm(2, 3, note="no-positions"),
    norm(2, 3, 5, note="1-D", epsilon=0.125),
    norm(2, 3, 2, 3, 2, note="3-D", opset=NEWEST),
    exact(
        "BatchNormalization",
        Live((2, 3, 4, 4), dims=("N", 3, 4, 4)),
        *(Fed(weight(3)), Fed(weight(3) / 2), Fed(weight(3) * 2), Fed(weight(3) ** 2)),
        note="run-time-parameters",
    ),
    curved("Softmax", live(2, 5), note="default"),
    curved("Softmax", live(2, 3, 4), note="axis1", axis=1),
    curved("Softmax", live(2, 3, 4), note="axis-2", axis=-2, opset=NEWEST),
    curved("LogSoftmax", live(2, 5), note="default"),
    curved("LogSoftmax", live(2, 3, 4), note="axis1", axis=1),
    curved("LogSoftmax", live(2, 3, 4), note="axis-2", axis=-2, opset=NEWEST),
]
