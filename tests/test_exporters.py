"""Tiny nets as Keras, tf2onnx and Paddle write them, against those frameworks' own outputs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import run
from differences import score_of, settled_derivative

from fg_onnx import Session, instrument
from fg_onnx.manifest import EMITS
from sample_models import fetch

EXPORTED = Path(fetch.__file__).parent / "exported"
# What exporters make of BatchNormalization is theirs: tf2onnx folds it into a convolution or leaves
# a Mul and an Add, Paddle keeps it.
SITES = {
    "keras_sequential": {"Add": 3, "Conv": 3, "Clip": 1},
    "tf2onnx_sequential": {"Add": 3, "Conv": 3, "Clip": 1},
    "keras_functional": {"Add": 5, "Conv": 2, "Swish": 1},
    "tf2onnx_functional": {"Add": 5, "Conv": 2, "Swish": 1},
    "paddle": {"BatchNormalization": 3, "Add": 3, "HardSwish": 1, "HardSigmoid": 1, "Mul": 1},
}
WITHOUT_GRID = {"functional": 3, "sequential": 1, "paddle": 1}  # after pooling or Flatten
ROUNDING = 1e-5
STEPS = [2.0**-k for k in range(3, 13)]


@pytest.fixture(params=SITES, scope="module")
def name(request):
    return request.param


@pytest.fixture(scope="module")
def exported(name):
    """The model, and two images with the outputs that its framework gave for them."""
    values = EXPORTED / f"{name.replace('tf2onnx', 'keras')}.npz"
    with np.load(values) as file:
        images, outputs = file["images"], file["outputs"]
    return onnx.load(EXPORTED / f"{name}.onnx"), images, outputs


def test_files_are_small_and_ready_to_use(name):
    assert (EXPORTED / f"{name}.onnx").stat().st_size < 100_000


def test_outputs_are_those_of_the_framework(exported):
    model, images, outputs = exported
    found = Session(instrument(model, emit=EMITS)).explain(images)
    (ours,) = found.outputs.values()
    np.testing.assert_allclose(ours, outputs, atol=ROUNDING)
    np.testing.assert_array_equal(found.targets, outputs.argmax(1))
    assert np.all(found.residual <= ROUNDING)
    for image, layer in (
        (found.saliency, "saliency"),
        *((m, n) for n, m in found.layer_maps.items()),
    ):
        assert np.all(np.isfinite(image)), layer
    assert np.all(found.saliency.std((1, 2)) > 0.01 * found.saliency.max((1, 2)))


def test_sites_and_what_is_explained(name, exported):
    found = instrument(exported[0]).manifest
    assert Counter(site.op for site in found.sites) == SITES[name]
    lost = [site for site in found.sites if not site.spatial]
    assert len(lost) == WITHOUT_GRID[name.split("_")[-1]]
    assert "ends in Softmax" in found.output_reason
    assert (found.layout, found.scores) == ("nchw" if name == "paddle" else "nhwc", 5)
    explicit = [site for site in found.sites if site.kind != "implicit"]
    assert all(site.promoted_input for site in explicit)


def test_gradients_agree_with_finite_differences(name, exported):
    """Along random signs of the image, and of every promoted bias, as it is multiplied."""
    model, images, _ = exported
    image = model.graph.input[0].name
    found = Session(instrument(model, emit=EMITS)).explain(images)
    f, defaults = score_of(model, {image: images}, found.targets)
    terms = {image: (images, (images * found.input_gradient).reshape(len(images), -1))}
    for site in found.manifest.sites:
        if site.promoted_input is not None:
            gradient = found.bias_gradients[site.name]
            kept = (0, site.channel_axis or 1)
            others = tuple(axis for axis in range(gradient.ndim) if axis not in kept)
            value, totals = defaults[site.promoted_input], gradient.sum(others)
            if value.size == 1:
                totals = totals.sum(1, keepdims=True)
            terms[site.promoted_input] = value, totals
    draws = np.random.default_rng(3)
    errors = []
    for promoted, (value, totals) in terms.items():
        for _ in range(3):
            sign = draws.choice(
                [-1.0, 1.0], np.shape(value[:1]) if promoted == image else value.shape
            )
            derivative = settled_derivative(f.along(promoted, value, sign), STEPS)
            expected = totals.astype(np.float64) @ sign.reshape(-1)
            errors.append(np.abs(derivative - expected) / np.abs(totals).sum(1))
    print(f"{name}: median {np.median(errors):.1e}, worst {np.max(errors):.1e}")
    # Of the sum of magnitudes. Measured: medians up to 4e-5, at most 2e-3 where a kink is met.
    assert np.median(errors) <= 2e-4
    assert np.max(errors) <= 1e-2


def test_paddle_s_net_takes_any_height_and_width():
    model = onnx.load(EXPORTED / "paddle.onnx")
    session = Session(instrument(model))
    for size in ((16, 16), (32, 20), (11, 27)):
        images = np.random.default_rng(2).standard_normal((2, 3, *size)).astype(np.float32)
        found = session.explain(images)
        assert found.saliency.shape == (2, *size)
        assert np.all(found.residual <= ROUNDING)
        expected = run(model, {"image": images})
        np.testing.assert_allclose(*found.outputs.values(), *expected.values(), atol=ROUNDING)
