"""The fuzzer itself: always the same mutants, nothing found in some, and it does find things."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from test_hostile import sound

import fg_onnx
from tests.fuzz import verdict
from tests.fuzz.__main__ import Worker, run
from tests.fuzz.mutants import mutant


def test_a_mutant_follows_from_its_seed_and_number():
    assert mutant(3, 14) == mutant(3, 14)
    assert len({mutant(3, number)[0] for number in range(50)}) == 50
    assert mutant(4, 14) != mutant(3, 14)


def test_nothing_is_found_in_some_mutants():
    verdicts = run(seed=0, count=150)
    assert [v for v in verdicts if v.outcome == verdict.FINDING] == []
    outcomes = [v.outcome for v in verdicts]
    assert outcomes.count(verdict.RIGHT) > 15
    assert outcomes.count(verdict.REFUSED) > 15


def test_a_worker_that_dies_is_a_finding():
    worker = Worker(seed=0, memory=0)
    found = worker.judge(0)
    worker.stop()
    assert found.outcome == verdict.FINDING
    assert found.why.startswith("crash")


def negate(model, name):
    (node,) = (node for node in model.graph.node if name in node.output)
    node.op_type = "Neg"


def scale_weights(model, name):
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    values = onnx.numpy_helper.to_array(tensor) * np.float32(1.001)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda model: negate(model, "fg_input_gradient"), "slopes"),
        (lambda model: negate(model, "fg_score"), "residual"),
        (lambda model: scale_weights(model, "fg_bias/logits"), "`logits` has other values"),
        (lambda model: scale_weights(model, "w1"), "`logits` has other values"),
        (lambda model: model.graph.output.reverse(), "the outputs are"),
        (lambda model: model.graph.output.append(model.graph.output[-1]), "of one name"),
        (lambda model: model.graph.node.pop(), "does not load"),
    ],
)
def test_a_wrong_model_is_a_finding(monkeypatch, tmp_path, spoil, says):
    right = fg_onnx.instrument

    def wrong(*arguments, **options):
        made = right(*arguments, **options)
        spoil(made.model)
        return made

    path = tmp_path / "model.onnx"
    path.write_bytes(sound().SerializeToString())
    assert verdict.judge(path, lambda stage: None, commands=False)[0] == verdict.RIGHT
    monkeypatch.setattr(verdict.fg_onnx, "instrument", wrong)
    outcome, why = verdict.judge(path, lambda stage: None, commands=False)
    assert outcome == verdict.FINDING
    assert says in why


@pytest.mark.parametrize("failure", [KeyError("x"), MemoryError(), RecursionError()])
def test_an_exception_of_another_kind_is_a_finding(monkeypatch, tmp_path, failure):
    def fails(*arguments, **options):
        raise failure

    path = tmp_path / "model.onnx"
    path.write_bytes(sound().SerializeToString())
    monkeypatch.setattr(verdict.fg_onnx, "instrument", fails)
    outcome, why = verdict.judge(path, lambda stage: None, commands=True)
    assert outcome == verdict.FINDING
    assert type(failure).__name__ in why
