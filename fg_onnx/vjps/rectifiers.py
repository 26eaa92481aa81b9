"""The ReLU rules of guided backpropagation and deconvnet, in the place of the true ones.

Both are defined for networks whose only nonlinearities beside max-pooling are rectifiers: ReLU, and
ReLU6 as its clipped form. What is known to be linear passes, and all else is refused. What they
yield is no gradient and no part of a decomposition.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.errors import UnsupportedModelError
from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.table import RULES, Cotangents, Rule

Variant = Literal["guided-backprop", "deconvnet"]

RECTIFIERS = frozenset({"Relu", "Clip"})
POOLING = frozenset({"GlobalMaxPool", "MaxPool"})
# Linear, up to a constant, in all operands that depend on the image together, ...
LINEAR = frozenset(
    {
        "Add", "AveragePool", "Cast", "Col2Im", "Compress", "Concat", "CumSum", "DepthToSpace",
        "Dropout", "Expand", "Flatten", "Gather", "GatherElements", "GatherND",
        "GlobalAveragePool", "Identity", "Mean", "Neg", "Pad", "ReduceMean", "ReduceSum",
        "Reshape", "Resize", "ReverseSequence", "Slice", "SpaceToDepth", "Split", "Squeeze",
        "Sub", "Sum", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where",
    }
)  # fmt: skip
# ... in any one of them, the others being constant, ...
PRODUCTS = frozenset({"Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul", "Mul"})
# ... and in the first alone.
LINEAR_IN_FIRST = frozenset({"BatchNormalization", "DeformConv", "Div", "GridSample"})
_OF_SHAPES = frozenset({"EyeLike", "RandomNormalLike", "RandomUniformLike", "Shape", "Size"})

_VjpOf: TypeAlias = Callable[..., Cotangents]


def _guided(rule: Rule) -> _VjpOf:
    def vjp(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
        passed, *others = rule.vjp(op, p, ct)
        return (op.Relu(passed), *others)

    return vjp


def _deconvnet(_: Rule) -> _VjpOf:
    def vjp(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
        return (op.Relu(ct), *[None] * (len(p.inputs) - 1))

    return vjp


VARIANTS: Mapping[Variant, tuple[Callable[[Rule], _VjpOf], str]] = MappingProxyType(
    {
        "guided-backprop": (_guided, "max(ct, 0) * [y > 0]"),
        "deconvnet": (_deconvnet, "max(ct, 0)"),
    }
)
"""What each puts in the place of a rectifier's rule, and the formula."""


def rules_of(variant: Variant, primals: Sequence[Primal]) -> Mapping[str, Rule]:
    """The table with a variant's rule for rectifiers.

    Raises:
        UnsupportedModelError: a step is neither linear, pooling nor a rectifier, so that the
            variant is not defined, or there is no rectifier at all.
    """
    active = {
        operand.name
        for p in primals
        for operand, is_active in zip(p.inputs, p.active, strict=True)
        if is_active and operand is not None
    }
    for p in primals:
        reason = _refused(p, active)
        if reason is not None:
            raise UnsupportedModelError(
                "not-rectified",
                f"`{p.op_type}` at `{p.name}`: {variant} is defined for ReLU between linear "
                f"steps and pooling, and {reason}",
                "take another method, such as input-gradient",
                op=p.op_type,
                node=p.name,
            )
    if not any(p.op_type in RECTIFIERS for p in primals):
        raise UnsupportedModelError(
            "not-rectified",
            f"the model has no ReLU, so that {variant} would be the gradient",
            "take input-gradient",
        )
    make, formula = VARIANTS[variant]
    changed = {
        name: replace(RULES[name], vjp=make(RULES[name]), summary=formula) for name in RECTIFIERS
    }
    return {**RULES, **changed}


def _refused(p: Primal, active: Collection[str]) -> str | None:
    if p.op_type == "Clip":
        return None if _is_zero(p.input(1)) else "this clips at another value than 0"
    if p.op_type in RECTIFIERS | POOLING:
        return None
    if not _is_linear(p):
        return "this is none of these"
    for operand, is_active in zip(p.inputs, p.active, strict=True):
        if operand is not None and not is_active and _depends(operand, active):
            return f"its operand `{operand.name}` depends on the image too, as that of a gate does"
    return None


def _is_linear(p: Primal) -> bool:
    if p.op_type in PRODUCTS:
        return sum(p.active) == 1
    if p.op_type in LINEAR_IN_FIRST:
        return not any(p.active[1:])
    return p.op_type in LINEAR


def _depends(tensor: gs.Tensor, active: Collection[str]) -> bool:
    """Whether a tensor's values follow from active ones, be it by steps without a derivative."""
    waiting, seen = [tensor], set[str]()
    while waiting:
        at = waiting.pop()
        if at.name in active:
            return True
        if at.name in seen:
            continue
        seen.add(at.name)
        for node in at.inputs:
            if node.op not in _OF_SHAPES:
                inner = (each for part in node.subgraphs(recursive=True) for each in part.nodes)
                waiting += [t for each in (node, *inner) for t in each.inputs if t.name]
    return False


def _is_zero(bound: gs.Tensor | None) -> bool:
    return isinstance(bound, gs.Constant) and not np.any(bound.values)
