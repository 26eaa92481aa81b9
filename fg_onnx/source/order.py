"""Nodes in an order in which every tensor is made before it is read.

ONNX asks for it and runtimes do not, so that tools get by without: converters to float16 append
the Casts of a model's inputs and outputs at its end.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

import onnx


def in_order(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its nodes in order, as near to the order they have as can be.

    It is the model itself where nothing is to be moved, or a cycle leaves no order.
    """
    order = _order(proto.graph.node)
    if order is None or order == sorted(order):
        return proto
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    del result.graph.node[:]
    result.graph.node.extend(proto.graph.node[index] for index in order)
    return result


def _order(nodes: Iterable[onnx.NodeProto]) -> list[int] | None:
    """Indices of the nodes in order, None where there is a cycle."""
    reads = [_read_by(node) for node in nodes]
    maker = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    readers: dict[int, list[int]] = {}
    missing = []
    for index, names in enumerate(reads):
        makers = {maker[name] for name in names if name in maker}
        missing.append(len(makers))
        for made_by in makers:
            readers.setdefault(made_by, []).append(index)
    ready = [index for index, count in enumerate(missing) if not count]
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for reader in readers.get(index, ()):
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, reader)
    return order if len(order) == len(reads) else None


def _read_by(node: onnx.NodeProto) -> set[str]:
    """Names that a node reads, those that the graphs within it capture too."""
    names, rest = set[str](), [node]
    while rest:
        here = rest.pop()
        names.update(here.input)
        for attribute in here.attribute:
            for graph in (attribute.g, *attribute.graphs):
                rest.extend(graph.node)
                names.update(output.name for output in graph.output)
    return names
