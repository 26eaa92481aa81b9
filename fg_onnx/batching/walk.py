"""Where the batch lies in every tensor that depends on the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.errors import UnsupportedModelError
from fg_onnx.graph import working
from fg_onnx.graph.primal import attributes, node_name

END = 2**31 - 1  # of a Slice, whatever the size of the axis


class Walk:
    """Where the batch lies in every tensor that depends on the images.

    Attributes:
        graph: that is walked, and changed where it holds the size of the batch.
        axes: by tensor; what is not in it is the same for any images.
    """

    def __init__(self, graph: gs.Graph, opset: int, size: int, fed: Sequence[str]) -> None:
        self.graph = graph
        self.axes = dict.fromkeys(fed, 0)
        self._opset = opset
        self._size = size
        self._sizes: set[str] = set()  # integers that follow from the shape of a batch

    def follow(self) -> None:
        """Walk through all nodes.

        Raises:
            UnsupportedModelError: naming the first node that may mix images.
        """
        for node in list(self.graph.nodes):
            reads = working.read_by(node)
            if reads.isdisjoint(self.axes.keys() | self._sizes):
                continue
            made = [tensor for tensor in node.outputs if tensor.name]
            if node.op in ("Shape", "Size") or reads.isdisjoint(self.axes):
                if any(t.dtype is None or np.dtype(t.dtype).kind not in "iub" for t in made):
                    raise self.refusal(node, "it computes with the size of the batch")
                self._sizes.update(tensor.name for tensor in made)
                continue
            axis = self._rule(node)(self, node, attributes(node, self._opset))
            for tensor in made:
                shape = tensor.shape
                if shape is not None and (len(shape) <= axis or shape[axis] != self._size):
                    raise self.refusal(node, f"`{tensor.name}` of shape {shape} has no batch")
                self.axes[tensor.name] = axis
        for output in self.graph.outputs:
            if output.name in self._sizes:
                raise self.refusal(output.inputs[0], "the size of the batch is an output")

    def _rule(self, node: gs.Node) -> Rule:
        if node.domain in (None, "", "ai.onnx") and node.op in RULES:
            return RULES[node.op]
        raise self.refusal(node, "it is not known to keep the images of a batch apart")

    def refusal(self, node: gs.Node, reason: str) -> UnsupportedModelError:
        """The error for a node that stands in the way."""
        return UnsupportedModelError(
            "fixed-batch",
            f"`{node.op}` at `{node_name(node)}`: {reason}, so the batch stays {self._size}",
            "export the model with a dynamic batch, or leave it fixed: images are then explained "
            "one by one",
            op=node.op,
            node=node_name(node),
        )

    def shape(self, node: gs.Node, tensor: gs.Tensor) -> list[Any]:
        """The shape of an operand, of which at least the rank is known."""
        if tensor.shape is None:
            raise self.refusal(node, f"the rank of `{tensor.name}` is unknown")
        return list(tensor.shape)

    def only_first(self, node: gs.Node) -> int:
        """The batch axis of the first operand, which alone depends on the images."""
        depends = [tensor.name in self.axes for tensor in node.inputs]
        if depends.index(True) > 0 or any(depends[1:]):
            raise self.refusal(node, "more than its first operand depends on the images")
        return self.axes[node.inputs[0].name]

    def integers(self, node: gs.Node, index: int) -> list[int] | None:
        """A constant integer operand, None where it is omitted."""
        if len(node.inputs) <= index or not node.inputs[index].name:
            return None
        operand = node.inputs[index]
        if not isinstance(operand, gs.Constant):
            raise self.refusal(node, f"its operand `{operand.name}` is computed at run time")
        return [int(value) for value in np.asarray(operand.values).reshape(-1)]

    def replace(self, node: gs.Node, index: int, values: Sequence[int]) -> None:
        """Give a node another constant; others that share the old one keep it."""
        name = f"{node.inputs[index].name}/{node_name(node)}/free"
        node.inputs[index] = gs.Constant(name, np.array(values, dtype=np.int64))

    def measure(self, node: gs.Node, index: int) -> None:
        """Take the first entry of an operand that holds a shape from the first operand's."""
        stem = f"{node_name(node)}/free_{index}"
        first, rest, joined = (
            gs.Variable(f"{stem}/{part}", np.int64) for part in ("first", "rest", "joined")
        )
        start = gs.Constant(f"{stem}/start", np.array([1], np.int64))
        end = gs.Constant(f"{stem}/end", np.array([END], np.int64))
        place = next(i for i, other in enumerate(self.graph.nodes) if other is node)
        self.graph.nodes[place:place] = [
            gs.Node("Shape", first.name, {"start": 0, "end": 1}, [node.inputs[0]], [first]),
            gs.Node("Slice", rest.name, {}, [node.inputs[index], start, end], [rest]),
            gs.Node("Concat", joined.name, {"axis": 0}, [first, rest], [joined]),
        ]
        node.inputs[index] = joined

    @property
    def size(self) -> int:
        """Of the batch in the source."""
        return self._size


Rule: TypeAlias = Callable[[Walk, gs.Node, dict[str, Any]], int]
"""The batch axis of what a node makes; sets free the sizes of the batch that it holds."""

RULES: dict[str, Rule] = {}


def rule(*op_types: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of one or several operators."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(op_types, function))
        return function

    return register
