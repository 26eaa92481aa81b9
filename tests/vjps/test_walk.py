"""The reverse walk over several nodes: cotangents that meet, and paths that lead nowhere."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from fg_onnx.errors import UnsupportedModelError

from .harness import STEP, evaluate, walk

GRAPHS = {
    "one tensor as both factors": "y = Mul(x, x)",
    "one tensor as both addends": "y = Add(x, x)",
    "one tensor less itself": "a = Sub(x, x) y = Add(a, x)",
    "one tensor as both matrices": "y = MatMul(x, x)",
    "one tensor twice in Concat": "c = Concat<axis = 0>(x, x) y = Sin(c)",
    "one tensor as maximum of itself": "y = Max(x, x)",
    "fan-out": "a = Exp(x) b = Sin(x) c = Mul(a, b) y = Add(c, a)",
    "residual": "a = Tanh(x) y = Add(a, x)",
    "a branch that leads nowhere": "a = Exp(x) b = Sin(x) y = Tanh(b)",
    "a part of Split that leads nowhere": "a, b, c = Split(x) y = Mul(a, c)",
    "all parts of Split": "a, b, c = Split(x) d = Mul(a, c) e = Mul(d, b) y = Exp(e)",
    "a constant branch": "n = Shape(x) z = ConstantOfShape(n) w = Cast<to = 11>(z) y = Add(x, w)",
    "zero by mathematics": "f = Floor(x) y = Mul(f, x)",
}


@pytest.mark.parametrize("body", GRAPHS.values(), ids=GRAPHS)
def test_gradient_and_completeness(body: str) -> None:
    text = (
        f'<ir_version: 10, opset_import: ["": 17]> g (double[3,3] x) => (double[m,n] y) {{{body}}}'
    )
    proto = parser.parse_model(text)
    generator = np.random.default_rng(0)
    x, v = generator.uniform(0.1, 0.9, (2, 3, 3))
    y = evaluate(proto, {"x": x})["y"]
    ct = generator.normal(size=y.shape)
    walked = walk(proto)
    out = walked.run(x=x, ct=ct)
    above, below = (evaluate(proto, {"x": x + s * v})["y"] for s in (STEP, -STEP))
    jv = (above - below) / (2 * STEP)
    # Central differences in float64, as in harness.py.
    assert (out["pulled/x"] * v).sum() == pytest.approx((ct * jv).sum(), rel=1e-7, abs=1e-8)
    terms = sum(out[f"term/{site.site.name}"].sum() for site in walked.sites)
    assert (out["pulled/x"] * x).sum() + terms == pytest.approx((ct * y).sum(), abs=1e-12)


LOST = {
    "`Pad` at `y`: its rule knows no derivative by its operand `v`": (
        "s = ReduceSum <keepdims = 0> (x) v = Neg (s) p = Constant <value_ints = [0, 1, 0, 0]> () "
        "y = Pad (x, p, v)"
    ),
    "`BatchNormalization` at `b`: its rule knows no derivative of its result `m`": (
        "c = Constant <value = double[3] {1, 2, 3}> () "
        "b, m, w = BatchNormalization <training_mode = 1> (x, c, c, c, c) y = Add (b, m)"
    ),
}


@pytest.mark.parametrize(("says", "body"), LOST.items(), ids=LOST)
def test_a_cotangent_that_a_rule_would_lose_is_refused(says: str, body: str) -> None:
    text = (
        f'<ir_version: 10, opset_import: ["": 17]> g (double[3,3] x) => (double[m,n] y) {{{body}}}'
    )
    with pytest.raises(UnsupportedModelError) as caught:
        walk(parser.parse_model(text))
    assert says in caught.value.message
