"""Names for the results that a model leaves out although their operator always computes them.

Of a Split some parts may have no name, and of an If some results. They are there all the same: the
cotangent of a Split has to be told their sizes, and an If of known condition is taken apart result
by result. A result that is optional by the operator's schema stays left out: it is not computed.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import defs


def name_results(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a name for every result, but for those that are optional.

    It may be the model itself: not to be changed.
    """
    if not any("" in node.output for node in _nodes(proto.graph)):
        return proto
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    opsets = {opset.domain or "ai.onnx": opset.version for opset in result.opset_import}
    taken = set(_names(result.graph))
    for node in _nodes(result.graph):
        opset = opsets.get(node.domain or "ai.onnx", 0)
        for index in [i for i, name in enumerate(node.output) if not name]:
            if _is_left_unnamed(node, opset, index):
                stem = next((name for name in node.output if name), node.op_type)
                name = f"{stem}/{index}"
                while name in taken:
                    name += "_"
                taken.add(name)
                node.output[index] = name
    return result


def _is_left_unnamed(node: onnx.NodeProto, opset: int, index: int) -> bool:
    """Whether a result is computed in any case; of a foreign operator that is not known."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    if not defs.has(node.op_type, opset, domain):
        return False
    results = defs.get_schema(node.op_type, opset, domain).outputs
    if not results:
        return False
    formal = results[min(index, len(results) - 1)]
    return bool(formal.option != defs.OpSchema.FormalParameterOption.Optional)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of subgraphs too."""
    for node in graph.node:
        yield node
        for inner in _graphs_in(node):
            yield from _nodes(inner)


def _graphs_in(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        yield from (attribute.g, *attribute.graphs)


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    """Of all tensors, those of subgraphs too."""
    yield from (value.name for value in (*graph.input, *graph.initializer))
    yield from (tensor.values.name for tensor in graph.sparse_initializer)
    for node in graph.node:
        yield from (*node.input, *node.output)
        for inner in _graphs_in(node):
            yield from _names(inner)
