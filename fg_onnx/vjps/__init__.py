"""VJP rules, one file a family; importing this package fills the table."""

from fg_onnx.vjps import (
    activations,
    arithmetic,
    convolution,
    matrix,
    max_pooling,
    normalization,
    pooling,
    quantisation,
    reduction,
    resizing,
    shaping,
    standardization,
    without,
)
from fg_onnx.vjps.table import REFUSED, RULES, ZERO, Offset, Rule, status, zeros

__all__ = [
    "REFUSED",
    "RULES",
    "ZERO",
    "Offset",
    "Rule",
    "activations",
    "arithmetic",
    "convolution",
    "matrix",
    "max_pooling",
    "normalization",
    "pooling",
    "quantisation",
    "reduction",
    "resizing",
    "shaping",
    "standardization",
    "status",
    "without",
    "zeros",
]
