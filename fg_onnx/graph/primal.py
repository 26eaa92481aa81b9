"""The forward graph as the rules see it: its active nodes, in topological order.

Active tensors depend on the explained input, and the explained output depends on them (DESIGN,
section 2). Only they carry cotangents; all else is constant to the adjoint.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_graphsurgeon as gs

from fg_onnx.errors import UnsupportedModelError, first_line
from fg_onnx.graph.working import read_by
from fg_onnx.manifest import Precision

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
NARROW = (np.dtype(np.float16), BFLOAT16)
_QUANTISING = frozenset(
    {"QuantizeLinear", "DynamicQuantizeLinear"}
)  # the integers stand for floats
FLOATS = (*NARROW, np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True, eq=False)
class Primal:
    """One active step of the forward graph: a node, or a composite recognised as one operator.

    Attributes:
        op_type: the ONNX operator whose rule holds.
        name: of the node, or of its output where the node has none.
        inputs: the operands, None where an optional one is omitted.
        outputs: the results, None where an optional one is omitted.
        attrs: the attributes, the schema's defaults filled in.
        active: for each input, whether it carries a cotangent.
        nodes: the graph nodes that this step covers, the one that makes the output last.
    """

    op_type: str
    name: str
    inputs: tuple[gs.Tensor | None, ...]
    outputs: tuple[gs.Tensor | None, ...]
    attrs: dict[str, Any]
    active: tuple[bool, ...]
    nodes: tuple[gs.Node, ...] = field(repr=False)

    @property
    def x(self) -> gs.Tensor:
        """The first operand."""
        return self.inputs[0]

    @property
    def y(self) -> gs.Tensor:
        """The first result."""
        return self.outputs[0]

    def operand(self, index: int) -> gs.Tensor:
        """A required operand."""
        return self.inputs[index]

    def input(self, index: int) -> gs.Tensor | None:
        """An optional operand, None where it is omitted or beyond those given."""
        return self.inputs[index] if index < len(self.inputs) else None

    def wants(self, index: int) -> bool:
        """Whether the operand carries a cotangent."""
        return index < len(self.active) and self.active[index]

    def shape(self, tensor: gs.Tensor) -> list[int | str | None]:
        """The shape of an operand or result; unknown dimensions are str or None.

        Raises:
            UnsupportedModelError: not even the rank is known.
        """
        if tensor.shape is None:
            raise self.refusal(f"the rank of `{tensor.name}` is unknown")
        return list(tensor.shape)

    def sizes(self, tensor: gs.Tensor, axes: Sequence[int]) -> list[int]:
        """Static sizes along some axes.

        Raises:
            UnsupportedModelError: one of them is not static.
        """
        shape = self.shape(tensor)
        found = [shape[axis] for axis in axes]
        static = [dim for dim in found if isinstance(dim, int)]
        if len(static) != len(found):
            raise self.refusal(f"it needs static sizes of `{tensor.name}`, which has {shape}")
        return static

    def integers(self, index: int) -> list[int] | None:
        """The value of a constant integer operand, None where it is omitted.

        Raises:
            UnsupportedModelError: the operand is computed at run time.
        """
        operand = self.input(index)
        if operand is None:
            return None
        if not isinstance(operand, gs.Constant):
            raise self.refusal(f"its operand `{operand.name}` is computed at run time")
        return [int(value) for value in np.asarray(operand.values).reshape(-1)]

    @contextlib.contextmanager
    def consistent(self) -> Iterator[None]:
        """Where this node is differentiated: what its rule stumbles over refuses the node.

        A rule takes attributes, operands and shapes to fit each other, as every runtime demands
        when it loads a model.

        Raises:
            UnsupportedModelError: they do not.
        """
        try:
            yield
        except (
            ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError,
        ) as error:  # fmt: skip
            stumbled = f"{type(error).__name__}: {first_line(error)}"
            raise self.refusal(
                f"its attributes, operands and shapes do not fit each other ({stumbled})"
            ) from error

    def refusal(self, reason: str) -> UnsupportedModelError:
        """The error for a node that the rule cannot take, for a reason of this node's."""
        return UnsupportedModelError(
            "refused-node",
            f"`{self.op_type}` at `{self.name}`: {reason}",
            "export the model so that this node is not needed, or has another form",
            op=self.op_type,
            node=self.name,
        )


def node_name(node: gs.Node) -> str:
    """The node's name, or its first output's where it has none."""
    return str(node.name or next(t.name for t in node.outputs if t.name))


def is_float(tensor: gs.Tensor) -> bool:
    """Whether a cotangent can flow through the tensor; an unknown type is taken for a float."""
    return tensor.dtype is None or tensor.dtype in FLOATS


def attributes(node: gs.Node, opset: int) -> dict[str, Any]:
    """The node's attributes with the defaults of its schema (empty for a foreign domain)."""
    if node.domain not in (None, "", "ai.onnx"):
        return dict(node.attrs)
    schema = onnx.defs.get_schema(node.op, opset)
    defaults = {
        name: onnx.helper.get_attribute_value(attribute.default_value)
        for name, attribute in schema.attributes.items()
        if attribute.default_value.name
    }
    texts = {name: v.decode() if isinstance(v, bytes) else v for name, v in defaults.items()}
    return {**texts, **node.attrs}


def primal(node: gs.Node, opset: int, active: frozenset[str]) -> Primal:
    """A graph node as a step; ``active`` are the names of the active tensors."""
    inputs = tuple(tensor if tensor.name else None for tensor in node.inputs)
    return Primal(
        op_type=node.op,
        name=node_name(node),
        inputs=inputs,
        outputs=tuple(tensor if tensor.name else None for tensor in node.outputs),
        attrs=attributes(node, opset),
        active=tuple(tensor is not None and tensor.name in active for tensor in inputs),
        nodes=(node,),
    )


def dependent_tensors(graph: gs.Graph, x: gs.Tensor, zero: frozenset[str]) -> frozenset[str]:
    """Names of the tensors that depend on ``x``; operators in ``zero`` pass nothing on."""
    forward, quantised = {x.name}, set[str]()
    for node in graph.nodes:
        if node.op not in zero and not forward.isdisjoint(read_by(node)):
            results = [t.name for t in node.outputs if t.name and not is_float(t)]
            if node.op in _QUANTISING or any(t.name in quantised for t in node.inputs):
                quantised.update(results)
            forward.update(t.name for t in node.outputs if t.name and is_float(t))
            forward.update(quantised.intersection(results))
    return frozenset(forward)


def active_tensors(
    graph: gs.Graph, x: gs.Tensor, y: gs.Tensor, zero: frozenset[str]
) -> frozenset[str]:
    """Names of the tensors between ``x`` and ``y``; operators in ``zero`` pass nothing on."""
    backward = {y.name}
    for node in reversed(graph.nodes):
        if node.op not in zero and any(tensor.name in backward for tensor in node.outputs):
            backward.update(read_by(node))
    return dependent_tensors(graph, x, zero) & backward


def precision_of(primals: Sequence[Primal]) -> Precision:
    """The narrowest float type that some step takes or makes."""
    tensors = [t for p in primals for t in (*p.inputs, *p.outputs) if t is not None]
    held = {np.dtype(t.dtype).name for t in tensors if t.dtype is not None}
    found: Sequence[Precision] = ("bfloat16", "float16", "float32")
    return next((name for name in found if name in held), "float64")


def active_nodes(graph: gs.Graph, active: frozenset[str]) -> list[gs.Node]:
    """The nodes that turn active tensors into active tensors, in topological order."""
    return [
        node
        for node in graph.nodes
        if not active.isdisjoint(read_by(node))
        and any(tensor.name in active for tensor in node.outputs)
    ]
