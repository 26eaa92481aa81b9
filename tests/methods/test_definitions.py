"""Methods against plain forms of their definitions, which read nothing but forward passes and
gradients; test_against_torch.py holds those that need more.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from conftest import run
from graphs import build, draw, everything, expose, noise, two_stages
from plain import close, draws, inputs
from test_psi import plain_map, resized, terms_of

from fg_onnx import Session, instrument
from fg_onnx.errors import InputError, UnsupportedModelError
from fg_onnx.fullgrad.psi import STYLES
from fg_onnx.manifest import METHOD_EMITS
from fg_onnx.methods import explainer
from fg_onnx.methods.baselines import BASELINES
from fg_onnx.methods.masking import Rise
from fg_onnx.pictures.absence import gaussian
from fg_onnx.pictures.preprocess import Preprocessing

# Means of some float32 gradients, in another order: 1e-6 each.
CLOSE = 1e-5


def gradients(model, images, targets):
    """float64 in the shape of the images, by the model's own `fg_input_gradient`."""
    found = everything(model).explain(images, targets)
    return found.input_gradient.astype(np.float64), found.scores.astype(np.float64)


def of(name, model, **options):
    return explainer(model, name, threads=1, **options)


# --- gradients ----------------------------------------------------------------------------------


def test_input_gradient_over_channels():
    model, images = inputs("images")
    gradient, _ = gradients(model, images, 2)
    close(of("input-gradient", model).explain(images, 2), np.abs(gradient).sum(1), CLOSE)
    largest = of("input-gradient", model, channels="max").explain(images, 2)
    close(largest, np.abs(gradient).max(1), CLOSE)
    signed = of("input-gradient", model, signed=True).explain(images, 2)
    close(signed, gradient.sum(1), CLOSE)


def test_gradient_x_input_adds_up_over_channels_first():
    model, images = inputs("images")
    product = (gradients(model, images, 2)[0] * images).sum(1)
    close(of("gradient-x-input", model).explain(images, 2), np.abs(product), CLOSE)
    close(of("gradient-x-input", model, signed=True).explain(images, 2), product, CLOSE)


def test_nhwc_channels_are_last():
    model, images = inputs("nhwc")
    gradient, _ = gradients(model, images, 2)
    close(of("input-gradient", model).explain(images, 2), np.abs(gradient).sum(3), CLOSE)


@pytest.mark.parametrize("psi", STYLES)
def test_fullgrad_is_the_models_own_map_and_comes_with_its_residual(psi):
    model, images = inputs("images")
    found = of("fullgrad", model, psi=psi).attribute(images)
    expected = Session(instrument(model, psi=psi), threads=1).explain(images)
    assert np.array_equal(found.maps, expected.saliency)
    assert np.array_equal(found.residual, expected.residual)
    assert found.signed == (psi == "signed")
    assert found.delta is None


# --- noise --------------------------------------------------------------------------------------


def noisy(images, seed, sample, share):
    """Noise of that share of each image's range, drawn as the methods say."""
    made = [
        image + share * np.ptp(image) * draws(seed, image, sample).standard_normal(image.shape)
        for image in images
    ]
    return np.stack(made).astype(np.float32)


def test_smooth_grad_is_the_mean_of_gradients():
    model, images = inputs("images")
    found = [gradients(model, noisy(images, 5, j, 0.2), [1, 4, 0])[0] for j in range(4)]
    mean, square = np.mean(found, 0), np.mean(np.square(found), 0)
    options = {"seed": 5, "samples": 4, "noise": 0.2}
    smooth = of("smooth-grad", model, **options)
    close(smooth.explain(images, [1, 4, 0]), np.abs(mean).sum(1), CLOSE)
    signed = of("smooth-grad", model, signed=True, **options)
    close(signed.explain(images, [1, 4, 0]), mean.sum(1), CLOSE)
    squared = of("smooth-grad-squared", model, **options)
    close(squared.explain(images, [1, 4, 0]), square.sum(1), CLOSE)
    largest = of("smooth-grad-squared", model, channels="max", **options)
    close(largest.explain(images, [1, 4, 0]), square.max(1), CLOSE)


def test_without_noise_they_are_what_they_smooth():
    model, images = inputs("images")
    options = {"noise": 0.0, "samples": 2}
    gradient = of("input-gradient", model).explain(images)
    close(of("smooth-grad", model, **options).explain(images), gradient, CLOSE)
    for psi in STYLES:
        smooth = of("smooth-fullgrad", model, psi=psi, **options).explain(images)
        close(smooth, of("fullgrad", model, psi=psi).explain(images), CLOSE)


@pytest.mark.parametrize("psi", ["reference", "paper", "signed"])
@pytest.mark.parametrize("kind", ["images", "nhwc"])
def test_smooth_fullgrad_averages_before_psi(kind, psi):
    model, images = inputs(kind, 2)
    session = everything(model, psi)
    input_terms, site_terms = [], []
    for sample in range(3):
        made = noisy(images, 0, sample, 0.15)
        whole, sites = terms_of(session.explain(made, 3), made)
        input_terms.append(whole)
        site_terms.append(sites)
    means = [np.mean(layer, 0) for layer in zip(*site_terms, strict=True)]
    expected = plain_map(psi, np.mean(input_terms, 0), means)
    found = of("smooth-fullgrad", model, psi=psi, samples=3).explain(images, 3)
    close(found, expected, CLOSE)
    late = np.mean([plain_map(psi, *each) for each in zip(input_terms, site_terms, strict=True)], 0)
    if psi != "signed":  # which is linear
        assert np.abs(late - expected).max() > 100 * CLOSE * expected.max()


def leaning_on_the_image():
    """Two classes of opposite weights, so that noise changes which of them wins."""
    nodes = """
        c = Conv <pads = [1,1,1,1]> (x, w, b)
        r = Relu (c)
        f = Flatten (r)
        logits = Gemm <transB = 1> (f, v)
    """
    rows = draw("v", 1, 4 * 64)
    weights = {"w": draw("w", 4, 3, 3, 3), "b": draw("b", 4), "v": np.concatenate([rows, -rows])}
    return build(nodes, weights, inputs="float[N,3,8,8] x", outputs="float[N,2] logits")


@pytest.mark.parametrize("name", ["smooth-grad", "smooth-grad-squared", "smooth-fullgrad"])
def test_the_target_is_the_clean_images_whatever_the_noise_makes_of_it(name):
    model = leaning_on_the_image()
    images = noise(6, 3, 8, 8)
    options = {"noise": 2.0, "samples": 4}
    session = Session(instrument(model), threads=1)
    clean = session.explain(images).targets
    flipped = [session.explain(noisy(images, 0, j, 2.0)).targets for j in range(4)]
    assert (np.array(flipped) != clean).any()
    found = of(name, model, **options).attribute(images)
    assert np.array_equal(found.targets, clean)
    assert np.array_equal(found.maps, of(name, model, **options).explain(images, clean))


# --- integrated gradients -----------------------------------------------------------------------


def integrated(model, images, start, targets, count):
    """Trapezoids over ``count`` intervals, and what they sum to beyond f(x) - f(x')."""
    places = [k / count for k in range(count + 1)]
    along = [(start + at * (images - start)).astype(np.float32) for at in places]
    slopes, scores = zip(*(gradients(model, at, targets) for at in along), strict=True)
    mean = (sum(slopes) - (slopes[0] + slopes[-1]) / 2) / count
    found = mean * (images - start)
    sums = found.reshape(len(found), -1).sum(1)
    return found, sums - (scores[-1] - scores[0])


@pytest.mark.parametrize("steps", [1, 5, 16])
def test_integrated_gradients_of_so_many_steps(steps):
    model, images = inputs("images")
    expected, delta = integrated(model, images, np.zeros_like(images), [1, 4, 0], steps)
    explain = of("integrated-gradients", model, steps=steps, baseline="zero")
    found = explain.attribute(images, [1, 4, 0])
    close(found.maps, np.abs(expected.sum(1)), CLOSE)
    # The delta is a difference of sums that float32 gradients and scores hold to 1e-6 each.
    assert np.abs(found.delta - delta).max() <= 1e-5 * np.abs(expected).sum()
    assert np.abs(found.delta).max() > 1e-3 * np.abs(found.scores).max() or steps > 1


def test_halving_reads_the_same_gradients_as_so_many_steps_at_once():
    model, images = inputs("images", 4)
    adaptive = of("integrated-gradients", model, tolerance=1e-3).attribute(images)
    (note,) = [note for note in adaptive.notes if note.startswith("intervals")]
    counts = [int(count) for count in note.removeprefix("intervals: ").split(", ")]
    assert len(set(counts)) > 1  # else this shows nothing of images that end apart
    for row, count in enumerate(counts):
        fixed = of("integrated-gradients", model, steps=count).attribute(images[row : row + 1])
        close(adaptive.maps[row : row + 1], fixed.maps, CLOSE)
        assert abs(adaptive.delta[row] - fixed.delta[0]) <= 1e-5 * fixed.maps.sum()


def test_halving_ends_at_the_tolerance():
    model, images = inputs("images", 4)
    session = Session(instrument(model), threads=1)
    for tolerance in (0.1, 0.01, 0.001):
        explain = of("integrated-gradients", model, tolerance=tolerance, baseline="zero")
        found = explain.attribute(images)
        start = session.explain(np.zeros_like(images), found.targets).scores
        difference = np.abs(found.scores - start)
        assert (np.abs(found.delta) <= tolerance * difference * (1 + 1e-5)).all()
        assert np.allclose(found.residual, np.abs(found.delta) / difference, rtol=1e-4)


def test_halving_gives_up_and_says_so():
    model, images = inputs("images", 2)
    found = of("integrated-gradients", model, tolerance=1e-12, most_steps=32).attribute(images)
    assert "intervals: 32, 32" in found.notes
    assert (found.residual > 1e-12).all()


def test_a_baseline_that_is_the_image_has_nothing_to_attribute():
    model, images = inputs("images", 2)
    flat = np.ones_like(images) * images[:, :, :1, :1]
    found = of("integrated-gradients", model, baseline="mean").attribute(flat)
    # The mean of equal float32 numbers is that number up to its last digit.
    assert np.abs(found.maps).max() <= 1e-6
    found = of("integrated-gradients", model, baseline="zero").attribute(np.zeros_like(images))
    assert not found.maps.any()
    assert found.residual.tolist() == [0, 0]


# --- baselines ----------------------------------------------------------------------------------


def ends_at(model, images, start, found):
    """Whether one trapezoid from there gives these maps."""
    expected, delta = integrated(model, images, start, 1, 1)
    close(found.maps, np.abs(expected.sum(1)), CLOSE)
    assert np.abs(found.delta - delta).max() <= 1e-5 * np.abs(expected).sum()


def test_every_baseline_is_what_its_name_says():
    model, images = inputs("images")
    steps = Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5), scale=1 / 255)
    black = np.ones_like(images) * np.array([-2.5, -1.6, -0.6]).reshape(1, 3, 1, 1)
    mean = np.ones_like(images) * images.mean((2, 3), keepdims=True)
    padded = np.pad(images.astype(float), ((0, 0), (0, 0), (4, 4), (3, 3)), mode="edge")
    blurred = np.zeros(images.shape)
    down, across = (np.exp(-0.5 * (np.arange(-r, r + 1) / s) ** 2) for r, s in ((4, 0.8), (3, 0.6)))
    for i, a in enumerate(down / down.sum()):
        for j, b in enumerate(across / across.sum()):
            blurred += a * b * padded[:, :, i : i + 16, j : j + 12]
    expected = {"black": black, "mean": mean, "blur": blurred, "zero": np.zeros_like(images)}
    assert set(expected) == set(BASELINES)
    for kind, start in expected.items():
        explain = of("integrated-gradients", model, baseline=kind, steps=1, preprocessing=steps)
        found = explain.attribute(images, 1)
        ends_at(model, images, start, found)
        assert found.notes == ("intervals: 1, 1, 1",)


def test_black_of_a_model_that_knows_its_preprocessing():
    model, images = inputs("images")
    steps = Preprocessing(mean=(0.5,), std=(0.25,), scale=1 / 255)
    ready = instrument(model, emit=("input-gradient",), preprocessing=steps)
    found = of("integrated-gradients", ready, steps=1).attribute(images, 1)
    ends_at(model, images, np.full_like(images, -2), found)


def test_black_without_a_preprocessing_is_0_and_says_so():
    model, images = inputs("images")
    found = of("integrated-gradients", model, steps=1).attribute(images, 1)
    ends_at(model, images, np.zeros_like(images), found)
    assert found.notes[0] == "the preprocessing is not known: black is taken to be 0 in the input"


def test_a_preprocessing_of_other_channels():
    model, images = inputs("signals")
    steps = Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.2,))
    explain = of("integrated-gradients", model, preprocessing=steps)
    with pytest.raises(InputError, match="of 3 channels, and the input has 2"):
        explain.explain(images)


def test_a_blur_keeps_what_is_flat():
    for size in (1, 5, 28, 224):
        rows = gaussian(size, size / 20)
        assert np.allclose(rows.sum(1), 1)
        assert np.allclose(rows, rows[::-1, ::-1])


# --- RISE ---------------------------------------------------------------------------------------


def softmax(logits):
    risen = np.exp(logits - logits.max(-1, keepdims=True))
    return risen / risen.sum(-1, keepdims=True)


@pytest.mark.parametrize("confidence", ["probability", "score"])
@pytest.mark.parametrize("baseline", ["zero", "mean"])
def test_rise_is_the_mean_of_masks_by_confidence(baseline, confidence):
    model, images = inputs("images", 2)
    options = {"samples": 9, "cells": 4, "kept": 0.3, "seed": 3}
    method = Rise(**options)
    removed = images.mean((2, 3), keepdims=True) * (baseline == "mean")
    expected = np.zeros((2, 16, 12))
    for sample in range(9):
        mask = method.mask((16, 12), sample)
        fed = (mask * images + (1 - mask) * removed).astype(np.float32)
        logits = run(model, {"x": fed})["logits"].astype(float)
        values = (softmax(logits) if confidence == "probability" else logits)[[0, 1], [2, 0]]
        expected += values[:, None, None] * mask / (9 * 0.3)
    explain = of("rise", model, baseline=baseline, confidence=confidence, **options)
    close(explain.explain(images, [2, 0]), expected, CLOSE)


@pytest.mark.parametrize(
    "grid", [(16, 12), (28, 28), (224, 200), (5, 3), (32,), (8, 9, 10)], ids=str
)
def test_masks_are_enlarged_cells_shifted(grid):
    """A crop of (cells + 1) * ceil(size / cells) positions, linear between the cells' centres."""
    method = Rise(cells=4, seed=1)
    for sample in range(3):
        draw_ = np.random.default_rng([1, sample])
        cells = [min(4, size) for size in grid]
        small = (draw_.random(cells) < 0.5).astype(float)
        steps = [-(-size // count) for size, count in zip(grid, cells, strict=True)]
        shifts = [int(draw_.integers(step)) for step in steps]
        expected = small
        for axis, (step, shift, size) in enumerate(zip(steps, shifts, grid, strict=True)):
            moved = np.moveaxis(expected, axis, -1)
            wide = resized(moved.reshape(-1, 1, moved.shape[-1]),
                           (1, (cells[axis] + 1) * step), "half_pixel")  # fmt: skip
            wide = wide.reshape(*moved.shape[:-1], -1)[..., shift : shift + size]
            expected = np.moveaxis(wide, -1, axis)
        mask = method.mask(grid, sample)
        assert mask.shape == grid
        assert np.allclose(mask, expected, atol=1e-12)
        assert 0 <= mask.min() <= mask.max() <= 1


def test_masks_keep_the_share_that_is_asked_for():
    """1000 masks of 16 cells of chance 0.2: a deviation of 0.2^0.5 0.8^0.5 / 16000^0.5 = 0.003,
    a little more since cells at the border are seen in part."""
    method = Rise(cells=4, kept=0.2)
    found = np.mean([method.mask((20, 20), sample) for sample in range(1000)])
    assert abs(found - 0.2) < 0.02


def test_the_probability_is_the_softmax_at_the_target():
    model, images = inputs("images")
    session = Session(instrument(model, emit=("probability",)), threads=1)
    logits = run(model, {"x": images})["logits"].astype(float)
    for target in ([0, 3, 4], None):
        found = session.explain(images, target)
        expected = softmax(logits)[range(3), found.targets]
        close(found.methods["probability"], expected, CLOSE)


def test_the_probability_of_a_single_score_is_its_sigmoid():
    nodes = "c = Conv (x, w, b)\np = GlobalAveragePool (c)\nlogit = Flatten (p)"
    weights = {"w": draw("w", 1, 3, 3, 3), "b": draw("b", 1)}
    model = build(nodes, weights, inputs="float[N,3,8,8] x", outputs="float[N,1] logit")
    found = Session(instrument(model, emit=("probability",)), threads=1).explain(noise(3, 3, 8, 8))
    close(found.methods["probability"], 1 / (1 + np.exp(-found.scores.astype(float))), CLOSE)


# --- chance -------------------------------------------------------------------------------------


def test_random_maps_are_uniform_and_differ_by_image():
    model, images = inputs("images", 8)
    found = of("random", model).explain(images)
    expected = np.stack([draws(0, image).random((16, 12)) for image in images])
    assert np.array_equal(found, expected.astype(np.float32))
    assert 0 <= found.min() < 0.05
    assert 0.95 < found.max() < 1
    assert abs(np.corrcoef(found.reshape(8, -1))[np.triu_indices(8, 1)]).max() < 0.4


# --- what the graph computes --------------------------------------------------------------------


@pytest.mark.parametrize("word", METHOD_EMITS)
def test_every_output_is_declared_and_is_what_else_the_model_computes_untouched(word):
    model, images = inputs("images")
    emitted = instrument(model, emit=("contributions", word))
    onnx.checker.check_model(emitted.model, full_check=True)
    assert METHOD_EMITS[word] in [value.name for value in emitted.model.graph.output]
    assert emitted.manifest.emits == ("contributions", word)
    found = Session(emitted, threads=1).explain(images)
    assert set(found.methods) == {word}
    assert set(found.outputs) == {"logits"}
    assert found.residual.max() <= 1e-5


def test_grad_cam_of_a_named_layer():
    model, images = inputs("images")
    logits = expose(model, ["r1"])
    assert instrument(model, emit=("grad-cam",)).manifest.grad_cam_layer == "h"
    found = of("grad-cam", model, layer="r1").attribute(images, 2)
    assert found.notes == ("the layer is `r1`",)
    activations = run(logits, {"x": images})["r1"].astype(float)
    # The rest of the net, from that layer on, as a model of its own.
    rest = build(
        """
        small = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1], strides = [2,2]> (x)
        c2 = Conv <pads = [1,1,1,1], strides = [2,1]> (small, w2, b2)
        h = Relu (c2)
        pooled = GlobalAveragePool (h)
        features = Flatten (pooled)
        logits = Gemm <transB = 1> (features, fc_weight, fc_bias)
        """,
        {name: value for name, value in weights_of(model).items() if name not in ("w1", "b1")},
        inputs="float[N,6,16,12] x",
    )
    gradient, _ = gradients(rest, activations.astype(np.float32), 2)
    weighed = (gradient.mean((2, 3), keepdims=True) * activations).sum(1)
    close(found.maps, np.maximum(weighed, 0), CLOSE)


def weights_of(model):
    return {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}


def test_grad_cam_is_resized_to_the_input():
    model, images = inputs("images")
    inside = of("grad-cam", model).explain(images, 4)
    features = run(expose(model, ["h"]), {"x": images})["h"].astype(float)
    # GlobalAveragePool gives every position of a channel the same gradient.
    weights = weights_of(model)["fc_weight"].astype(float)[4]
    size = features.shape[2] * features.shape[3]
    weighed = np.maximum((features * (weights / size)[:, None, None]).sum(1), 0)
    close(inside, resized(weighed, (16, 12), "half_pixel"), CLOSE)


def test_grad_cam_refuses_a_layer_that_is_none():
    model = two_stages(16, 12)
    for layer in ("r3", "logits", "pooled"):
        with pytest.raises(UnsupportedModelError, match=f"no layer `{layer}`") as caught:
            explainer(model, "grad-cam", layer=layer)
        assert "c1, r1, small, c2, h" in caught.value.hint


def test_grad_cam_refuses_a_model_without_a_convolution():
    nodes = "f = Flatten (x)\nlogits = Gemm <transB = 1> (f, w, b)"
    weights = {"w": draw("w", 5, 192), "b": draw("b", 5)}
    model = build(nodes, weights, inputs="float[N,3,8,8] x")
    with pytest.raises(UnsupportedModelError, match="no convolution"):
        explainer(model, "grad-cam")


@pytest.mark.parametrize("word", ["guided-backprop", "deconvnet"])
def test_other_rectifications_refuse_what_they_are_not_defined_for(word):
    def ending(activation):
        nodes = f"c = Conv (x, w, b)\n{activation}\np = GlobalAveragePool (r)\nlogits = Flatten (p)"
        weights = {"w": draw("w", 4, 3, 3, 3), "b": draw("b", 4), "zero": np.array(0.0),
                   "one": np.array(1.0)}  # fmt: skip
        return build(nodes, weights, inputs="float[N,3,8,8] x", outputs="float[N,4] logits")

    for activation, said in [
        ("r = LeakyRelu (c)", "`LeakyRelu` at `r`"),
        ("a = Relu (c)\nr = Sigmoid (a)", "`Sigmoid` at `r`"),
        ("a = Sigmoid (c)\nr = Mul (c, a)", "`Swish`|`Sigmoid`"),
        ("r = Clip (c, one)", "`Clip` at `r`"),
        ("r = Max (c, zero)", "`Max` at `r`"),
        ("r = Identity (c)", "has no ReLU"),
        # beside a ReLU, which alone would be taken
        ("g = Greater (c, zero)\nq = Where (g, c, zero)\nr = Relu (q)", "`Where` at `q`"),
        (
            "g = Greater (c, zero)\nm = Cast <to = 1> (g)\nq = Mul (c, m)\nr = Relu (q)",
            "`m` depends",
        ),
        ("q = Abs (c)\nr = Relu (q)", "`Abs` at `q`"),
        ("e = Exp (c)\ns = Add (e, one)\nq = Log (s)\nr = Relu (q)", "`Softplus`|`Exp`|`Log`"),
        ("q = Sin (c)\nr = Relu (q)", "`Sin` at `q`"),
        ("q = Atan (c)\nr = Relu (q)", "`Atan` at `q`"),
        ("q = Softmax (c)\nr = Relu (q)", "`Softmax` at `q`"),
        ("q = Sqrt (c)\nr = Relu (q)", "`Sqrt` at `q`"),
        ("n = Neg (c)\nq = Max (c, n)\nr = Relu (q)", "`Max` at `q`"),
        ("q = Mul (c, c)\nr = Relu (q)", "`Mul` at `q`"),
        ("q = Div (one, c)\nr = Relu (q)", "`Div` at `q`|`Reciprocal`"),
    ]:
        with pytest.raises(UnsupportedModelError, match=said):
            explainer(ending(activation), word)
    for taken in (
        "r = Clip (c, zero, one)",
        "d = Div (c, one)\nm = GlobalMaxPool (d)\ns = Shape (c)\n"
        "q = Expand (m, s)\na = Add (q, c)\nr = Relu (a)",
    ):
        assert explainer(ending(taken), word).explain(noise(1, 3, 8, 8)).any()


def test_options_of_instrumenting_that_do_not_go_together():
    model = two_stages(16, 12)
    with pytest.raises(InputError, match="without grad-cam"):
        instrument(model, grad_cam_layer="h")
    with pytest.raises(InputError, match="probability"):
        instrument(model, emit=("probability",), seed=True)
    with pytest.raises(InputError, match="guided-backprop changes the rule of ReLU"):
        instrument(model, emit=("guided-backprop",), gradients="ort-training")
