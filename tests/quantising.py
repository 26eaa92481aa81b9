"""Models quantised by ONNX Runtime's own tool, and the straight-through surrogate of such a model.

The surrogate is the function whose gradient a quantised model is given: a QuantizeLinear clips to
its range and does not round, and a DequantizeLinear adds what the deployed model's rounding came
to for the image in question, as a constant. It holds no integers, so that it can be differenced.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from conftest import run
from graphs import expose
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

Feeds = dict[str, np.ndarray]
_LIMITS = {TensorProto.UINT8: (0, 255), TensorProto.INT8: (-128, 127)}


class _Reader(CalibrationDataReader):
    def __init__(self, feeds: list[Feeds]) -> None:
        self._feeds: Iterator[Feeds] = iter(feeds)

    def get_next(self) -> Feeds | None:
        return next(self._feeds, None)


def quantised(model: ModelProto, feeds: list[Feeds], **options: Any) -> ModelProto:
    """The model with static quantisation, calibrated on some feeds; QDQ and int8 weights."""
    options = {"quant_format": QuantFormat.QDQ, "weight_type": QuantType.QInt8, **options}
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "float.onnx", Path(folder) / "quantised.onnx"
        onnx.save(model, source)
        quantize_static(source, result, _Reader(feeds), **options)
        return onnx.load(result)


def quantised_as_it_runs(model: ModelProto) -> ModelProto:
    """The model with dynamic quantisation."""
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "float.onnx", Path(folder) / "quantised.onnx"
        onnx.save(model, source)
        quantize_dynamic(source, result)
        return onnx.load(result)


def surrogate(model: ModelProto, feeds: Feeds) -> ModelProto:
    """The straight-through surrogate of a QDQ model at its feeds, in float64.

    Where the model's scores themselves are quantised, they are not even clipped.
    """
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    outputs = {value.name for value in model.graph.output}
    quantisers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    pairs = [
        node
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in makers
    ]
    wanted = [*(q.input[0] for q in quantisers), *(d.output[0] for d in pairs)]
    exposed = [name for name in dict.fromkeys(wanted) if name not in feeds]
    seen = {**feeds, **run(expose(model, exposed), feeds, optimise=False)}

    def parameters(node: onnx.NodeProto) -> tuple[np.ndarray, np.ndarray]:
        scale, zero = (held[name].astype(np.float64) for name in node.input[1:3])
        if scale.size == 1:
            return scale.reshape(()), zero.reshape(())
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        along = [-1 if i == axis else 1 for i in range(held[node.input[0]].ndim)]
        return scale.reshape(along), zero.reshape(along)

    def clipped(node: onnx.NodeProto, x: np.ndarray) -> np.ndarray:
        low, high = ends(node)
        return np.clip(x.astype(np.float64), low, high)

    def ends(node: onnx.NodeProto) -> tuple[np.ndarray, np.ndarray]:
        scale, zero = parameters(node)
        kind = next(t.data_type for t in model.graph.initializer if t.name == node.input[2])
        low, high = _LIMITS[kind]
        if _leads_to(model, node.output[0], outputs):
            return np.float64(-1e30), np.float64(1e30)
        return (low - 0.5 - zero) * scale, (high + 0.5 - zero) * scale

    nodes: list[onnx.NodeProto] = []
    constants: dict[str, np.ndarray] = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            low, high = f"{node.output[0]}/low", f"{node.output[0]}/high"
            constants[low], constants[high] = ends(node)
            nodes.append(helper.make_node("Clip", [node.input[0], low, high], node.output))
        elif node.op_type == "DequantizeLinear" and node.input[0] in makers:
            quantiser = makers[node.input[0]]
            error = f"{node.output[0]}/error"
            before = clipped(quantiser, seen[quantiser.input[0]])
            constants[error] = seen[node.output[0]].astype(np.float64) - before
            nodes.append(helper.make_node("Add", [node.input[0], error], node.output))
        elif node.op_type == "DequantizeLinear":
            scale, zero = parameters(node)
            constants[node.output[0]] = (held[node.input[0]].astype(np.float64) - zero) * scale
        else:
            nodes.append(node)
    for name, values in held.items():
        constants[name] = values.astype(np.float64) if values.dtype.kind == "f" else values
    graph = helper.make_graph(
        nodes,
        "surrogate",
        [_in_float64(value) for value in model.graph.input],
        [_in_float64(value) for value in model.graph.output],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _leads_to(model: ModelProto, name: str, outputs: set[str]) -> bool:
    """Whether a tensor is a graph output but for operators that move numbers."""
    moving = {"DequantizeLinear", "QuantizeLinear", "Flatten", "Squeeze", "Reshape"}
    readers = [node for node in model.graph.node if name in node.input]
    return name in outputs or any(
        node.op_type in moving and _leads_to(model, node.output[0], outputs) for node in readers
    )


def _in_float64(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(
        value.name,
        TensorProto.DOUBLE,
        [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim],
    )
