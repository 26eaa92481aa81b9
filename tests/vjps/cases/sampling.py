"""Sampling between pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..harness import NEWEST, Case, Fed, Live
from .making import curved, exact, live

BORDERS = ["zeros", "border", "reflection"]
_LONG = {"bilinear": "linear", "bicubic": "cubic"}


def _grid(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).uniform(-1.6, 1.6, shape)


def _sampled(note: str, x: Any, grid: Any, mode: str, border: str, align: int, **more: Any) -> Case:
    opset = more.pop("opset", 17)
    make = curved if isinstance(grid, Live) else exact
    return make(
        "GridSample", x, grid, note=f"{note}-{mode}-{border}-{align}", opset=opset,
        mode=mode if opset < 20 else _LONG.get(mode, mode),
        padding_mode=border, align_corners=align, **more,
    )  # fmt: skip


ALIGNED = {"zeros": 0, "border": 1, "reflection": 0}

SAMPLING = [
    *(
        _sampled("fed", live(2, 2, 4, 3), Fed(_grid(2, 2, 3, 2)), mode, border, ALIGNED[border])
        for mode in ("nearest", "bilinear", "bicubic")
        for border in BORDERS
    ),
    *(
        _sampled(
            "active", live(1, 2, 4, 3), Live((1, 2, 3, 2), low=-1.5, high=1.5),
            mode, border, 1 - ALIGNED[border],
        )
        for mode in ("bilinear", "bicubic")
        for border in BORDERS
    ),
    _sampled(
        "3-D", live(1, 2, 3, 4, 2), Fed(_grid(1, 2, 2, 2, 3)), "nearest", "zeros", 0, opset=20
    ),
    _sampled(
        "3-D-active", live(1, 2, 3, 4, 2), Live((1, 2, 1, 2, 3), low=-1.3, high=1.3),
        "bilinear", "reflection", 1, opset=22,
    ),
    _sampled(
        "grid-alone", np.random.default_rng(0).normal(size=(1, 2, 4, 5)), live(1, 2, 2, 2),
        "bilinear", "zeros", 0,
    ),
    _sampled("one-pixel", live(1, 2, 1, 3), Fed(_grid(1, 2, 3, 2)), "bilinear", "reflection", 1),
    _sampled(
        "symbolic", Live((2, 3, 4, 5), dims=("N", "C", 4, 5)), Fed(_grid(2, 2, 3, 2)),
        "bilinear", "border", 0, opset=NEWEST,
    ),
]  # fmt: skip
