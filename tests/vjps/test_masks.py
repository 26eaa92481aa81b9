"""Scores masked by -inf: what has no cotangent contributes nothing, and not NaN."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from .harness import evaluate
from .planned import attributed, plan_adjoint

MASK = "m = Constant <value = double[3,3] {0,-inf,-inf, 0,0,-inf, 0,0,0}> ()"
TRUTH = "t = Constant <value = bool[3,3] {1,0,0, 1,1,0, 1,1,1}> ()"
INFINITE = "i = Constant <value = double {-inf}> ()"
MASKED = {
    "added": f"{MASK} s = Add (x, m)",
    "added at run time": f"{MASK} n = Shape (x) e = Expand (m, n) s = Add (x, e)",
    "chosen": f"{TRUTH} {INFINITE} s = Where (t, x, i)",
    "beside": (
        "i = Constant <value = double[2,3,1] {-inf, -inf, -inf, -inf, -inf, -inf}> () "
        "s = Concat <axis = 2> (x, i)"
    ),
    "padded": (
        f"p = Constant <value_ints = [0, 1, 1, 0, 0, 2]> () {INFINITE} "
        "q = Pad (x, p, i) a = Constant <value_ints = [1]> () b = Constant <value_ints = [4]> () "
        "s = Slice (q, a, b, a)"
    ),
}


@pytest.mark.parametrize("body", MASKED.values(), ids=MASKED)
def test_masked_scores(body: str) -> None:
    proto = parser.parse_model(
        '<ir_version: 10, opset_import: ["": 18]> g (double[N,3,3] x) => (double[N,a,b] y) '
        f"{{ {body} y = Softmax (s) }}"
    )
    generator = np.random.default_rng(0)
    x, v = generator.normal(size=(2, 2, 3, 3))
    y = evaluate(proto, {"x": x})["y"]
    finite = np.isfinite(y)  # a row that is masked as a whole has no softmax
    ct = np.where(finite, generator.normal(size=y.shape), 0.0)
    out = evaluate(plan_adjoint(proto, "x", "y"), {"x": x, "ct": ct})
    above, below = (evaluate(proto, {"x": x + s * v})["y"] for s in (1e-5, -1e-5))
    jv = np.where(finite, (above - below) / 2e-5, 0.0)
    assert (out["pulled"] * v).sum() == pytest.approx((ct * jv).sum(), rel=1e-7, abs=1e-9)
    assert attributed(out, x) == pytest.approx((ct * np.where(finite, y, 0.0)).sum(), abs=1e-12)
