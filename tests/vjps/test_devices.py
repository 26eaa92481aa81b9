"""What the rules of spatial operators emit runs on other devices too."""

from __future__ import annotations

import numpy as np
import pytest
from test_operators_emitted import traps

from .cases import CASES
from .harness import Case, emit_vjp

SCATTERING = {"GridSample", "DeformConv"}  # positions known at run time only: no other form
SPATIAL = {
    *("Conv", "ConvTranspose", "AveragePool", "MaxPool", "LpPool", "MaxUnpool"),
    *("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "LRN"),
    *("Resize", "Pad", "Slice", "Concat", "DepthToSpace", "SpaceToDepth", "Col2Im"),
    *("AffineGrid", "RoiAlign", *SCATTERING),
}


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.op_type in SPATIAL], ids=lambda case: case.name
)
def test_no_form_holds_a_trap(case: Case) -> None:
    found = {op_type for op_type, *_ in traps(emit_vjp(case, dtype=np.float32).proto)}
    allowed = {"ScatterElements"} if case.op_type in SCATTERING else set()
    assert found <= allowed
