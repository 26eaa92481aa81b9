"""The forward graph as onnxruntime-training's gradient builder has to be given it.

It gets a copy that is used for nothing but to derive gradients. There, BatchNormalization is
Mul and Add, Dropout is nothing, auto_pad is pads, all results of a Split are used, and every
operand of a step whose offset is implicit has a name of its own, so that the cotangent that this
step passes to it can be told from those of other readers. Large weights are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper, numpy_helper
from onnx_graphsurgeon.logger import G_LOGGER

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.ort_training.accepted import NEWEST_IR, NEWEST_OPSET
from fg_onnx.source.model import MOST_SEEN
from fg_onnx.vjps.table import RULES
from fg_onnx.vjps.windows import window


@dataclass(frozen=True, eq=False)
class Prepared:
    """What is given to the builder, in names of its own: no ``x_grad`` of a model's is in its way.

    Attributes:
        proto: the model; its one output is the explained tensor.
        y: the explained tensor.
        weights: those that were left out of the model; there they are inputs.
        asked: the tensors by which it shall differentiate.
        tensors: which tensor of the graph a name stands for; operands of their own included.
        named: the name that stands for a tensor of the graph.
        operands: step's first result -> for each operand the name whose gradient is what the step
            passes to it, None where it passes nothing; for steps of implicit offset alone.
    """

    proto: onnx.ModelProto
    y: str
    weights: Mapping[str, np.ndarray]
    asked: tuple[str, ...]
    tensors: Mapping[str, str]
    named: Mapping[str, str]
    operands: Mapping[str, tuple[str | None, ...]]


def prepare(
    op: Emitter,
    steps: Sequence[Primal],
    nodes: Sequence[Primal],
    x: gs.Tensor,
    y: gs.Tensor,
    active: frozenset[str],
) -> Prepared:
    """The graph up to ``y``, for its gradients by ``x``, all results of steps, and operands.

    Args:
        op: writes into the graph.
        steps: the active steps.
        nodes: the active nodes, each by itself.
        x: the explained input.
        y: the explained tensor.
        active: names of the active tensors.
    """
    with G_LOGGER.suppress():
        proto = gs.export_onnx(op.graph, do_type_check=False)
    draft = _Draft(_needed(proto.graph.node, y.name), active, op.unique_name("engine"))
    operands = {}
    for p in steps:
        if any(offset.kind == "implicit" for offset in RULES[p.op_type].offsets(p)):
            operands[p.y.name] = draft.name_operands(p)
    for p in nodes:
        if p.op_type in _REWRITTEN:
            _REWRITTEN[p.op_type](draft, op, p)
    results = [t.name for p in steps for t in p.outputs if t is not None and t.name in active]
    own = [name for names in operands.values() for name in names if name is not None]
    asked = dict.fromkeys([x.name, *results, *own])
    asked.pop(y.name, None)
    model, weights = draft.to_model(proto, op.opset, y.name)
    new = _rename(model)
    graph = op.graph.tensors()
    return Prepared(
        proto=model,
        y=new[y.name],
        weights={new[name]: array for name, array in weights.items()},
        asked=tuple(new[name] for name in asked),
        tensors={
            new[name]: draft.aliases.get(name, name)
            for name in new
            if name in draft.aliases or name in graph
        },
        named={name: new[name] for name in new if name in graph},
        operands={
            step: tuple(None if name is None else new[name] for name in names)
            for step, names in operands.items()
        },
    )


def _rename(model: onnx.ModelProto) -> dict[str, str]:
    """Give all tensors names of one kind, and return old -> new; changes the model."""
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info]
    names = [value.name for value in values] + [tensor.name for tensor in graph.initializer]
    names += [name for node in graph.node for name in node.output if name]
    new = {name: f"t{index}" for index, name in enumerate(dict.fromkeys(names))}
    for held in (*values, *graph.initializer):
        held.name = new[held.name]
    for index, node in enumerate(graph.node):
        node.name = f"n{index}"
        _rename_in(node, new)
    return new


def _rename_in(node: onnx.NodeProto, new: Mapping[str, str]) -> None:
    """In the graphs within a node too, whose own tensors keep their names."""
    for names in (node.input, node.output):
        names[:] = [new.get(name, name) for name in names]
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                _rename_in(inner, new)
            for value in graph.output:
                value.name = new.get(value.name, value.name)


def _needed(nodes: Sequence[onnx.NodeProto], y: str) -> list[onnx.NodeProto]:
    """The nodes that ``y`` depends on; they are in order."""
    needed, kept = {y}, []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.output):
            kept.append(node)
            needed.update(_read(node))
    return kept[::-1]


def _read(node: onnx.NodeProto) -> set[str]:
    graphs = [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs)]
    inner = {name for graph in graphs for each in graph.node for name in _read(each)}
    return {*node.input, *inner, *(value.name for graph in graphs for value in graph.output)}


@dataclass(eq=False)
class _Draft:
    """The nodes in order, by their first result, and what was put before and after them."""

    nodes: list[onnx.NodeProto]
    active: frozenset[str]
    stem: str  # of the names of what is added
    before: dict[str, list[onnx.NodeProto]] = field(default_factory=dict)
    instead: dict[str, list[onnx.NodeProto]] = field(default_factory=dict)
    constants: list[TensorProto] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_result = {next(filter(None, node.output)): node for node in self.nodes}

    def key(self, p: Primal) -> str:
        """The first result of a step's last node, by which it is found."""
        return _first_result(p.nodes[-1])

    def node(self, p: Primal) -> onnx.NodeProto:
        """The last node of a step."""
        return self._by_result[self.key(p)]

    def name_operands(self, p: Primal) -> tuple[str | None, ...]:
        """Give the active operands of a step names of their own."""
        own: list[str | None] = []
        for index, (operand, active) in enumerate(zip(p.inputs, p.active, strict=True)):
            if not active or operand is None:
                own.append(None)
                continue
            name = self._alias(operand.name)
            first = _first_result(p.nodes[0])
            self.before.setdefault(first, []).append(
                helper.make_node("Identity", [operand.name], [name])
            )
            for member in p.nodes:
                node = self._by_result[_first_result(member)]
                for slot, read in enumerate(node.input):
                    if read == operand.name and (len(p.nodes) > 1 or slot == index):
                        node.input[slot] = name
            own.append(name)
        return tuple(own)

    def _alias(self, tensor: str) -> str:
        name = f"{self.stem}operand_{len(self.aliases)}"
        self.aliases[name] = tensor
        return name

    def constant(self, values: np.ndarray) -> str:
        """The name of a new constant."""
        name = f"{self.stem}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def to_model(
        self, like: onnx.ModelProto, opset: int, y: str
    ) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
        """The model without its large weights, and these."""
        nodes = []
        for result, node in self._by_result.items():
            nodes += [*self.before.get(result, ()), *self.instead.get(result, (node,))]
        read = {name for node in nodes for name in _read(node)}
        inputs = {value.name: value for value in like.graph.input if value.name in read}
        known = {v.name: v for v in (*like.graph.output, *like.graph.value_info)}
        graph = helper.make_graph(nodes, "forward", [], [known[y]])
        weights = {}
        for tensor in [*like.graph.initializer, *self.constants]:
            if tensor.name not in read:
                continue
            if np.prod(tensor.dims, dtype=np.int64) <= MOST_SEEN:
                graph.initializer.append(tensor)
                inputs.pop(tensor.name, None)
                continue
            weights[tensor.name] = numpy_helper.to_array(tensor)
            inputs[tensor.name] = helper.make_tensor_value_info(
                tensor.name, tensor.data_type, tensor.dims
            )
        graph.input.extend(inputs.values())
        graph.value_info.extend(
            value for name, value in known.items() if name in read and name not in inputs
        )
        imports = [helper.make_opsetid("", min(opset, NEWEST_OPSET))]
        return helper.make_model(graph, opset_imports=imports, ir_version=NEWEST_IR), weights


def _first_result(node: gs.Node) -> str:
    return str(next(t.name for t in node.outputs if t.name))


# --- what it has no gradient of, or a wrong one, in other words -----------------------------------

_Rewrite: TypeAlias = Callable[[_Draft, Emitter, Primal], None]


def _multiply_and_add(draft: _Draft, _: Emitter, p: Primal) -> None:
    """BatchNormalization has no rule there."""
    node = draft.node(p)
    scale, bias, mean, variance = (
        np.asarray(p.operand(index).values, np.float64) for index in range(1, 5)
    )
    slope = scale / np.sqrt(variance + p.attrs["epsilon"])
    along = [-1] + [1] * (len(p.shape(p.x)) - 2)
    product = f"{draft.stem}{node.output[0]}"
    factor, shift = (
        draft.constant(values.reshape(along).astype(np.float32))
        for values in (slope, bias - mean * slope)
    )
    draft.instead[draft.key(p)] = [
        helper.make_node("Mul", [node.input[0], factor], [product]),
        helper.make_node("Add", [product, shift], [node.output[0]]),
    ]


def _explicit_pads(draft: _Draft, op: Emitter, p: Primal) -> None:
    """auto_pad is overlooked there."""
    if p.attrs.get("auto_pad", "NOTSET") == "NOTSET":
        return
    kernel = p.attrs.get("kernel_shape") or [
        int(dim) for dim in p.sizes(p.operand(1), range(2, len(p.shape(p.operand(1)))))
    ]
    pads = window(op, p, kernel).pads
    assert pads is not None
    node = draft.node(p)
    kept = [a for a in node.attribute if a.name not in ("auto_pad", "pads")]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("pads", pads)])


def _nothing(draft: _Draft, _: Emitter, p: Primal) -> None:
    """The gradient of Dropout is that of training there."""
    node = draft.node(p)
    x, y, mask = node.input[0], node.output[0], node.output[1] if len(node.output) > 1 else ""
    nodes = [helper.make_node("Identity", [x], [y])] if y else []
    if mask:
        nodes.append(helper.make_node("Equal", [x, x], [mask]))
    draft.instead[draft.key(p)] = nodes


def _all_used(draft: _Draft, _: Emitter, p: Primal) -> None:
    """A result without a gradient is left out there: 0 times its sum is added to one with."""
    node = draft.node(p)
    idle = [index for index, name in enumerate(node.output) if name not in draft.active]
    if not idle:
        return
    carrying = next(index for index in range(len(node.output)) if index not in idle)
    last, zero = node.output[carrying], draft.constant(np.zeros((), np.float32))
    sums: list[onnx.NodeProto] = []
    result = f"{draft.stem}{last}/0"
    for count, index in enumerate(idle, 1):
        name = node.output[index] or f"{draft.stem}{last}/idle_{index}"
        node.output[index] = name
        total, nothing = f"{name}/{draft.stem}sum", f"{name}/{draft.stem}zero"
        following = last if count == len(idle) else f"{draft.stem}{last}/{count}"
        sums += [
            helper.make_node("ReduceSum", [name], [total], keepdims=0),
            helper.make_node("Mul", [total, zero], [nothing]),
            helper.make_node(
                "Add", [result if count == 1 else sums[-1].output[0], nothing], [following]
            ),
        ]
    node.output[carrying] = result
    draft.instead[draft.key(p)] = [node, *sums]


_REWRITTEN: Mapping[str, _Rewrite] = {
    "AveragePool": _explicit_pads,
    "BatchNormalization": _multiply_and_add,
    "Conv": _explicit_pads,
    "Dropout": _nothing,
    "MaxPool": _explicit_pads,
    "Split": _all_used,
}
