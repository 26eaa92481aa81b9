"""Raise a model's opset where onnx's own converter is silently wrong, or fails without a reason.

The converter keeps a node's name where its meaning changed: Resize was Upsample's asymmetric form
up to opset 10, and Hardmax flattened its operand up to 12. Here such nodes are put into the form
that has their old meaning, before they are raised further.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper, version_converter

from fg_onnx.errors import UnsupportedModelError, first_line

_RESIZE = 11  # since then it says how it takes coordinates
_HARDMAX = 13  # since then it has an axis


def raise_opset(proto: onnx.ModelProto, found: int, target: int) -> onnx.ModelProto:
    """An equal model of a newer opset.

    Args:
        proto: the model; it is not changed.
        found: its opset.
        target: the wanted one.

    Raises:
        UnsupportedModelError: a node has a form that newer opsets have not.
        RuntimeError: the converter fails, for `reason_of` to read.
    """
    _refuse_training_forms(proto)
    operators = {node.op_type for graph in _graphs(proto.graph) for node in graph.node}
    if found < _RESIZE <= target and operators & {"Upsample", "Resize"}:
        proto, found = version_converter.convert_version(proto, _RESIZE), _RESIZE
        for graph in _graphs(proto.graph):
            _say_coordinates(graph)
    if found < _HARDMAX <= target and "Hardmax" in operators:
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        proto = copy
        for graph in _graphs(proto.graph):
            _flatten_hardmax(graph)
    return version_converter.convert_version(proto, target)


def reason_of(error: Exception) -> str:
    """What the converter has to say, without the place in its own code."""
    return re.sub(r"^\S+: \w*(\(\))?: Assertion .*? failed: ", "", first_line(error))


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _refuse_training_forms(proto: onnx.ModelProto) -> None:
    for graph in _graphs(proto.graph):
        for node in graph.node:
            if node.op_type != "BatchNormalization" or node.domain:
                continue
            attributes = {a.name: a.i for a in node.attribute}
            if len(node.output) > 3:
                _refuse(node, "its five outputs make it the training form")
            if attributes.get("spatial", 1) == 0:
                _refuse(node, "it has statistics for every position (spatial = 0)")


def _refuse(node: onnx.NodeProto, reason: str) -> None:
    name = node.name or node.output[0]
    raise UnsupportedModelError(
        "old-form",
        f"`{node.op_type}` at `{name}`: {reason}, which newer opsets have not",
        "export the model for inference, with opset 14 or newer",
        op=node.op_type,
        node=name,
    )


def _say_coordinates(graph: onnx.GraphProto) -> None:
    """Give every Resize that was raised to opset 11 the coordinates it had before."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            constants[node.output[0]] = node.attribute[0].t
        if node.op_type != "Resize" or node.domain:
            continue
        scales = constants.get(node.input[2])
        values = np.ones(1) if scales is None else numpy_helper.to_array(scales)
        if np.any(values < 1) and np.any(values > 1):
            _refuse(node, "it enlarges along one axis and shrinks along another")
        node.attribute.extend(
            [
                helper.make_attribute("coordinate_transformation_mode", "asymmetric"),
                helper.make_attribute("nearest_mode", "ceil" if np.any(values < 1) else "floor"),
            ]
        )


def _flatten_hardmax(graph: onnx.GraphProto) -> None:
    """Hardmax of the rows of a matrix, which is the same at any opset."""
    nodes = []
    for node in graph.node:
        if node.op_type != "Hardmax" or node.domain:
            nodes.append(node)
            continue
        (x,), (y,) = node.input, node.output
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        nodes += [
            helper.make_node("Shape", [x], [f"{y}/shape"]),
            helper.make_node("Flatten", [x], [f"{y}/rows"], axis=axis),
            helper.make_node("Hardmax", [f"{y}/rows"], [f"{y}/hard"], name=node.name, axis=1),
            helper.make_node("Reshape", [f"{y}/hard", f"{y}/shape"], [y]),
        ]
    del graph.node[:]
    graph.node.extend(nodes)
