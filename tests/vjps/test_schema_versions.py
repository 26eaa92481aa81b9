"""Newer versions of ONNX's operators fail a test here before a user meets them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import onnx
import pytest
from onnx import defs

from fg_onnx import instrument, versions
from fg_onnx.errors import UnsupportedModelError
from fg_onnx.source.model import LOWEST_OPSET
from fg_onnx.versions import REVIEWED_OPSET, since
from fg_onnx.vjps import REFUSED, RULES, ZERO, status

from .cases import CASES
from .harness import Case, dot_product_error, forward_model, offset_error


def test_no_operator_has_a_version_that_nobody_has_looked_at() -> None:
    """If it fails: read what is new, mend rules and cases, and raise `REVIEWED_OPSET`."""
    new = [
        f"{schema.name} has a new version since opset {schema.since_version}"
        for schema in defs.get_all_schemas()
        if not schema.domain
        and schema.since_version > REVIEWED_OPSET
        and schema.name in {*RULES, *ZERO, *REFUSED}
    ]
    assert not new, "; ".join(sorted(new))


def _versions(op_type: str) -> list[int]:
    """The opsets, from the lowest that models are brought to, at which the operator changes."""
    opsets = range(LOWEST_OPSET, min(REVIEWED_OPSET, defs.onnx_opset_version()) + 1)
    changes = {opset: since(op_type, opset) for opset in opsets}
    oldest = max(RULES[op_type].since, 1)  # 0 says that there is no such operator yet
    return sorted({max(v, LOWEST_OPSET) for v in changes.values() if v >= oldest})


def _at(cases: Sequence[Case], opset: int) -> Iterator[Case]:
    """The cases whose form holds at another opset."""
    for case in cases:
        moved = replace(case, opset=opset, note=f"{case.note}-again")
        try:
            onnx.checker.check_model(forward_model(moved))
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
            continue
        yield moved


@pytest.mark.parametrize("op_type", sorted({case.op_type for case in CASES}))
def test_every_version_of_an_operator_has_its_gradients_checked(op_type: str) -> None:
    own = [case for case in CASES if case.op_type == op_type]
    for version in _versions(op_type):
        cases = list(_at(own, version))
        assert cases, f"no case of {op_type} has the form of opset {version}"
        for case in cases:
            assert dot_product_error(case) <= case.tolerance, case.name
            assert offset_error(case, freeze=True) <= case.tolerance, case.name


# --- what a user meets ----------------------------------------------------------------------------


def _model(body: str, opset: int = 22) -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["": {opset}]> net (float[N,3,8,8] x) => '
        f"(float[N,3,a,b] y) {{{body}}}"
    )


def test_an_operator_that_is_the_same_in_a_newer_opset_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(versions, "REVIEWED_OPSET", 21)
    newer = _model("r = Sigmoid (x) y = Tanh (r)")
    assert [site.op for site in instrument(newer).manifest.sites] == ["Sigmoid", "Tanh"]


def test_a_version_that_nobody_has_looked_at_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "REVIEWED_OPSET", 21)
    with pytest.raises(UnsupportedModelError, match="version of opset 22 is newer") as caught:
        instrument(_model("y = GlobalAveragePool (x)"))
    assert (caught.value.op, caught.value.node) == ("GlobalAveragePool", "y")


def test_so_is_a_zero_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "REVIEWED_OPSET", 21)
    with pytest.raises(UnsupportedModelError, match="`Round` at `r`: its version of opset 22"):
        instrument(_model("r = Round (x) y = Add (r, x)"))


def test_a_newer_version_with_a_function_body_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "REVIEWED_OPSET", 21)
    assert status("Elu", opset=22)[0] == "body"
    nodes = instrument(_model("y = Elu (x)")).model.graph.node
    forward = {node.op_type for node in nodes if not node.name.startswith("fg/")}
    assert {"Exp", "Where"} <= forward
    assert "Elu" not in forward


def test_what_would_be_emitted_is_looked_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "REVIEWED_OPSET", 18)
    with pytest.raises(UnsupportedModelError, match="has a new version since opset"):
        instrument(_model("r = Relu (x) y = Tanh (r)"))
