"""Every operator of ONNX has an answer: a rule, zero, a refusal, or a body of other operators.

Also every version of a schema: an operator that a newer onnx brings, or brings in a new version,
fails here and not at a user's.
"""

from __future__ import annotations

from collections import defaultdict

import onnx
import pytest

from fg_onnx.vjps import REFUSED, RULES, ZERO, status

SCHEMAS: dict[str, list[onnx.defs.OpSchema]] = defaultdict(list)
for _schema in onnx.defs.get_all_schemas_with_history():
    if not _schema.domain:
        SCHEMAS[_schema.name].append(_schema)

# Without a rule of their own: differentiated through the functions that ONNX defines them by.
BODIES = {
    "AffineGrid",
    "Attention",
    "CausalConvWithState",
    "CenterCropPad",
    "DepthToSpace",
    "LinearAttention",
    "RotaryEmbedding",
    "SpaceToDepth",
    "SwiGLU",
}
# Operators of space and of sampling, which are to follow.
SPATIAL = {
    "Col2Im", "DeformConv", "GlobalLpPool", "GlobalMaxPool", "GridSample", "LRN", "LpPool",
    "MaxRoiPool", "MaxUnpool", "Resize", "RoiAlign", "Upsample",
}  # fmt: skip

# The opset whose schemas were read when the rules were written.
READ = 28


def newest(name: str) -> onnx.defs.OpSchema:
    return max(SCHEMAS[name], key=lambda schema: schema.since_version)


@pytest.mark.parametrize("name", sorted(set(SCHEMAS) - SPATIAL))
def test_every_operator_has_an_answer(name: str) -> None:
    answer, reason = status(name)
    schema = newest(name)
    has_body = schema.has_function or schema.has_context_dependent_function
    assert answer != "unknown" or (has_body and name in BODIES), reason


@pytest.mark.parametrize("name", sorted({*RULES, *ZERO}))
def test_no_schema_is_newer_than_its_rule(name: str) -> None:
    version = newest(name).since_version
    assert version <= READ, (
        f"{name} has a new version {version}: read it, mend the rule, raise READ"
    )


def test_what_is_answered_exists() -> None:
    assert {*RULES, *ZERO, *REFUSED} <= set(SCHEMAS)
