"""What the rules emit runs on other devices too; how it is placed, test_cuda_placement.py says."""

from __future__ import annotations

import numpy as np
import pytest
from traps import ABSENT, traps

from .cases import CASES
from .harness import Case, emit_vjp

SCATTERED = {
    "ScatterElements": {
        *("Compress", "DeformConv", "Gather", "GatherElements", "GridSample", "TopK"),
        "ScatterElements",
    },
    "ScatterND": {"GatherND", "ScatterND"},
}
"""Whose adjoints add up at positions that are known at run time only: no other form has that."""
OWN = {"AffineGrid", "CumProd"}
"""Whose adjoints need the operator itself, which the source model then has too."""


def allowed(op_type: str) -> set[str]:
    return {trap for trap, needed in SCATTERED.items() if op_type in needed} | (OWN & {op_type})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_form_holds_a_trap(case: Case) -> None:
    found = {op_type for op_type, *_ in traps(emit_vjp(case, dtype=np.float32).proto)}
    assert found <= allowed(case.op_type)


@pytest.mark.parametrize("op_type", sorted({*OWN, *SCATTERED, *set().union(*SCATTERED.values())}))
def test_what_is_allowed_is_needed(op_type: str) -> None:
    own = [case for case in CASES if case.op_type == op_type]
    found = [traps(emit_vjp(case, dtype=np.float32).proto) for case in own]
    assert {trap for some in found for trap, *_ in some} == allowed(op_type)
    assert allowed(op_type) <= set(ABSENT)
