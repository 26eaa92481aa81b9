"""Activations."""

from __future__ import annotations

import numpy as np

from ..harness import NEWEST, Fed
from .making import curved, live, unary, weight

_both = live(2, 5, kinks=(0.0,))
_wide = live(2, 8, low=-6.0, high=6.0, kinks=(-3.0, 0.0, 3.0))

ACTIVATIONS = [
    unary("Relu", _both),
    unary("Relu", _both, opset=NEWEST),
    unary("LeakyRelu", _both, note="default"),
    unary("LeakyRelu", _both, note="alpha", alpha=0.25),
    unary("PRelu", live(2, 3, 4, kinks=(0.0,)), weight(3, 1), note="channel"),
    unary("PRelu", live(2, 3, kinks=(0.0,)), np.float64(0.2), note="scalar"),
    unary("PRelu", live(2, 3, kinks=(0.0,)), Fed(weight(1, 3)), note="run-time-slope"),
    unary("PRelu", live(2, 3, kinks=(0.0,)), live(2, 3), note="live-slope"),
    curved("PRelu", live(2, 3, 4, kinks=(0.0,)), live(3, 1), note="live-slope-broadcast"),
    curved("PRelu", weight(2, 3), live(1, 3), note="slope-alone", opset=NEWEST),
    unary("Elu", _both, note="default"),
    unary("Elu", _both, note="alpha", alpha=0.5),
    unary("Selu", _both, note="default"),
    unary("Selu", _both, note="attributes", alpha=1.5, gamma=0.75),
    unary("Celu", _both, note="default"),
    unary("Celu", _both, note="alpha", alpha=2.0),
    unary("ThresholdedRelu", live(2, 8, kinks=(1.0,)), note="default"),
    unary("ThresholdedRelu", live(2, 8, kinks=(0.5,)), note="alpha", alpha=0.5),
    unary("ThresholdedRelu", live(2, 8, kinks=(-0.5,)), note="negative-alpha", alpha=-0.5),
    unary("Shrink", live(2, 8, kinks=(-0.5, 0.5)), note="default"),
    unary("Shrink", live(2, 8, kinks=(-1.0, 1.0)), note="bias", bias=0.25, lambd=1.0),
    unary("Sigmoid", _wide),
    unary("Tanh", _wide),
    unary("Softplus", _wide),
    unary("Softsign", _wide),
    unary("HardSigmoid", live(2, 8, low=-6, high=6, kinks=(-2.5, 2.5)), note="default"),
    unary("HardSigmoid", _wide, note="torch", alpha=1 / 6, beta=0.5),
    unary("HardSwish", _wide),
    unary("HardSwish", _wide, opset=NEWEST),
    unary("Swish", _wide, note="default", opset=24),
    unary("Swish", _wide, note="alpha", opset=NEWEST, alpha=1.75, runtime=False),
    unary("Gelu", _wide, note="erf", opset=20),
    unary("Gelu", _wide, note="tanh", opset=NEWEST, approximate="tanh"),
    unary("Mish", _wide, opset=18),
    unary("Mish", _wide, opset=NEWEST),
    unary("Clip", live(2, 8, kinks=(-1.0, 0.5)), np.float64(-1.0), np.float64(0.5)),
    unary("Clip", live(2, 8, kinks=(-0.5,)), np.float64(-0.5), note="low-only"),
    unary("Clip", live(2, 8, kinks=(0.5,)), None, np.float64(0.5), note="high-only"),
    unary("Clip", live(2, 8), note="unbounded"),
    unary("Clip", live(2, 8, kinks=(0.5,)), None, Fed(np.float64(0.5)), note="run-time-bound"),
]
