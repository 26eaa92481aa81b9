"""Models that take integer images, and models of a fixed batch, from the command line."""

from __future__ import annotations

import json

import cv2
import numpy as np
import onnx
import pytest
from commands import WEIGHTS, fg
from onnx import numpy_helper

PIXELS = """g (uint8[1,8,8,3] pixels) => (float[1,4] logits) {
    floats = Cast <to = 1> (pixels)
    scaled = Div (floats, largest)
    x = Transpose <perm = [0,3,1,2]> (scaled)
    c = Conv (x, w, b)
    r = Relu (c)
    p = GlobalAveragePool (r)
    logits = Reshape (p, rows)
}"""


def write(path, text):
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    constants = {"largest": np.float32(255), "rows": np.int64([1, 4]), "first": np.int64([0])}
    for name, value in (WEIGHTS | constants).items():
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    onnx.save(proto, path)
    return path


@pytest.fixture
def model(tmp_path):
    return write(tmp_path / "net.onnx", PIXELS)


def test_the_tensor_that_the_gradient_is_taken_by_is_said(model):
    said = "floats  (the first float tensor of the integers `pixels`)"
    assert said in fg("inspect", model).out
    document = json.loads(fg("inspect", model, "--json").out)
    assert (document["explained_input"], document["pixels"]) == ("floats", "pixels")
    found = fg("instrument", model)
    assert found.code == 0
    assert said in found.out
    assert "pixels  uint8 [1, 8, 8, 3]" in found.out
    assert said in fg("inspect", model.with_name("net.fg.onnx")).out


@pytest.mark.parametrize("option", [[], ["--dynamic-batch"]])
def test_pixels_are_explained_as_they_are(model, tmp_path, option):
    for name in ("a", "b"):
        image = np.random.default_rng(ord(name)).integers(0, 256, (8, 8, 3))
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    made = tmp_path / "net.fg.onnx"
    assert fg("instrument", model, "-o", made, "--preprocess", "none", *option).code == 0
    first = onnx.load(made).graph.input[0].type.tensor_type.shape.dim[0]
    assert (first.dim_param or first.dim_value) == ("N" if option else 1)
    found = fg("explain", made, tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "out")
    assert found.code == 0, found.err
    assert len(list((tmp_path / "out").glob("*.npy"))) == 2


def test_a_preprocessing_that_the_model_does_itself_is_refused(model, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((8, 8, 3), 77, np.uint8))
    found = fg("explain", model, tmp_path / "a.png", "--preprocess", "unit", "-o", tmp_path / "o")
    assert found.code == 2
    assert "whole numbers from 0 to 255" in found.err
    assert "does its own preprocessing" in found.err


def test_a_batch_that_cannot_be_freed_is_refused(tmp_path):
    dropped = "f = Flatten (p) s = Squeeze (f, first) logits = Unsqueeze (s, first)"
    model = write(tmp_path / "net.onnx", PIXELS.replace("logits = Reshape (p, rows)", dropped))
    found = fg("instrument", model, "--dynamic-batch")
    assert found.code == 2
    assert "`Squeeze` at `s`: it drops the batch" in found.err
    assert not (tmp_path / "net.fg.onnx").exists()
