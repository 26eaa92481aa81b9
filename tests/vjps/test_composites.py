"""Activations written out as several nodes: one site where they can be recognised."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import parser

from .harness import Walked, walk

X = np.array([[-4.0, -1.5, -0.25, 0.0, 0.5, 2.0, 3.5]])
CT = np.array([[1.0, -2.0, 0.5, 3.0, -1.0, 2.0, 4.0]])
# The exported 1/6 is a float32: off by 5e-9.
TOLERANCE = 1e-7


def walked(body: str, outputs: str = "double[1,7] y", opset: int = 17) -> Walked:
    constants = {"zero": 0.0, "half": 0.5, "one": 1.0, "three": 3.0, "six": 6.0}
    given = " ".join(f"{n} = Constant<value = double {{{v}}}>()" for n, v in constants.items())
    text = (
        f'<ir_version: 10, opset_import: ["": {opset}]> g (double[1,7] x) => ({outputs})'
        f" {{ {given} {body} }}"
    )
    return walk(parser.parse_model(text))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def swish() -> tuple[np.ndarray, np.ndarray]:
    """Value and slope."""
    s = sigmoid(X)
    return X * s, s + X * s * (1 - s)


def hard_swish() -> tuple[np.ndarray, np.ndarray]:
    inside = np.abs(X) < 3
    return X * np.clip(X / 6 + 0.5, 0, 1), np.where(inside, X / 3 + 0.5, X > 3)


def hard_sigmoid() -> tuple[np.ndarray, np.ndarray]:
    return np.clip(X / 6 + 0.5, 0, 1), (np.abs(X) < 3) / 6


def gelu() -> tuple[np.ndarray, np.ndarray]:
    cdf = 0.5 * (1 + np.vectorize(math.erf)(X * math.sqrt(0.5)))
    return X * cdf, cdf + X * np.exp(-0.5 * X * X) / math.sqrt(2 * math.pi)


def tanh_gelu() -> tuple[np.ndarray, np.ndarray]:
    c, k = math.sqrt(2 / math.pi), 0.044715
    t = np.tanh(c * (X + k * X**3))
    return 0.5 * X * (1 + t), 0.5 * (1 + t) + 0.5 * X * (1 - t * t) * c * (1 + 3 * k * X * X)


def quick_gelu() -> tuple[np.ndarray, np.ndarray]:
    s = sigmoid(1.702 * X)
    return X * s, s + 1.702 * X * s * (1 - s)


def mish() -> tuple[np.ndarray, np.ndarray]:
    t = np.tanh(np.log1p(np.exp(X)))
    return X * t, t + X * sigmoid(X) * (1 - t * t)


def softsign() -> tuple[np.ndarray, np.ndarray]:
    return X / (1 + np.abs(X)), 1 / (1 + np.abs(X)) ** 2


HARD = "HardSigmoid<alpha = 0.16666667, beta = 0.5>"
CLIP = "a = Add(x, three) c = Clip(a, zero, six)"
ERF = "r = Constant<value = double {1.4142135623730951}>() d = Div(x, r) e = Erf(d) g = Add(e, one)"
TANH = (
    "k = Constant<value = double {0.044715}>() c = Constant<value = double {0.7978845608028654}>()"
)
RECOGNISED = [
    ("Swish", "s = Sigmoid(x) y = Mul(x, s)", swish),
    ("Swish", "s = Sigmoid(x) y = Mul(s, x)", swish),
    ("Swish", "n = Neg(x) e = Exp(n) d = Add(one, e) y = Div(x, d)", swish),
    (
        "Swish",
        "a = Constant<value = double {1.702}>() t = Mul(x, a) s = Sigmoid(t) y = Mul(x, s)",
        quick_gelu,
    ),
    ("HardSwish", f"h = {HARD}(x) y = Mul(x, h)", hard_swish),
    ("HardSwish", f"h = {HARD}(x) y = Mul(h, x)", hard_swish),
    ("HardSwish", f"{CLIP} m = Mul(x, c) y = Div(m, six)", hard_swish),
    ("HardSwish", f"{CLIP} d = Div(c, six) y = Mul(x, d)", hard_swish),
    ("HardSwish", "a = Add(three, x) r = Relu(a) c = Min(r, six) d = Div(c, six) y = Mul(d, x)",
     hard_swish),
    ("HardSigmoid", f"{CLIP} y = Div(c, six)", hard_sigmoid),
    # As torch's older exporter writes it, as its newer one does, and as TensorFlow does.
    ("Gelu", f"{ERF} m = Mul(x, g) y = Mul(m, half)", gelu),
    ("Gelu", f"{ERF} h = Mul(x, half) y = Mul(h, g)", gelu),
    ("Gelu", f"{ERF} m = Mul(half, g) y = Mul(x, m)", gelu),
    (
        "Gelu",
        f"{TANH} q = Mul(x, x) t = Mul(q, x) u = Mul(k, t) v = Add(x, u) w = Mul(c, v)"
        " b = Tanh(w) g = Add(one, b) h = Mul(half, x) y = Mul(h, g)",
        tanh_gelu,
    ),
    (
        "Gelu",
        f"{TANH} t = Pow(x, three) u = Mul(t, k) v = Add(u, x) w = Mul(v, c)"
        " b = Tanh(w) g = Add(b, one) h = Mul(g, half) y = Mul(x, h)",
        tanh_gelu,
    ),
    ("Mish", "s = Softplus(x) t = Tanh(s) y = Mul(x, t)", mish),
    ("Mish", "e = Exp(x) f = Add(e, one) s = Log(f) t = Tanh(s) y = Mul(t, x)", mish),
    ("Softsign", "a = Abs(x) d = Add(a, one) y = Div(x, d)", softsign),
]  # fmt: skip


@pytest.mark.parametrize(("op_type", "body", "expected"), RECOGNISED)
def test_a_gate_and_its_product_are_one_site(op_type, body, expected):
    found = walked(body)
    value, slope = expected()
    (site,) = found.sites
    assert site.primal.op_type == op_type
    assert site.site.kind == "implicit"
    out = found.run(x=X, ct=CT)
    np.testing.assert_allclose(out["y"], value, atol=TOLERANCE)
    np.testing.assert_allclose(out["pulled/x"], CT * slope, atol=TOLERANCE)
    # DESIGN section 2: sigma(u) - sigma'(u) u, at every position.
    np.testing.assert_allclose(
        out[f"term/{site.site.name}"], CT * (value - slope * X), atol=TOLERANCE
    )


def test_a_gate_that_is_an_output_too_is_still_recognised():
    found = walked("s = Sigmoid(x) y = Mul(x, s)", "double[1,7] y, double[1,7] s")
    assert [site.primal.op_type for site in found.sites] == ["Swish"]
    np.testing.assert_allclose(found.run(x=X)["s"], sigmoid(X), atol=TOLERANCE)


APART = [
    ("the gate is read again", "s = Sigmoid(x) m = Mul(x, s) y = Add(m, s)", "double[1,7] y"),
    (
        "the product has a third factor",
        "s = Sigmoid(x) t = Mul(x, s) y = Mul(t, s)",
        "double[1,7] y",
    ),
    ("the gate is of another tensor", "t = Sin(x) s = Sigmoid(t) y = Mul(x, s)", "double[1,7] y"),
    (
        "the ends are others",
        "a = Add(x, three) c = Clip(a, one, six) y = Div(c, six)",
        "double[1,7] y",
    ),
    ("it is a shift and ReLU6", f"{CLIP} y = Mul(c, c)", "double[1,7] y"),
    ("the square is another", "q = Mul(x, x) s = Sigmoid(q) y = Mul(x, s)", "double[1,7] y"),
    ("the factor is another", "s = Sigmoid(x) h = Mul(x, half) y = Mul(h, s)", "double[1,7] y"),
    ("the slope is another", "s = HardSigmoid(x) y = Mul(x, s)", "double[1,7] y"),
]


@pytest.mark.parametrize(
    ("body", "outputs"), [case[1:] for case in APART], ids=[c[0] for c in APART]
)
def test_what_is_not_recognised_is_still_right(body, outputs):
    found = walked(body, outputs)
    kinds = {site.primal.op_type for site in found.sites}
    assert all(f"{kind}(" in body for kind in kinds)
    out = found.run(x=X, ct=CT)
    step = 1e-5
    # HardSigmoid's kinks at +-2.5 are far from all of X.
    above, below = (found.run(x=X + s, ct=CT)["y"] for s in (step, -step))
    np.testing.assert_allclose(out["pulled/x"], CT * (above - below) / (2 * step), atol=TOLERANCE)
    # Completeness: <ct, y> = <ct_x, x> + all terms.
    terms = sum(out[f"term/{site.site.name}"].sum() for site in found.sites)
    assert (out["pulled/x"] * X).sum() + terms == pytest.approx((CT * out["y"]).sum(), abs=1e-12)


NORMS = [
    "q = Mul(d, d) v = ReduceMean<axes = [-1]>(q) a = Add(v, eps) s = Sqrt(a) y = Div(d, s)",
    "q = Pow(d, two) v = ReduceMean<axes = [1]>(q) a = Add(v, eps) s = Sqrt(a) r = Reciprocal(s)"
    " y = Mul(d, r)",
    "q = Mul(d, d) v = ReduceMean<axes = [-1]>(q) a = Add(eps, v) s = Pow(a, half) y = Div(d, s)",
]
MEAN = "m = ReduceMean<axes = [-1]>(x) d = Sub(x, m)"


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("body", NORMS)
def test_a_normalisation_is_one_site(body, centred):
    """The mean is taken off by linear steps, which are no sites."""
    eps = "eps = Constant<value = double {0.125}>() two = Constant<value = double {2.0}>()"
    found = walked(f"{eps} {MEAN if centred else 'd = Identity(x)'} {body}")
    (site,) = found.sites
    assert site.primal.op_type == "RMSNormalization"
    out = found.run(x=X, ct=CT)
    middle = X - X.mean() if centred else X
    variance = (middle**2).mean()
    deviation = math.sqrt(variance + 0.125)
    hat = middle / deviation
    np.testing.assert_allclose(out["y"], hat, atol=TOLERANCE)
    c = CT - CT.mean() if centred else CT
    np.testing.assert_allclose(
        out["pulled/x"], (c - hat * (CT * hat).mean()) / deviation, atol=TOLERANCE
    )
    share = variance / (variance + 0.125)
    np.testing.assert_allclose(out[f"term/{site.site.name}"], CT * hat * share, atol=TOLERANCE)


def test_a_normalisation_whose_axes_are_an_operand():
    found = walked(
        """
        last = Constant<value = int64[1] {-1}>()
        q = Mul(x, x) v = ReduceMean(q, last) a = Add(v, one) s = Sqrt(a) y = Div(x, s)
        """,
        opset=18,
    )
    assert [site.primal.op_type for site in found.sites] == ["RMSNormalization"]
    assert found.sites[0].primal.attrs == {"axes": [1], "epsilon": pytest.approx(1.0)}


STATISTIC = {17: "ReduceMean<axes = {0}>({{}})", 18: "ReduceMean({{}}, axes)"}
EPS = "eps = Constant<value = double {0.125}>() two = Constant<value = double {2.0}>()"
OVER_TWO = {
    "the mean times x": ("m = {} y = Mul(x, m)", "x", set()),
    "a gate of the mean": ("m = {} s = Sigmoid(m) y = Mul(x, s)", "x", set()),
    "RMSNorm": (
        "q = Mul(x, x) m = {} a = Add(m, eps) s = Sqrt(a) y = Div(x, s)",
        "q", {"RMSNormalization"},
    ),
    "InstanceNorm": (
        "n = {0} d = Sub(x, n) q = Mul(d, d) m = {1} a = Add(m, eps) s = Sqrt(a) y = Div(d, s)",
        "q", {"RMSNormalization"},
    ),
    "InstanceNorm with Pow": (
        "n = {0} d = Sub(x, n) q = Pow(d, two) m = {1} a = Add(m, eps) s = Sqrt(a) y = Div(d, s)",
        "q", {"RMSNormalization"},
    ),
}  # fmt: skip


def over_two_axes(body: str, of: str, axes: list[int], opset: int) -> Walked:
    """Two images of three channels, each normalised over its own grid."""
    statistic = STATISTIC[opset].format(axes)
    filled = body.format(
        *(statistic.format(name) for name in ([of] if body.count("{") == 1 else ["x", of]))
    )
    return walk(
        parser.parse_model(
            f'<ir_version: 10, opset_import: ["": {opset}]>'
            f" g (double[2,3,4,5] x) => (double[2,3,4,5] y) {{ {EPS}"
            f" axes = Constant<value = int64[2] {{{axes[0]}, {axes[1]}}}>() {filled} }}"
        )
    )


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]], ids=str)
@pytest.mark.parametrize(("body", "of", "one_site"), OVER_TWO.values(), ids=OVER_TWO)
def test_axes_are_the_same_as_operand_and_as_attribute(body, of, one_site, axes):
    wanted, found = (over_two_axes(body, of, axes, opset) for opset in (17, 18))
    kinds = [{site.primal.op_type for site in w.sites} for w in (wanted, found)]
    assert kinds[0] == kinds[1]
    assert one_site in (set(), kinds[1])
    generator = np.random.default_rng(0)
    x, ct = generator.standard_normal((2, 2, 3, 4, 5))
    twin, out = wanted.run(x=x, ct=ct), found.run(x=x, ct=ct)
    assert out.keys() == twin.keys()
    for name, value in twin.items():
        np.testing.assert_array_equal(out[name], value, err_msg=name)
    # Along a random direction, and completeness: <ct, y> = <ct_x, x> + all terms.
    v, step = generator.standard_normal(x.shape), 1e-5
    above, below = (found.run(x=x + s * v, ct=ct)["y"] for s in (step, -step))
    slope = (ct * (above - below)).sum() / (2 * step)
    assert (out["pulled/x"] * v).sum() == pytest.approx(slope, rel=1e-7)
    terms = sum(out[f"term/{site.site.name}"].sum() for site in found.sites)
    assert (out["pulled/x"] * x).sum() + terms == pytest.approx((ct * out["y"]).sum(), abs=1e-12)


def test_a_mean_along_no_axis_at_all_is_no_normalisation():
    """The mean is then x itself: x / sqrt(x^2 + 1)."""
    found = walked(
        """
        none = Constant<value = int64[0] {}>()
        q = Mul(x, x) v = ReduceMean<noop_with_empty_axes = 1>(q, none)
        a = Add(v, one) s = Sqrt(a) y = Div(x, s)
        """,
        opset=18,
    )
    assert "RMSNormalization" not in {site.primal.op_type for site in found.sites}
    np.testing.assert_allclose(
        found.run(x=X, ct=CT)["pulled/x"], CT * (X * X + 1) ** -1.5, atol=TOLERANCE
    )


def test_a_clip_without_a_lower_bound_keeps_its_upper_one():
    """x min(x / 6 + 1/2, 1) is no HardSwish."""
    found = walked("a = Add(x, three) c = Clip(a, , six) d = Div(c, six) y = Mul(x, d)")
    assert "HardSwish" not in {site.primal.op_type for site in found.sites}
    out = found.run(x=X, ct=CT)
    below = X < 3
    np.testing.assert_allclose(out["y"], X * np.where(below, X / 6 + 0.5, 1), atol=TOLERANCE)
    np.testing.assert_allclose(
        out["pulled/x"], CT * np.where(below, X / 3 + 0.5, 1), atol=TOLERANCE
    )


def test_statistics_along_two_axes_are_not_one_normalisation():
    body = """
        q = Mul(x, x) v = ReduceMean<axes = [1]>(q) w = ReduceMean<axes = [0]>(q)
        p = Mul(v, w) s = Sqrt(p) y = Div(x, s)
    """
    found = walked(body)
    assert "RMSNormalization" not in {site.primal.op_type for site in found.sites}
