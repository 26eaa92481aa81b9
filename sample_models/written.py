"""Small models written in ONNX's text format, their weights drawn by name."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper


def written(
    nodes: str,
    weights: Mapping[str, tuple[int, ...]],
    *,
    inputs: str = "float[N,3,16,16] x",
    outputs: str = "float[N,5] logits",
    opset: int = 17,
    ir: int = 8,
) -> ModelProto:
    """A model of those nodes, with an initializer of each shape in `weights`."""
    model = onnx.parser.parse_model(
        f'<ir_version: {ir}, opset_import: ["": {opset}], producer_name: "fg-onnx sample_models">\n'
        f"hazard ({inputs}) => ({outputs}) {{{nodes}}}"
    )
    for name, shape in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(_draw(name, shape), name))
    return model


def _draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw a weight: He scale for matrices and kernels, else by the ending of its name."""
    draws = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("_weight"):
        fan_in = int(np.prod(shape[1:]))
        values = draws.normal(0, np.sqrt(2 / fan_in), shape)
    elif name.endswith(("_scale", "_var")):
        values = draws.uniform(0.5, 1.5, shape)
    else:
        # Away from zero, so that leaving any bias out shows.
        values = draws.uniform(0.1, 0.5, shape) * draws.choice([-1, 1], shape)
    return values.astype(np.float32)
