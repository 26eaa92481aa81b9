"""Flipping one class into another: the numbers, the contrasts, what is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from commands import FASHION, FASHION_VGG
from graphs import build, draw

import fg_onnx
from fg_onnx import load_preprocessing, prepare, read_image
from fg_onnx.errors import FgOnnxError
from fg_onnx.evaluate.flipping import Flipping, alone, difference, flip, seeded
from fg_onnx.evaluate.scorer import Scorer
from fg_onnx.methods import explainer
from fg_onnx.pictures.preprocess import PRESETS

IDENTITY = PRESETS["none"]
IMAGES = np.random.default_rng(0).normal(size=(5, 1, 6, 6)).astype(np.float32)
W, B = draw("w", 4, 36), draw("b", 4)
LINEAR = build(
    "flat = Flatten (x)\n logits = Gemm <transB = 1> (flat, w, b)",
    {"w": W, "b": B},
    inputs="float[N,1,6,6] x",
    outputs="float[N,4] logits",
)


def exact(images, source, target):
    """What each pixel of a linear model says, without any method."""
    return (images[:, 0].reshape(-1, 36) * (W[source] - W[target])).reshape(-1, 6, 6)


def test_against_a_plain_computation():
    """Of a linear model every pixel takes its own part with it: the sum of the k largest."""
    chosen = Flipping(2, 1, percents=(0.0, 10.0, 50.0, 100.0))
    odds, flipped = flip(Scorer(LINEAR), {"m": exact}, [IMAGES[:2], IMAGES[2:]], chosen, IDENTITY)
    parts = np.sort(exact(IMAGES, 2, 1).reshape(5, 36), axis=1)[:, ::-1]
    whole = parts.sum(1) + B[2] - B[1]
    for column, count in enumerate((0, 4, 18, 36)):
        taken = np.maximum(parts[:, :count], 0).sum(1)  # what speaks against it stays
        found = odds.curves[0].values[:, column]
        # float32 scores of a few units, subtracted twice
        assert np.allclose(found, taken, atol=1e-5)
        wanted = np.where(whole > 0, whole - taken < 0, np.nan)
        assert np.array_equal(flipped.curves[0].values[:, column], wanted, equal_nan=True)
    assert (whole > 0).any()
    assert (whole < 0).any()
    assert odds.curves[0].values[:, 3].min() > 0


def test_what_is_no_longer_the_source_cannot_flip():
    """Of an image and its opposite, only that which speaks for the source can turn."""
    speaking = np.float32(W[2] - W[1]).reshape(1, 1, 6, 6)
    broken = np.full_like(speaking, np.nan)
    images = np.concatenate([speaking, -speaking, broken])
    chosen = Flipping(2, 1, percents=(0.0, 100.0))
    maps = {"m": lambda images, source, target: np.nan_to_num(exact(images, source, target))}
    _, flipped = flip(Scorer(LINEAR), maps, [images], chosen, IDENTITY)
    (curve,) = flipped.curves
    turned = float(B[2] < B[1])  # when all is black
    wanted = [[0, turned], [np.nan] * 2, [np.nan] * 2]
    assert np.array_equal(curve.values, wanted, equal_nan=True)
    assert curve.counts.tolist() == [1, 1]


def test_a_seed_is_the_difference_of_signed_maps():
    """psi = signed is linear in the cotangent: f_2 - f_1 gives the map of 2 minus that of 1."""
    model = fg_onnx.instrument(FASHION_VGG, psi="signed", seed=True, emit=("saliency",))
    steps = load_preprocessing(FASHION / "preprocess.yaml")
    images = prepare(read_image(FASHION / "coat_6.png"), steps, ("N", 1, 28, 28)).array
    one = seeded(fg_onnx.Session(model))(images, 4, 6)
    other = difference(explainer(FASHION_VGG, "fullgrad", psi="signed").explain)(images, 4, 6)
    assert np.allclose(one, other, atol=1e-5 * np.abs(one).max() * 10)
    assert one.min() < 0 < one.max()
    back = seeded(fg_onnx.Session(model))(images, 6, 4)
    assert np.array_equal(one, -back)


@pytest.mark.parametrize("name", ["gradient-x-input", "integrated-gradients"])
def test_signed_methods_are_exact_on_a_linear_model(name):
    """Both are ``w x`` here (the baseline of the latter is 0), and so choose the right pixels."""
    options = {"signed": True, "preprocessing": IDENTITY}
    contrast = difference(explainer(LINEAR, name, **options).explain)
    assert np.allclose(contrast(IMAGES, 3, 0), exact(IMAGES, 3, 0), atol=1e-5)


def test_better_maps_flip_more():
    steps = load_preprocessing(FASHION / "preprocess.yaml")
    names = ("pullover_1.png", "coat_6.png", "shirt_4.png", "dress_13.png")
    shape = ("N", 1, 28, 28)
    images = [prepare(read_image(FASHION / name), steps, shape).array for name in names]
    signed = fg_onnx.instrument(FASHION_VGG, psi="signed", seed=True, emit=("saliency",))
    methods = {
        "signed": seeded(fg_onnx.Session(signed)),
        "random": alone(explainer(FASHION_VGG, "random").explain),
    }
    chosen = Flipping(2, 0, percents=(20,))
    odds, _ = flip(Scorer(FASHION_VGG), methods, [np.concatenate(images)], chosen, steps)
    signed, random = (curve.mean[0] for curve in odds.curves)
    assert signed > random


@pytest.mark.parametrize(
    ("flipping", "code"),
    [
        (lambda: Flipping(3, 3), "one-class"),
        (lambda: Flipping(3, 1, percents=(5, 1)), "bad-percents"),
        (lambda: flip(Scorer(LINEAR), {"m": exact}, [IMAGES], Flipping(0, 4)), "target-range"),
        (lambda: flip(Scorer(LINEAR), {"m": exact}, [IMAGES], Flipping(-1, 2)), "target-range"),
        (lambda: flip(Scorer(LINEAR), {}, [IMAGES], Flipping(0, 2)), "no-methods"),
        (lambda: flip(Scorer(LINEAR), {"m": exact}, [IMAGES], Flipping(0, 2)), "no-preprocessing"),
    ],
)
def test_what_makes_no_sense_is_refused(flipping, code):
    with pytest.raises(FgOnnxError) as caught:
        flipping()
    assert caught.value.code == code


def test_a_segmentation_has_no_classes_of_an_image():
    weights = {"w": draw("k", 3, 1, 1, 1)}
    shapes = {"inputs": "float[N,1,6,6] x", "outputs": "float[N,3,6,6] logits"}
    model = build("logits = Conv (x, w)", weights, **shapes)
    with pytest.raises(FgOnnxError, match="no row of scores"):
        flip(Scorer(model), {"m": exact}, [IMAGES], Flipping(0, 1), IDENTITY)
