"""Normalisation by statistics of the tensor itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..harness import NEWEST, Case, Fed, Live
from .making import curved, live, weight


def _norm(op_type: str, operand: Live, *parameters: Any, note: str, **settings: Any) -> Case:
    # The rule has a form for the offset, so that it is known position by position.
    return curved(op_type, operand, *parameters, note=note, **settings)


def _affine(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    return weight(*shape), weight(*shape)[::-1].copy() * 2


_image = live(2, 4, 3, 2)
_free = Live((2, 4, 3, 2), dims=("N", 4, "H", "W"))

STANDARDIZATION = [
    _norm("LayerNormalization", live(2, 3, 5), *_affine(5), note="last-axis"),
    _norm("LayerNormalization", live(2, 3, 5), *_affine(3, 5), note="two-axes", axis=1),
    _norm("LayerNormalization", live(2, 3, 5), *_affine(5), note="epsilon", epsilon=0.5),
    _norm("LayerNormalization", live(2, 3, 5), weight(5), note="no-bias", epsilon=0.25),
    _norm("LayerNormalization", live(2, 3, 5), weight(5), note="three-outputs", outputs=3,
          used=(0,), axis=-1),
    _norm("LayerNormalization", live(2, 3, 5), weight(5), Fed(weight(5)), note="run-time-bias"),
    _norm("LayerNormalization", live(2, 3, 5), weight(1), weight(), note="one-parameter"),
    _norm("LayerNormalization", Live((2, 3, 5), dims=("N", "T", 5)), *_affine(5), note="N"),
    _norm("RMSNormalization", live(2, 3, 5), weight(5), note="last-axis", opset=23),
    _norm("RMSNormalization", live(2, 3, 5), weight(3, 5), note="two-axes", opset=NEWEST, axis=-2,
          epsilon=0.5),
    _norm("InstanceNormalization", _image, *_affine(4), note="2-D"),
    _norm("InstanceNormalization", live(2, 3, 6), *_affine(3), note="1-D", epsilon=0.5),
    _norm("InstanceNormalization", live(2, 3, 2, 2, 3), *_affine(3), note="3-D", opset=NEWEST),
    _norm("InstanceNormalization", _free, *_affine(4), note="symbolic-sizes"),
    _norm("GroupNormalization", _image, *_affine(4), note="2-D", opset=21, num_groups=2,
          epsilon=0.5),
    _norm("GroupNormalization", _image, *_affine(4), note="all-groups", opset=21, num_groups=4),
    _norm("GroupNormalization", live(2, 6, 5), *_affine(6), note="1-D", opset=NEWEST, num_groups=3),
    _norm("GroupNormalization", _free, *_affine(4), note="N", opset=21, num_groups=1),
    _norm("MeanVarianceNormalization", live(1, 3, 2, 3), note="batch-of-1", axes=[0, 2, 3]),
    _norm("MeanVarianceNormalization", _image, note="positions", axes=[2, -1]),
    _norm("LpNormalization", live(2, 5), note="L2"),
    _norm("LpNormalization", live(2, 3, 4), note="L2-axis1", axis=1, opset=NEWEST),
    _norm("LpNormalization", live(2, 3, 4, kinks=(0.0,)), note="L1", p=1, axis=-2),
]  # fmt: skip
