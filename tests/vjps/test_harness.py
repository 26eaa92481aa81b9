"""The tests of the tests: a rule that is wrong in any of the usual ways must fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import onnx_graphsurgeon as gs
import pytest

from fg_onnx.graph.emit import Emitter
from fg_onnx.vjps import RULES, convolution, pooling
from fg_onnx.vjps.table import homogeneous

from .cases import CASES
from .harness import Case, dot_product_error, emit_vjp, offset_error

# Far above every tolerance, and below what any wrong rule shows: errors are relative to sums of
# absolute products, of which the differences of random ones are seldom a hundredth.
CAUGHT = 1e-5


def named(op_type: str, note: str = "") -> Case:
    (found, *_) = (c for c in CASES if c.op_type == op_type and c.note.startswith(note))
    return found


def with_cotangents(
    monkeypatch: pytest.MonkeyPatch, op_type: str, change: Callable[[Emitter, gs.Tensor], gs.Tensor]
) -> None:
    rule = RULES[op_type]

    def changed(op: Emitter, p: Any, *cts: Any) -> list[gs.Tensor | None]:
        return [None if ct is None else change(op, ct) for ct in rule.vjp(op, p, *cts)]

    monkeypatch.setitem(RULES, op_type, replace(rule, vjp=changed))


def negated(op: Emitter, ct: gs.Tensor) -> gs.Tensor:
    return op.Neg(ct)


def doubled(op: Emitter, ct: gs.Tensor) -> gs.Tensor:
    return op.Add(ct, ct)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("change", [negated, doubled])
def test_a_negated_or_doubled_rule_fails_in_every_case(case, change, monkeypatch):
    with_cotangents(monkeypatch, case.op_type, change)
    assert dot_product_error(case) > CAUGHT


# A Clip without bounds is a site whose offset is 0.
WITH_OFFSET = [c for c in CASES if c.note != "unbounded" and emit_vjp(c).sites]


@pytest.mark.parametrize("case", WITH_OFFSET, ids=lambda case: case.name)
def test_an_offset_that_is_passed_over_fails(case, monkeypatch):
    monkeypatch.setitem(RULES, case.op_type, replace(RULES[case.op_type], offset=homogeneous))
    assert offset_error(case, freeze=True) > CAUGHT


def is_implicit(case: Case) -> bool:
    return any(site.offset.kind == "implicit" for site in emit_vjp(case).sites)


def _term(rule: Any) -> bool:
    return rule.term is not None


@pytest.mark.parametrize("op_type", [name for name, rule in RULES.items() if _term(rule)])
def test_a_negated_term_fails(op_type, monkeypatch):
    rule = RULES[op_type]
    wrong = replace(rule, term=lambda op, *rest: op.Neg(rule.term(op, *rest)))
    monkeypatch.setitem(RULES, op_type, wrong)
    case = next(c for c in WITH_OFFSET if c.op_type == op_type and is_implicit(c))
    assert offset_error(case, freeze=True) > CAUGHT


def test_a_kernel_that_is_not_flipped_fails(monkeypatch):
    monkeypatch.setattr(
        convolution,
        "_adjoint_weight",
        lambda op, p, w: op.Transpose(p.inputs[1], perm=[1, 0, *range(2, 2 + w.rank)]),
    )
    assert dot_product_error(named("Conv", "wide")) > CAUGHT
    assert dot_product_error(named("Conv", "wide-pointwise")) < CAUGHT


def test_a_scattered_kernel_with_its_axes_swapped_fails(monkeypatch):
    case = named("Conv", "depthwise-stride")
    scatter = pooling.scatter_windows
    monkeypatch.setattr(
        convolution,
        "scatter_windows",
        lambda op, p, ct, weight, w, group: scatter(
            op, p, ct, op.Transpose(weight, perm=[0, 1, 3, 2]), w, group
        ),
    )
    assert dot_product_error(case) > CAUGHT


def test_a_broadcast_that_is_not_summed_fails(monkeypatch):
    """The cotangent of one of the repeated positions in the place of the sum of all."""

    def first_only(op: Emitter, ct: gs.Tensor, shape: Any, to: gs.Tensor) -> gs.Tensor:
        extra = len(shape) - len(to.shape)
        for axis, dim in enumerate(to.shape):
            if dim == 1:
                ct = op.Slice(ct, [0], [1], [extra + axis])
        return op.Squeeze(op.Slice(ct, [0], [1], [0]), [0]) if extra else ct

    monkeypatch.setattr(Emitter, "sum_to", first_only)
    assert dot_product_error(named("Add", "second-broadcast")) > CAUGHT
    assert dot_product_error(named("Mul", "both-broadcast")) > CAUGHT


def test_a_cotangent_of_another_shape_fails(monkeypatch):
    monkeypatch.setattr(Emitter, "sum_to", lambda op, ct, shape, to: ct)
    with pytest.raises(AssertionError, match="a cotangent of"):
        dot_product_error(named("Add", "second-broadcast"))
