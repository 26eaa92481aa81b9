"""The table of methods."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fg_onnx.methods.cam import GradCam
from fg_onnx.methods.chance import Random
from fg_onnx.methods.gradients import (
    Deconvnet,
    FullGrad,
    GradientXInput,
    GuidedBackprop,
    InputGradient,
    SimpleFullGrad,
)
from fg_onnx.methods.masking import Rise
from fg_onnx.methods.method import Method
from fg_onnx.methods.path import IntegratedGradients
from fg_onnx.methods.smoothing import SmoothFullGrad, SmoothGrad, SmoothGradSquared

_CLASSES: tuple[type[Method], ...] = (
    FullGrad,
    SimpleFullGrad,
    SmoothFullGrad,
    InputGradient,
    GradientXInput,
    SmoothGrad,
    SmoothGradSquared,
    IntegratedGradients,
    GradCam,
    GuidedBackprop,
    Deconvnet,
    Rise,
    Random,
)

METHODS: Mapping[str, type[Method]] = MappingProxyType({each.name: each for each in _CLASSES})
"""Every method's class by its name; its fields are its options."""
