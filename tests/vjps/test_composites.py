"""Activations written out as several nodes: one site where they can be recognised."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from .harness import Walked, walk

X = np.array([[-4.0, -1.5, -0.25, 0.0, 0.5, 2.0, 3.5]])
CT = np.array([[1.0, -2.0, 0.5, 3.0, -1.0, 2.0, 4.0]])
# The exported 1/6 is a float32: off by 5e-9.
TOLERANCE = 1e-7


def walked(body: str, outputs: str = "double[1,7] y") -> Walked:
    text = f'<ir_version: 10, opset_import: ["": 17]> g (double[1,7] x) => ({outputs}) {{ {body} }}'
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


HARD = "HardSigmoid<alpha = 0.16666667, beta = 0.5>"
RECOGNISED = [
    ("Swish", "s = Sigmoid(x) y = Mul(x, s)", swish),
    ("Swish", "s = Sigmoid(x) y = Mul(s, x)", swish),
    ("HardSwish", f"h = {HARD}(x) y = Mul(x, h)", hard_swish),
    ("HardSwish", f"h = {HARD}(x) y = Mul(h, x)", hard_swish),
]


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
    ("the gate is of another tensor", "t = Neg(x) s = Sigmoid(t) y = Mul(x, s)", "double[1,7] y"),
    ("the slope is another", "s = HardSigmoid(x) y = Mul(x, s)", "double[1,7] y"),
]


@pytest.mark.parametrize(
    ("body", "outputs"), [case[1:] for case in APART], ids=[c[0] for c in APART]
)
def test_what_is_not_recognised_is_still_right(body, outputs):
    found = walked(body, outputs)
    kinds = {site.primal.op_type for site in found.sites}
    assert not kinds & {"Swish", "HardSwish"}
    out = found.run(x=X, ct=CT)
    step = 1e-5
    # HardSigmoid's kinks at +-2.5 are far from all of X.
    above, below = (found.run(x=X + s, ct=CT)["y"] for s in (step, -step))
    np.testing.assert_allclose(out["pulled/x"], CT * (above - below) / (2 * step), atol=TOLERANCE)
    # Completeness: <ct, y> = <ct_x, x> + all terms.
    terms = sum(out[f"term/{site.site.name}"].sum() for site in found.sites)
    assert (out["pulled/x"] * X).sum() + terms == pytest.approx((CT * out["y"]).sum(), abs=1e-12)
