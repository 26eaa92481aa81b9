"""Every operator of ONNX has an answer: a rule, zero, a refusal, or a body of other operators."""

from __future__ import annotations

import onnx
import pytest

from fg_onnx.vjps import REFUSED, RULES, ZERO, status

NAMES = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if not schema.domain}

# Of sampling at computed positions, and of regions: to follow. Upsample is raised to Resize.
WITHOUT = {"DeformConv", "GridSample", "MaxRoiPool", "RoiAlign", "Upsample"}


@pytest.mark.parametrize("name", sorted(NAMES - WITHOUT))
def test_every_operator_has_an_answer(name: str) -> None:
    answer, reason = status(name)
    assert answer != "unknown", reason


@pytest.mark.parametrize("name", sorted(WITHOUT))
def test_what_is_without_one_says_so(name: str) -> None:
    assert status(name) == ("unknown", "it has no VJP rule")


def test_what_is_answered_exists() -> None:
    assert {*RULES, *ZERO, *REFUSED} <= NAMES
