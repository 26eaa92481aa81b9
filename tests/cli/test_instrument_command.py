"""`fg-onnx instrument`: what it writes, where, and what it says."""

from __future__ import annotations

import onnx
import pytest
from commands import FASHION, FASHION_VGG, fg, fg_process, write_model

from fg_onnx import manifest
from fg_onnx.files import instrumented_path
from sample_models import tiny


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "net.onnx")


def read(path):
    return manifest.find(onnx.load(path))


def test_beside_the_model_by_default(model):
    before = model.read_bytes()
    found = fg("instrument", model)
    assert found.code == 0
    assert found.err == ""
    assert model.read_bytes() == before
    assert sorted(path.name for path in model.parent.iterdir()) == ["net.fg.onnx", "net.onnx"]
    assert read(model.with_name("net.fg.onnx")).emits == ("saliency", "contributions")


def test_instrumented_path(tmp_path):
    assert instrumented_path(tmp_path / "net.v2.onnx").name == "net.v2.fg.onnx"
    assert instrumented_path(tmp_path / "net").name == "net.fg.onnx"


def test_it_says_where_it_attached(tmp_path):
    out = tmp_path / "vgg.fg.onnx"
    text = fg("instrument", FASHION_VGG, "-o", out).out
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert "image" in lines["input"]
    assert "logits" in lines["explained"]
    assert "first output" in lines["explained"]
    assert "Conv 8" in lines["operators"]
    assert "batchnorm 8, bias 1" in lines["sites"]
    assert str(out) in lines["wrote"]


def test_options_reach_the_manifest(tmp_path):
    out = tmp_path / "new folder" / "vgg.fg.onnx"
    options = ["--psi", "abs", "--emit", "saliency, contributions,layer-maps,bias-gradients"]
    options += ["--freeze-biases", "--preprocess", "unit", "--labels", FASHION / "labels.txt"]
    assert fg("instrument", FASHION_VGG, "-o", out, *options).code == 0
    held = read(out)
    assert held.psi == "abs"
    assert held.emits == ("saliency", "contributions", "layer-maps", "bias-gradients")
    assert held.frozen_biases
    assert held.preprocessing["scale"] == 1 / 255
    assert held.labels[9] == "Ankle boot"
    assert all(site.promoted_input is None for site in held.sites)


def test_output_seed_and_opset(tmp_path, model):
    out = tmp_path / "out.onnx"
    assert fg("instrument", model, "-o", out, "--output", "p", "--seed", "--opset", "18").code == 0
    held = read(out)
    assert held.output == "p"
    assert held.seed
    written = onnx.load(out)
    assert written.opset_import[0].version == 18
    assert "fg_seed" in [value.name for value in written.graph.input]


def test_an_old_opset_is_raised(tmp_path):
    path = tmp_path / "old.onnx"
    onnx.save(tiny.all_models()["old_opset"], path)
    assert fg("instrument", path).code == 0
    assert onnx.load(tmp_path / "old.fg.onnx").opset_import[0].version == 17


def test_an_earlier_result_is_replaced(model):
    assert fg("instrument", model).code == 0
    assert fg("instrument", model, "--psi", "signed").code == 0
    assert read(model.with_name("net.fg.onnx")).psi == "signed"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--psi", "pretty"], "pretty"),
        (["--emit", "saliency,smell"], "smell"),
        (["--output", "nowhere"], "nowhere"),
        (["--preprocess", "caffee"], "caffee"),
        (["--labels", "no/such/file"], "no/such/file"),
        (["--opset", "99"], "99"),
    ],
)
def test_options_that_make_no_sense(model, options, word):
    found = fg("instrument", model, *options)
    assert found.code == 2
    assert word in found.err.splitlines()[0]
    assert [path.name for path in model.parent.iterdir()] == ["net.onnx"]


def test_an_instrumented_model_is_not_instrumented_again(model):
    fg("instrument", model)
    found = fg("instrument", model.with_name("net.fg.onnx"))
    assert found.code == 2
    assert "instrumented already" in found.err


def test_as_a_process(model):
    found = fg_process("instrument", "net.onnx", cwd=model.parent)
    assert found.code == 0
    assert found.err == ""
    assert "net.fg.onnx" in found.out
