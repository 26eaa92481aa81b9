"""How many values of every activation lie where it passes no gradient, counted in the graph.

Contributions alone cannot tell: a site that adds nothing to the score may stand before a dead
activation, or after an input that it does not matter to. So a few nodes are appended that count.
They read the activations and change nothing that the model computes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from fg_onnx.attribution import Attribution
from fg_onnx.forward import read_by
from fg_onnx.graph.emit import step
from fg_onnx.instrumentation import Instrumented
from fg_onnx.manifest import Manifest
from fg_onnx.session import Session
from fg_onnx.source.model import opset_of

ACTIVITY = "fg_audit_activity"
"""Float [N, 2 A]: of every activation the shares of its values at the low and the high end.

Not a number where one of the values is none."""
NEARLY = 1e-3
"""How near to an end that it never reaches a sigmoid or tanh counts as being there."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Activation:
    """An activation that can be dead or saturated.

    Attributes:
        name: of its node, or of its output where it has none.
        op: its operator.
        tensor: its output.
        low: where its values count as at the low end; None: there is none.
        high: likewise.
    """

    name: str
    op: str
    tensor: str
    low: float | None
    high: float | None

    @property
    def dies(self) -> bool:
        """Whether nothing but the low end is silence, as of ReLU and ReLU6."""
        return self.op in ("Relu", "Clip") and self.low is not None


def add_probes(instrumented: Instrumented) -> tuple[Instrumented, tuple[Activation, ...]]:
    """The model with one more output, and the activations that it counts; the same if none."""
    proto = onnx.ModelProto()
    proto.CopyFrom(instrumented.model)
    found = tuple(_activations(proto, instrumented.manifest))
    if not found:
        return instrumented, ()
    opset = opset_of(proto)
    columns = [
        _count(proto.graph, opset, f"{ACTIVITY}/{at}/{end}", activation.tensor, bound, end)
        for at, activation in enumerate(found)
        for end, bound in (("low", activation.low), ("high", activation.high))
        if bound is not None
    ]
    proto.graph.node.append(helper.make_node("Concat", columns, [ACTIVITY], axis=1))
    shape = [None, len(columns)]
    proto.graph.output.append(helper.make_tensor_value_info(ACTIVITY, TensorProto.FLOAT, shape))
    return Instrumented(proto, instrumented.manifest), found


def outputs(session: Session) -> list[str]:
    """What is to be asked of a session for the counts."""
    return [ACTIVITY] if ACTIVITY in session.output_names else []


def activity(found: Attribution, row: int) -> Array | None:
    """What was counted of one image: the columns of `ends`."""
    counted = found.outputs.get(ACTIVITY)
    # Of an activation with a value that is no number, none counts as being at an end.
    return None if counted is None else np.nan_to_num(counted[row], nan=0.0)


def ends(activations: Collection[Activation]) -> list[tuple[Activation, str]]:
    """What each column of the counts is of."""
    return [
        (activation, end)
        for activation in activations
        for end, bound in (("low", activation.low), ("high", activation.high))
        if bound is not None
    ]


def _count(
    graph: onnx.GraphProto, opset: int, name: str, tensor: str, bound: float, end: str
) -> str:
    """Nodes for the share of an image's values that are at an end: float [N, 1].

    They begin with the mask of the values that are not, written as the adjoint writes it, so that
    ONNX Runtime computes the two at once; of a ReLU before a MaxPool the adjoint has none.
    """
    axes = numpy_helper.from_array(np.array([1], np.int64), f"{name}/axes")
    one = numpy_helper.from_array(np.array(1, np.float32), f"{name}/one")
    graph.initializer.append(one)
    kept: dict[str, Any] = {"keepdims": 1}
    inputs = [f"{name}/rows"]
    if opset >= 18:
        graph.initializer.append(axes)
        inputs.append(axes.name)
    else:
        kept["axes"] = [1]
    within: dict[str, Any] = {**step(bound, 1.0 if end == "low" else -1.0)}
    graph.node.extend(
        [
            helper.make_node("Cast", [tensor], [f"{name}/float"], to=TensorProto.FLOAT),
            helper.make_node("HardSigmoid", [f"{name}/float"], [f"{name}/within"], **within),
            helper.make_node("Flatten", [f"{name}/within"], [f"{name}/rows"], axis=1),
            helper.make_node("ReduceMean", inputs, [f"{name}/share"], **kept),
            helper.make_node("Sub", [one.name, f"{name}/share"], [name]),
        ]
    )
    return name


def _activations(proto: onnx.ModelProto, held: Manifest) -> Iterator[Activation]:
    """Those between the explained input and the explained output, in topological order."""
    graph = proto.graph
    constants = _constants(graph)
    between = _between(graph, held)
    batched = _batched(proto, held.fed)
    for node in graph.node:
        if node.domain or node.op_type not in _ENDS or node.output[0] not in between:
            continue
        if node.output[0] not in batched or _is_gate_of_itself(graph, node):
            continue
        low, high = _ENDS[node.op_type]
        if node.op_type == "Clip":
            low, high = _bounds(node, constants)
        if low is not None or high is not None:
            yield Activation(node.name or node.output[0], node.op_type, node.output[0], low, high)


# the ends where the slope is 0, or nearly so
_ENDS: Mapping[str, tuple[float | None, float | None]] = {
    "Clip": (None, None),  # as its bounds say
    "HardSigmoid": (0.0, 1.0),
    "Relu": (0.0, None),
    "Sigmoid": (NEARLY, 1 - NEARLY),
    "Tanh": (NEARLY - 1, 1 - NEARLY),
}


def _constants(graph: onnx.GraphProto) -> dict[str, Any]:
    """Tensors and numbers that the model holds, by name."""
    found: dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and not node.domain:
            (held,) = node.attribute
            found[node.output[0]] = helper.get_attribute_value(held)
    return found


def _between(graph: onnx.GraphProto, held: Manifest) -> set[str]:
    """Tensors on a path from the explained input to the explained output."""
    after = {held.input}
    for node in graph.node:
        if after.intersection(read_by(node)):
            after.update(node.output)
    before = {held.output}
    for node in reversed(graph.node):
        if before.intersection(node.output):
            before.update(read_by(node))
    return (after & before) - {""}


def _batched(proto: onnx.ModelProto, fed: str) -> set[str]:
    """Tensors that surely have a row for every image."""
    try:
        inferred = onnx.shape_inference.infer_shapes(proto).graph
    except Exception:  # noqa: BLE001  # of whatever it cannot infer; then nothing is counted
        return set()
    firsts = {
        value.name: value.type.tensor_type.shape.dim[0]
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
        if value.type.tensor_type.shape.dim
    }
    if fed not in firsts:
        return set()
    batch = firsts[fed]
    named = batch.dim_param or batch.dim_value
    same = {name for name, dim in firsts.items() if (dim.dim_param or dim.dim_value) == named}
    return same if named else set()


def _is_gate_of_itself(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """Whether it is a part of SiLU or HardSwish, which do not saturate where it does."""
    scaled = [other for other in graph.node if other.op_type in ("Add", "Div", "Mul")]
    own = {node.input[0]} | {
        name for other in scaled if node.input[0] in other.output for name in other.input
    }
    gates = {node.output[0]} | {
        name for other in scaled if node.output[0] in other.input for name in other.output
    }
    return any(
        other.op_type == "Mul" and own.intersection(other.input) and gates.intersection(other.input)
        for other in graph.node
    )


def _bounds(
    node: onnx.NodeProto, constants: Mapping[str, Any]
) -> tuple[float | None, float | None]:
    """Of a Clip; None where there is none, or it is not constant."""
    if node.attribute:  # before opset 11
        given = {attribute.name: attribute.f for attribute in node.attribute}
        return given.get("min"), given.get("max")
    names = [*node.input[1:], "", ""]
    low, high = (_number(constants.get(name)) for name in names[:2])
    return low, high


def _number(held: Any) -> float | None:
    """A bound; None where it is unknown, or so large that it binds nothing."""
    if isinstance(held, TensorProto):
        held = numpy_helper.to_array(held).item()
    if not isinstance(held, int | float):
        return None
    return float(held) if abs(held) < np.finfo(np.float32).max else None
