"""Every rule against its definition: gradients, offsets, and that both hold on a stock runtime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from fg_onnx.vjps import RULES

from .cases import CASES
from .harness import (
    Case,
    cotangents,
    dot_product_error,
    emit_vjp,
    evaluate,
    evaluate_on_runtime,
    offset_error,
    sample,
)
from .test_quantisation import STRAIGHT_THROUGH

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def test_every_rule_has_a_case_and_every_case_a_rule() -> None:
    assert sorted({case.op_type for case in CASES} | STRAIGHT_THROUGH) == sorted(RULES)


def test_no_two_cases_share_a_name() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)


@every_case
def test_cotangents(case: Case) -> None:
    assert dot_product_error(case) <= case.tolerance


@pytest.mark.parametrize("freeze", [True, False], ids=["frozen", "promoted"])
@every_case
def test_offset(case: Case, freeze: bool) -> None:
    assert offset_error(case, freeze=freeze) <= case.tolerance


# float32 against float64 over sums of at most a few hundred products of numbers near 1.
FLOAT32 = 2e-5


@every_case
def test_onnx_runtime_agrees_in_float32(case: Case) -> None:
    if not case.runtime:
        pytest.skip("it has no such kernel")
    single = emit_vjp(case, dtype=np.float32).proto
    # The harness's own outputs are declared without a shape, which the checker asks for.
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(single), full_check=True)
    double = emit_vjp(case).proto
    feeds = {**sample(case), **cotangents(case)}
    wanted, found = evaluate(double, feeds), evaluate_on_runtime(single, feeds)
    for name, array in wanted.items():
        scale = max(1.0, float(np.abs(array).max()))
        np.testing.assert_allclose(found[name], array, rtol=0, atol=FLOAT32 * scale, err_msg=name)
