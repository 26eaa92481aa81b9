"""The gradient graph of onnxruntime-training in standard operators, written into a working graph.

Its builder names the gradient of a tensor ``T`` ``T_grad``. What it derived in standard operators
is copied. An operator of training alone (ConvGrad, ReluGrad, MaxPoolGrad, ...) takes the gradient
of a forward node's result and yields those of its operands, in order, which is what the node's VJP
rule does: its form is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import defs, helper, numpy_helper

from fg_onnx.errors import UnsupportedModelError
from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.ort_training.accepted import HINT
from fg_onnx.ort_training.prepared import Prepared
from fg_onnx.source.order import in_order
from fg_onnx.vjps.table import RULES

GRADIENT = "_grad"
_STANDARD = ("", "ai.onnx")


@dataclass(eq=False)
class _Lowering:
    """What is known while nodes are written.

    Attributes:
        op: writes into the working graph.
        values: the tensors of the working graph by the names that the builder has for them.
        made_by: forward nodes by the names of their results.
        results: the first result of a node by the node's name.
    """

    op: Emitter
    values: dict[str, gs.Tensor]
    made_by: Mapping[str, Primal]
    results: Mapping[str, str]

    def pulled_back(self, node: onnx.NodeProto) -> tuple[Primal, str] | None:
        """The forward node that a gradient node belongs to, and the gradient it starts from."""
        own = self.results.get(node.name.rpartition("_Grad/")[0], "") + GRADIENT
        for name in (*node.input, own):
            p = self.made_by.get(name.removesuffix(GRADIENT))
            if name.endswith(GRADIENT) and p is not None:
                return p, name
        return None

    def value(self, node: onnx.NodeProto, name: str) -> gs.Tensor:
        """An operand of a node."""
        if name not in self.values:
            raise _no_form(node)
        return self.values[name]

    def form_of_rule(self, node: onnx.NodeProto) -> None:
        """Write what the VJP rule of the forward node does; results go by operands, in order."""
        found = self.pulled_back(node)
        if found is None:
            raise _no_form(node)
        p, ct = found
        made = self.values[ct.removesuffix(GRADIENT)]
        cts = [
            self.value(node, ct) if t is not None and t.name == made.name else None
            for t in p.outputs
        ]
        rule = RULES[p.op_type]
        with p.consistent():
            passed = rule.vjp(self.op, p, *(cts if rule.outputs is None else cts[: rule.outputs]))
        for name, tensor in zip(node.output, passed, strict=False):
            if name and tensor is not None:
                self.values[name] = tensor


def lower(
    op: Emitter,
    built: onnx.ModelProto,
    prepared: Prepared,
    nodes: Sequence[Primal],
    ct_y: gs.Tensor,
) -> dict[str, gs.Tensor]:
    """Write the gradients that were asked for into the graph: the builder's name -> gradient.

    Args:
        op: writes into the working graph.
        built: the forward and the gradient graph, as onnxruntime-training built them.
        prepared: what it was given.
        nodes: the active forward nodes, each by itself.
        ct_y: the cotangent of the explained tensor.

    Raises:
        UnsupportedModelError: an operator of training alone has no form in standard operators.
    """
    tensors = op.graph.tensors()
    values = {name: tensors[tensor] for name, tensor in prepared.tensors.items()}
    values[prepared.y + GRADIENT] = ct_y
    made_by = {
        prepared.named[t.name]: p
        for p in nodes
        for t in p.outputs
        if t is not None and t.name in prepared.named
    }
    results = {node.name: next(filter(None, node.output)) for node in built.graph.node}
    work = _Lowering(op, values, made_by, results)
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in built.graph.initializer}
    for name, array in {**held, **prepared.weights}.items():
        if name not in work.values:
            work.values[name] = op.constant(array)
    wanted = [name + GRADIENT for name in prepared.asked]
    for node in _needed(work, in_order(built).graph.node, wanted):
        if _takes_form(work, node):
            work.form_of_rule(node)
        elif node.op_type in _COPIED and node.domain in _OWN:
            _COPIED[node.op_type](work, node)
        elif node.domain in _STANDARD and defs.has(node.op_type, op.opset):
            _copy(work, node)
        else:
            raise _no_form(node)
    found = {name: work.values.get(name + GRADIENT) for name in (*prepared.asked, prepared.y)}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def _needed(
    work: _Lowering, nodes: Sequence[onnx.NodeProto], names: Sequence[str]
) -> list[onnx.NodeProto]:
    """The nodes to write, in order; for one that takes a rule's form only its gradient matters."""
    needed, kept = set(names), []
    for node in reversed(nodes):
        if not any(name in needed and name not in work.values for name in node.output):
            continue
        kept.append(node)
        found = work.pulled_back(node) if _takes_form(work, node) else None
        needed.update(node.input if found is None else [found[1]])
    return kept[::-1]


def _takes_form(work: _Lowering, node: onnx.NodeProto) -> bool:
    """Whether a node's results are what the rule of its forward node yields.

    So it is of operators of training alone, and of the last node of some gradients in standard
    operators: of Concat (its Split has several results), of Clip (slope 1 at its bounds, where
    PyTorch's is 0), of Abs (by Sign) and of means (by Size, which leaves the device).
    """
    if node.op_type.removesuffix("_13").endswith("Grad"):
        return True
    found = work.pulled_back(node)
    return found is not None and (node.op_type, found[0].op_type) in _BY_RULE


_BY_RULE = {
    ("Expand", "GlobalAveragePool"),
    ("Expand", "ReduceMean"),
    ("Mul", "Abs"),
    ("Mul", "Clip"),
    ("Split", "Concat"),
}


def _no_form(node: onnx.NodeProto) -> UnsupportedModelError:
    name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    return UnsupportedModelError(
        "engine-refuses",
        f"`{name}` at `{node.name}`: onnxruntime-training derived it, and it has no form in "
        "standard operators",
        HINT,
        op=name,
        node=node.name,
    )


# --- nodes that are copied, some of them in another form ------------------------------------------


def _copy(work: _Lowering, node: onnx.NodeProto) -> None:
    if any(node.output[1:]):
        raise _no_form(node)
    make: Callable[..., gs.Tensor] = getattr(work.op, node.op_type)
    work.values[node.output[0]] = make(*_operands(work, node), **_attributes(node))


def _operands(work: _Lowering, node: onnx.NodeProto) -> list[gs.Tensor | None]:
    return [work.value(node, name) if name else None for name in node.input]


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}


def _constant(work: _Lowering, node: onnx.NodeProto) -> gs.Tensor:
    return work.op.constant(numpy_helper.to_array(_attributes(node)["value"]))


def _constant_of_shape(work: _Lowering, node: onnx.NodeProto) -> gs.Tensor:
    fill = _attributes(node).get("value")
    value = np.zeros((), np.float32) if fill is None else numpy_helper.to_array(fill).reshape(())
    return work.op.Expand(work.op.constant(value), work.value(node, node.input[0]))


def _sum(work: _Lowering, node: onnx.NodeProto) -> gs.Tensor:
    return work.op.total([work.value(node, name) for name in node.input])


def _identity(work: _Lowering, node: onnx.NodeProto) -> gs.Tensor:
    return work.value(node, node.input[0])


def _equal(work: _Lowering, node: onnx.NodeProto) -> gs.Tensor:
    """Some devices lack Equal from opset 19 on."""
    op, (a, b) = work.op, (work.value(node, name) for name in node.input)
    return op.And(op.GreaterOrEqual(a, b), op.LessOrEqual(a, b))


def _scale(work: _Lowering, node: onnx.NodeProto) -> gs.Tensor:
    """A tensor times a scalar, or divided by it (com.microsoft.Scale of onnxruntime-training)."""
    op, (values, factor) = work.op, (work.value(node, name) for name in node.input)
    factor = op.cast(factor, values.dtype)
    if _attributes(node).get("scale_down", 0):
        return op.Div(values, factor)
    return op.Mul(values, factor)


def _fused_matmul(work: _Lowering, node: onnx.NodeProto) -> gs.Tensor:
    """alpha A' B', the last two axes of either exchanged or not."""
    op, attrs = work.op, _attributes(node)
    if attrs.get("transBatchA", 0) or attrs.get("transBatchB", 0):
        raise _no_form(node)
    sides = []
    for name, turned in zip(node.input, ("transA", "transB"), strict=True):
        side = work.value(node, name)
        if attrs.get(turned, 0):
            rank = None if side.shape is None else len(side.shape)
            if rank is None:
                raise _no_form(node)
            side = op.Transpose(side, perm=[*range(rank - 2), rank - 1, rank - 2])
        sides.append(side)
    product = op.MatMul(*sides)
    alpha = attrs.get("alpha", 1.0)
    return product if alpha == 1.0 else op.Mul(product, np.float32(alpha).item())


_Form: TypeAlias = Callable[[_Lowering, onnx.NodeProto], gs.Tensor]


def _as(form: _Form) -> Callable[[_Lowering, onnx.NodeProto], None]:
    def write(work: _Lowering, node: onnx.NodeProto) -> None:
        work.values[node.output[0]] = form(work, node)

    return write


_OWN = (*_STANDARD, "com.microsoft")
_COPIED: Mapping[str, Callable[[_Lowering, onnx.NodeProto], None]] = {
    "Constant": _as(_constant),
    "ConstantOfShape": _as(_constant_of_shape),
    "Equal": _as(_equal),
    "FusedMatMul": _as(_fused_matmul),
    "Identity": _as(_identity),
    "Scale": _as(_scale),
    "Sum": _as(_sum),
    "Trilu": _copy,
}
