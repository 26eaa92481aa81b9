"""Which nodes are handed to onnxruntime-training 1.19.2, and why the others are not.

Found by giving its gradient builder the one-node models of tests/vjps/cases, and holding what came
of it against differences (docs/engines.md). What it refuses, crashes on or differentiates wrongly
is refused here, before it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import onnx_graphsurgeon as gs
from onnx import defs

from fg_onnx.errors import UnsupportedModelError
from fg_onnx.graph.primal import Primal
from fg_onnx.versions import since

NEWEST_OPSET = 21  # the newest that onnxruntime-training 1.19 knows
NEWEST_IR = 10

HINT = "use --gradients standard"

Check: TypeAlias = Callable[[Primal], str | None]


def require_accepted(nodes: Sequence[Primal], opset: int) -> None:
    """Fail if any node is beyond the engine.

    Args:
        nodes: the active nodes, each by itself.
        opset: of the model.

    Raises:
        UnsupportedModelError: naming the first such node, its reason, and how many more.
    """
    refused = [(p, why) for p in nodes if (why := reason_against(p, opset))]
    if refused:
        p, why = refused[0]
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        raise UnsupportedModelError(
            "engine-refuses",
            f"`{p.op_type}` at `{p.name}`: {why}{more}",
            HINT,
            op=p.op_type,
            node=p.name,
        )


def reason_against(p: Primal, opset: int) -> str | None:
    """Why a node is not handed over, None where it is."""
    if p.op_type not in _ACCEPTED:
        return _FAILING.get(p.op_type, "onnxruntime-training has no gradient of it")
    for tensor in (*p.inputs, *p.outputs):
        if tensor is not None and tensor.dtype in _OTHER_FLOATS:
            return f"onnxruntime-training takes float32 alone, and `{tensor.name}` is not"
    if not has_the_form_of(p.op_type, opset, NEWEST_OPSET):
        return f"its form of opset {since(p.op_type, opset)} is newer than onnxruntime-training"
    with p.consistent():
        return _ACCEPTED[p.op_type](p)


def has_the_form_of(op_type: str, opset: int, other: int) -> bool:
    """Whether an operator has the same operands and attributes at two opsets (types may differ)."""
    if since(op_type, opset) <= other:
        return True
    if not defs.has(op_type, other):
        return False
    new, old = (defs.get_schema(op_type, version) for version in (opset, other))
    return [x.name for x in new.inputs] == [x.name for x in old.inputs] and set(
        new.attributes
    ) == set(old.attributes)


_OTHER_FLOATS = [np.dtype(np.float16), np.dtype(np.float64)]


def _always(_: Primal) -> None:
    """Differentiated rightly in every form."""


def _known_sizes(p: Primal) -> str | None:
    for tensor in (p.x, p.y):
        if not all(isinstance(dim, int) for dim in p.shape(tensor)[2:]):
            return "the gradients of onnxruntime-training crash on pools of unknown height or width"
    return None


def _average_pool(p: Primal) -> str | None:
    if set(p.attrs.get("dilations") or [1]) != {1}:
        return "onnxruntime-training leaves its dilations out"
    return _known_sizes(p)


def _windows(p: Primal) -> str | None:
    """SAME padding is made explicit, which takes sizes."""
    unknown = not all(isinstance(dim, int) for dim in p.shape(p.x)[2:])
    if p.attrs.get("auto_pad", "NOTSET").startswith("SAME") and unknown:
        return "SAME padding of unknown sizes cannot be made explicit for onnxruntime-training"
    return None


def _exact_gelu(p: Primal) -> str | None:
    if p.attrs["approximate"] != "none":
        return "onnxruntime-training differentiates its tanh form as the exact one"
    return None


def _gemm(p: Primal) -> str | None:
    if p.wants(2) and not p.shape(p.operand(2)):
        return "onnxruntime-training gives the gradient of a scalar C a dimension"
    return None


def _matrices(p: Primal) -> str | None:
    if any(len(p.shape(operand)) < 2 for operand in p.inputs if operand is not None):
        return "onnxruntime-training fails on vectors"
    return None


def _constant_pad(p: Primal) -> str | None:
    if p.attrs["mode"] != "constant":
        return f"onnxruntime-training has no gradient of mode `{p.attrs['mode']}`"
    return "onnxruntime-training ignores its axes" if p.input(3) is not None else None


def _power(p: Primal) -> str | None:
    if p.wants(1):
        return "onnxruntime-training has no gradient by the exponent"
    exponent = p.operand(1)
    if exponent.dtype != np.float32:
        return "onnxruntime-training takes float32 exponents alone"
    if not isinstance(exponent, gs.Constant) or not np.all(exponent.values):
        return "of x^0 at 0 onnxruntime-training makes a gradient that is no number"
    return _same_shapes(p, [0])


def _where(p: Primal) -> str | None:
    return _same_shapes(p, [index for index in (1, 2) if p.wants(index)])


def _same_shapes(p: Primal, indices: Sequence[int]) -> str | None:
    if any(p.shape(p.operand(index)) != p.shape(p.y) for index in indices):
        return "onnxruntime-training does not sum the gradient of an operand that is broadcast"
    return None


def _reduction(p: Primal) -> str | None:
    if p.attrs.get("noop_with_empty_axes", 0):
        return "onnxruntime-training fails on noop_with_empty_axes"
    return None


def _kept_reduction(p: Primal) -> str | None:
    if not p.attrs["keepdims"] and p.input(1) is None:
        return "onnxruntime-training fails where dimensions are dropped that no operand names"
    return _reduction(p)


def _distinct(p: Primal) -> str | None:
    names = [u.name for u, active in zip(p.inputs, p.active, strict=True) if active and u]
    if len(set(names)) < len(names):
        return "onnxruntime-training fails on an operand that is given twice"
    return None


def _plain_scatter(p: Primal) -> str | None:
    reduction = p.attrs.get("reduction", "none")
    if reduction != "none" and (reduction != "add" or p.wants(0)):
        return "onnxruntime-training ignores its reduction"
    return None


def _inference(p: Primal) -> str | None:
    known = all(isinstance(operand, gs.Constant) for operand in p.inputs[1:5])
    return None if known else "its parameters are computed, and onnxruntime-training has no rule"


_ACCEPTED: Mapping[str, Check] = {
    **dict.fromkeys(
        (
            "Abs", "Add", "Cast", "Clip", "Concat", "Cos", "Div", "Dropout", "Erf", "Exp",
            "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "GlobalAveragePool",
            "Identity", "LeakyRelu", "Log", "LogSoftmax", "Mul", "Neg",
            "Reciprocal", "Relu", "Reshape", "Resize", "Sigmoid", "Sin", "Slice", "Softmax",
            "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Tile", "TopK", "Transpose", "Trilu",
            "Unsqueeze",
        ),
        _always,
    ),
    "AveragePool": _average_pool,
    "BatchNormalization": _inference,
    "Conv": _windows,
    "ConvTranspose": _always,
    "Gelu": _exact_gelu,
    "Gemm": _gemm,
    "MatMul": _matrices,
    "Max": _distinct,
    "MaxPool": _known_sizes,
    "Min": _distinct,
    "Pad": _constant_pad,
    "Pow": _power,
    "ReduceL2": _kept_reduction,
    "ReduceLogSumExp": _kept_reduction,
    "ReduceMean": _reduction,
    "ReduceSum": _reduction,
    "ScatterElements": _plain_scatter,
    "ScatterND": _plain_scatter,
    "Where": _where,
}  # fmt: skip


_FAILING = {
    "LayerNormalization": "onnxruntime-training fails on it where not all three results are named",
}


def accepted_operators() -> tuple[str, ...]:
    """The operators of which the engine takes at least one form."""
    return tuple(sorted(_ACCEPTED))
