"""Pixel perturbation: the numbers against a plain computation, the order, the replacements."""

from __future__ import annotations

import numpy as np
import pytest
from commands import FASHION, FASHION_VGG
from graphs import build, draw

from fg_onnx import load_preprocessing, prepare, read_image
from fg_onnx.errors import FgOnnxError
from fg_onnx.evaluate.maps import NotJudgedError
from fg_onnx.evaluate.perturbation import Perturbation, perturb
from fg_onnx.evaluate.removal import (
    ORDERS,
    count_of,
    pixel_order,
    remove,
    replacing_pixels,
)
from fg_onnx.evaluate.scorer import Scorer
from fg_onnx.methods import explainer
from fg_onnx.pictures.preprocess import PRESETS, Preprocessing
from sample_models.tiny import all_models

IDENTITY = PRESETS["none"]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def brightness(images, targets):
    """A map that is the image: what is removed first is plain to see."""
    return images.sum(axis=1)


# --- the model's own scores ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["residual", "nhwc", "bn_unfolded"])
def test_scores_are_those_of_the_plain_model(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = all_models()[name]
    scorer = Scorer(model)
    images = noise(3, 16, 16, 3) if name == "nhwc" else noise(3, 3, 16, 16)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (plain, *_) = session.run(None, {"x": images})
    targets = scorer.predicted(images)
    assert np.array_equal(targets, plain.argmax(1))
    logits = np.stack([scorer.scores(images, target) for target in range(5)], axis=1)
    if name == "nhwc":  # whose output is the Softmax of what is explained
        logits = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    # the runtime may fuse other nodes: float32's rounding of a few dozen products
    assert np.allclose(logits, plain, rtol=0, atol=1e-5 * np.abs(plain).max())


# --- the order -----------------------------------------------------------------------------------


def test_order_by_salience():
    maps = np.array([[[3.0, 1.0], [2.0, 0.0]]])
    assert pixel_order(maps, "least", 0, [0]).tolist() == [[3, 1, 2, 0]]
    assert pixel_order(maps, "most", 0, [0]).tolist() == [[0, 2, 1, 3]]


@pytest.mark.parametrize("order", ORDERS)
def test_ties_are_shuffled_by_the_seed_alone(order):
    """Ties in row-major order would remove the top of every map that is zero somewhere."""
    flat = np.zeros((2, 8, 8))
    one = pixel_order(flat, order, 1, [0, 1])
    assert np.array_equal(one, pixel_order(flat, order, 1, [0, 1]))
    assert np.array_equal(one[1:], pixel_order(flat[1:], order, 1, [1]))  # whatever the batch
    assert np.array_equal(np.sort(one), np.tile(np.arange(64), (2, 1)))
    assert not np.array_equal(one[0], one[1])
    assert not np.array_equal(one, pixel_order(flat, order, 2, [0, 1]))
    assert abs(np.corrcoef(one[0], np.arange(64))[0, 1]) < 0.5


def test_ties_keep_to_their_place_among_others():
    maps = np.array([[0.0, 5, 0, 5, 0, 9]])
    least = pixel_order(maps, "least", 3, [0])[0]
    assert set(least[:3]) == {0, 2, 4}
    assert set(least[3:5]) == {1, 3}
    assert least[5] == 5
    assert set(pixel_order(maps, "random", 3, [0])[0]) == set(range(6))


def test_count_of():
    assert [count_of(p, 784) for p in (0, 1, 50, 90, 100)] == [0, 8, 392, 706, 784]
    assert count_of(50, 1) == 1


# --- the replacements ----------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["imagenet", "caffe-bgr", "unit", "efficientnet-lite"])
def test_black_is_what_a_black_pixel_becomes(preset):
    steps = PRESETS[preset]
    shape = (1, 3, 300, 300)
    steps = Preprocessing(
        mean=steps.mean, std=steps.std, scale=steps.scale, channels=steps.channels
    )
    black = prepare(np.zeros((300, 300, 3), np.uint8), steps, shape).array
    made = replacing_pixels(noise(*shape), "black", "nchw", steps)
    assert made.dtype == np.float32
    assert np.array_equal(made, black)


def test_black_in_nhwc_and_along_a_signal():
    steps = Preprocessing(mean=(1.0, 2.0, 3.0), std=(2.0, 2.0, 2.0))
    made = replacing_pixels(noise(2, 4, 5, 3), "black", "nhwc", steps)
    assert np.array_equal(made, np.broadcast_to(np.float32([-0.5, -1, -1.5]), (2, 4, 5, 3)))
    assert not replacing_pixels(noise(2, 3, 7), "black", "ncl", IDENTITY).any()


def test_mean_is_of_each_image_and_channel():
    images = noise(2, 3, 5, 7)
    made = replacing_pixels(images, "mean", "nchw", None)
    for n, c in np.ndindex(2, 3):
        assert np.all(made[n, c] == np.float32(images[n, c].astype(np.float64).mean()))


def test_blur_keeps_what_is_even_and_spreads_a_point():
    even = np.full((1, 3, 40, 60), 7, np.float32)
    assert np.allclose(replacing_pixels(even, "blur", "nchw", None), 7, rtol=1e-6)
    point = np.zeros((1, 1, 41, 41), np.float32)
    point[0, 0, 20, 20] = 1
    made = replacing_pixels(point, "blur", "nchw", None)[0, 0]
    sigma = 0.05 * 41
    at = np.arange(41) - 20
    bell = np.exp(-(at[:, None] ** 2 + at**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    # the sampled Gaussian against the integral, and what is cut off ten deviations away
    assert np.allclose(made, bell, atol=1e-6)
    signal = noise(2, 3, 50)
    assert replacing_pixels(signal, "blur", "ncl", None).shape == signal.shape


def test_remove():
    images = np.arange(2 * 2 * 2 * 2, dtype=np.float32).reshape(2, 2, 2, 2) + 1
    order = np.array([[3, 0, 1, 2], [1, 2, 3, 0]])
    zero = np.zeros_like(images)
    found = remove(images, zero, order, 1, "nchw")
    assert np.array_equal(found == 0, [[[[0, 0], [0, 1]]] * 2, [[[0, 1], [0, 0]]] * 2])
    assert np.array_equal(found[found != 0], images[found != 0])
    assert np.array_equal(remove(images, zero, order, 0, "nchw"), images)
    assert not remove(images, zero, order, 4, "nchw").any()
    last = remove(images, zero, order, 2, "nhwc")
    assert np.array_equal(last[0, ..., 0] == 0, [[1, 0], [0, 1]])


# --- the experiment ------------------------------------------------------------------------------


def linear(channels=1, size=4):
    """f_k(x) = <w_k, x> + b_k, with the weights."""
    w, b = draw("w", 3, channels * size * size), draw("b", 3)
    nodes = "flat = Flatten (x)\n logits = Gemm <transB = 1> (flat, w, b)"
    shape = f"float[N,{channels},{size},{size}] x"
    return build(nodes, {"w": w, "b": b}, inputs=shape, outputs="float[N,3] logits"), w, b


@pytest.mark.parametrize("replacement", ["black", "mean"])
@pytest.mark.parametrize("order", ["least", "most"])
def test_against_a_plain_computation(order, replacement):
    """Section 5.1 in loops, on a model whose score is a sum over pixels."""
    model, w, b = linear(channels=2)
    images = noise(5, 2, 4, 4)
    percents = (0.0, 25.0, 50.0, 100.0)
    chosen = Perturbation(order, replacement, percents)
    batches = [images[:3], images[3:]]
    panel = perturb(Scorer(model), {"brightness": brightness}, batches, chosen, IDENTITY)
    (curve,) = panel.curves
    for row, image in enumerate(images.astype(np.float64)):
        scores = w @ image.ravel() + b
        target = scores.argmax()
        ranked = sorted(np.ndindex(4, 4), key=lambda at: image[:, *at].sum())
        if order == "most":
            ranked.reverse()
        for column, percent in enumerate(percents):
            changed = image.copy()
            for at in ranked[: round(16 * percent / 100)]:
                black = replacement == "black"
                changed[:, *at] = 0 if black else image.mean(axis=(1, 2))
            new = w[target] @ changed.ravel() + b[target]
            wanted = abs(new - scores[target]) / abs(scores[target])
            # float32 scores of 32 products, over a score that may be small
            assert np.isclose(curve.values[row, column], wanted, rtol=1e-4, atol=1e-4)
    assert not curve.values[:, 0].any()  # nothing removed
    assert (curve.values[:, 1:] > 0).all()


def test_everything_removed_is_the_black_image():
    model, _, b = linear()
    images = noise(4, 1, 4, 4)
    scorer = Scorer(model)
    chosen = Perturbation(percents=(100,))
    panel = perturb(scorer, {"brightness": brightness}, [images], chosen, IDENTITY)
    targets = scorer.predicted(images)
    whole = scorer.scores(images, targets)
    wanted = np.abs(b[targets] - whole) / np.abs(whole)
    # b is rounded to float32 in the model
    assert np.allclose(panel.curves[0].values[:, 0], wanted, rtol=1e-6)


def test_the_class_stays_that_of_the_whole_image():
    """Where the prediction flips, the score is still that of the first class."""
    weights = {"w": np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]), "b": np.array([0.0, 0.0])}
    nodes = "flat = Flatten (x)\n logits = Gemm <transB = 1> (flat, w, b)"
    shapes = {"inputs": "float[N,1,2,2] x", "outputs": "float[N,2] logits"}
    asked = []

    def maps(images, targets):
        asked.append(targets.tolist())
        return brightness(images, targets)

    image = np.float32([[[[4, 3], [2, 1]]]])
    chosen = Perturbation("most", percents=(25, 50))
    panel = perturb(Scorer(build(nodes, weights, **shapes)), {"m": maps}, [image], chosen, IDENTITY)
    assert panel.curves[0].values.tolist() == [[1.0, 1.0]]  # f_0 falls from 4 to 0 and stays
    assert asked == [[0]]


def test_random_order_asks_no_map():
    model, _, _ = linear()

    def unasked(images, targets):
        raise AssertionError

    chosen = Perturbation("random", percents=(10, 50))
    panel = perturb(
        Scorer(model), {"a": unasked, "b": unasked}, [noise(3, 1, 4, 4)], chosen, IDENTITY
    )
    one, other = (curve.values for curve in panel.curves)
    assert np.array_equal(one, other)
    assert (one > 0).all()


def test_a_real_net_loses_nothing_with_its_least_salient_pixels():
    """A fifth of the pixels by FullGrad is hardly missed; a random fifth is."""
    steps = load_preprocessing(FASHION / "preprocess.yaml")
    scorer = Scorer(FASHION_VGG)
    paths = sorted(FASHION.glob("*.png"))
    shape = scorer.session.input_shape
    images = np.concatenate([prepare(read_image(path), steps, shape).array for path in paths])
    methods = {name: explainer(str(FASHION_VGG), name).explain for name in ("fullgrad", "random")}
    for order, better in (("least", np.less), ("most", np.greater)):
        panel = perturb(scorer, methods, [images], Perturbation(order, percents=(20,)), steps)
        fullgrad, random = (curve.mean[0] for curve in panel.curves)
        assert better(fullgrad, random)
        again = perturb(scorer, methods, [images[:4], images[4:]], panel_of(order), steps)
        for a, b in zip(panel.curves, again.curves, strict=True):
            # the same pixels; kernels sum in another order for another batch
            assert np.allclose(a.values, b.values, rtol=1e-4, atol=1e-5)


def panel_of(order):
    return Perturbation(order, percents=(20,))


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("percents", [(), (10, 10), (20, 10), (-1, 5), (50, 101), (float("nan"),)])
def test_percents_are_rising_shares(percents):
    with pytest.raises(FgOnnxError, match="no rising list"):
        Perturbation(percents=percents)


@pytest.mark.parametrize(
    ("maps", "code"),
    [
        (lambda x, t: x, "wrong-maps"),
        (lambda x, t: x[:2].sum(1), "wrong-maps"),
        (lambda x, t: x.sum(1) * np.nan, "maps-not-finite"),
    ],
)
def test_maps_are_held_to_their_contract(maps, code):
    model, _, _ = linear()
    with pytest.raises(NotJudgedError) as caught:
        perturb(Scorer(model), {"m": maps}, [noise(3, 1, 4, 4)], Perturbation(), IDENTITY)
    assert caught.value.code == code
    assert "`m`" in caught.value.message


def test_a_score_without_fractions_costs_its_own_image_alone():
    nodes = "flat = Flatten (x)\n logits = MatMul (flat, w)"
    model = build(
        nodes,
        {"w": np.ones((4, 2))},
        inputs="float[N,1,2,2] x",
        outputs="float[N,2] logits",
    )
    images = noise(5, 1, 2, 2)
    images[1] = 0
    images[4] = np.nan
    chosen = Perturbation(percents=(25, 75))

    def values(batches):
        (curve,) = perturb(Scorer(model), {"m": brightness}, batches, chosen, IDENTITY).curves
        return curve.values

    found = values([images[:4], images[4:]])
    assert np.isnan(found[[1, 4]]).all()
    assert np.array_equal(found[[0, 2, 3]], values([images[[0]], images[2:4]]))
    assert np.isfinite(found[[0, 2, 3]]).all()


def test_nothing_to_compare():
    model, _, _ = linear()
    with pytest.raises(FgOnnxError, match="no method"):
        perturb(Scorer(model), {}, [noise(1, 1, 4, 4)], Perturbation(), IDENTITY)


def test_black_needs_preprocessing():
    model, _, _ = linear()
    with pytest.raises(FgOnnxError, match="black"):
        perturb(Scorer(model), {"m": brightness}, [noise(1, 1, 4, 4)], Perturbation())
    three = Preprocessing(mean=(1.0, 2.0, 3.0), std=(1.0, 1.0, 1.0))
    with pytest.raises(FgOnnxError, match="3 channels"):
        perturb(Scorer(model), {"m": brightness}, [noise(1, 1, 4, 4)], Perturbation(), three)
