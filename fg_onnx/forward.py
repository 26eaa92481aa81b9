"""The forward part of an instrumented model: what some of its outputs need, and nothing else.

A runtime computes every node of a graph, whichever outputs are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from fg_onnx.source.model import model_of


def forward_part(proto: onnx.ModelProto, *outputs: str) -> onnx.ModelProto:
    """A model of those outputs alone, with the inputs and weights that it reads."""
    needed = set(outputs)
    kept: list[onnx.NodeProto] = []
    for node in reversed(proto.graph.node):
        if any(name in needed for name in node.output):
            kept.append(node)
            needed.update(read_by(node))
    graph = onnx.GraphProto(name=proto.graph.name, node=reversed(kept))
    graph.input.extend(value for value in proto.graph.input if value.name in needed)
    graph.output.extend(value for value in proto.graph.output if value.name in outputs)
    graph.initializer.extend(t for t in proto.graph.initializer if t.name in needed)
    graph.sparse_initializer.extend(
        tensor for tensor in proto.graph.sparse_initializer if tensor.values.name in needed
    )
    return model_of(graph, proto)


def read_by(node: onnx.NodeProto) -> Iterator[str]:
    """The tensors that a node reads, in its branches and bodies too."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from (value.name for value in graph.output)
            for inner in graph.node:
                yield from read_by(inner)
