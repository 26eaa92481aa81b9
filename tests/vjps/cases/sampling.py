"""Sampling between pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..harness import NEWEST, Case, Fed, Live
from .making import curved, exact, live, weight

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
    *(
        exact("AffineGrid", live(2, 2, 3), size, note=note, opset=20, align_corners=align)
        for note, size, align in [
            ("middles", [2, 3, 4, 5], 0),
            ("ends", [2, 3, 4, 5], 1),
            ("run-time", Fed(np.array([2, 3, 2, 3])), 0),
        ]
    ),
    exact(
        "AffineGrid", Live((2, 3, 4), dims=("N", 3, 4)), [2, 3, 2, 3, 2], note="3-D", opset=NEWEST
    ),
    _sampled("one-pixel", live(1, 2, 1, 3), Fed(_grid(1, 2, 3, 2)), "bilinear", "reflection", 1),
    _sampled(
        "symbolic", Live((2, 3, 4, 5), dims=("N", "C", 4, 5)), Fed(_grid(2, 2, 3, 2)),
        "bilinear", "border", 0, opset=NEWEST,
    ),
]  # fmt: skip


def _deformed(note: str, x: tuple[int, ...], *w: int, **settings: Any) -> Case:
    """Offsets and mask are fed, or live where they are given."""
    attrs = {name: settings[name] for name in ("pads", "strides", "dilations") if name in settings}
    group, shared = settings.get("group", 1), settings.get("offset_group", 1)
    sizes = _sizes(x, w, **attrs)
    many = shared * w[2] * w[3]
    draws = np.random.default_rng(x)
    offsets = draws.uniform(-1.5, 1.5, (x[0], 2 * many, *sizes))
    masks = draws.uniform(0, 1, (x[0], many, *sizes))
    active = settings.get("active", False)
    operands = [
        Live(x, dims=settings.get("dims")),
        weight(*w),
        Live(offsets.shape, low=-1.5, high=1.5) if active else Fed(offsets),
        weight(w[0]) if settings.get("bias", True) else None,
        *([Live(masks.shape, low=0.1) if active else Fed(masks)] if settings.get("mask") else []),
    ]
    return (curved if active else exact)(
        "DeformConv", *operands, note=note, opset=settings.get("opset", 19),
        group=group, offset_group=shared, **attrs,
    )  # fmt: skip


def _sizes(x: tuple[int, ...], w: tuple[int, ...], **attrs: Any) -> list[int]:
    pads, strides = attrs.get("pads", [0] * 4), attrs.get("strides", [1, 1])
    dilations = attrs.get("dilations", [1, 1])
    return [
        (x[2 + i] + pads[i] + pads[2 + i] - dilations[i] * (w[2 + i] - 1) - 1) // strides[i] + 1
        for i in (0, 1)
    ]


DEFORMED = [
    _deformed("plain", (1, 2, 4, 5), 3, 2, 2, 3),
    _deformed("no-bias", (2, 2, 4, 5), 3, 2, 2, 2, bias=False, mask=True),
    _deformed(
        "all-attributes", (1, 4, 5, 6), 6, 2, 3, 2, mask=True, group=2, offset_group=2,
        pads=[1, 0, 1, 2], strides=[2, 1], dilations=[1, 2], opset=22,
    ),
    _deformed("active", (1, 4, 4, 4), 2, 4, 2, 2, mask=True, active=True, offset_group=2),
    _deformed("active-no-mask", (2, 2, 4, 3), 3, 2, 2, 2, bias=False, active=True),
    _deformed("symbolic", (2, 2, 4, 3), 3, 2, 2, 2, mask=True, dims=("N", 2, 4, 3)),
]  # fmt: skip

_regions = np.array([[0.5, 1.0, 9.0, 7.5], [-3.0, -2.0, 4.0, 20.0], [3.0, 3.0, 3.2, 3.4]])
_owners = np.array([1, 0, 1])


def _aligned(note: str, *, dims: Any = None, **attrs: Any) -> Case:
    x = Live((2, 3, 6, 5), dims=dims)
    return exact("RoiAlign", x, Fed(_regions), Fed(_owners), note=note, **attrs)


ALIGNED_REGIONS = [
    _aligned("two", output_height=2, output_width=3, sampling_ratio=2),
    _aligned("scaled", output_height=3, output_width=1, sampling_ratio=3, spatial_scale=0.5),
    _aligned(
        "older", output_height=2, output_width=2, sampling_ratio=1,
        coordinate_transformation_mode="output_half_pixel",
    ),
    _aligned("symbolic", dims=("N", 3, 6, 5), output_height=2, output_width=2, sampling_ratio=2),
]  # fmt: skip
