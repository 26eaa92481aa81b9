"""A float32 model in another float type."""

from __future__ import annotations

import copy

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper


def in_type(model: ModelProto, kind: int, *, keep_io: bool = False) -> ModelProto:
    """The model in a float type, its weights rounded to it.

    A model in bfloat16 has opset 22, the first in which a Conv may be.

    With ``keep_io`` its inputs and outputs stay float32; the Casts stand last, out of order, as
    ONNX Runtime's own converter leaves them.
    """
    result = copy.deepcopy(model)
    graph = result.graph
    del graph.value_info[:]
    _retype_weights(graph, kind)
    if kind == TensorProto.BFLOAT16:
        result.opset_import[0].version, result.ir_version = 22, 10
    held = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if _is_float(value)]
    outputs = [value for value in graph.output if _is_float(value)]
    if not keep_io:
        for value in (*inputs, *outputs):
            value.type.tensor_type.elem_type = kind
        return result
    ends = {value.name for value in (*inputs, *outputs)} - held
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [f"{name}/narrow" if name in ends else name for name in names]
    for value in inputs:
        if value.name not in held:
            graph.node.append(_cast(value.name, f"{value.name}/narrow", kind))
    for value in outputs:
        graph.node.append(_cast(f"{value.name}/narrow", value.name, TensorProto.FLOAT))
    return result


def _retype_weights(graph: onnx.GraphProto, kind: int) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    for tensor in graph.initializer:
        _retype(tensor, dtype)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _retype(attribute.t, dtype)
            elif node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = kind


def _cast(source: str, result: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [result], name=f"cast/{result}", to=kind)


def _is_float(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.elem_type == TensorProto.FLOAT)


def _retype(tensor: TensorProto, dtype: np.dtype) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        tensor.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(tensor).astype(dtype), tensor.name)
        )
