"""`fg-onnx inspect`: the dry run, its document and its verdict."""

from __future__ import annotations

import json

import onnx
import pytest
from commands import FASHION_VGG, everything_in, fg, fg_process, write_model

from fg_onnx import instrument
from sample_models import tiny

KEYS = ["schema_version", "instrumentable", "explained_input", "pixels", "explained_output"]
KEYS += ["sites", "unsupported"]
SITE_KEYS = ["name", "kind", "op", "shape", "spatial", "channel_axis", "spatial_axes", "grid"]


def test_the_document():
    found = fg("inspect", FASHION_VGG, "--json")
    assert found.code == 0
    assert found.err == ""
    document = json.loads(found.out)
    assert list(document) == KEYS
    assert document["schema_version"] == 1
    assert document["instrumentable"] is True
    assert document["explained_input"] == "image"
    assert document["explained_output"]["name"] == "logits"
    assert document["unsupported"] == []
    assert len(document["sites"]) == 9
    first, last = document["sites"][0], document["sites"][-1]
    assert list(first) == SITE_KEYS
    assert first["kind"] == "batchnorm"
    assert first["shape"] == ["N", 16, 28, 28]
    assert first["spatial"] is True
    assert (first["channel_axis"], first["spatial_axes"], first["grid"]) == (1, [2, 3], None)
    assert last["op"] == "Gemm"
    assert last["spatial"] is False


def test_the_sites_are_those_that_instrumenting_makes(tmp_path):
    for name, model in tiny.all_models().items():
        path = tmp_path / f"{name}.onnx"
        onnx.save(model, path)
        document = json.loads(fg("inspect", path, "--json").out)
        expected = [site.name for site in instrument(path).manifest.sites]
        assert [site["name"] for site in document["sites"]] == expected, name


def test_for_people(tmp_path):
    text = fg("inspect", FASHION_VGG).out
    for word in ("image", "logits", "Conv 8", "batchnorm 8", "can be instrumented", "Gemm"):
        assert word in text


def test_a_trailing_softmax_is_skipped(tmp_path):
    path = tmp_path / "nhwc.onnx"
    onnx.save(tiny.all_models()["nhwc"], path)
    explained = json.loads(fg("inspect", path, "--json").out)["explained_output"]
    assert explained["name"] == "logits"
    assert "Softmax" in explained["reason"]


def test_nothing_is_written(tmp_path):
    path = write_model(tmp_path / "net.onnx")
    before = everything_in(tmp_path)
    assert fg("inspect", path).code == 0
    assert everything_in(tmp_path) == before


@pytest.fixture
def unsupported(tmp_path):
    return write_model(
        tmp_path / "det.onnx",
        """g (float[N,3,8,8] x) => (float[N,3] logits) {
            [first] a = Det (x)
            [second] logits = com.acme.Swirl (a)
        }""",
        {},
        imports='"": 17, "com.acme": 1',
    )


def test_operators_without_a_rule_exit_with_1(tmp_path, unsupported):
    found = fg("inspect", unsupported, "--json")
    assert found.code == 1
    document = json.loads(found.out)
    assert list(document) == KEYS
    assert document["instrumentable"] is False
    rows = document["unsupported"]
    assert [list(row) for row in rows] == [["op", "node", "reason"]] * len(rows)
    assert ["Det", "first"] in [[row["op"], row["node"]] for row in rows]
    assert any("com.acme" in row["reason"] for row in rows)


def test_operators_without_a_rule_for_people(unsupported):
    found = fg("inspect", unsupported)
    assert found.code == 1
    assert "cannot be instrumented" in found.out
    assert "first" in found.out
    assert found.err == ""


def test_a_model_without_an_image_cannot_be_instrumented(tmp_path):
    path = write_model(
        tmp_path / "text.onnx",
        "g (int64[N,7] ids) => (float[N,7] y) { y = Cast <to = 1> (ids) }",
        {},
    )
    found = fg("inspect", path, "--json")
    assert found.code == 1
    document = json.loads(found.out)
    assert document["explained_output"] is None
    assert "ids" in document["unsupported"][0]["reason"]


def test_the_verdict_is_that_of_instrument(tmp_path):
    """Rules may refuse a node only when they are carried out, here for its free size."""
    path = write_model(
        tmp_path / "free.onnx",
        """g (float[N,3,H,W] x) => (float[N,4] logits) {
            c = Conv (x, w, b)
            p = GlobalAveragePool (c)
            logits = Flatten (p)
        }""",
    )
    found = fg("inspect", path, "--json")
    made = fg("instrument", path)
    document = json.loads(found.out)
    assert document["instrumentable"] is (made.code == 0)
    assert found.code == (0 if made.code == 0 else 1)
    for row in document["unsupported"]:
        assert row["reason"] in made.err


def test_an_unreadable_model_exits_with_2(tmp_path):
    assert fg("inspect", tmp_path / "nowhere.onnx", "--json").code == 2


@pytest.fixture
def instrumented(tmp_path):
    out = tmp_path / "vgg.fg.onnx"
    fg("instrument", FASHION_VGG, "-o", out, "--emit", "saliency,contributions,layer-maps")
    return out


def test_an_instrumented_model_shows_its_manifest(instrumented):
    found = fg_process("inspect", instrumented, "--json")
    assert found.code == 0
    document = json.loads(found.out)
    assert list(document) == [*KEYS, "manifest"]
    assert document["manifest"]["psi"] == "reference"
    assert len(document["sites"]) == len(document["manifest"]["sites"])


def test_an_instrumented_model_for_people(instrumented):
    text = fg("inspect", instrumented).out
    assert "instrumented already" in text
    assert "reference" in text
    assert "fg_layer_map" not in text
