"""Completeness: the explained score is the sum of all that was attributed, image by image.

Where an offset is defined through the VJP, completeness holds whatever the VJP says; that the
gradients are right is for `test_gradients` and `test_finite_differences`.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from conftest import GIVEN, run
from onnx import numpy_helper

from fg_onnx import Session
from fg_onnx.attribution import completeness_residual
from fg_onnx.manifest import EMITS

# The project's own bound. The residual is relative to the sum of magnitudes, so that it measures
# rounding: measured 2e-8 to 3e-6 (vgg11_bn, whose first Linear adds 25088 products).
COMPLETE = 1e-5

# Beyond the biases. A SiLU or HardSwish is one site, although exporters write the former as two
# nodes; a gate is a Sigmoid or HardSigmoid and the product of two actives.
IMPLICIT = {
    "mobilenet_v2": {"Clip": 35},
    "efficientnet_lite0": {"Clip": 33},
    "mobilenet_v3_small": {"HardSwish": 19, "HardSigmoid": 9, "Mul": 9},
    "efficientnet_b0": {"Swish": 49, "Sigmoid": 16, "Mul": 16},
    "regnet_y_400mf": {"Sigmoid": 16, "Mul": 16},
}
# Convolutions and linear layers; all have a bias once BatchNorm is folded into them.
BIASES = {
    "squeezenet1_1": 26,
    "vgg11_bn": 8 + 3,
    "resnet18": 20 + 1,
    "resnet50": 53 + 1,
    "densenet121": 59 + 1,  # the other 61 lead to a concatenation and have none
    "mobilenet_v2": 52 + 1,
    "googlenet": 57 + 1,
    "mobilenet_v3_small": 52 + 2,
    "efficientnet_b0": 81 + 1,
    "regnet_y_400mf": 85 + 1,
    "efficientnet_lite0": 49 + 1,
}
BATCHNORMS = {"densenet121": 62}  # after a concatenation there is no Conv to fold them into


def assert_complete(attribution):
    assert len(attribution.residual) == len(attribution.scores) == 3
    assert np.all(attribution.residual <= COMPLETE), attribution.residual
    assert np.all(np.abs(attribution.contributions).sum(1) > 0)


def test_every_small_sample_is_complete(sample):
    session = Session(sample.instrument())
    images = sample.feeds[sample.image]
    if len(images) == 1:  # the fixed batch, image by image
        images = np.random.default_rng(4).standard_normal((3, *images.shape[1:]))
    rest = {name: value for name, value in sample.feeds.items() if name != sample.image}
    for target in (None, 0, session.manifest.scores - 1):
        assert_complete(session.explain(images, target, feeds=rest))


def test_frozen_biases_are_complete(sample):
    session = Session(sample.instrument(freeze_biases=True))
    assert np.all(sample.explain(session).residual <= COMPLETE)


def test_any_seed_is_complete(sample):
    session = Session(sample.instrument(seed=True))
    shape = (len(sample.feeds[sample.image]), session.manifest.scores)
    seed = np.random.default_rng(5).standard_normal(shape)
    assert np.all(sample.explain(session, seed=seed).residual <= COMPLETE)


def test_every_export_is_complete(net):
    for attribution in (net.explained["predicted"], net.explained["given"]):
        print(attribution.targets, attribution.residual)  # to be seen with -rP
        assert_complete(attribution)
    assert (attribution.targets == GIVEN).all()


def test_sites_of_every_export(net):
    found = Counter((site.kind, site.op) for site in net.explained["last"].manifest.sites)
    implicit = {op: count for (kind, op), count in found.items() if kind == "implicit"}
    assert implicit == IMPLICIT.get(net.name, {})
    assert found["bias", "Conv"] + found["bias", "Gemm"] == BIASES[net.name]
    assert found["batchnorm", "BatchNormalization"] == BATCHNORMS.get(net.name, 0)
    assert sum(found.values()) == (
        BIASES[net.name] + BATCHNORMS.get(net.name, 0) + sum(implicit.values())
    )
    gates = sum(implicit.get(op, 0) for op in ("Sigmoid", "HardSigmoid"))
    flat = {site.name for site in net.explained["last"].manifest.sites if not site.spatial}
    linear = BIASES[net.name] - found["bias", "Conv"]
    assert len(flat) == linear + (net.name == "mobilenet_v3_small")  # its last HardSwish is flat
    assert implicit.get("Mul", 0) == gates


def test_contributions_are_the_totals_of_what_is_emitted(sample):
    found = run(sample.instrument(emit=EMITS).model, sample.feeds)
    sites = [name for name in found if name.startswith("fg_bias_gradient/")]
    x, gradient = (found | sample.feeds)[sample.image], found["fg_input_gradient"]
    columns = [
        (x * gradient).astype(np.float64),
        *(found[site].astype(np.float64) for site in sites),
    ]
    totals = np.stack([c.reshape(len(c), -1).sum(1) for c in columns], axis=1)
    # float32 sums of up to 6272 terms: a few 2^-24 of their magnitudes
    scale = sum(np.abs(c).reshape(len(c), -1).sum(1) for c in columns)
    assert np.all(np.abs(totals - found["fg_contributions"]) <= 1e-6 * scale[:, None])


# --- that it can fail ----------------------------------------------------------------------------


def test_a_perturbed_contribution_shows(sample):
    attribution = sample.explain(Session(sample.instrument()))
    c = attribution.contributions.copy()
    for column in range(c.shape[1]):
        scale = np.abs(c).sum(1)
        if np.all(np.abs(c[:, column]) > 1e-3 * scale):
            flipped = c.copy()
            flipped[:, column] *= -1
            assert np.all(completeness_residual(attribution.scores, flipped) > 100 * COMPLETE)
            left_out = np.delete(c, column, axis=1)
            assert np.all(completeness_residual(attribution.scores, left_out) > 50 * COMPLETE)


@pytest.mark.parametrize("name", ["residual", "bn_unfolded", "old_opset", "nhwc"])
def test_an_offset_that_is_not_the_forward_s_shows(samples, name):
    # The forward keeps the trained bias, the contribution reads another: as if a site were paired
    # with another layer's bias.
    sample = samples[name]
    instrumented = sample.instrument()
    model = instrumented.model
    (first, *_) = (site for site in instrumented.manifest.sites if site.promoted_input)
    assert np.all(_residual(run(model, sample.feeds)) <= COMPLETE)
    (promoted,) = (t for t in model.graph.initializer if t.name == first.promoted_input)
    wrong = numpy_helper.from_array(numpy_helper.to_array(promoted) + np.float32(0.1), "wrong")
    model.graph.initializer.append(wrong)
    changed = 0
    for node in model.graph.node:
        if node.name.startswith("fg/") and not node.name.startswith("fg/forward/"):
            for index, operand in enumerate(node.input):
                if operand == first.promoted_input:
                    node.input[index] = "wrong"
                    changed += 1
    assert changed
    assert np.all(_residual(run(model, sample.feeds)) > 10 * COMPLETE)


def test_a_changed_forward_weight_shows(samples):
    # The adjoint keeps the trained weight, the forward another.
    sample = samples["residual"]
    model = sample.instrument().model
    (weight,) = (t for t in model.graph.initializer if t.name == "conv2_weight")
    scaled = onnx.numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), "other")
    model.graph.initializer.append(scaled)
    own = [node for node in model.graph.node if not node.name.startswith("fg/")]
    (conv,) = (node for node in own if "conv2_weight" in node.input)
    conv.input[1] = "other"
    assert np.all(_residual(run(model, sample.feeds)) > 10 * COMPLETE)


def _residual(found):
    return completeness_residual(found["fg_score"], found["fg_contributions"])


def test_residual_by_hand():
    scores = np.float32([2, 0, 0, 1, np.nan])
    contributions = np.float32([[3, -1], [0, 0], [1, 0], [3, -1], [1, 1]])
    np.testing.assert_allclose(
        completeness_residual(scores, contributions), [0, 0, 1, 0.25, np.nan], rtol=1e-15
    )
