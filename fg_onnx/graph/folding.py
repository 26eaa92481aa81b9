"""Fold shape arithmetic whose outcome is known although the batch is not.

Exporters compute padding and target shapes at run time from ``Shape(x)``. With a symbolic batch
the shape as a whole is unknown, but height and width picked out of it are numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx.reference import ReferenceEvaluator

Partial: TypeAlias = "np.ndarray | None"
"""A small array of Python integers, floats or booleans, None where an entry is unknown."""

_MOST_ENTRIES = 1024
_KEPT = frozenset({"QuantizeLinear", "DequantizeLinear"})  # a runtime's integer kernels need them


def fold_shapes(graph: gs.Graph, opset: int) -> bool:
    """Replace small tensors of known value by constants; whether there were any.

    Changes the graph.
    """
    known: dict[str, np.ndarray] = {}
    kept = {tensor.name for tensor in graph.outputs}
    folded = False
    for node in graph.nodes:
        if len(node.outputs) != 1 or node.domain or node.op in _KEPT or any(node.subgraphs()):
            continue
        value = _value(node, known, opset)
        if value is None:
            continue
        result = node.outputs[0]
        known[result.name] = value
        if value.dtype != object and result.name not in kept:
            node.outputs.clear()
            result.to_constant(np.ascontiguousarray(value).reshape(value.shape))
            folded = True
    graph.nodes = [node for node in graph.nodes if node.outputs]
    return folded


def _value(node: gs.Node, known: dict[str, np.ndarray], opset: int) -> Partial:
    if node.op == "Shape":
        shape = node.inputs[0].shape
        if shape is None:
            return None
        chosen = shape[node.attrs.get("start", 0) : node.attrs.get("end")]
        return _tidy(chosen)
    if node.op == "Size":
        shape = node.inputs[0].shape
        sizes = _tidy([None] if shape is None else shape)
        return None if sizes.dtype == object else np.asarray(sizes.prod())
    given = [tensor for tensor in node.inputs if tensor.name]
    operands = [_operand(tensor, known) for tensor in given]
    if not operands or any(operand is None for operand in operands):
        return None
    values = [operand for operand in operands if operand is not None]
    if all(value.dtype != object for value in values):
        return _evaluated(node, values, opset)
    return _moved(node, values) if len(given) == len(node.inputs) else None


def _tidy(entries: Sequence[Any]) -> np.ndarray:
    """int64 where every entry is a number, else objects with None for the unknown ones."""
    if all(isinstance(entry, (int, np.integer)) for entry in entries):
        return np.array(entries, dtype=np.int64)
    found = np.empty(len(entries), dtype=object)
    for index, entry in enumerate(entries):
        found[index] = int(entry) if isinstance(entry, (int, np.integer)) else None
    return found


def _operand(tensor: gs.Tensor, known: dict[str, np.ndarray]) -> Partial:
    if isinstance(tensor, gs.Constant):
        size = int(np.prod(tensor.shape, dtype=np.int64))
        return np.asarray(tensor.values) if size <= _MOST_ENTRIES else None
    return known.get(tensor.name)


def _moved(node: gs.Node, values: list[np.ndarray]) -> Partial:
    """Operators that move the entries of a partly known vector."""
    first, rest = values[0], values[1:]
    if any(value.dtype == object for value in rest) and node.op != "Concat":
        return None
    if node.op == "Gather" and node.attrs.get("axis", 0) == 0:
        return _same_kind(first[rest[0]])
    if node.op == "Slice":
        start, stop = int(rest[0].item()), int(rest[1].item())
        step = int(rest[3].item()) if len(rest) > 3 else 1
        return _same_kind(first[start:stop:step])
    if node.op == "Concat":
        return _tidy([entry for value in values for entry in value.reshape(-1)])
    keeps = node.op in ("Unsqueeze", "Identity") or (
        node.op == "Cast" and node.attrs["to"] == onnx.TensorProto.INT64
    )
    if keeps and first.ndim <= 1:
        return first.reshape(-1) if node.op == "Unsqueeze" else first
    if node.op == "Squeeze":
        return first.reshape(())
    return None


def _same_kind(chosen: Any) -> np.ndarray:
    array = np.asarray(chosen, dtype=object)
    if all(entry is not None for entry in array.reshape(-1)):
        return array.astype(np.int64)
    return array


def _makes_many(node: gs.Node, values: list[np.ndarray]) -> bool:
    """Whether a node makes more entries than it takes, and too many."""
    if node.op == "ConstantOfShape":
        return bool(np.prod(values[0], dtype=np.float64) > _MOST_ENTRIES)
    if node.op == "Expand":
        return bool(np.prod(values[1], dtype=np.float64) > _MOST_ENTRIES)
    if node.op == "Tile":
        return bool(values[0].size * np.prod(values[1], dtype=np.float64) > _MOST_ENTRIES)
    if node.op == "Range":
        if any(value.size != 1 for value in values):
            return True
        start, limit, step = (float(value.item()) for value in values)
        return step == 0 or abs((limit - start) / step) > _MOST_ENTRIES
    return node.op in ("Pad", "Resize", "Upsample", "OneHot")


def _evaluated(node: gs.Node, values: list[np.ndarray], opset: int) -> Partial:
    if _makes_many(node, values) or node.op.startswith("Random"):
        return None
    names = [f"x{index}" if tensor.name else "" for index, tensor in enumerate(node.inputs)]
    attrs = {
        key: onnx.numpy_helper.from_array(value.values) if isinstance(value, gs.Constant) else value
        for key, value in node.attrs.items()
    }
    single = onnx.helper.make_node(node.op, names, ["y"], **attrs)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [single],
            "node",
            [onnx.helper.make_empty_tensor_value_info(name) for name in names if name],
            [onnx.helper.make_empty_tensor_value_info("y")],
        ),
        opset_imports=[onnx.helper.make_opsetid("", opset)],
    )
    feeds = dict(zip(filter(None, names), values, strict=True))
    try:
        (result,) = ReferenceEvaluator(model).run(None, feeds)
    except Exception:  # noqa: BLE001  what the evaluator cannot do is left to the run
        return None
    array = np.asarray(result)
    return array if array.size <= _MOST_ENTRIES and array.dtype != object else None
