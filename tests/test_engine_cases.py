"""Node by node, what onnxruntime-training derives: the same gradients, or a refusal with cause."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from conftest import engine_is_ready
from engine_cases import as_it_is, both_engines, build_job, in_reach, run_job
from onnx import helper

from fg_onnx.errors import EngineError
from fg_onnx.ort_training import environment
from fg_onnx.ort_training.accepted import accepted_operators
from fg_onnx.vjps import RULES

pytestmark = pytest.mark.engine

# Products and sums of at most some hundred float32 values of either engine's form.
ROUNDING = 1e-5

# What is refused although it would come out right, and why it is refused nevertheless.
CAUTIOUS = {
    "MatMul-row": "of matrices and vectors it takes this one alone",
    "Cast-same-type": "of float64: its other kernels take float32",
    "Pow-zero-among-exponents": "right but at x = 0, where it makes 0 / 0 of it",
    "Pow-run-time-exponent": "its exponents may be 0",
    "Pow-both": "its exponents may be 0",
}

# What comes out right here, and wrong of onnxruntime-training's own kernels, or not at all.
MENDED = {
    "AveragePool-3-D": "the kernel is wrong",
    "AveragePool-count-ceil-pads": "the kernel is wrong",
    "AveragePool-same-lower": "the kernel is wrong, and auto_pad made explicit",
    "AveragePool-symbolic": "the kernel takes an unknown batch for 0",
    "BatchNormalization": "there is no rule: it is written as Mul and Add",
    "Conv-same": "SAME padding is overlooked: it is made explicit",
    "ConvTranspose": "there is no kernel",
    "Dropout": "its gradient is that of training: it is left out",
    "Resize": "there is no kernel",
    "Slice-reversed": "the kernel does not take a negative step",
    "Slice-run-time": "the kernel does not take an end beyond 32 bits",
    "Slice-symbolic-reversed": "the kernel does not take a negative step",
    "Split": "results that are not used are left out: they are given a use",
}


@pytest.fixture(scope="module")
def pulled():
    """Every one-node model of tests/vjps/cases that is in the engine's reach."""
    engine_is_ready()
    return both_engines(list(in_reach()))


def test_what_is_accepted_has_the_gradients_of_the_standard_engine(pulled):
    accepted = [each for each in pulled if each.proto is not None]
    assert {each.case.op_type for each in accepted} >= set(accepted_operators())
    wrong = {each.name: gap for each in accepted if not (gap := each.difference()) <= ROUNDING}
    assert not wrong


def test_nothing_is_refused_after_the_fact(pulled):
    late = [each.refusal for each in pulled if each.refusal.startswith("after the fact")]
    assert not late


def test_every_refusal_of_an_operator_it_knows_has_its_cause(pulled, tmp_path):
    refused = [
        each for each in pulled if each.proto is None and each.case.op_type in accepted_operators()
    ]
    assert len(refused) > 100
    said = as_it_is([(each.case, each.x, each.y) for each in refused], tmp_path)
    needless = [each.name for each, what in zip(refused, said, strict=True) if not what]
    assert {name.rpartition("-opset")[0] for name in needless} == set(CAUTIOUS)


def test_what_is_mended_needs_it(pulled, tmp_path):
    accepted = [each for each in pulled if each.proto is not None]
    said = as_it_is([(each.case, each.x, each.y) for each in accepted], tmp_path)
    wrong = [each.name for each, what in zip(accepted, said, strict=True) if what]
    unknown = [name for name in wrong if not name.startswith(tuple(MENDED))]
    assert not unknown
    idle = [known for known in MENDED if not any(name.startswith(known) for name in wrong)]
    assert not idle


def test_an_operator_without_a_gradient_there_is_refused_by_name(pulled):
    unknown = {
        each.case.op_type
        for each in pulled
        if each.refusal == "onnxruntime-training has no gradient of it"
    }
    assert {"LRN", "PRelu", "InstanceNormalization", "DepthToSpace", "Einsum"} <= unknown
    assert unknown.isdisjoint(accepted_operators())
    assert set(accepted_operators()) <= set(RULES)


def test_the_page_lists_what_is_accepted():
    page = (Path(__file__).parents[1] / "docs" / "engines.md").read_text()
    listed = page.partition("**Accepted**, in some form at least: ")[2].partition(".\n")[0]
    assert listed.replace("\n", " ").split(", ") == list(accepted_operators())


def test_a_wrong_gradient_is_seen(pulled):
    tanh = copy.deepcopy(next(each for each in pulled if each.case.op_type == "Tanh"))
    *_, last = tanh.proto.graph.node
    flip = helper.make_node("Neg", last.input, ["flipped"])
    last.input[0] = "flipped"
    tanh.proto.graph.node.insert(len(tanh.proto.graph.node) - 1, flip)
    assert tanh.difference() == pytest.approx(2.0)


# --- what becomes of a process that goes wrong ----------------------------------------------------


@pytest.fixture
def job(pulled, tmp_path):
    """A job of the builder: a pool of unknown height and width."""
    crashing = next(each for each in pulled if each.name.startswith("MaxPool-symbolic-rest"))
    return build_job(tmp_path, 0, crashing.case, crashing.x, crashing.y)


def test_a_crash_is_an_error(pulled, job, tmp_path):
    """The kernel of such a pool's gradient crashes."""
    crashing = next(each for each in pulled if each.name.startswith("MaxPool-symbolic-rest"))
    assert environment.work([job]) == [None]
    with pytest.raises(EngineError, match=r"crashed \(SIGSEGV\)") as caught:
        environment.work([run_job(tmp_path, 0, crashing.case, crashing.x, crashing.y)])
    assert caught.value.code == "engine-crashes"
    assert "--gradients standard" in caught.value.hint


def test_a_hang_is_an_error(job, monkeypatch):
    monkeypatch.setattr(environment, "_PATIENCE", 0.01)  # no Python starts in that
    with pytest.raises(EngineError, match="did not answer within") as caught:
        environment.work([job])
    assert caught.value.code == "engine-hangs"


def test_what_the_builder_says_is_passed_on(job):
    (trouble,) = environment.work([{**job, "xs": ["nowhere"]}])
    assert "nowhere" in trouble
