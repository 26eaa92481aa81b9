"""Operators that ONNX itself writes in terms of others: nodes replaced by their function bodies.

The schema of such an operator holds a body, or makes one for the types and attributes of a node.
Each body is written for one opset; a model of a newer one may take it as long as the operators
in it have gained nothing but types and options since.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import defs, helper, inliner, shape_inference
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from fg_onnx.errors import UnsupportedModelError, first_line
from fg_onnx.graph.branches import take_branches
from fg_onnx.graph.primal import node_name
from fg_onnx.source.model import MOST_SEEN

_DOMAIN = "fg_onnx.body"  # of a body while it is a local function


@cache
def has_body(op_type: str, opset: int) -> bool:
    """Whether the operator's schema at an opset has a function body that holds there."""
    return defs.has(op_type, opset) and _written_for(defs.get_schema(op_type, opset), opset) > 0


def expand(graph: gs.Graph, node: gs.Node, opset: int) -> None:
    """Put a node's function body in its place; its inputs and outputs stay the same tensors.

    Changes the graph.

    Raises:
        UnsupportedModelError: the schema makes no body for such a node, or it does not hold at
            this opset.
    """
    stem = _free_stem(graph, node_name(node))
    body = _as_graph(node, _body(node, opset), opset, stem)
    outer = {t.name: t for t in (*node.inputs, *node.outputs) if t.name}
    for step in _nodes(body.nodes):
        for tensors in (step.inputs, step.outputs):
            for index, tensor in enumerate(tensors):
                if tensor.name in outer and tensor is not outer[tensor.name]:
                    tensors[index] = outer[tensor.name]
    place = next(index for index, other in enumerate(graph.nodes) if other is node)
    node.outputs.clear()
    node.inputs.clear()
    graph.nodes[place : place + 1] = body.nodes


def _written_for(schema: Any, opset: int) -> int:
    """The newest opset not above the given one that the schema has a body for, 0 for none."""
    versions = [*schema.function_opset_versions, *schema.context_dependent_function_opset_versions]
    return max((version for version in versions if version <= opset), default=0)


def _body(node: gs.Node, opset: int) -> onnx.FunctionProto:
    schema: Any = defs.get_schema(node.op, opset)  # onnx's stubs lack most of its methods
    version = _written_for(schema, opset)
    body = onnx.FunctionProto()
    if version in schema.function_opset_versions:
        body.ParseFromString(schema.get_function_with_opset_version(version))
    else:
        types = [_type(tensor) for tensor in node.inputs]
        try:
            data = schema.get_context_dependent_function_with_opset_version(
                version, _proto(node, opset).SerializeToString(), types
            )
        except Exception as error:  # a RuntimeError of the bindings, whatever the schema says
            raise _refusal(node, f"its schema makes no body for it: {first_line(error)}") from error
        body.ParseFromString(data)
    if not body.node:
        raise _refusal(node, "its schema makes no body for it: types or shapes are unknown")
    for step in _steps(body.node):
        if not _is_same(step.op_type, version, opset):
            raise _refusal(
                node, f"its body is written for opset {version}, where {step.op_type} was another"
            )
    return body


def _type(tensor: gs.Tensor) -> bytes:
    """The serialised TypeProto of an operand, empty where it is omitted or unknown."""
    if not tensor.name or tensor.dtype is None:
        return b""
    kind = helper.np_dtype_to_tensor_dtype(tensor.dtype)
    data: bytes = helper.make_tensor_type_proto(kind, tensor.shape).SerializeToString()
    return data


def _proto(node: gs.Node, opset: int) -> onnx.NodeProto:
    """The node with its schema's default attributes written out."""
    proto: onnx.NodeProto = OnnxExporter().export_node(node)
    given = {attribute.name for attribute in proto.attribute}
    for name, attribute in defs.get_schema(node.op, opset).attributes.items():
        if attribute.default_value.name and name not in given:
            proto.attribute.append(attribute.default_value)
    return proto


def _steps(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """All nodes, those of subgraphs too."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            yield from _steps(attribute.g.node)


def _nodes(nodes: Sequence[gs.Node]) -> Iterator[gs.Node]:
    for node in nodes:
        yield node
        for subgraph in node.subgraphs():
            yield from _nodes(subgraph.nodes)


@cache
def _is_same(op_type: str, older: int, newer: int) -> bool:
    """Whether an operator has gained nothing but types and options between two opsets."""
    old, new = defs.get_schema(op_type, older), defs.get_schema(op_type, newer)
    return old.since_version == new.since_version or (
        not new.deprecated
        and [p.name for p in new.inputs[: len(old.inputs)]] == [p.name for p in old.inputs]
        and new.min_input == old.min_input
        and [p.name for p in new.outputs] == [p.name for p in old.outputs]
        and all(_default(new, name) == _default(old, name) for name in old.attributes)
        and not any(a.required for name, a in new.attributes.items() if name not in old.attributes)
    )


def _default(schema: defs.OpSchema, name: str) -> bytes | None:
    attribute = schema.attributes.get(name)
    return None if attribute is None else attribute.default_value.SerializeToString()


def _as_graph(node: gs.Node, body: onnx.FunctionProto, opset: int, stem: str) -> gs.Graph:
    """The body with the node's attributes and tensor names in it; inner names begin with a stem."""
    body.domain, body.name = _DOMAIN, node.op
    del body.opset_import[:]
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(_DOMAIN, 1)]
    body.opset_import.extend(imports)
    call = _proto(node, opset)
    call.domain = _DOMAIN
    operands = {tensor.name: tensor for tensor in node.inputs if tensor.name}.values()
    known = [tensor for tensor in operands if _is_small_constant(tensor)]
    graph = helper.make_graph(
        [call],
        "body",
        [_declared(tensor) for tensor in operands if tensor not in known],
        [helper.make_empty_tensor_value_info(name) for name in call.output if name],
        [OnnxExporter().export_tensor_proto(tensor) for tensor in known],
    )
    model = helper.make_model(graph, opset_imports=imports, functions=[body])
    inlined = inliner.inline_local_functions(model)
    try:
        shape_inference.infer_shapes(inlined, check_type=True, strict_mode=True)
    except shape_inference.InferenceError as error:
        raise _refusal(node, f"its body does not fit its operands: {first_line(error)}") from error
    inlined = take_branches(inlined)
    _prefix(inlined.graph, stem, {*call.input, *call.output, ""})
    del inlined.opset_import[:]
    inlined.opset_import.extend(imports[:1])
    return gs.import_onnx(inlined)


def _is_small_constant(tensor: gs.Tensor) -> bool:
    return isinstance(tensor, gs.Constant) and bool(
        np.prod(tensor.shape, dtype=np.int64) <= MOST_SEEN
    )


def _declared(tensor: gs.Tensor) -> onnx.ValueInfoProto:
    value = helper.make_empty_tensor_value_info(tensor.name)
    value.type.ParseFromString(_type(tensor))
    return value


def _prefix(graph: onnx.GraphProto, stem: str, kept: set[str]) -> None:
    for values in (graph.input, graph.output, graph.value_info, graph.initializer):
        for value in values:
            if value.name not in kept:
                value.name = f"{stem}/{value.name}"
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [name if name in kept else f"{stem}/{name}" for name in names]
        node.name = f"{stem}/{node.output[0].removeprefix(f'{stem}/')}"
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _prefix(attribute.g, stem, kept)


def _free_stem(graph: gs.Graph, name: str) -> str:
    """A beginning that no tensor's name has yet."""
    taken = list(graph.tensors())
    stem, count = name, 1
    while any(other.startswith(f"{stem}/") for other in taken):
        count += 1
        stem = f"{name}_{count}"
    return stem


def _refusal(node: gs.Node, reason: str) -> UnsupportedModelError:
    name = node_name(node)
    return UnsupportedModelError(
        "refused-node",
        f"`{node.op}` at `{name}`: it has no VJP rule, and {reason}",
        "export the model with an older opset, or with simpler operators in this node's place",
        op=node.op,
        node=name,
    )
