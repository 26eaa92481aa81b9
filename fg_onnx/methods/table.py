"""The table of methods."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fg_onnx.methods.chance import Random
from fg_onnx.methods.gradients import FullGrad, GradientXInput, InputGradient
from fg_onnx.methods.method import Method

_CLASSES: tuple[type[Method], ...] = (
    FullGrad,
    InputGradient,
    GradientXInput,
    Random,
)

METHODS: Mapping[str, type[Method]] = MappingProxyType({each.name: each for each in _CLASSES})
"""Every method's class by its name; its fields are its options."""
