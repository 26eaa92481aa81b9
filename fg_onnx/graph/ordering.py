"""The order of the nodes, by which ONNX Runtime decides when to run them.

It begins with what makes the output that stands last in the file, and of what a node reads it first
goes back to what stands last (`Graph::ReverseDFSFrom`). A cotangent that two outputs need, one of
them at the end of the adjoint, is kept until then: for 4 images through MobileNetV2 with the input
gradient emitted, tensors of 295 MiB live at once in place of 96.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_graphsurgeon as gs

from fg_onnx.graph.working import read_by


def order(graph: gs.Graph, last: Collection[str]) -> None:
    """Let what only other outputs need stand as early as it can, so that these are made first.

    Args:
        graph: whose nodes are sorted, and stay so; it is changed.
        last: the outputs that read what is computed of every cotangent in turn.
    """
    needed, kept = set(last), set[int]()
    for node in reversed(graph.nodes):
        if not needed.isdisjoint(tensor.name for tensor in node.outputs):
            kept.add(id(node))
            needed |= read_by(node)
    made: dict[str, int] = {}
    places = []
    for index, node in enumerate(graph.nodes):
        behind = max((made.get(name, -1) for name in read_by(node)), default=-1)
        places.append(index if id(node) in kept else behind)
        made |= dict.fromkeys((tensor.name for tensor in node.outputs), places[-1])
    graph.nodes = [graph.nodes[i] for i in sorted(range(len(places)), key=places.__getitem__)]
