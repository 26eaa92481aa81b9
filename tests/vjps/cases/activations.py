"""Activations."""

from __future__ import annotations

import numpy as np

from ..harness import NEWEST, Fed
from .making import curved, live, weight

_both = live(2, 5, kinks=(0.0,))
_wide = live(2, 8, low=-6.0, high=6.0, kinks=(-3.0, 0.0, 3.0))
_six = live(2, 8, low=-3.0, high=9.0, kinks=(0.0, 6.0))

ACTIVATIONS = [
    curved("Relu", _both),
    curved("Relu", _both, opset=NEWEST),
    curved("LeakyRelu", _both, note="default"),
    curved("LeakyRelu", _both, note="alpha", alpha=0.25),
    curved("PRelu", live(2, 3, 4, kinks=(0.0,)), weight(3, 1), note="channel"),
    curved("PRelu", live(2, 3, kinks=(0.0,)), np.float64(0.2), note="scalar"),
    curved("PRelu", live(2, 3, kinks=(0.0,)), Fed(weight(1, 3)), note="run-time-slope"),
    curved("PRelu", live(2, 3, kinks=(0.0,)), live(2, 3), note="live-slope"),
    curved("PRelu", live(2, 3, 4, kinks=(0.0,)), live(3, 1), note="live-slope-broadcast"),
    curved("PRelu", weight(2, 3), live(1, 3), note="slope-alone", opset=NEWEST),
    curved("Elu", _both, note="default"),
    curved("Elu", _both, note="alpha", alpha=0.5),
    curved("Selu", _both, note="default"),
    curved("Selu", _both, note="attributes", alpha=1.5, gamma=0.75),
    curved("Celu", _both, note="default"),
    curved("Celu", _both, note="alpha", alpha=2.0),
    curved("ThresholdedRelu", live(2, 8, kinks=(1.0,)), note="default"),
    curved("ThresholdedRelu", live(2, 8, kinks=(0.5,)), note="alpha", alpha=0.5),
    curved("ThresholdedRelu", live(2, 8, kinks=(-0.5,)), note="negative-alpha", alpha=-0.5),
    curved("Shrink", live(2, 8, kinks=(-0.5, 0.5)), note="default"),
    curved("Shrink", live(2, 8, kinks=(-1.0, 1.0)), note="bias", bias=0.25, lambd=1.0),
    curved("Sigmoid", _wide),
    curved("Tanh", _wide),
    curved("Softplus", _wide),
    curved("Softsign", _wide),
    curved("HardSigmoid", live(2, 8, low=-6, high=6, kinks=(-2.5, 2.5)), note="default"),
    curved("HardSigmoid", _wide, note="torch", alpha=1 / 6, beta=0.5),
    curved("HardSwish", _wide),
    curved("HardSwish", _wide, opset=NEWEST),
    curved("Swish", _wide, note="default", opset=24),
    curved("Swish", _wide, note="alpha", opset=NEWEST, alpha=1.75, runtime=False),
    curved("Gelu", _wide, note="erf", opset=20),
    curved("Gelu", _wide, note="tanh", opset=NEWEST, approximate="tanh"),
    curved("Mish", _wide, opset=18),
    curved("Mish", _wide, opset=NEWEST),
    curved("Clip", live(2, 8, kinks=(-1.0, 0.5)), np.float64(-1.0), np.float64(0.5)),
    curved("Clip", live(2, 8, kinks=(-0.5,)), np.float64(-0.5), note="low-only"),
    curved("Clip", live(2, 8, kinks=(0.5,)), None, np.float64(0.5), note="high-only"),
    curved("Clip", _six, np.float64(0.0), np.float64(6.0), note="relu6"),
    curved("Clip", live(2, 8), note="unbounded"),
    curved("Clip", live(2, 8, kinks=(0.5,)), None, Fed(np.float64(0.5)), note="run-time-bound"),
]
