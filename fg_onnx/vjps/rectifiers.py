"""The ReLU rules of guided backpropagation and deconvnet, in the place of the true ones.

Both are defined for networks whose only nonlinearities beside pooling are rectifiers: ReLU, and
ReLU6 as its clipped form. What they yield is no gradient and no part of a decomposition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
OTHER_ACTIVATIONS = frozenset(
    {
        "Celu", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu",
        "Selu", "Shrink", "Sigmoid", "Softplus", "Softsign", "Swish", "Tanh", "ThresholdedRelu",
    }
)  # fmt: skip
_BOUNDS = frozenset({"Max", "Min"})  # rectifiers too, where an operand is a constant

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
        UnsupportedModelError: another activation stands between, for which the variant is not
            defined, or there is no rectifier at all.
    """
    for p in primals:
        reason = _refused(p)
        if reason is not None:
            raise UnsupportedModelError(
                "not-rectified",
                f"`{p.op_type}` at `{p.name}`: {variant} is defined for ReLU, and {reason}",
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


def _refused(p: Primal) -> str | None:
    if p.op_type in OTHER_ACTIVATIONS:
        return "this is another activation"
    if p.op_type == "Clip" and not _is_zero(p.input(1)):
        return "this clips at another value than 0"
    if p.op_type in _BOUNDS and not all(p.active):
        return "this bounds by a constant"
    return None


def _is_zero(bound: gs.Tensor | None) -> bool:
    return isinstance(bound, gs.Constant) and not np.any(bound.values)
