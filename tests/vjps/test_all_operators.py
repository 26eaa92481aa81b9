"""Every operator of ONNX has an answer: a rule, zero, a refusal, or a body of other operators."""

from __future__ import annotations

import onnx
import pytest

from fg_onnx.vjps import REFUSED, RULES, ZERO, status

NAMES = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if not schema.domain}
RAISED = {"Upsample"}  # to Resize, as old models are brought to a newer opset


@pytest.mark.parametrize("name", sorted(NAMES - RAISED))
def test_every_operator_has_an_answer(name: str) -> None:
    answer, reason = status(name)
    assert answer != "unknown", reason


def test_what_is_answered_exists() -> None:
    assert {*RULES, *ZERO, *REFUSED} <= NAMES
    assert not RAISED & {*RULES, *ZERO, *REFUSED}
