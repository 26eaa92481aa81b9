"""Activations: y = phi(x), position by position. At kinks the derivative is PyTorch's."""

from __future__ import annotations

import math

import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.table import IMPLICIT, Cotangents, elementwise, homogeneous, implicit, vjp


def _positive(op: Emitter, tensor: gs.Tensor) -> gs.Tensor:
    return op.mask(op.Greater(tensor, 0.0), tensor)


def _negative(op: Emitter, tensor: gs.Tensor) -> gs.Tensor:
    return op.mask(op.Less(tensor, 0.0), tensor)


def _not_positive(op: Emitter, tensor: gs.Tensor) -> gs.Tensor:
    return op.mask(op.LessOrEqual(tensor, 0.0), tensor)


# The mask is taken from y, not x: then nothing but the activation reads the convolution's
# output, and the runtime may fuse the two.
elementwise("Relu", lambda op, p: _positive(op, p.y), "ct * [y > 0]", offset=homogeneous)


def _leaky(op: Emitter, p: Primal) -> gs.Tensor:
    alpha = p.attrs["alpha"]
    return op.Add(op.Mul(_positive(op, p.x), 1.0 - alpha), alpha)


elementwise("LeakyRelu", _leaky, "ct * (x > 0 ? 1 : alpha)", offset=homogeneous)


def _prelu_term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
    """With an active slope: -y where it acts; beside a constant x, y where it does not."""
    positive, whole = _positive(op, p.x), op.Mul(ct, p.y)
    return op.Mul(whole, op.Sub(positive, 1.0) if p.wants(0) else positive)


@vjp("PRelu", offset=lambda p: IMPLICIT if p.wants(1) else None, term=_prelu_term)
def prelu(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct * (x > 0 ? 1 : slope), and ct * min(x, 0) for the slope."""
    slope, positive = p.operand(1), _positive(op, p.x)
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
    return op.Add(_positive(op, p.x), outside)


elementwise("Elu", _elu, "ct * (x > 0 ? 1 : y + alpha)")


def _selu(op: Emitter, p: Primal) -> gs.Tensor:
    alpha, gamma = p.attrs["alpha"], p.attrs["gamma"]
    outside = op.Mul(_not_positive(op, p.x), op.Add(p.y, alpha * gamma))
    return op.Add(op.Mul(_positive(op, p.x), gamma), outside)


elementwise("Selu", _selu, "ct * (x > 0 ? gamma : y + alpha * gamma)")


def _celu(op: Emitter, p: Primal) -> gs.Tensor:
    outside = op.Mul(_not_positive(op, p.x), op.Add(op.Mul(p.y, 1.0 / p.attrs["alpha"]), 1.0))
    return op.Add(_positive(op, p.x), outside)


elementwise("Celu", _celu, "ct * (x > 0 ? 1 : exp(x / alpha))")
elementwise(
    "ThresholdedRelu",
    lambda op, p: op.mask(op.Greater(p.x, p.attrs["alpha"]), p.x),
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
    inside = op.And(op.Greater(p.y, 0.0), op.Less(p.y, 1.0))
    return op.Mul(op.mask(inside, p.y), p.attrs["alpha"])


elementwise("HardSigmoid", _hard_sigmoid, "ct * alpha * [0 < y < 1]")


def _hard_swish(op: Emitter, p: Primal) -> gs.Tensor:
    # y = x h with h = hardsigmoid(x), so y' = h + x h', and h' = 1/6 for |x| < 3.
    inside = op.mask(op.Less(op.Abs(p.x), 3.0), p.x)
    hard = op.HardSigmoid(p.x, alpha=1.0 / 6.0, beta=0.5)
    return op.Add(hard, op.Mul(op.Mul(p.x, inside), 1.0 / 6.0))


elementwise("HardSwish", _hard_swish, "ct * (h + x * [|x| < 3] / 6), h = hardsigmoid(x)")


def _swish(op: Emitter, p: Primal) -> gs.Tensor:
    # With s = sigmoid(alpha x): y' = s + alpha y (1 - s).
    alpha = p.attrs.get("alpha", 1.0)
    s = op.Sigmoid(p.x if alpha == 1.0 else op.Mul(p.x, alpha))
    rest = op.Mul(p.y, op.Sub(1.0, s))
    return op.Add(s, rest if alpha == 1.0 else op.Mul(rest, alpha))


elementwise("Swish", _swish, "ct * (s + alpha * y * (1 - s)), s = sigmoid(alpha * x)")


def _gelu(op: Emitter, p: Primal) -> gs.Tensor:
    x = p.x
    if p.attrs.get("approximate", "none") == "tanh":
        # y = x/2 (1 + t), t = tanh(c (x + k x^3)).
        c, k = math.sqrt(2.0 / math.pi), 0.044715
        square = op.Mul(x, x)
        t = op.Tanh(op.Mul(op.Mul(x, op.Add(op.Mul(square, k), 1.0)), c))
        inner = op.Mul(op.Add(op.Mul(square, 3.0 * k), 1.0), 0.5 * c)
        bend = op.Mul(op.Mul(x, op.Sub(1.0, op.Mul(t, t))), inner)
        return op.Add(op.Mul(op.Add(t, 1.0), 0.5), bend)
    # y = x Phi(x), so y' = Phi(x) + x phi(x).
    cdf = op.Mul(op.Add(op.Erf(op.Mul(x, math.sqrt(0.5))), 1.0), 0.5)
    density = op.Mul(op.Exp(op.Mul(op.Mul(x, x), -0.5)), 1.0 / math.sqrt(2.0 * math.pi))
    return op.Add(cdf, op.Mul(x, density))


elementwise("Gelu", _gelu, "ct * (Phi(x) + x * phi(x)), or the tanh form's derivative")


def _mish(op: Emitter, p: Primal) -> gs.Tensor:
    t = op.Tanh(op.Softplus(p.x))
    bend = op.Mul(op.Mul(p.x, op.Sigmoid(p.x)), op.Sub(1.0, op.Mul(t, t)))
    return op.Add(t, bend)


elementwise("Mish", _mish, "ct * (t + x * sigmoid(x) * (1 - t^2)), t = tanh(softplus(x))")


elementwise(
    "Shrink",
    lambda op, p: op.mask(op.Greater(op.Abs(p.x), p.attrs["lambd"]), p.x),
    "ct * [|x| > lambd]",
    offset=lambda p: IMPLICIT if p.attrs["bias"] else None,
)


def _clip_term(op: Emitter, p: Primal, ct: gs.Tensor, cts: Cotangents) -> gs.Tensor:
    # Inside, ct_x = ct and the offset is 0; where it saturates, ct_x = 0 and the offset is y.
    return op.Mul(op.Sub(ct, cts[0]), p.y)


@vjp("Clip", offset=implicit, term=_clip_term)
def clip(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct * [min < y < max]; zero at both ends, as PyTorch's ReLU6."""
    low, high = p.input(1), p.input(2)
    if p.wants(1) or p.wants(2):
        raise p.refusal("its bounds depend on the explained input")
    above = op.Greater(p.y, low) if low is not None else None
    below = op.Less(p.y, high) if high is not None else None
    if above is None and below is None:
        return ct, None, None
    inside = op.And(above, below) if above is not None and below is not None else above or below
    return op.Mul(ct, op.mask(inside, p.y)), None, None
