"""Pools."""

from __future__ import annotations

from typing import Any

from ..harness import NEWEST, Case, Live
from .making import curved, distinct, exact, live


def mean_pool(note: str, *x: int, **attrs: Any) -> list[Case]:
    return [exact("AveragePool", live(*x), note=note, **attrs)]


def _lp_pool(note: str, *x: int, **attrs: Any) -> list[Case]:
    return [curved("LpPool", Live(x, kinks=(0.0,)), note=note, **attrs)]


def max_pool(note: str, *x: int, **attrs: Any) -> list[Case]:
    return [curved("MaxPool", distinct(*x), note=note, **attrs)]


def _symbolic(op_type: str, note: str, rows: int, columns: int, **attrs: Any) -> Case:
    sizes, dims = (2, 2, rows, columns), ("N", 2, "H", "W")
    if op_type == "MaxPool":
        return curved(op_type, distinct(*sizes, dims=dims), note=f"symbolic-{note}", **attrs)
    return exact(op_type, Live(sizes, dims=dims), note=f"symbolic-{note}", **attrs)


def _symbolic_pools(op_type: str, ceil: int) -> list[Case]:
    k2, k3, s2, p1 = [2, 2], [3, 3], [2, 2], [1, 1, 1, 1]
    return [
        *(
            _symbolic(
                op_type, f"{note}-{rows}", rows, 7,
                opset=ceil if "ceil_mode" in attrs else 17, **attrs,
            )
            for rows in (5, 6)
            for note, attrs in {
                "rest": {"kernel_shape": k2, "strides": s2},
                "pads": {"kernel_shape": k3, "strides": s2, "pads": p1},
                "overlap": {"kernel_shape": k3, "pads": p1},
                "uneven-pads": {"kernel_shape": k3, "strides": s2, "pads": [0, 1, 2, 0]},
                "same-upper": {"kernel_shape": k3, "strides": s2, "auto_pad": "SAME_UPPER"},
                "same-lower": {"kernel_shape": [3, 2], "strides": s2, "auto_pad": "SAME_LOWER"},
                "same-overlap": {"kernel_shape": k2, "auto_pad": "SAME_UPPER"},
                "ceil": {"kernel_shape": k3, "strides": s2, "ceil_mode": 1},
                "ceil-pads": {"kernel_shape": k3, "strides": s2, "pads": p1, "ceil_mode": 1},
                "gaps": {"kernel_shape": k2, "strides": [3, 3]},
            }.items()
        ),
        _symbolic(op_type, "half", 6, 7, kernel_shape=k3, strides=s2, pads=p1, opset=NEWEST),
    ]  # fmt: skip


def _pools(make: Any, ceil: int) -> list[Case]:
    """What the two pools have in common; ``ceil`` is the opset whose ceil_mode is defined well."""
    k2, k3, s2, p1 = [2, 2], [3, 3], [2, 2], [1, 1, 1, 1]
    return [
        *make("tiles", 2, 3, 4, 6, kernel_shape=k2, strides=s2),
        *make("tiles-with-rest", 2, 3, 5, 7, kernel_shape=k2, strides=s2),
        *make("overlap", 2, 2, 5, 5, kernel_shape=k3),
        *make("overlap-stride", 2, 2, 7, 7, kernel_shape=k3, strides=s2),
        *make("gaps", 1, 2, 8, 8, kernel_shape=k2, strides=[3, 3]),
        *make("pads", 1, 2, 6, 6, kernel_shape=k3, strides=s2, pads=p1),
        *make("uneven-pads", 1, 2, 5, 6, kernel_shape=k3, strides=s2, pads=[0, 1, 2, 0]),
        *make("uneven-kernel", 1, 2, 5, 6, kernel_shape=[1, 3], strides=[2, 1]),
        *make("ceil", 1, 2, 6, 7, kernel_shape=k3, strides=s2, ceil_mode=1, opset=ceil),
        *make("ceil-even", 1, 2, 5, 7, kernel_shape=k2, strides=s2, ceil_mode=1, opset=ceil),
        *make(
            "ceil-pads", 1, 2, 6, 6, kernel_shape=k3, strides=s2, pads=p1, ceil_mode=1, opset=ceil
        ),
        *make("same-upper", 1, 2, 5, 6, kernel_shape=k2, strides=[1, 2], auto_pad="SAME_UPPER"),
        *make("same-lower", 1, 2, 5, 6, kernel_shape=k2, strides=[1, 2], auto_pad="SAME_LOWER"),
        *make("valid", 1, 2, 5, 6, kernel_shape=k3, strides=s2, auto_pad="VALID"),
        *make("1-D", 2, 3, 7, kernel_shape=[3], strides=[2]),
        *make("3-D", 1, 2, 4, 3, 4, kernel_shape=[2, 2, 2], strides=[2, 1, 2]),
        *make("newest", 1, 2, 6, 6, kernel_shape=k3, strides=s2, pads=p1, opset=NEWEST),
    ]


_none = {"alpha": 2.0, "runtime": False}  # ONNX Runtime has LRN for images and odd sizes alone

POOLING = [
    *_pools(mean_pool, 19),
    *mean_pool(
        "count-pads", 1, 2, 6, 6,
        kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1,
    ),
    *mean_pool(
        "count-uneven-pads", 1, 2, 5, 6, kernel_shape=[3, 3], pads=[0, 1, 2, 0], count_include_pad=1
    ),
    *mean_pool(
        "count-ceil-pads", 1, 2, 6, 6, opset=19,
        kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1, ceil_mode=1,
    ),
    *mean_pool("dilations", 1, 2, 7, 8, kernel_shape=[3, 2], dilations=[2, 3], opset=19),
    *mean_pool(
        "dilations-uneven-pads", 1, 2, 7, 8, opset=19,
        kernel_shape=[3, 2], dilations=[2, 3], pads=[2, 0, 1, 1],
    ),
    *mean_pool("1-D-overlap", 2, 3, 7, kernel_shape=[3], pads=[2, 1]),
    *mean_pool("3-D-overlap", 1, 2, 4, 3, 4, kernel_shape=[2, 3, 2], pads=[1, 1, 0, 0, 1, 1]),
    *mean_pool(
        "dilations-pads", 1, 2, 7, 8, opset=19,
        kernel_shape=[3, 2], dilations=[2, 3], pads=[1, 1, 1, 1], strides=[2, 1],
    ),
    exact(
        "AveragePool",
        Live((2, 2, 6, 6), dims=("N", 2, 6, 6)),
        note="symbolic-batch",
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
    ),
    exact(
        "AveragePool",
        Live((2, 2, 6, 6), dims=("N", 2, "H", "W")),
        note="symbolic-sizes",
        kernel_shape=[3, 3],
    ),
    *_pools(max_pool, 17),
    *_symbolic_pools("AveragePool", 19),
    *_symbolic_pools("MaxPool", 17),
    *(
        _symbolic(
            "AveragePool", f"count-pads-{rows}", rows, 7, opset=19, kernel_shape=[3, 3],
            strides=[2, 2], pads=[1, 1, 0, 1], count_include_pad=1, ceil_mode=1,
        )
        for rows in (5, 6)
    ),
    _symbolic(
        "MaxPool", "dilations", 8, 7,
        kernel_shape=[3, 2], dilations=[2, 3], strides=[1, 2], pads=[1, 0, 1, 1],
    ),
    curved(
        "MaxPool", distinct(1, 2, 7, dims=("N", "C", "L")), note="symbolic-1-D",
        kernel_shape=[3], strides=[2], pads=[1, 1],
    ),
    curved(
        "MaxPool", distinct(1, 2, 4, 3, 5, dims=("N", 2, "D", 3, "W")), note="symbolic-3-D",
        kernel_shape=[2, 2, 3], strides=[2, 1, 2], pads=[0, 0, 1, 0, 0, 1],
    ),
    *max_pool("uneven-tiles", 2, 2, 4, 6, kernel_shape=[2, 3], strides=[2, 3]),
    *max_pool("dilations", 1, 2, 7, 8, kernel_shape=[3, 2], dilations=[2, 3]),
    *max_pool(
        "dilations-stride", 1, 2, 8, 8, kernel_shape=[2, 2], dilations=[3, 2], strides=[2, 2]
    ),
    curved(
        "MaxPool",
        distinct(1, 2, 6, 6, low=-9.0, high=-1.0),
        note="all-negative-in-pads",
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
    ),
    curved(
        "MaxPool",
        distinct(2, 2, 6, 6, dims=("N", 2, 6, 6)),
        note="symbolic-batch",
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
    ),
    exact(
        "AveragePool",
        Live((2, 2, 6, 6), dims=("N", 2, "H", "W")),
        note="symbolic-tiles",
        kernel_shape=[2, 2],
        strides=[2, 2],
    ),
    exact("GlobalAveragePool", live(2, 3, 4, 5), note="2-D"),
    exact("GlobalAveragePool", Live((2, 3, 4, 5), dims=("N", 3, "H", "W")), note="symbolic-sizes"),
    exact("GlobalAveragePool", live(2, 3, 4), note="1-D", opset=NEWEST),
    exact("GlobalAveragePool", Live((2, 3, 2, 2, 3), dims=("N", 3, 2, 2, 3)), note="3-D-N"),
    *(
        curved("GlobalMaxPool", distinct(*sizes, dims=dims), note=note, opset=opset)
        for note, sizes, dims, opset in [
            ("2-D", (2, 3, 4, 5), None, 17),
            ("1-D", (2, 3, 5), None, NEWEST),
            ("3-D", (1, 2, 2, 3, 2), None, 17),
            ("symbolic", (2, 3, 4, 5), ("N", "C", "H", "W"), 17),
        ]
    ),
    *(
        curved("GlobalLpPool", Live(sizes, kinks=(0.0,), dims=dims), note=note, **attrs)
        for note, sizes, dims, attrs in [
            ("2-D", (2, 3, 4, 5), None, {}),
            ("1", (2, 3, 5), None, {"p": 1}),
            ("3", (1, 2, 2, 3, 2), None, {"p": 3}),
            ("symbolic", (2, 3, 4, 5), ("N", "C", "H", "W"), {"p": 4}),
        ]
    ),
    *_pools(_lp_pool, 18),
    *_lp_pool("1", 1, 2, 5, 6, kernel_shape=[3, 2], strides=[2, 2], p=1),
    *_lp_pool("3", 1, 2, 5, 6, kernel_shape=[3, 2], pads=[1, 1, 0, 0], p=3),
    *_lp_pool("dilations", 1, 2, 7, 8, kernel_shape=[3, 2], dilations=[2, 3], opset=18),
    curved(
        "LpPool", Live((2, 2, 6, 7), kinks=(0.0,), dims=("N", 2, "H", "W")), note="symbolic",
        kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1],
    ),
    *(
        curved("LRN", Live((2, 7, *grid), dims=dims), note=note, **attrs)
        for note, grid, dims, attrs in [
            ("2-D", (3, 4), None, {"size": 5, "alpha": 2.5, "beta": 0.75, "bias": 0.5}),
            ("even", (3, 4), None, {"size": 4, "alpha": 2.0, "beta": 0.5, **_none}),
            ("one", (3,), None, {"size": 1, "bias": 2.0, **_none}),
            ("wide", (2, 2, 2), None, {"size": 13, **_none}),
            ("symbolic", (3, 4), ("N", 7, "H", "W"), {"size": 3, "alpha": 1.0}),
        ]
    ),
]  # fmt: skip
