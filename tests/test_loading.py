"""Promoted biases are constants as a session runs a model, and inputs as soon as one is fed."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import FASHION, run
from graphs import convolutions

from fg_onnx import Session, instrument
from fg_onnx.closing import closed, closed_file
from fg_onnx.errors import InputError, ModelError
from fg_onnx.loading import Loader
from fg_onnx.manifest import BIAS, EMITS

LAYER = "h{i} = Conv <pads=[1,1,1,1]> ({x}, w{i}, b{i}) a{i} = Relu (h{i})"
SITE = f"{BIAS}h1"


@pytest.fixture(scope="module")
def model():
    return instrument(convolutions(3, 16, 8, LAYER), emit=EMITS)


@pytest.fixture
def path(model, tmp_path):
    return model.save(tmp_path / "net.fg.onnx")


def images(count=2):
    return np.random.default_rng(0).standard_normal((count, 16, 8, 8)).astype(np.float32)


def loads(monkeypatch):
    """What is given to the runtime from now on."""
    given, inner = [], Loader._source
    monkeypatch.setattr(
        Loader, "_source", lambda self, *form: given.append(form) or inner(self, *form)
    )
    return given


def names(source):
    """Of the inputs that a model has."""
    proto = onnx.load(source) if isinstance(source, str) else onnx.load_from_string(source)
    return [value.name for value in proto.graph.input]


def test_a_closed_model_is_the_same_without_those_inputs(model, path):
    before = copy.deepcopy(model.model)
    found = onnx.load_from_string(closed(model.model.SerializeToString()))
    assert model.model == before
    assert [v.name for v in before.graph.input] == [
        "x",
        f"{BIAS}h0",
        SITE,
        f"{BIAS}h2",
        "fg_target",
    ]
    assert [value.name for value in found.graph.input] == ["x", "fg_target"]
    assert found.graph.node == before.graph.node
    assert found.graph.initializer == before.graph.initializer
    assert found.metadata_props == before.metadata_props
    assert names(closed_file(path)) == ["x", "fg_target"]
    onnx.checker.check_model(found, full_check=True)


def test_a_session_fuses_what_nobody_feeds(path, tmp_path):
    """A convolution, its bias and its ReLU are one kernel, as in the source."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "ran.onnx")

    def activations(source):
        onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        nodes = onnx.load(tmp_path / "ran.onnx", load_external_data=False).graph.node
        return sum(node.op_type == "Relu" for node in nodes)

    assert activations(str(path)) - activations(closed_file(path)) == 3


def test_what_is_found_is_the_same(model):
    """To the rounding of a sum in another order."""
    found = Session(model).explain(images())
    bare = run(model.model, {"x": images()})
    for name in ("contributions", "saliency", "input_gradient"):
        ours, wanted = getattr(found, name), bare[f"fg_{name}"]
        gap = np.abs(ours - wanted.reshape(ours.shape)).max()
        assert gap <= 1e-5 * np.abs(wanted).max(), name
    np.testing.assert_allclose(found.scores, bare["fg_score"], rtol=1e-5)
    assert found.residual.max() < 1e-5


@pytest.mark.parametrize("from_file", [True, False])
def test_a_bias_is_fed_all_the_same(model, path, from_file, monkeypatch):
    session = Session(path if from_file else model)
    given = loads(monkeypatch)
    plain = session.explain(images())
    assert not given
    changed = {SITE: np.full(16, 0.5, np.float32)}
    found = session.explain(images(), feeds=changed)
    wanted = run(model.model, {"x": images(), **changed})
    np.testing.assert_allclose(found.scores, wanted["fg_score"], rtol=1e-5)
    np.testing.assert_allclose(
        found.contributions, wanted["fg_contributions"], rtol=1e-4, atol=1e-5
    )
    assert np.abs(found.scores - plain.scores).min() > 1e-3
    assert given == [(None, True)]
    np.testing.assert_array_equal(session.explain(images()).scores, plain.scores)
    assert given == [(None, True)]
    ranked = session.scores(images(), changed)
    np.testing.assert_allclose(ranked, wanted["y"], rtol=1e-5)
    np.testing.assert_allclose(session.scores(images()), plain.outputs["y"], rtol=1e-5)
    assert given == [(None, True), ("y", True), ("y", False)]


def test_frozen_biases_are_not_looked_for_in_another_form(tmp_path, monkeypatch):
    frozen = instrument(FASHION, freeze_biases=True)
    path = frozen.save(tmp_path / "frozen.fg.onnx")
    data = frozen.model.SerializeToString()
    assert closed(data) == data
    assert closed_file(path) == str(path)
    session = Session(path)
    given = loads(monkeypatch)
    with pytest.raises(InputError, match="has no input `fg_bias/"):
        session.explain(np.zeros((1, 1, 28, 28)), feeds={f"{BIAS}conv1": np.zeros(8)})
    assert not given


def test_weights_beside_the_model_are_found(model, tmp_path, monkeypatch):
    path = tmp_path / "net.fg.onnx"
    onnx.save_model(
        copy.deepcopy(model.model), path, save_as_external_data=True, location="w.bin",
        size_threshold=1024,
    )  # fmt: skip
    monkeypatch.chdir("/")
    assert closed_file(path) == str(path)
    found = Session(path).explain(images(), feeds={SITE: np.zeros(16, np.float32)})
    assert found.residual.max() < 1e-5


@pytest.mark.parametrize("data", [b"", b"no model at all", b"\xff" * 1000, b"\x3a\xff\x01\x5a"])
def test_a_file_that_is_no_model_is_the_runtime_s_to_refuse(tmp_path, data):
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    assert closed_file(path) == str(path)
    with pytest.raises(ModelError, match="does not load the model"):
        Session(path)


def test_a_file_that_is_cut_short_is_left_to_the_runtime(path, tmp_path):
    """Within the graph; what follows it may be missing, to the byte, where a field ends."""
    whole, part = path.read_bytes(), tmp_path / "part.onnx"
    behind = len(whole) - whole.rindex(b"fg_onnx.manifest")
    for cut in range(behind + 200, len(whole), 997):
        part.write_bytes(whole[:-cut])
        assert closed_file(part) == str(part)


def test_an_input_of_the_source_s_own_stays(model):
    """Only what has a value to stay with becomes a constant."""
    named = copy.deepcopy(model.model)
    named.graph.input.add(name=f"{BIAS}own").type.CopyFrom(named.graph.input[0].type)
    found = onnx.load_from_string(closed(named.SerializeToString()))
    assert [value.name for value in found.graph.input] == ["x", "fg_target", f"{BIAS}own"]


def test_the_bytes_of_a_model_are_not_kept(path):
    """ONNX Runtime's session keeps them for a fallback to other providers, which is off."""
    assert not isinstance(closed_file(path), str)
    held = vars(Session(path)._session).values()
    assert not any(isinstance(value, bytes) for value in held)
