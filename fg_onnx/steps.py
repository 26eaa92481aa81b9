"""The steps between the explained input and output, and what stands in their way."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx_graphsurgeon as gs

from fg_onnx.errors import FgOnnxError, UnsupportedModelError
from fg_onnx.graph import working
from fg_onnx.graph.bodies import expand
from fg_onnx.graph.nesting import nested
from fg_onnx.graph.primal import Primal, active_nodes, active_tensors, node_name, primal
from fg_onnx.graph.quantised import unclipped_scores, way_out
from fg_onnx.source import model
from fg_onnx.vjps import status, zeros
from fg_onnx.vjps.composites import recognise


@dataclass(frozen=True)
class Unsupported:
    """A node that stands in the way, and why."""

    op: str
    node: str
    reason: str


def find_steps(
    graph: gs.Graph, proto: onnx.ModelProto, x: gs.Tensor, y: gs.Tensor
) -> tuple[list[Primal], list[Unsupported]]:
    """The steps from ``x`` to ``y``; none where nodes stand in the way, which come second.

    Args:
        graph: a working copy of ``proto``'s graph; function bodies are expanded in it.
        proto: the model.
        x: the explained input.
        y: the explained tensor.

    Raises:
        UnsupportedModelError: ``y`` does not depend on ``x``.
    """
    opset = model.opset_of(proto)
    unsupported = _expand_bodies(graph, proto, x, y)
    active = active_tensors(graph, x, y, zeros(opset))
    if y.name not in active:
        raise UnsupportedModelError(
            "no-path",
            f"the output `{y.name}` does not depend on the input `{x.name}`",
            "name another tensor with --output",
        )
    nodes = active_nodes(graph, active)
    unsupported += [
        Unsupported(node.op, node_name(node), answer[1])
        for node in nodes
        if (answer := status(node.op, node.domain, opset))[0] in ("refused", "unknown")
    ]
    if unsupported:
        return [], unsupported
    steps = recognise([primal(node, opset, active) for node in nodes])
    return nested(unclipped_scores(steps, y)), []


def _expand_bodies(
    graph: gs.Graph, proto: onnx.ModelProto, x: gs.Tensor, y: gs.Tensor
) -> list[Unsupported]:
    """Put function bodies in the places of active nodes that have no other rule.

    Changes the graph; returns the nodes that could not be replaced.
    """
    opset = model.opset_of(proto)
    failed: dict[int, Unsupported] = {}
    while True:
        wanted = [
            node
            for node in active_nodes(graph, active_tensors(graph, x, y, zeros(opset)))
            if status(node.op, node.domain, opset)[0] == "body" and id(node) not in failed
        ]
        if not wanted:
            return list(failed.values())
        for node in wanted:
            try:
                expand(graph, node, opset)
            except UnsupportedModelError as error:
                failed[id(node)] = describe_failure(error)
        working.infer(graph, proto)


def blame_operator(graph: gs.Graph, x: gs.Tensor, opset: int) -> None:
    """Name the operator that takes what depends on ``x`` out of reach, if there is one.

    What yields integers passes no cotangent on, so that such an operator (NonMaxSuppression) lies
    beyond the active tensors; it is it, and not the output, that stands in the way.
    """
    reached = {x.name}
    blocking = []
    for node in graph.nodes:
        answer, reason = status(node.op, node.domain, opset)
        if answer == "zero" or reached.isdisjoint(working.read_by(node)):
            continue
        reached.update(tensor.name for tensor in node.outputs if tensor.name)
        if answer not in ("rule", "body"):
            blocking.append(Unsupported(node.op, node_name(node), reason))
    if blocking:
        raise refusal(blocking[0], len(blocking) - 1)


def refusal(first: Unsupported, others: int = 0) -> UnsupportedModelError:
    """The error for a node that stands in the way, and as many others."""
    more = f" (and {others} more)" if others else ""
    return UnsupportedModelError(
        "unsupported-operator",
        f"`{first.op}` at `{first.node}`: {first.reason}{more}",
        way_out(first.op)
        or "`fg-onnx inspect MODEL` lists all such nodes; `fg-onnx ops` the operators that work",
        op=first.op,
        node=first.node,
    )


def describe_failure(error: FgOnnxError) -> Unsupported:
    """An error on the way to a plan, or in carrying it out, as a row of its list of refusals."""
    if isinstance(error, UnsupportedModelError):
        return Unsupported(error.op, error.node, error.reason)
    return Unsupported("", "", error.message)
