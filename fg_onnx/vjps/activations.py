"""Activations: y = phi(x), position by position. At kinks the derivative is PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter, number
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.table import (
    IMPLICIT,
    Cotangents,
    Scaled,
    elementwise,
    homogeneous,
    implicit,
    vjp,
)


def _not_positive(op: Emitter, tensor: gs.Tensor) -> gs.Tensor:
    return op.mask(op.LessOrEqual(tensor, 0.0), tensor)


# The mask is taken from y, not x: then nothing but the activation reads the convolution's
# output, and the runtime may fuse the two.
elementwise("Relu", lambda op, p: op.above(p.y), "ct * [y > 0]", offset=homogeneous)


def _leaky(op: Emitter, p: Primal) -> gs.Tensor:
    alpha = p.attrs["alpha"]
    return op.Add(op.Mul(op.above(p.x), 1.0 - alpha), alpha)


elementwise("LeakyRelu", _leaky, "ct * (x > 0 ? 1 : alpha)", offset=homogeneous)


def _prelu_term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
    """With an active slope: -y where it acts; beside a constant x, y where it does not."""
    positive, whole = op.above(p.x), op.Mul(ct, p.y)
    return op.Mul(whole, op.Sub(positive, 1.0) if p.wants(0) else positive)


@vjp("PRelu", offset=lambda p: IMPLICIT if p.wants(1) else None, term=_prelu_term)
def prelu(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct * (x > 0 ? 1 : slope), and ct * min(x, 0) for the slope."""
    slope, positive = p.operand(1), op.above(p.x)
    other = op.Sub(1.0, positive)
    cts: list[gs.Tensor | None] = [None, None]
    if p.wants(0):
        cts[0] = op.Mul(ct, op.Add(positive, op.Mul(other, slope)))
    if p.wants(1):
        cts[1] = op.sum_to(op.Mul(ct, op.Mul(other, p.x)), p.shape(p.y), slope)
    return cts


def _elu(op: Emitter, p: Primal) -> gs.Tensor:
    # For x <= 0, alpha * exp(x) = y + alpha.
    outside = op.Mul(_not_positive(op, p.x), op.Add(p.y, p.attrs["alpha"]))
    return op.Add(op.above(p.x), outside)


elementwise("Elu", _elu, "ct * (x > 0 ? 1 : y + alpha)")


def _selu(op: Emitter, p: Primal) -> gs.Tensor:
    alpha, gamma = p.attrs["alpha"], p.attrs["gamma"]
    outside = op.Mul(_not_positive(op, p.x), op.Add(p.y, alpha * gamma))
    return op.Add(op.Mul(op.above(p.x), gamma), outside)


elementwise("Selu", _selu, "ct * (x > 0 ? gamma : y + alpha * gamma)")


def _celu(op: Emitter, p: Primal) -> gs.Tensor:
    outside = op.Mul(_not_positive(op, p.x), op.Add(op.Mul(p.y, 1.0 / p.attrs["alpha"]), 1.0))
    return op.Add(op.above(p.x), outside)


elementwise("Celu", _celu, "ct * (x > 0 ? 1 : exp(x / alpha))")
elementwise(
    "ThresholdedRelu",
    lambda op, p: op.above(p.x, p.attrs["alpha"]),
    "ct * [x > alpha]",
    offset=homogeneous,
)
elementwise("Sigmoid", lambda op, p: op.Mul(p.y, op.Sub(1.0, p.y)), "ct * y * (1 - y)")
elementwise("Tanh", lambda op, p: op.Sub(1.0, op.Mul(p.y, p.y)), "ct * (1 - y^2)")
elementwise("Softplus", lambda op, p: op.Sigmoid(p.x), "ct * sigmoid(x)")


def _softsign(op: Emitter, p: Primal) -> gs.Tensor:
    rest = op.Sub(1.0, op.Abs(p.y))
    return op.Mul(rest, rest)


elementwise("Softsign", _softsign, "ct * (1 - |y|)^2")


def _hard_sigmoid(op: Emitter, p: Primal) -> gs.Tensor:
    return op.Mul(op.Mul(op.above(p.y), op.below(p.y, 1.0)), p.attrs["alpha"])


elementwise("HardSigmoid", _hard_sigmoid, "ct * alpha * [0 < y < 1]")


Gated: TypeAlias = Callable[[Emitter, Primal], "tuple[gs.Tensor, gs.Tensor]"]


def _gated(op_type: str, parts: Gated, formula: str) -> None:
    """Register ``y = x g(x)`` by its gate ``g`` and ``fall = -x g'(x)``.

    So ``y' = g - fall``, and ``y - y' x = x fall``, where nothing is cancelled.
    """

    def slope(op: Emitter, p: Primal) -> gs.Tensor:
        gate, fall = parts(op, p)
        return op.Sub(gate, fall)

    def term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
        _, fall = parts(op, p)
        return op.Mul(op.Mul(ct, p.x), fall)

    elementwise(op_type, slope, formula, term=term)


def _hard_swish(op: Emitter, p: Primal) -> tuple[gs.Tensor, gs.Tensor]:
    # The slope of the gate is 1/6 for |x| < 3.
    inside = op.below(op.Abs(p.x), 3.0)
    fall = op.Mul(op.Mul(p.x, inside), -1.0 / 6.0)
    return op.HardSigmoid(p.x, alpha=1.0 / 6.0, beta=0.5), fall


_gated("HardSwish", _hard_swish, "ct * (h + x * [|x| < 3] / 6), h = hardsigmoid(x)")


def _swish(op: Emitter, p: Primal) -> tuple[gs.Tensor, gs.Tensor]:
    # With s = sigmoid(alpha x): s' = alpha s (1 - s).
    alpha = p.attrs.get("alpha", 1.0)
    s = op.Sigmoid(p.x if alpha == 1.0 else op.Mul(p.x, alpha))
    fall = op.Mul(p.y, op.Sub(s, 1.0))
    return s, fall if alpha == 1.0 else op.Mul(fall, alpha)


_gated("Swish", _swish, "ct * (s + alpha * y * (1 - s)), s = sigmoid(alpha * x)")


def _gelu(op: Emitter, p: Primal) -> tuple[gs.Tensor, gs.Tensor]:
    x = p.x
    if p.attrs.get("approximate", "none") == "tanh":
        # The gate is (1 + t) / 2, t = tanh(c (x + k x^3)).
        c, k = math.sqrt(2.0 / math.pi), 0.044715
        square = op.Mul(x, x)
        t = op.Tanh(op.Mul(op.Mul(x, op.Add(op.Mul(square, k), 1.0)), c))
        inner = op.Mul(op.Add(op.Mul(square, 3.0 * k), 1.0), 0.5 * c)
        fall = op.Mul(op.Mul(x, op.Sub(op.Mul(t, t), 1.0)), inner)
        return op.halfway(t), fall
    # The gate is Phi(x), its slope phi(x). With u = x / sqrt(2), x phi(x) = u exp(-u^2) / sqrt(pi).
    u = op.Mul(x, math.sqrt(0.5))
    fall = op.Mul(op.Div(u, op.Exp(op.Mul(u, u))), -1.0 / math.sqrt(math.pi))
    return op.halfway(op.Erf(u)), fall


_gated("Gelu", _gelu, "ct * (Phi(x) + x * phi(x)), or the tanh form's derivative")


def _mish(op: Emitter, p: Primal) -> tuple[gs.Tensor, gs.Tensor]:
    t = op.Tanh(op.Softplus(p.x))
    fall = op.Mul(op.Mul(p.x, op.Sigmoid(p.x)), op.Sub(op.Mul(t, t), 1.0))
    return t, fall


_gated("Mish", _mish, "ct * (t + x * sigmoid(x) * (1 - t^2)), t = tanh(softplus(x))")


elementwise(
    "Shrink",
    lambda op, p: op.above(op.Abs(p.x), p.attrs["lambd"]),
    "ct * [|x| > lambd]",
    offset=lambda p: IMPLICIT if p.attrs["bias"] else None,
)


def _clip_term(op: Emitter, p: Primal, ct: gs.Tensor, cts: Cotangents) -> gs.Tensor | Scaled:
    # Inside, ct_x = ct and the offset is 0; where it saturates, ct_x = 0 and the offset is y.
    low, high = number(p.input(1)), number(p.input(2))
    if low == 0.0 and high is not None and 0.0 < high < math.inf:
        return Scaled(op.Sub(op.Mul(ct, op.above(p.y, low)), cts[0]), high)
    return op.Mul(op.Sub(ct, cts[0]), p.y)


@vjp("Clip", offset=implicit, term=_clip_term)
def clip(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct * [min < y < max]; zero at both ends, as PyTorch's ReLU6."""
    low, high = p.input(1), p.input(2)
    if p.wants(1) or p.wants(2):
        raise p.refusal("its bounds depend on the explained input")
    if low is not None:
        ct = op.Mul(ct, op.above(p.y, low))
    if high is not None:
        ct = op.Mul(ct, op.below(p.y, high))
    return ct, None, None
