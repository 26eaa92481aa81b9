"""Gradients by finite differences of the instrumented model's own score (see `differences`).

Biases are varied at one channel, or at all with random signs.

This sees what completeness cannot: a wrong cotangent that the offset, being defined through it,
makes up for; and a promoted input that is not the one its site reports on.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from conftest import images_of, noise, run, torch_exports
from differences import score_of, settled_derivative
from onnx import numpy_helper

from fg_onnx import Session, instrument
from fg_onnx.manifest import EMITS

ULP = 2.0**-24


# --- small samples: within one linear region, exactly ---------------------------------------------

# Within one linear region of a ReLU net, f is affine in any one bias: no truncation, and the longer
# the step the better, up to the first kink. So steps are tried from the longest, and the first is
# taken along which f is affine at h and h/2, on either side and across, up to `NOISE`: rounding of
# f, in units of the magnitudes that were added up, for which the sum of |contributions| stands.
STEPS = [2.0**-k for k in range(1, 12)]
# Measured: f of fashion_vgg is off by up to 18, most of which is the same at neighbouring steps.
NOISE = 16 * ULP
# Of the site's largest. A step tells if rounding leaves the derivative good to this, and then the
# gradient has to agree to this. Measured: 1e-3 in the median; kinks that rounding hides can add as
# much again as the noise, and once, on both sides of 0 and in opposition, did.
GOOD = 2e-2
# Measured: at most 4 of 36 (aliasing_identity), all of them pixels, which 9 positions read.
MOST_SKIPPED = 0.15


def affine_derivative(f, scale):
    """df/dt and what rounding does to it, per image; infinite where every step meets a kink."""
    middle = f(0.0)
    derivative, noise = np.full(len(middle), np.nan), np.full(len(middle), np.inf)
    for h in STEPS:
        below, less, more, above = (f(t) for t in (-h, -h / 2, h / 2, h))
        bends = (above - 2 * middle + below, above - 2 * more + middle, below - 2 * less + middle)
        affine = np.all(np.abs(bends) <= NOISE * scale, axis=0)
        first = affine & np.isinf(noise)
        derivative[first] = ((above - below) / (2 * h))[first]
        noise[first] = (2 * NOISE * scale / (2 * h))[first]  # at either end
    return derivative, noise


def check(f, scale, expected, largest):
    """Assert where a step tells; return for how many images none does."""
    derivative, noise = affine_derivative(f, scale)
    told = noise <= GOOD * largest
    assert np.all(np.abs(derivative - expected)[told] <= (GOOD * largest)[told])
    return int((~told).sum())


def test_bias_gradients_of_small_samples(sample):
    found = run(sample.instrument(emit=EMITS).model, sample.feeds)
    f, defaults = score_of(sample.model, sample.feeds, found["fg_explained"])
    scale = np.abs(found["fg_contributions"]).sum(1)
    draws = np.random.default_rng(0)
    skipped = tried = 0
    for name, value in defaults.items():
        gradient = found[f"fg_bias_gradient/{name.removeprefix('fg_bias/')}"].astype(np.float64)
        channels = gradient.shape[1]
        totals = gradient.reshape(len(gradient), channels, -1).sum(2)
        for c in draws.permutation(channels)[:6]:
            sign = np.zeros(value.shape)
            sign.reshape(-1)[c] = 1
            along = f.along(name, value, sign)
            skipped += check(along, scale, totals[:, c], np.abs(totals).max(1))
            tried += len(totals)
    print(f"{sample.name}: {skipped} of {tried} meet a kink")
    assert skipped <= MOST_SKIPPED * tried


def test_input_gradient_of_small_samples(sample):
    found = run(sample.instrument(emit=EMITS).model, sample.feeds)
    f, _ = score_of(sample.model, sample.feeds, found["fg_explained"])
    scale = np.abs(found["fg_contributions"]).sum(1)
    x = sample.feeds[sample.image]
    terms = (x.astype(np.float64) * found["fg_input_gradient"]).reshape(len(x), -1)
    skipped = tried = 0
    for entry in np.random.default_rng(1).permutation(terms.shape[1])[:12]:
        sign = np.zeros(x.shape)
        sign.reshape(len(x), -1)[:, entry] = 1
        along = f.along(sample.image, x, sign)
        skipped += check(along, scale, terms[:, entry], np.abs(terms).max(1))
        tried += len(terms)
    print(f"{sample.name}: {skipped} of {tried} meet a kink")
    assert skipped <= MOST_SKIPPED * tried


# --- where f is not affine ------------------------------------------------------------------------

# Every site has a step of its own, by `settled_derivative`.
SMOOTH = [4.0**-k for k in range(1, 5)]
KINKED = [4.0**-k for k in range(2, 9)]


GATED = """
    c1 = Conv <pads = [1,1,1,1]> (x, w1, b1)
    s1 = Sigmoid (c1)
    silu = Mul (c1, s1)
    pooled = GlobalAveragePool (silu)
    squeezed = Conv (pooled, w2, b2)
    hard = HardSwish (squeezed)
    excited = Conv (hard, w3, b3)
    gate = Sigmoid (excited)
    gated = Mul (gate, silu)
    mean = Constant <value = float[1,4,1,1] {0.3, -0.2, 0.1, 0.4}> ()
    centred = Sub (gated, mean)
    c4 = Conv <strides = [2,2]> (centred, w4, b4)
    bent = Tanh (c4)
    features = GlobalAveragePool (bent)
    logits = Flatten (features)
"""


def gated_model():
    """Squeeze and excitation, SiLU, HardSwish and a subtraction: all implicit sites but ReLU6."""
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> net (float[N,3,8,8] x) => (float[N,5] logits) {'
        + GATED
        + "}"
    )
    draws = np.random.default_rng(3)
    shapes = {"w1": (4, 3, 3, 3), "w2": (4, 4, 1, 1), "w3": (4, 4, 1, 1), "w4": (5, 4, 3, 3)}
    for name, shape in shapes.items():
        for values in (
            numpy_helper.from_array(draws.normal(0, 0.5, shape).astype(np.float32), name),
            numpy_helper.from_array(
                draws.normal(0, 1, shape[:1]).astype(np.float32), f"b{name[1]}"
            ),
        ):
            proto.graph.initializer.append(values)
    return proto


def test_gradients_of_a_gated_net():
    proto = gated_model()
    feeds = noise(proto)
    instrumented = instrument(proto, emit=EMITS)
    kinds = [site.op for site in instrumented.manifest.sites if site.kind == "implicit"]
    assert kinds == ["Swish", "HardSwish", "Sigmoid", "Mul", "Tanh"]
    found = run(instrumented.model, feeds)
    f, defaults = score_of(proto, feeds, found["fg_explained"])
    assert len(defaults) == 5
    x, gradient = feeds["x"], found["fg_input_gradient"]
    places = {"x": (x, x.astype(np.float64) * gradient)}
    for name, value in defaults.items():
        places[name] = value, found[f"fg_bias_gradient/{name.removeprefix('fg_bias/')}"]
    for name, (value, terms) in places.items():
        largest = np.abs(terms.astype(np.float64).sum((2, 3))).max(1)
        for c in range(terms.shape[1]):
            sign = np.zeros(value.shape)
            sign[(slice(None), c) if value.ndim == 4 else c] = 1
            derivative = settled_derivative(f.along(name, value, sign), SMOOTH)
            expected = terms[:, c].astype(np.float64).sum((1, 2))
            # Measured: 6e-4, rounding of f over the shortest step and truncation over the longest.
            assert np.all(np.abs(derivative - expected) <= 2e-3 * largest), name


# --- exported nets: along random directions -------------------------------------------------------

NETS = ("resnet18", "mobilenet_v2", "mobilenet_v3_small")
# Some 1500 forward passes a net. The nets are those of 224x224 (test_gradients holds these to
# torch): none depends on the size.
SIDE = 112


# Here no step is free of kinks: an early bias moves 3136 positions and all that follow.
@pytest.mark.torch
@pytest.mark.parametrize("name", NETS)
def test_gradients_of_exported_nets(name, tmp_path):
    exports = torch_exports()
    import torch

    from sample_models.torch_export import export_module

    path = tmp_path / f"{name}.onnx"
    export_module(exports.build(name), path, torch.zeros(2, 3, SIDE, SIDE))
    images = images_of(exports, 2, SIDE)
    attribution = Session(instrument(path, emit=EMITS)).explain(images)
    f, defaults = score_of(path, {"image": images}, attribution.targets)
    draws = np.random.default_rng(2)
    errors = []
    for promoted, value in defaults.items():
        gradient = attribution.bias_gradients[promoted.removeprefix("fg_bias/")].astype(np.float64)
        totals = gradient.reshape(*gradient.shape[:2], -1).sum(2)
        sign = draws.choice([-1.0, 1.0], value.shape)
        found = settled_derivative(f.along(promoted, value, sign), KINKED)
        errors.append(np.abs(found - totals @ sign) / np.abs(totals).sum(1))
    errors = np.array(errors)
    print(f"{name}: median {np.median(errors):.1e}, 9 of 10 below {np.quantile(errors, 0.9):.1e}")
    # Of the sum of magnitudes; the derivative itself is some 0.1 of it, for signs are random.
    # Measured: medians 5e-4 to 1.4e-3, nine of ten below 4e-3 to 1e-2.
    assert np.median(errors) <= 5e-3
    assert np.quantile(errors, 0.9) <= 3e-2
