"""``If`` nodes whose condition is known: the branch that is taken, in the place of the node.

Exporters leave them behind where they did not know what the graph knows, e.g. torch for a
``squeeze`` of a dimension that may or may not be 1. They are settled before the opset is raised,
which no converter does within a branch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from fg_onnx.graph import working


def take_branches(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every ``If`` of known condition replaced by the branch that it takes.

    Conditions are known from constants and from static shapes. It may be the model itself: not
    to be changed.
    """
    while any(node.op_type == "If" for node in proto.graph.node):
        taken = _known_branches(proto)
        if not taken:
            break
        proto = _with_branches(proto, taken)
    return proto


def _known_branches(proto: onnx.ModelProto) -> dict[str, bool]:
    """First output of an ``If`` -> whether its condition holds, where that is known."""
    nodes = [node for node in proto.graph.node if node.op_type == "If"]
    tensors = working.to_graph(proto).tensors()
    conditions = {node.output[0]: tensors.get(node.input[0]) for node in nodes}
    return {
        name: bool(np.all(condition.values))
        for name, condition in conditions.items()
        if isinstance(condition, gs.Constant)
    }


def _with_branches(proto: onnx.ModelProto, taken: dict[str, bool]) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    del result.graph.node[:]
    for index, node in enumerate(proto.graph.node):
        if node.op_type == "If" and node.output[0] in taken:
            _splice(result.graph, node, taken[node.output[0]], f"branch_{index}/")
        else:
            result.graph.node.append(node)
    return result


def _splice(graph: onnx.GraphProto, node: onnx.NodeProto, condition: bool, prefix: str) -> None:
    """Append a branch of ``node`` to ``graph``; its own tensors get names that are still free."""
    wanted = "then_branch" if condition else "else_branch"
    branch = onnx.GraphProto()
    branch.CopyFrom(next(a.g for a in node.attribute if a.name == wanted))
    taken = set(own_tensors(graph))
    while any(name.startswith(prefix) for name in taken):
        prefix = f"_{prefix}"
    _rename(branch, {name: prefix + name for name in own_tensors(branch)}, prefix)
    graph.node.extend(branch.node)
    graph.initializer.extend(branch.initializer)
    graph.sparse_initializer.extend(branch.sparse_initializer)
    graph.value_info.extend(branch.value_info)
    for value, name in zip(branch.output, node.output, strict=True):
        graph.node.append(onnx.helper.make_node("Identity", [value.name], [name], name=name))


def own_tensors(graph: onnx.GraphProto) -> Iterator[str]:
    """Names that a graph and the graphs within it give to tensors, inputs left out."""
    yield from (tensor.name for tensor in graph.initializer)
    yield from (tensor.values.name for tensor in graph.sparse_initializer)
    for node in graph.node:
        yield from (name for name in node.output if name)
        for inner in _graphs_in(node):
            yield from (value.name for value in inner.input)
            yield from own_tensors(inner)


def _rename(graph: onnx.GraphProto, names: Mapping[str, str], prefix: str) -> None:
    for node in graph.node:
        node.name = node.name and prefix + node.name
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in _graphs_in(node):
            _rename(inner, names, prefix)
    for tensor in (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)):
        tensor.name = names.get(tensor.name, tensor.name)
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)


def _graphs_in(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
