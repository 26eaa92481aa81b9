"""The methods that full-gradients are compared with, all of them from instrumented models.

    explain = fg_onnx.methods.explainer("model.onnx", "integrated-gradients", baseline="blur")
    maps = explain.explain(images)  # float32 [N, *grid]; larger is more salient

`METHODS` holds them by name, in the order of docs/methods.md.
"""

from __future__ import annotations

from fg_onnx.methods.interface import Explainer, MethodMaps, explainer
from fg_onnx.methods.method import Method
from fg_onnx.methods.table import METHODS

__all__ = ["METHODS", "Explainer", "Method", "MethodMaps", "explainer"]
