"""Convolutions and their transposes."""

from __future__ import annotations

from typing import Any

from ..harness import NEWEST, Case, Fed, Live
from .making import exact, live, weight


def conv(note: str, x: tuple[int, ...], *w: int, bias: bool = True, **attrs: Any) -> list[Case]:
    operands = [weight(*w), *([weight(w[0])] if bias else [])]
    return [exact("Conv", live(*x), *operands, note=note, **attrs)]


_symbolic = Live((2, 2, 5, 5), dims=("N", 2, 5, 5))

CONVOLUTION = [
    *conv("1-D", (2, 3, 8), 4, 3, 3),
    *conv("1-D-stride", (2, 3, 9), 4, 3, 4, strides=[3], pads=[2, 1]),
    *conv("2-D", (2, 3, 5, 6), 4, 3, 3, 2),
    *conv("2-D-newest", (2, 3, 5, 6), 4, 3, 3, 2, opset=NEWEST, pads=[1, 0, 1, 1]),
    *conv("3-D", (1, 2, 4, 3, 5), 2, 2, 2, 3, 2, pads=[1, 1, 0, 0, 1, 1]),
    *conv("3-D-stride", (1, 2, 5, 4, 5), 2, 2, 3, 2, 2, strides=[2, 1, 2]),
    *conv("no-bias", (2, 3, 5, 5), 4, 3, 3, 3, bias=False, pads=[1, 1, 1, 1]),
    *conv("pointwise", (2, 3, 4, 4), 5, 3, 1, 1),
    *conv("pointwise-stride", (2, 3, 5, 4), 5, 3, 1, 1, strides=[2, 2]),
    *conv("one-of-two-axes", (2, 3, 4, 6), 4, 3, 1, 3),
    *conv("stride", (1, 2, 7, 7), 3, 2, 3, 3, strides=[2, 2], pads=[1, 1, 1, 1]),
    *conv("stride-with-rest", (1, 2, 8, 9), 3, 2, 3, 3, strides=[2, 3]),
    *conv("stride-beyond-kernel", (1, 2, 9, 10), 3, 2, 2, 2, strides=[3, 4]),
    *conv("kernel-beyond-rest", (1, 2, 10, 9), 3, 2, 5, 5, strides=[4, 4], pads=[1, 2, 1, 2]),
    *conv("one-axis-stride", (1, 2, 6, 6), 3, 2, 3, 3, strides=[1, 2], pads=[1, 1, 1, 1]),
    *conv("dilations", (1, 2, 9, 8), 3, 2, 3, 3, dilations=[2, 3], pads=[2, 3, 2, 3]),
    *conv("dilations-stride", (1, 2, 10, 9), 3, 2, 3, 2, dilations=[2, 3], strides=[2, 2]),
    *conv("groups", (1, 6, 5, 5), 4, 3, 3, 3, group=2, pads=[1, 1, 1, 1]),
    *conv("many-groups", (2, 6, 4, 4), 9, 2, 3, 3, group=3),
    exact(
        "Conv",
        live(1, 6, 7, 7),
        weight(4, 3, 3, 3),
        weight(4),
        note="groups-stride",
        group=2,
        strides=[2, 2],
        pads=[1, 1, 1, 1],
    ),
    *conv("depthwise", (2, 3, 5, 5), 3, 1, 3, 3, group=3, pads=[1, 1, 1, 1]),
    *conv("multiplier", (2, 3, 5, 5), 6, 1, 3, 3, group=3, pads=[1, 1, 1, 1]),
    *conv("depthwise-stride", (2, 3, 6, 7), 3, 1, 3, 3, group=3, strides=[2, 2], pads=[1] * 4),
    exact(
        "Conv",
        live(1, 3, 7, 7),
        weight(6, 1, 3, 3),
        note="multiplier-stride",
        group=3,
        strides=[2, 2],
    ),
    *conv("uneven-pads", (1, 2, 5, 6), 3, 2, 3, 4, pads=[0, 2, 2, 1]),
    *conv("uneven-pads-stride", (1, 2, 6, 7), 3, 2, 3, 4, pads=[0, 2, 1, 0], strides=[2, 3]),
    *conv("pads-beyond-kernel", (1, 2, 4, 5), 3, 2, 2, 2, pads=[3, 2, 2, 4]),
    *conv("pads-beyond-kernel-even", (1, 2, 4, 5), 3, 2, 2, 2, pads=[3, 2, 3, 2]),
    *conv("pads-beyond-pointwise", (1, 2, 3, 3), 3, 2, 1, 1, pads=[1, 1, 1, 1]),
    *conv("same-upper", (1, 2, 5, 6), 3, 2, 2, 4, auto_pad="SAME_UPPER"),
    *conv("same-lower", (1, 2, 5, 6), 3, 2, 2, 4, auto_pad="SAME_LOWER"),
    *conv("same-upper-stride", (1, 2, 6, 7), 3, 2, 3, 3, auto_pad="SAME_UPPER", strides=[2, 2]),
    *conv("same-lower-stride", (1, 2, 6, 7), 3, 2, 3, 3, auto_pad="SAME_LOWER", strides=[2, 2]),
    *conv("same-stride-beyond", (1, 2, 7, 7), 3, 2, 2, 2, auto_pad="SAME_UPPER", strides=[3, 3]),
    *conv("valid", (1, 2, 5, 6), 3, 2, 3, 3, auto_pad="VALID", strides=[1, 2]),
    *conv("kernel-shape-given", (1, 2, 5, 5), 3, 2, 3, 3, kernel_shape=[3, 3]),
    exact("Conv", _symbolic, weight(3, 2, 3, 3), weight(3), note="symbolic-batch", strides=[2, 2]),
    exact(
        "Conv",
        Live((1, 2, 6, 7), dims=("N", 2, "H", "W")),
        weight(3, 2, 3, 3),
        weight(3),
        note="symbolic-sizes",
        strides=[2, 2],
        pads=[1, 1, 1, 1],
    ),
    *(
        exact(
            "Conv",
            Live((1, 2, rows, 7), dims=("N", 2, "H", "W")),
            weight(3, 2, 3, 2),
            note=f"symbolic-{auto}-{rows}-{stride}",
            strides=[stride, stride],
            auto_pad=auto,
        )
        for auto in ("SAME_UPPER", "SAME_LOWER", "VALID")
        for rows in (5, 6)
        for stride in (1, 2, 4)
    ),
    exact(
        "Conv",
        Live((2, 2, 9), dims=("N", 2, "L")),
        weight(3, 2, 3),
        note="symbolic-1-D",
        strides=[2],
        pads=[0, 1],
        dilations=[2],
    ),
    exact("Conv", live(1, 2, 5, 5), Fed(weight(3, 2, 3, 3)), Fed(weight(3)), note="run-time"),
    *(
        exact(
            "Conv",
            Live((1, 2, 6, 7), dims=("N", 2, "H", "W")),
            weight(3, 2, 3, 3),
            note=note,
            pads=pads,
        )
        for note, pads in (("symbolic-pads", [1] * 4), ("symbolic-uneven-pads", [1, 0, 2, 1]))
    ),
    # Few channels are gone back to by ConvTranspose, more of them by Conv.
    *conv("wide", (1, 9, 5, 6), 4, 9, 3, 2),
    *conv("wide-pointwise", (2, 9, 4, 4), 5, 9, 1, 1),
    *conv("wide-one-of-two-axes", (1, 9, 4, 6), 4, 9, 1, 3),
    *conv("wide-uneven-pads", (1, 9, 5, 6), 3, 9, 3, 4, pads=[0, 2, 2, 1]),
    *conv("wide-pads-beyond-kernel", (1, 9, 4, 5), 3, 9, 2, 2, pads=[3, 2, 2, 4]),
    *conv("wide-dilations", (1, 9, 9, 8), 3, 9, 3, 3, dilations=[2, 3], pads=[2, 3, 2, 3]),
    *conv("same-upper-wide", (1, 9, 5, 6), 3, 9, 2, 4, auto_pad="SAME_UPPER"),
    *conv("same-lower-wide", (1, 9, 5, 6), 3, 9, 2, 4, auto_pad="SAME_LOWER"),
    exact("Conv", live(1, 9, 5, 5), Fed(weight(3, 9, 3, 3)), Fed(weight(3)), note="wide-run-time"),
    exact(
        "Conv",
        Live((1, 9, 5, 6), dims=("N", 9, "H", "W")),
        weight(3, 9, 3, 3),
        note="wide-symbolic-sizes",
        pads=[1, 0, 1, 2],
    ),
]


def deconv(note: str, x: tuple[int, ...], *w: int, bias: int = 0, **attrs: Any) -> list[Case]:
    operands = [weight(*w), *([weight(bias)] if bias else [])]
    return [exact("ConvTranspose", live(*x), *operands, note=note, **attrs)]


DECONVOLUTION = [
    *deconv("1-D", (2, 3, 5), 3, 4, 3, bias=4, strides=[2]),
    *deconv("2-D", (2, 3, 4, 5), 3, 4, 3, 2, bias=4),
    *deconv("3-D", (1, 2, 3, 2, 3), 2, 2, 2, 3, 2, strides=[2, 1, 2]),
    *deconv("no-bias", (1, 3, 4, 4), 3, 2, 2, 2, strides=[2, 2]),
    *deconv("pads", (1, 3, 4, 4), 3, 2, 4, 4, bias=2, strides=[2, 2], pads=[1, 1, 1, 1]),
    *deconv("uneven-pads", (1, 3, 4, 4), 3, 2, 4, 3, strides=[2, 2], pads=[0, 1, 2, 0]),
    *deconv(
        "output-padding", (1, 3, 3, 4), 3, 2, 3, 3, bias=2,
        strides=[2, 3], pads=[1, 1, 1, 1], output_padding=[1, 2],
    ),
    *deconv("dilations", (1, 3, 4, 4), 3, 2, 3, 2, dilations=[2, 3], strides=[2, 1]),
    *deconv("newest", (1, 3, 4, 4), 3, 2, 3, 3, bias=2, opset=NEWEST, pads=[1, 1, 1, 1]),
    *deconv(
        "output-padding-beyond", (1, 3, 3, 4), 3, 2, 3, 3,
        strides=[1, 2], dilations=[3, 3], pads=[0, 1, 2, 0], output_padding=[2, 2], runtime=False,
    ),
    *deconv("same-upper", (1, 3, 3, 4), 3, 2, 3, 4, strides=[2, 1], auto_pad="SAME_UPPER"),
    *deconv("same-lower", (1, 3, 3, 4), 3, 2, 3, 4, strides=[2, 1], auto_pad="SAME_LOWER"),
    *deconv("same-gaps", (1, 3, 3, 4), 3, 2, 2, 2, strides=[2, 2], auto_pad="SAME_LOWER"),
    *deconv(
        "valid", (1, 3, 3, 4), 3, 2, 3, 3,
        strides=[2, 2], auto_pad="VALID", output_padding=[1, 0],
    ),
    *deconv("output-shape", (1, 3, 3, 4), 3, 2, 3, 4, strides=[2, 2], output_shape=[6, 7]),
    *deconv("output-shape-more", (1, 3, 3, 4), 3, 2, 3, 4, strides=[2, 2], output_shape=[8, 11]),
    *deconv(
        "output-shape-upper", (1, 3, 3, 4), 3, 2, 3, 4,
        strides=[2, 2], output_shape=[6, 9], auto_pad="SAME_UPPER", output_padding=[1, 1],
    ),
    exact(
        "ConvTranspose",
        Live((1, 3, 3, 4), dims=("N", 3, "H", "W")),
        weight(3, 2, 3, 3),
        weight(2),
        note="symbolic-sizes",
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        output_padding=[1, 0],
    ),
    exact(
        "ConvTranspose",
        Live((1, 3, 3, 4), dims=("N", 3, "H", "W")),
        weight(3, 2, 3, 3),
        note="symbolic-same",
        strides=[2, 2],
        auto_pad="SAME_UPPER",
    ),
    exact(
        "ConvTranspose",
        live(1, 6, 4, 4),
        weight(6, 2, 3, 3),
        weight(4),
        note="groups",
        group=2,
        strides=[2, 2],
    ),
    exact(
        "ConvTranspose",
        live(1, 3, 4, 4),
        weight(3, 1, 3, 3),
        note="depthwise",
        group=3,
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        output_padding=[1, 1],
    ),
]  # fmt: skip
