"""Conventions where the derivative does not exist: PyTorch's, as plain numbers and by autograd.

Also a few smooth functions against PyTorch's own derivative, written independently of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from .harness import Case, Fed, Live, Operand, emit_vjp, evaluate


def pulled(op_type: str, *values: Any, constants: tuple[Operand, ...] = (), **attrs: Any) -> list:
    """The cotangents that the rule passes to each operand, for a cotangent of 1 everywhere."""
    arrays = {f"u{i}": np.asarray(value, np.float64) for i, value in enumerate(values)}
    opset = attrs.pop("opset", 17)
    operands = (*(Live(array.shape) for array in arrays.values()), *constants)
    proto = emit_vjp(Case(op_type, operands, attrs, opset=opset)).proto
    y = evaluate_shape(proto)
    fed = {f"u{i}": o.value for i, o in enumerate(operands) if isinstance(o, Fed)}
    found = evaluate(proto, {**arrays, **fed, "ct0": np.ones(y)})
    return [found[f"pulled/{name}"] for name in arrays]


def evaluate_shape(proto: Any) -> list[int]:
    """Of the cotangent."""
    (ct,) = [value for value in proto.graph.input if value.name == "ct0"]
    return [dim.dim_value for dim in ct.type.tensor_type.shape.dim]


@dataclass(frozen=True)
class Kink:
    """An activation, points, PyTorch's slopes there, and the same function of PyTorch."""

    name: str
    op_type: str
    points: list[float]
    slopes: list[float]
    torch: Callable[[Any, Any], Any]  # (torch.nn.functional, x)
    constants: tuple[Operand, ...] = ()
    attrs: tuple[tuple[str, Any], ...] = ()

    def pulled(self) -> np.ndarray:
        return pulled(self.op_type, self.points, constants=self.constants, **dict(self.attrs))[0]


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_slope = np.array([0.25])
_exported = (("alpha", 1 / 6), ("beta", 0.5))  # HardSigmoid as PyTorch exports it

KINKS = [
    Kink("relu at 0", "Relu", [0.0, -0.0], [0.0, 0.0], lambda f, x: f.relu(x)),
    Kink(
        "leaky relu at 0", "LeakyRelu", [0.0], [0.125], lambda f, x: f.leaky_relu(x, 0.125),
        attrs=(("alpha", 0.125),),
    ),
    Kink(
        "prelu at 0", "PRelu", [0.0], [0.25], lambda f, x: f.prelu(x, x.new_tensor([0.25])),
        constants=(_slope,),
    ),
    Kink("elu at 0", "Elu", [0.0], [1.0], lambda f, x: f.elu(x)),
    Kink(
        "elu of alpha 1/2 at 0", "Elu", [0.0], [0.5], lambda f, x: f.elu(x, 0.5),
        attrs=(("alpha", 0.5),),
    ),
    Kink("celu at 0", "Celu", [0.0], [1.0], lambda f, x: f.celu(x, 2.0), attrs=(("alpha", 2.0),)),
    Kink("selu at 0", "Selu", [0.0], [SELU_SCALE * SELU_ALPHA], lambda f, x: f.selu(x)),
    Kink(
        "threshold at the threshold", "ThresholdedRelu", [1.0], [0.0],
        lambda f, x: f.threshold(x, 1.0, 0.0), attrs=(("alpha", 1.0),),
    ),
    Kink(
        "relu6 at 0 and 6", "Clip", [0.0, 3.0, 6.0], [0.0, 1.0, 0.0], lambda f, x: f.relu6(x),
        constants=(0.0, 6.0),
    ),
    Kink(
        "hardtanh at -1 and 1", "Clip", [-1.0, 0.0, 1.0], [0.0, 1.0, 0.0],
        lambda f, x: f.hardtanh(x), constants=(-1.0, 1.0),
    ),
    Kink(
        "hardsigmoid at -3 and 3", "HardSigmoid", [-3.0, 0.0, 3.0], [0.0, 1 / 6, 0.0],
        lambda f, x: f.hardsigmoid(x), attrs=_exported,
    ),
    Kink(
        "hardswish at -3 and 3", "HardSwish", [-3.0, 0.0, 3.0], [0.0, 0.5, 1.0],
        lambda f, x: f.hardswish(x),
    ),
    Kink("abs at 0", "Abs", [0.0, -0.0], [0.0, 0.0], lambda _, x: x.abs()),
    Kink("softsign at 0", "Softsign", [0.0], [1.0], lambda f, x: f.softsign(x)),
    Kink(
        "norm of zeros", "ReduceL2", [0.0, 0.0], [0.0, 0.0], lambda _, x: x.norm(dim=0)
    ),
    Kink("sum of magnitudes at 0", "ReduceL1", [0.0, -2.0], [0.0, -1.0], lambda _, x: x.norm(1)),
    Kink(
        "maximum of a row with ties", "ReduceMax", [3.0, 1.0, 3.0, 2.0], [0.5, 0.0, 0.5, 0.0],
        lambda _, x: x.amax(0),
    ),
    Kink(
        "minimum of a row with ties", "ReduceMin", [1.0, 1.0, 3.0, 1.0], [1 / 3, 1 / 3, 0.0, 1 / 3],
        lambda _, x: x.amin(0),
    ),
    Kink(
        "product with one 0", "ReduceProd", [2.0, 0.0, -3.0], [0.0, -6.0, 0.0],
        lambda _, x: x.prod(),
    ),
    Kink(
        "product with two 0", "ReduceProd", [2.0, 0.0, 0.0], [0.0, 0.0, 0.0], lambda _, x: x.prod()
    ),
    Kink(
        "running product with one 0", "CumProd", [2.0, 0.0, 3.0], [1.0, 8.0, 0.0],
        lambda _, x: x.cumprod(0), constants=(np.array(0),), attrs=(("opset", 26),),
    ),
    Kink(
        "hardshrink at its ends", "Shrink", [-0.5, 0.0, 0.5, 0.75], [0.0, 0.0, 0.0, 1.0],
        lambda f, x: f.hardshrink(x), attrs=(("lambd", 0.5),),
    ),
    Kink(
        "powers of 0", "Pow", [0.0, 0.0, 0.0], [0.0, 1.0, 0.0],
        lambda _, x: x.pow(x.new_tensor([0.0, 1.0, 2.0])), constants=(np.array([0.0, 1.0, 2.0]),),
    ),
    Kink(
        "powers of 0 at run time", "Pow", [0.0, 0.0, 0.0], [0.0, 1.0, 0.0],
        lambda _, x: x.pow(x.new_tensor([0.0, 1.0, 2.0])),
        constants=(Fed(np.array([0.0, 1.0, 2.0])),),
    ),
    Kink(
        "remainder at a multiple", "Mod", [-4.0, 0.0, 2.0], [1.0, 1.0, 1.0],
        lambda _, x: x.fmod(2.0), constants=(np.float64(2.0),), attrs=(("fmod", 1),),
    ),
    Kink(
        "softplus", "Softplus", [-20.0, 0.0, 1.0, 30.0],
        [2.0611536181902037e-09, 0.5, 0.7310585786300049, 1.0],
        lambda f, x: f.softplus(x, 1.0, 99.0),
    ),
    Kink(
        "gelu", "Gelu", [-1.0, 0.0, 1.0], [-0.08331547058768629, 0.5, 1.0833154705876863],
        lambda f, x: f.gelu(x), attrs=(("opset", 20),),
    ),
    Kink(
        "gelu by tanh", "Gelu", [-1.0, 0.0, 1.0], [-0.08296408384578253, 0.5, 1.0829640838457826],
        lambda f, x: f.gelu(x, approximate="tanh"),
        attrs=(("opset", 20), ("approximate", "tanh")),
    ),
    Kink(
        "mish", "Mish", [-1.0, 0.0, 1.0], [0.059216755877395, 0.6, 1.0490362200997922],
        lambda f, x: f.mish(x), attrs=(("opset", 18),),
    ),
]  # fmt: skip

every_kink = pytest.mark.parametrize("kink", KINKS, ids=lambda kink: kink.name)
# Attributes are float32, and so are the SELU constants of the schema: 1/6 and they are off by 5e-8.
TOLERANCE = 1e-7


@every_kink
def test_slope(kink: Kink) -> None:
    np.testing.assert_allclose(kink.pulled(), kink.slopes, rtol=0, atol=TOLERANCE)


@pytest.mark.torch
@every_kink
def test_slope_is_that_of_torch(kink: Kink) -> None:
    torch = pytest.importorskip("torch")
    x = torch.tensor(kink.points, dtype=torch.float64, requires_grad=True)
    kink.torch(torch.nn.functional, x).sum().backward()
    np.testing.assert_allclose(kink.pulled(), x.grad.numpy(), rtol=0, atol=TOLERANCE)


@pytest.mark.torch
def test_relu6_module() -> None:
    torch = pytest.importorskip("torch")
    x = torch.tensor([0.0, 6.0], requires_grad=True)
    torch.nn.ReLU6()(x).sum().backward()
    assert x.grad.tolist() == pulled("Clip", [0.0, 6.0], constants=(0.0, 6.0))[0].tolist()


# --- Max and Min ---------------------------------------------------------------------------------

A, B = [1.0, 2.0, 3.0], [1.0, 5.0, 3.0]


@pytest.mark.parametrize("op_type", ["Max", "Min"])
def test_two_operands_that_tie_share(op_type: str) -> None:
    wins = 0.0 if op_type == "Max" else 1.0
    a, b = pulled(op_type, A, B)
    assert a.tolist() == [0.5, wins, 0.5]
    assert b.tolist() == [0.5, 1.0 - wins, 0.5]


def test_an_active_operand_shares_with_a_constant() -> None:
    """max(x, 0) written with Max has slope 1/2 at 0, unlike Relu: so has torch.maximum."""
    (a,) = pulled("Max", [-1.0, 0.0, 1.0], constants=(np.zeros(1),))
    assert a.tolist() == [0.0, 0.5, 1.0]


def test_three_operands_that_tie_share() -> None:
    for ct in pulled("Max", [1.0], [1.0], [1.0]):
        assert ct == pytest.approx(1 / 3)


@pytest.mark.torch
@pytest.mark.parametrize("op_type", ["Max", "Min"])
def test_ties_are_shared_as_torch_does(op_type: str) -> None:
    torch = pytest.importorskip("torch")
    a, b = (torch.tensor(v, requires_grad=True) for v in (A, B))
    {"Max": torch.maximum, "Min": torch.minimum}[op_type](a, b).sum().backward()
    found = pulled(op_type, A, B)
    assert [ct.tolist() for ct in found] == [a.grad.tolist(), b.grad.tolist()]


@pytest.mark.parametrize("p", [1, 2])
def test_normalised_zeros_have_slope_0(p: int) -> None:
    """ONNX leaves zeros zeros. PyTorch divides by 1e-12 there, and has a slope of 1e12."""
    (found,) = pulled("LpNormalization", [[0.0, 0.0], [-3.0, 4.0]], p=p)
    assert found[0].tolist() == [0.0, 0.0]
    assert np.abs(found[1]).min() > 0.01


def test_an_exponent_of_a_base_that_is_not_positive_has_slope_0() -> None:
    """As PyTorch's for 0; below 0 PyTorch has none, and ONNX only powers of whole numbers."""
    _, e = pulled("Pow", [0.0, -2.0, 2.0], [2.0, 2.0, 2.0])
    np.testing.assert_allclose(e, [0.0, 0.0, 4 * np.log(2)])


@pytest.mark.torch
def test_the_slope_of_an_exponent_is_that_of_torch() -> None:
    torch = pytest.importorskip("torch")
    exponents = torch.tensor([2.0, 2.0], dtype=torch.float64, requires_grad=True)
    torch.tensor([0.0, 2.0], dtype=torch.float64).pow(exponents).sum().backward()
    _, e = pulled("Pow", [0.0, 2.0], [2.0, 2.0])
    np.testing.assert_allclose(e, exponents.grad.numpy())


def test_what_was_kept_and_what_was_put_share_a_maximum() -> None:
    indices = np.array([[1], [1], [2]])
    operands = (Live((3,)), indices, Live((3,)))
    proto = emit_vjp(Case("ScatterND", operands, {"reduction": "max"}, opset=18)).proto
    feeds = {"u0": [5.0, 2.0, 1.0], "u2": [2.0, 2.0, 4.0], "ct0": [1.0, 1.0, 1.0]}
    found = evaluate(proto, {name: np.array(value) for name, value in feeds.items()})
    np.testing.assert_allclose(found["pulled/u0"], [1.0, 1 / 3, 0.0])
    np.testing.assert_allclose(found["pulled/u2"], [1 / 3, 1 / 3, 1.0])


# --- MaxPool: the first maximum in row-major order -----------------------------------------------


def first_maxima(x: np.ndarray, k: int, s: int, pad: int = 0, d: int = 1) -> np.ndarray:
    """1 for every window at its first maximum, row by row; slow and plain."""
    found = np.zeros_like(x)
    rows, columns = ((n + 2 * pad - d * (k - 1) - 1) // s + 1 for n in x.shape[2:])
    for n, c, i, j in np.ndindex(*x.shape[:2], rows, columns):
        window = [(i * s + a * d - pad, j * s + b * d - pad) for a in range(k) for b in range(k)]
        inside = [(u, v) for u, v in window if 0 <= u < x.shape[2] and 0 <= v < x.shape[3]]
        u, v = max(inside, key=lambda at: x[n, c, at[0], at[1]])  # the first of equal ones
        found[n, c, u, v] += 1
    return found


def pooled(x: np.ndarray, k: int, s: int, pad: int = 0, d: int = 1) -> np.ndarray:
    attrs = {"kernel_shape": [k, k], "strides": [s, s], "pads": [pad] * 4, "dilations": [d, d]}
    return pulled("MaxPool", x, **attrs)[0]


def _integers(seed: int, *shape: int) -> np.ndarray:
    """0, 1 and 2: most windows have ties."""
    return np.random.default_rng(seed).integers(0, 3, shape).astype(np.float64)


POOLS = {
    "all-equal-tiles": (np.ones((2, 2, 4, 4)), 2, 2),
    "all-equal-overlapping": (np.ones((2, 1, 5, 5)), 3, 1),
    "all-zero-with-pads": (np.zeros((1, 1, 6, 6)), 3, 2, 1),
    "all-negative-with-pads": (-np.ones((1, 1, 6, 6)), 3, 2, 1),
    "integers-tiles": (_integers(0, 2, 3, 6, 6), 2, 2),
    "integers-tiles-of-three": (_integers(6, 2, 3, 6, 9), 3, 3),
    "integers-tiles-with-rest": (_integers(1, 2, 3, 7, 7), 2, 2),
    "integers-overlapping": (_integers(2, 2, 3, 7, 7), 3, 2),
    "integers-overlapping-pads": (_integers(3, 2, 3, 8, 8), 3, 2, 1),
    "integers-stride-1-pads": (_integers(4, 2, 2, 6, 6), 3, 1, 1),
    "integers-dilations": (_integers(5, 2, 2, 8, 8), 3, 2, 1, 2),
    "one-column-beats-an-earlier-row": (np.array([[[[0.0, 1.0], [1.0, 1.0]]]]), 2, 1),
    "first-row-then-first-column": (np.array([[[[0.0, 0, 1], [1, 1, 1], [1, 0, 0]]]]), 3, 1),
}  # fmt: skip

every_pool = pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)


def test_four_equal_values_give_all_to_the_first() -> None:
    assert pooled(np.ones((1, 1, 2, 2)), 2, 2).tolist() == [[[[1.0, 0.0], [0.0, 0.0]]]]


def test_the_first_row_wins_before_the_first_column() -> None:
    x = np.array([[[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]])
    assert np.argwhere(pooled(x, 3, 1)[0, 0]).tolist() == [[0, 2]]


@every_pool
def test_the_first_maximum_takes_all(pool: tuple[Any, ...]) -> None:
    np.testing.assert_array_equal(pooled(*pool), first_maxima(*pool))


@every_pool
def test_the_first_maximum_takes_all_in_an_image_of_unknown_size(pool: tuple[Any, ...]) -> None:
    x, k, s, pad, d = [*pool, *(0, 1)[len(pool) - 3 :]]
    attrs = {"kernel_shape": [k, k], "strides": [s, s], "pads": [pad] * 4, "dilations": [d, d]}
    proto = emit_vjp(Case("MaxPool", (Live(x.shape, dims=("N", "C", "H", "W")),), attrs)).proto
    sizes = [(n + 2 * pad - d * (k - 1) - 1) // s + 1 for n in x.shape[2:]]
    found = evaluate(proto, {"u0": x, "ct0": np.ones((*x.shape[:2], *sizes))})["pulled/u0"]
    np.testing.assert_array_equal(found, first_maxima(*pool))


@pytest.mark.torch
@every_pool
def test_the_maximum_is_that_of_torch(pool: tuple[Any, ...]) -> None:
    torch = pytest.importorskip("torch")
    array, *window = pool
    k, s, pad, d = [*window, *(0, 1)[len(window) - 2 :]]
    x = torch.tensor(array, requires_grad=True)
    torch.nn.functional.max_pool2d(x, k, s, pad, d).sum().backward()
    np.testing.assert_array_equal(pooled(*pool), x.grad.numpy())


GLOBAL = np.array([[[[0.0, 2.0, 1.0], [2.0, 2.0, 0.0]], [[-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0]]]])


def test_the_first_of_all_maxima_takes_all() -> None:
    (ct,) = pulled("GlobalMaxPool", GLOBAL)
    assert np.argwhere(ct[0]).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert ct.sum() == 2


@pytest.mark.torch
def test_the_maximum_of_all_is_that_of_torch() -> None:
    torch = pytest.importorskip("torch")
    x = torch.tensor(GLOBAL, requires_grad=True)
    torch.nn.functional.adaptive_max_pool2d(x, 1).sum().backward()
    np.testing.assert_array_equal(pulled("GlobalMaxPool", GLOBAL)[0], x.grad.numpy())


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_norm_of_zeros_has_slope_0(order: int) -> None:
    zeros = np.zeros((1, 1, 2, 2))
    for op_type, attrs in {"GlobalLpPool": {}, "LpPool": {"kernel_shape": [2, 2]}}.items():
        (ct,) = pulled(op_type, zeros, p=order, **attrs)
        np.testing.assert_array_equal(ct, zeros)
