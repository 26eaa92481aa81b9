"""What Srinivas & Fleuret (2019) state of full-gradients, on graphs small enough to work out.

Weights, biases and inputs of the hand-made graphs are small integers, so that float32 computes them
exactly and the tests ask for equality. Where they are not, the tolerance is the project's for
completeness in float32, 1e-5 of the magnitudes that were added.

Not here: Example 1, which is about Integrated Gradients, another method.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import (
    bias_defaults,
    build,
    everything,
    expose,
    noise,
    random_feeds,
    same_attribution,
    two_stages,
)

from fg_onnx.fullgrad.psi import STYLES
from sample_models import tiny

FASHION = Path(tiny.__file__).parent / "fashion_vgg.onnx"
TINY = tiny.all_models()
COMPLETE = 1e-5


def integers(name: str, *shape: int, low: int = -3, high: int = 4) -> np.ndarray:
    """Integers in [low, high), from a generator that the name seeds."""
    return np.random.default_rng(list(name.encode())).integers(low, high, shape).astype(np.float32)


def integer_net(*, biases: bool, batchnorm: bool = False) -> onnx.ModelProto:
    """Conv, (BatchNorm,) ReLU, MaxPool, Conv, ReLU, Gemm on 6x6 images, all weights integer.

    BatchNorm has variance 4 and epsilon 0: a deviation of 2, which is exact.
    """
    norm = "n1 = BatchNormalization <epsilon = 0.0> (c1, gamma, beta, mean, var)" * batchnorm
    nodes = f"""
        c1 = Conv <pads = [1,1,1,1]> (x, w1{", b1" if biases else ""})
        {norm}
        r1 = Relu ({"n1" if batchnorm else "c1"})
        small = MaxPool <kernel_shape = [2,2], strides = [2,2]> (r1)
        c2 = Conv (small, w2{", b2" if biases else ""})
        r2 = Relu (c2)
        features = Flatten (r2)
        logits = Gemm <transB = 1> (features, w3{", b3" if biases else ""})
    """
    weights = {
        "w1": integers("w1", 4, 2, 3, 3),
        "w2": integers("w2", 3, 4, 2, 2),
        "w3": integers("w3", 5, 12),
    }
    if biases:
        weights |= {"b1": integers("b1", 4), "b2": integers("b2", 3), "b3": integers("b3", 5)}
    if batchnorm:
        weights |= {
            "gamma": 2 * integers("gamma", 4, low=1),
            "beta": integers("beta", 4),
            "mean": integers("mean", 4),
            "var": np.full(4, 4.0),
        }
    return build(nodes, weights, inputs="float[N,2,6,6] x")


IMAGES = integers("images", 4, 2, 6, 6)


def inner(gradient: np.ndarray, x: np.ndarray) -> np.ndarray:
    """<gradient, x> per image, in float64."""
    return (gradient.astype(np.float64) * x).reshape(len(x), -1).sum(1)


def parts(attribution, images):
    """grad . x and each site's sum of bias-gradients per image, from the full arrays."""
    sites = attribution.manifest.sites
    sums = [
        attribution.bias_gradients[site.name].astype(np.float64).reshape(len(images), -1).sum(1)
        for site in sites
    ]
    return np.stack([inner(attribution.input_gradient, images), *sums], axis=1)


# --- Proposition 2 ----------------------------------------------------------------------------


def test_bias_free_relu_net_is_its_gradient_times_the_input():
    """Proposition 2: without biases, f(x) = grad . x, and nothing else contributes."""
    session = everything(integer_net(biases=False))
    assert session.manifest.sites == ()
    for target in range(5):
        found = session.explain(IMAGES, target)
        assert np.array_equal(found.scores, found.outputs["logits"][:, target])
        assert np.array_equal(inner(found.input_gradient, IMAGES), found.scores)
        assert np.array_equal(found.contributions, found.scores[:, None])
    assert np.any(found.scores != 0)


def test_bias_free_relu_net_is_homogeneous():
    """Its proof: f(k x) = k f(x) for k > 0, so the gradient is the same all along a ray."""
    session = everything(integer_net(biases=False))
    once = session.explain(IMAGES, 1)
    for k in (0.5, 2, 3, 16):
        found = session.explain(np.float32(k) * IMAGES, 1)
        assert np.array_equal(found.scores, np.float32(k) * once.scores)
        assert np.array_equal(found.input_gradient, once.input_gradient)


def test_bias_free_sample_is_its_gradient_times_the_input():
    """Proposition 2 on real numbers, with overlapping pools and padding."""
    images, _ = random_feeds(TINY["bias_free"])
    session = everything(TINY["bias_free"])
    found = session.explain(images)
    assert session.manifest.sites == ()
    assert found.contributions.shape == (2, 1)
    scale = np.abs(found.input_gradient * images).sum((1, 2, 3))
    assert np.all(np.abs(inner(found.input_gradient, images) - found.scores) <= COMPLETE * scale)


@pytest.mark.parametrize("name", ["residual", "grouped", "shared_weights", "batchnorm_preact"])
def test_nets_whose_biases_are_fed_zero_are_bias_free(name):
    """Proposition 2 by way of `fg_bias/*`: the graph stays, its biases go."""
    images, _ = random_feeds(TINY[name])
    session = everything(TINY[name])
    zeros = {bias: 0 * value for bias, value in bias_defaults(TINY[name]).items()}
    found = session.explain(images, 2, feeds=zeros)
    assert not found.contributions[:, 1:].any()
    scale = np.abs(found.input_gradient * images).sum((1, 2, 3))
    assert np.all(np.abs(inner(found.input_gradient, images) - found.scores) <= COMPLETE * scale)
    assert np.abs(found.scores).min() > 0


# --- Proposition 3, Eq. 1 ---------------------------------------------------------------------


@pytest.mark.parametrize("batchnorm", [False, True])
def test_equation_1_is_exact_in_integers(batchnorm):
    """Proposition 3: f(x; b) = grad_x f . x + grad_b f . b, in every digit."""
    session = everything(integer_net(biases=True, batchnorm=batchnorm))
    kinds = [site.kind for site in session.manifest.sites]
    assert kinds == ["bias", *["batchnorm"] * batchnorm, "bias", "bias"]
    for target in range(5):
        found = session.explain(IMAGES, target)
        terms = parts(found, IMAGES)
        assert np.array_equal(terms.sum(1), found.outputs["logits"][:, target])
        assert np.array_equal(found.contributions, terms)
        assert not found.residual.any()
    assert (np.abs(terms).max(0) > 0).all()


def test_implicit_bias_of_batchnorm():
    """Section 4: running averages are implicit biases, beta - mean gamma / sqrt(var + eps)."""
    model = integer_net(biases=True, batchnorm=True)
    held = {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
    offset = held["beta"] - held["mean"] * held["gamma"] / 2
    assert np.array_equal(bias_defaults(model)["fg_bias/n1"], offset)
    session = everything(model)
    found = session.explain(IMAGES, 0)
    zeros = {"fg_bias/n1": np.zeros(4, np.float32)}
    assert np.array_equal(session.explain(IMAGES, 0, feeds=zeros).contributions[:, 2], np.zeros(4))
    # The cotangent at BatchNorm's output reaches the convolution before it times gamma / 2.
    passed = found.bias_gradients["n1"] * (held["gamma"] / 2 * held["b1"])[:, None, None]
    assert np.array_equal(found.bias_gradients["c1"] * offset[:, None, None], passed)
    assert passed.any()


def hand_gradients(x, weights, target):
    """Of `integer_net` with biases, by its definition: (f, df/dx, df/d(c1), df/d(c2)), in loops."""
    w1, b1, w2, b2, w3, b3 = (
        weights[n].astype(float) for n in ("w1", "b1", "w2", "b2", "w3", "b3")
    )
    padded = np.pad(x.astype(float), ((0, 0), (1, 1), (1, 1)))
    c1 = np.empty((4, 6, 6))
    for o, i, j in np.ndindex(c1.shape):
        c1[o, i, j] = (w1[o] * padded[:, i : i + 3, j : j + 3]).sum() + b1[o]
    r1 = np.maximum(c1, 0)
    small, chosen = np.empty((4, 3, 3)), {}
    for o, i, j in np.ndindex(small.shape):
        window = [(2 * i + a, 2 * j + b) for a in range(2) for b in range(2)]
        chosen[o, i, j] = max(window, key=lambda at: r1[o, *at])  # the first of equals
        small[o, i, j] = r1[o, *chosen[o, i, j]]
    c2 = np.empty((3, 2, 2))
    for o, i, j in np.ndindex(c2.shape):
        c2[o, i, j] = (w2[o] * small[:, i : i + 2, j : j + 2]).sum() + b2[o]
    f = (w3[target] * np.maximum(c2, 0).ravel()).sum() + b3[target]

    ct_c2 = w3[target].reshape(c2.shape) * (c2 > 0)
    ct_small = np.zeros_like(small)
    for o, i, j in np.ndindex(c2.shape):
        ct_small[:, i : i + 2, j : j + 2] += ct_c2[o, i, j] * w2[o]
    ct_c1 = np.zeros_like(c1)
    for o, i, j in np.ndindex(small.shape):
        at = (o, *chosen[o, i, j])
        ct_c1[at] += ct_small[o, i, j] * (c1[at] > 0)
    ct_padded = np.zeros_like(padded)
    for o, i, j in np.ndindex(c1.shape):
        ct_padded[:, i : i + 3, j : j + 3] += ct_c1[o, i, j] * w1[o]
    return f, ct_padded[:, 1:-1, 1:-1], ct_c1, ct_c2


def test_full_gradients_are_those_worked_out_by_hand():
    """Eq. 1 again, since completeness alone does not show that the gradients are right."""
    model = integer_net(biases=True)
    weights = {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
    for target in (0, 3):
        found = everything(model).explain(IMAGES, target)
        for index, image in enumerate(IMAGES):
            f, at_x, at_c1, at_c2 = hand_gradients(image, weights, target)
            assert found.scores[index] == f
            assert np.array_equal(found.input_gradient[index], at_x)
            b1, b2 = weights["b1"][:, None, None], weights["b2"][:, None, None]
            assert np.array_equal(found.bias_gradients["c1"][index], at_c1 * b1)
            assert np.array_equal(found.bias_gradients["c2"][index], at_c2 * b2)
            last = np.where(np.arange(5) == target, weights["b3"], 0)
            assert np.array_equal(found.bias_gradients["logits"][index], last)


@pytest.mark.parametrize("name", [*TINY, "fashion_vgg"])
def test_equation_1_on_samples(name):
    """Proposition 3 with branches, shared weights, BatchNorm, saturation; predicted and given."""
    model = onnx.load(FASHION) if name == "fashion_vgg" else TINY[name]
    images, others = random_feeds(model, batch=3)
    session = everything(model)
    for target in (None, 0):
        found = session.explain(images, target, feeds=others)
        terms = parts(found, images)
        scale = np.abs(terms).sum(1)
        assert np.all(np.abs(terms.sum(1) - found.scores) <= COMPLETE * scale)
        # A column is a sum of float32 terms, each as large as its entries and not as its sum.
        entries = [found.input_gradient * images, *found.bias_gradients.values()]
        sizes = np.stack([np.abs(e).reshape(len(images), -1).sum(1) for e in entries], axis=1)
        assert np.all(np.abs(found.contributions - terms) <= COMPLETE * sizes)
        assert np.all(found.residual <= COMPLETE)


# --- weak dependence --------------------------------------------------------------------------


# Each net with what decides its kinks: the arguments of its ReLUs, and a MaxPool `small` of `c1`.
NETS = {
    "residual": (TINY["residual"], ("c1", "sum")),
    "batchnorm": (TINY["bn_unfolded"], ("n1", "n2")),
    "pooled": (two_stages(16, 16), ("c1", "c2", "small")),
}


def region(outputs):
    """Which linear region each image lies in: the sides of all ReLUs, the choices of MaxPool."""
    tensors = {"c1", "c2", "sum", "n1", "n2"} & set(outputs)
    patterns = [outputs[name] > 0 for name in sorted(tensors)]
    if "small" in outputs:
        r1 = np.maximum(outputs["c1"], 0)
        padded = np.pad(r1, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))[:, :, ::2, ::2]
        flat = windows.reshape(*windows.shape[:4], 9)
        assert np.array_equal(flat.max(-1), outputs["small"])
        patterns.append(flat.argmax(-1))
    return [[pattern[i].tobytes() for pattern in patterns] for i in range(len(outputs["logits"]))]


@pytest.mark.parametrize("name", NETS)
def test_full_gradients_depend_weakly_on_the_input(name):
    """Definition 1 and section 4.1: inside one linear region nothing moves but f and grad * x.

    A region is a convex polytope, so the segment between two of its points is in it too; this is
    checked. The same operations on the same masks give the same bits.
    """
    session = everything(expose(*NETS[name]))
    one, direction = noise(1, 3, 16, 16), noise(1, 3, 16, 16, seed=1)
    here = session.explain(one, 1)
    step = np.float32(1)
    while region(session.explain(one + step * direction, 1).outputs) != region(here.outputs):
        step /= 2
    for share in (0.25, 0.5, 0.75, 1):
        found = session.explain(one + np.float32(share) * step * direction, 1)
        assert region(found.outputs) == region(here.outputs)
        assert found.scores[0] != here.scores[0]
        assert found.contributions[0, 0] != here.contributions[0, 0]
        assert np.array_equal(found.contributions[:, 1:], here.contributions[:, 1:])
        assert same_attribution(found, here)
        assert found.residual[0] <= COMPLETE


@pytest.mark.parametrize("name", NETS)
def test_full_gradients_change_across_regions(name):
    """The converse of weak dependence, without which it would hold for any constant."""
    session = everything(expose(*NETS[name]))
    found = session.explain(noise(2, 3, 16, 16), 1)
    assert region(found.outputs)[0] != region(found.outputs)[1]
    assert not np.array_equal(*found.input_gradient)
    for site in found.manifest.sites:
        # The last layer is linear in its bias whatever the region.
        changes = not np.array_equal(*found.bias_gradients[site.name])
        assert changes == (site.name != "logits")


def test_full_gradients_are_weakly_dependent_up_to_the_kink():
    """One ReLU: f(x) = 3 relu(2 x - 1) + 5 has two regions, and x = 1/2 between them."""
    session = everything(one_hidden_unit(w0=2, b0=-1, w1=3, b1=5))

    def at(*xs):
        found = session.explain(np.float32(xs).reshape(-1, 1, 1, 1), 0)
        return found.input_gradient.ravel().tolist(), found.contributions[:, 1:].tolist()

    assert at(0.5625, 1, 7) == ([6, 6, 6], [[-3, 5]] * 3)
    # At the kink ReLU' is 0, as in PyTorch.
    assert at(0.5, 0, -9) == ([0, 0, 0], [[0, 5]] * 3)


# --- saturation -------------------------------------------------------------------------------


def test_saturation():
    """Section 4.1: f(x) = a - ReLU(b - x), a = b = 1, at x = 2 attributes (1, 0) to (a, b)."""
    session = everything(TINY["saturation"])
    b, a = (site.name for site in session.manifest.sites)  # in order of the graph: b - x, a - ...
    assert (b, a) == ("below", "f")
    found = session.explain(np.full((1, 1, 1, 1), 2.0))
    assert found.scores.tolist() == [1]
    assert found.named_contributions() == {"input": 0, a: 1, b: 0}
    assert found.input_gradient.item() == 0
    assert found.residual.tolist() == [0]


def test_without_saturation():
    """The same function where it is not flat: f(1/2) = 1 - (1 - 1/2) = x, as 1/2 + 1 - 1."""
    found = everything(TINY["saturation"]).explain(np.full((1, 1, 1, 1), 0.5))
    assert found.named_contributions() == {"input": 0.5, "f": 1, "below": -1}
    assert found.scores.tolist() == [0.5]


# --- Example 2 --------------------------------------------------------------------------------


def one_hidden_unit(w0, b0, w1, b1):
    """f(x) = w1 relu(w0 x + b0) + b1, of a 1x1 image; sites `hidden` (b0) and `f` (b1)."""
    nodes = """
        hidden = Conv (x, w0, b0)
        open = Relu (hidden)
        f = Conv (open, w1, b1)
        logits = Flatten (f)
    """
    weights = {
        "w0": np.full((1, 1, 1, 1), w0),
        "b0": np.full(1, b0),
        "w1": np.full((1, 1, 1, 1), w1),
        "b1": np.full(1, b1),
    }
    return build(nodes, weights, inputs="float[N,1,1,1] x", outputs="float[N,1] logits")


def explain_unit(session, **feeds):
    fed = {f"fg_bias/{name}": np.float32([value]) for name, value in feeds.items()}
    return session.explain(np.full((1, 1, 1, 1), 3.0), feeds=fed)


UNIT = {"w0": 2, "b0": 1, "w1": -3, "b1": 5}  # f(3) = -3 relu(7) + 5 = -16


def test_example_2_output_bias():
    """Example 2: the input-gradient cannot see arbitrarily large changes of b1."""
    session = everything(one_hidden_unit(**UNIT))
    trained = explain_unit(session)
    assert trained.scores.tolist() == [-16]
    assert trained.named_contributions() == {"input": -18, "hidden": -3, "f": 5}
    for b1 in (5.25, -1, 1e6, -1e6):
        changed = explain_unit(session, f=b1)
        assert np.array_equal(changed.input_gradient, trained.input_gradient)
        assert changed.scores.tolist() == [-21 + b1]
        assert changed.named_contributions() == {"input": -18, "hidden": -3, "f": b1}


def test_example_2_hidden_bias():
    """Example 2: nor small changes of b0; in the full-gradients both show."""
    session = everything(one_hidden_unit(**UNIT))
    trained = explain_unit(session)
    for b0 in (1.5, 1.0625, -1, -5.75):
        changed = explain_unit(session, hidden=b0)
        assert np.array_equal(changed.input_gradient, trained.input_gradient)
        assert changed.scores.tolist() == [-3 * (6 + b0) + 5]
        assert changed.named_contributions() == {"input": -18, "hidden": -3 * b0, "f": 5}
    # A change that is not small closes the unit.
    closed = explain_unit(session, hidden=-7)
    assert closed.named_contributions() == {"input": 0, "hidden": 0, "f": 5}
    assert closed.input_gradient.item() == 0


# --- Proposition 1 ----------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", ["residual", "bn_unfolded"])
def test_the_map_is_not_complete_but_the_contributions_are(name, style):
    """Proposition 1 and section 4.2: Eq. 2 is an approximate saliency map; it does not sum to f."""
    images, _ = random_feeds(TINY[name])
    found = everything(TINY[name], style).explain(images)
    scale = np.abs(found.contributions).sum(1)
    assert np.all(np.abs(found.contributions.sum(1) - found.scores) <= COMPLETE * scale)
    # `signed` lacks only the last bias here, for no layer is resized: 3e-2.
    assert np.all(np.abs(found.saliency.sum((1, 2)) - found.scores) > 100 * COMPLETE * scale)


@pytest.mark.parametrize("style", STYLES)
def test_no_function_recovers_f_from_the_map(style):
    """Definition 2 by counter-example: two functions, one map, one input, two outputs.

    The last bias has no place in the map, so no phi(S(x), x) can tell the functions apart.
    The contributions can.
    """
    images, _ = random_feeds(TINY["residual"])
    session = everything(TINY["residual"], style)
    bias = bias_defaults(TINY["residual"])["fg_bias/logits"]
    one = session.explain(images, 2)
    other = session.explain(images, 2, feeds={"fg_bias/logits": bias + np.float32(10)})
    assert np.array_equal(one.saliency, other.saliency)
    assert np.array_equal(one.input_gradient, other.input_gradient)
    assert np.all(other.scores - one.scores > 9)
    moved = other.contributions - one.contributions
    assert not moved[:, :-1].any()
    assert np.all(np.abs(moved[:, -1] - 10) <= COMPLETE * 20)


# --- full sensitivity -------------------------------------------------------------------------


@pytest.mark.parametrize("batchnorm", [False, True])
def test_full_gradients_are_sensitive_to_exactly_the_biases_that_f_is(batchnorm):
    """Section 4.1: dG/dtheta = 0 if and only if df/dtheta = 0, for every entry of every bias.

    G has one entry for each input and each bias, as in the paper: a bias-gradient is summed over
    the positions that share the bias. (Position by position it also moves where its sum is zero.)
    The step, 2^-10, is exact in float32 beside the small integers, and so is everything after it.
    """
    model = integer_net(biases=True, batchnorm=batchnorm)
    session = everything(model)
    defaults = bias_defaults(model)
    assert sum(value.size for value in defaults.values()) == 12 + 4 * batchnorm
    step = np.float32(2**-10)

    def full_gradients(feeds, target):
        found = session.explain(IMAGES[:1], target, feeds=feeds)
        sums = [
            g[0].reshape(g.shape[1], -1).sum(1, dtype=np.float64)
            for g in found.bias_gradients.values()
        ]
        return found.scores[0], np.concatenate([found.input_gradient.ravel(), *sums])

    seen = set()
    for target, (name, default) in itertools.product(range(5), defaults.items()):
        f, g = full_gradients({}, target)
        for entry in range(default.size):
            changed = default.copy()
            changed[entry] += step
            f_changed, g_changed = full_gradients({name: changed}, target)
            assert np.array_equal(g, g_changed) == (f == f_changed), (name, entry, target)
            seen.add(f == f_changed)
    assert seen == {True, False}
