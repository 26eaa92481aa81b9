"""`fg-onnx explain --method`: every method by the command line, and what is said of it."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from commands import FASHION, FASHION_VGG, fg, write_image, write_model

from fg_onnx import load_preprocessing, prepare, read_image
from fg_onnx.cli.method import parse_method
from fg_onnx.manifest import METHOD_EMITS
from fg_onnx.methods import METHODS, explainer

BAG, BOOT = FASHION / "bag_18.png", FASHION / "ankle-boot_0.png"
OPTIONS = {
    "smooth-fullgrad": ["--samples", "2"],
    "smooth-grad": ["--samples", "2", "--noise", "0.1", "--seed-number", "3"],
    "smooth-grad-squared": ["--samples", "2"],
    "integrated-gradients": ["--steps", "3", "--baseline", "blur"],
    "rise": ["--samples", "4"],
}


def by(method, *arguments, out, code=0):
    """The document and stderr of a run on the VGG, in which nothing is instrumented."""
    found = fg(
        "explain", FASHION_VGG, *arguments, "--method", method, *OPTIONS.get(method, ()),
        "--preprocess", "unit", "-o", out, "--json", "--device", "cpu",
    )  # fmt: skip
    assert found.code == code, found.err
    return json.loads(found.out) if code == 0 else None, found.err


@pytest.mark.parametrize("name", METHODS)
def test_every_method_writes_its_maps_and_says_whether_it_is_certified(name, tmp_path):
    document, said = by(name, BAG, BOOT, out=tmp_path)
    assert document["method"]["name"] == name
    assert document["method"]["citation"] == METHODS[name].citation
    assert set(document["method"]["options"]) == set(METHODS[name].options())
    assert document["method"]["certified"] == (name == "fullgrad")
    assert (f"{name} has no completeness certificate" in said) == (name != "fullgrad")
    assert len(document["explanations"]) == 2
    for entry in document["explanations"]:
        assert list(entry["files"]) == ["overlay", "map", "array"]
        assert (entry["residual"] is None) == (name != "fullgrad")
        assert (entry["delta"] is None) == (name != "integrated-gradients")
        assert bool(entry["contributions"]) == (name == "fullgrad")
    assert [entry["target"] for entry in document["explanations"]] == [8, 9]
    assert json.loads((tmp_path / "explanations.json").read_text()) == document


def test_the_options_arrive(tmp_path):
    document, _ = by("smooth-grad", BAG, "--target", "3", out=tmp_path)
    steps = load_preprocessing("unit")
    image = prepare(read_image(BAG), steps, ("N", 1, 28, 28)).array
    options = {"samples": 2, "noise": 0.1, "seed": 3}
    expected = explainer(FASHION_VGG, "smooth-grad", device="cpu", **options).explain(image, 3)
    found = np.load(document["explanations"][0]["files"]["array"])
    assert np.allclose(found, expected[0], rtol=1e-4)
    shown = document["method"]["options"]
    assert {name: shown[name] for name in options} == options


def test_options_beside_the_name(tmp_path):
    written = "rise:cells=3:kept=0.4:confidence=score"
    options = ["--preprocess", "unit", "--samples", "2", "-o", tmp_path, "--json"]
    found = fg("explain", FASHION_VGG, BAG, "--method", written, *options, "--device", "cpu")
    method = json.loads(found.out)["method"]
    assert method["name"] == "rise"
    shown = {name: method["options"][name] for name in ("cells", "kept", "confidence", "samples")}
    assert shown == {"cells": 3, "kept": 0.4, "confidence": "score", "samples": 2}
    options = ["--preprocess", "unit", "-o", tmp_path, "--json", "--device", "cpu"]
    found = fg("explain", FASHION_VGG, BAG, "--method", "fullgrad:psi=abs", *options)
    document = json.loads(found.out)
    assert document["method"]["options"] == {"psi": "abs"}
    assert document["method"]["certified"]
    steps = load_preprocessing("unit")
    image = prepare(read_image(BAG), steps, ("N", 1, 28, 28)).array
    expected = explainer(FASHION_VGG, "fullgrad", device="cpu", psi="abs").explain(image)
    made = np.load(document["explanations"][0]["files"]["array"])
    assert np.allclose(made, expected[0], rtol=1e-4)


def test_a_text_that_looks_like_a_number_stays_a_text():
    assert parse_method("grad-cam:layer=12") == ("grad-cam", {"layer": "12"})
    assert parse_method("grad-cam:layer=null") == ("grad-cam", {"layer": None})
    assert parse_method("rise:samples=12", 3) == ("rise", {"samples": 12, "seed": 3})


def test_the_layer_of_grad_cam(tmp_path):
    document, said = by("grad-cam", BAG, out=tmp_path / "last")
    last = document["method"]["options"]["layer"]
    assert f"grad-cam: the layer is `{last}`" in said
    names = [node.output[0] for node in onnx.load(FASHION_VGG).graph.node]
    first = names[2]
    document, _ = by("grad-cam", BAG, "--layer", first, out=tmp_path / "first")
    assert document["method"]["options"]["layer"] == first != last


def test_signed_maps_have_both_signs(tmp_path):
    document, _ = by("gradient-x-input", BAG, "--signed", out=tmp_path)
    found = np.load(document["explanations"][0]["files"]["array"])
    assert found.min() < 0 < found.max()


def test_the_words_for_people(tmp_path):
    options = ["--preprocess", "unit", "-o", tmp_path, "--method", "integrated-gradients"]
    found = fg("explain", FASHION_VGG, BAG, *options, "--tolerance", "0.2", "--device", "cpu")
    assert found.code == 0
    assert "delta" in found.out
    assert "residual" not in found.out
    assert "intervals: " in found.err


@pytest.mark.parametrize(
    "method", ["input-gradient", "rise:samples=2", "integrated-gradients", "fullgrad"]
)
def test_what_is_not_finite_fails(method, tmp_path):
    images = np.random.default_rng(0).random((2, 3, 8, 8), dtype=np.float32)
    images[1, 0, 2, 2] = np.nan
    np.save(tmp_path / "images.npy", images)
    options = ["-o", tmp_path / "out", "--device", "cpu", "--method", method, "--target", "1"]
    model = write_model(tmp_path / "model.onnx")
    found = fg("explain", model, tmp_path / "images.npy", *options)
    assert found.code == 1
    told = [line for line in found.err.splitlines() if "not finite" in line or "not com" in line]
    assert len(told) == 1
    assert "images.npy [1]`, class 1" in told[0]


def test_the_images_that_miss_the_tolerance_are_named(tmp_path):
    images = np.random.default_rng(0).random((2, 1, 28, 28), dtype=np.float32)
    images[0] = 0  # the baseline itself
    np.save(tmp_path / "images.npy", images)
    method = "integrated-gradients:steps=1:tolerance=1e-6:baseline=zero"
    options = ["-o", tmp_path / "out", "--device", "cpu", "--method", method, "--target", "1"]
    found = fg("explain", FASHION_VGG, tmp_path / "images.npy", *options)
    assert found.code == 0
    told = [line for line in found.err.splitlines() if "is missing" in line]
    assert len(told) == 1
    assert "images.npy [1]`, class 1: after 1 intervals" in told[0]
    assert "more than the tolerance 1e-06" in told[0]


def test_several_targets_and_arrays(tmp_path):
    model = write_model(tmp_path / "model.onnx")
    images = np.random.default_rng(0).random((3, 3, 8, 8), dtype=np.float32)
    np.save(tmp_path / "images.npy", images)
    options = ["--method", "input-gradient", "--target", "top2", "-o", tmp_path / "out", "--json"]
    found = fg("explain", model, tmp_path / "images.npy", *options, "--device", "cpu")
    entries = json.loads(found.out)["explanations"]
    assert len(entries) == 6
    expected = explainer(model, "input-gradient", device="cpu")
    for entry in entries:
        row = entry["row"]
        made = expected.explain(images[row : row + 1], entry["target"])[0]
        assert np.allclose(np.load(entry["files"]["array"]), made, rtol=1e-5)


def test_a_model_that_was_instrumented_for_it(tmp_path):
    ready = tmp_path / "ready.onnx"
    emit = ",".join(METHOD_EMITS)
    options = ["--emit", emit, "--preprocess", "unit"]
    assert fg("instrument", FASHION_VGG, "-o", ready, *options).code == 0
    for method in METHOD_EMITS:
        name = {"simple-saliency": "simple-fullgrad", "probability": "rise"}.get(method, method)
        options = [*OPTIONS.get(name, ()), "--method", name, "-o", tmp_path / name]
        assert fg("explain", ready, BAG, *options).code == 0
    found = fg("explain", ready, BAG, "--method", "input-gradient", "-o", tmp_path / "out")
    assert found.code == 2
    assert "instrumented without input-gradient" in found.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "gradcam"], "no method `gradcam`"),
        (["--method", "rise:cells"], "`cells` of the method `rise:cells` is no OPTION=VALUE"),
        (["--method", "rise:cells=2:cells=3"], "`cells` of rise is given twice"),
        (["--method", "rise:samples=2", "--samples", "2"], "`samples` of rise is given twice"),
        (["--method", "smooth-grad:samples=abc"], "`samples` of smooth-grad cannot be 'abc'"),
        (["--method", "random", "--steps", "3"], "random has no option `steps`"),
        (["--samples", "3"], "fullgrad has no option `samples`"),
        (["--method", "rise", "--signed"], "rise has no option `signed`"),
        (["--method", "grad-cam", "--psi", "abs"], "grad-cam has no option `psi`"),
        (["--method", "grad-cam", "--layers"], "--layers belongs to fullgrad"),
        (["--method", "grad-cam", "--region", "all"], "--region belongs to fullgrad"),
        (["--method", "grad-cam", "--layer", "nowhere"], "no layer `nowhere`"),
        (["--method", "rise", "--baseline", "grey"], "`baseline` of rise cannot be 'grey'"),
    ],
)
def test_what_does_not_go_together(arguments, said, tmp_path):
    image = write_image(tmp_path / "image.png")
    model = write_model(tmp_path / "model.onnx")
    out = tmp_path / "out"
    found = fg("explain", model, image, "--preprocess", "unit", "-o", out, *arguments)
    assert found.code == 2
    assert said in found.err
    assert "hint: " in found.err
    assert not out.exists()


def test_help_lists_every_method():
    text = " ".join(fg("explain", "--help").out.split()).replace("- ", "-")
    assert [name for name in METHODS if name not in text] == []
    text = " ".join(fg("instrument", "--help").out.split()).replace("- ", "-")
    assert [word for word in METHOD_EMITS if word not in text] == []
