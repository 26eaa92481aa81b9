"""The graphs that the methods ask for, on the small samples and in every form."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from conftest import SAMPLES
from graphs import build, draw, noise, two_stages
from plain import close
from traps import traps

from fg_onnx import Session, instrument
from fg_onnx.manifest import METHOD_EMITS
from fg_onnx.methods import explainer
from fg_onnx.vjps import RULES
from fg_onnx.vjps.rectifiers import LINEAR, LINEAR_IN_FIRST, POOLING, PRODUCTS, RECTIFIERS
from fg_onnx.vjps.table import implicit
from sample_models import tasks

ANYWHERE = ("simple-saliency", "grad-cam", "probability")
RECTIFYING = ("guided-backprop", "deconvnet")
TASKS = tasks.all_models()
# Small samples without a convolution on a grid of more than one position.
WITHOUT_LAYER = {"saturation"}


def test_what_passes_the_other_rules_of_relu_as_linear_is_no_activation():
    family = "fg_onnx.vjps.activations"
    activations = {
        name
        for name, rule in RULES.items()
        if rule.vjp.__module__ == family or family in _modules(rule)
    }
    assert {"Relu", "Tanh", "Gelu", "Clip"} <= activations
    linear = LINEAR | PRODUCTS | LINEAR_IN_FIRST
    assert linear <= set(RULES)
    assert not linear & (activations | POOLING | RECTIFIERS)
    assert [name for name in linear if RULES[name].offset is implicit] == []


def _modules(rule):
    """Where the slope of an `elementwise` rule was written."""
    cells = rule.vjp.__closure__ or ()
    return {getattr(cell.cell_contents, "__module__", None) for cell in cells}


@pytest.mark.parametrize("name", SAMPLES)
def test_small_samples_emit_them_without_a_trap(name):
    sample = SAMPLES[name]
    words = [w for w in ANYWHERE if w != "grad-cam" or name not in WITHOUT_LAYER]
    emitted = sample.instrument(emit=words)
    onnx.checker.check_model(emitted.model, full_check=True)
    found = sample.explain(Session(emitted, threads=1))
    assert set(found.methods) == set(words)
    assert all(np.isfinite(values).all() for values in found.methods.values())
    assert traps(emitted.model) == []


@pytest.mark.parametrize("word", RECTIFYING)
def test_small_samples_have_no_activation_but_relu_and_emit_a_signal(word, sample):
    emitted = sample.instrument(emit=(word,))
    found = sample.explain(Session(emitted, threads=1))
    assert found.methods[word].shape == sample.feeds[sample.image].shape
    assert traps(emitted.model) == []


@pytest.mark.parametrize("opset", [18, 20, 22])
def test_newer_opsets_hold_no_trap(opset):
    emitted = instrument(two_stages(16, 12), emit=tuple(METHOD_EMITS), opset=opset)
    assert traps(emitted.model) == []


@pytest.mark.parametrize("task", TASKS)
def test_other_tasks(task):
    """Dense outputs and the like have a probability of each score too."""
    emitted = instrument(TASKS[task], emit=("probability",))
    onnx.checker.check_model(emitted.model, full_check=True)
    assert traps(emitted.model) == []


def test_every_form_of_a_site_is_aggregated_outside_the_graph_as_inside(sample):
    """Without noise the mean of the decomposition is the decomposition."""
    further = dict(sample.feeds)
    images = further.pop(sample.image)
    options = {"threads": 1, "device": "cpu", "psi": "abs"}
    smooth = explainer(sample.model, "smooth-fullgrad", noise=0.0, samples=1, **options)
    plain = explainer(sample.model, "fullgrad", **options)
    expected = plain.explain(images, 0, feeds=further)
    close(smooth.explain(images, 0, feeds=further), expected, 1e-5)


@pytest.mark.parametrize("task", ["signal", "volume", "tokens"])
def test_other_grids_are_aggregated_outside_the_graph_as_inside(task):
    model = TASKS[task]
    options = {"threads": 1, "device": "cpu", "psi": "abs"}
    plain = explainer(model, "fullgrad", **options)
    images = noise(2, *plain.session.input_shape[1:])
    smooth = explainer(model, "smooth-fullgrad", noise=0.0, samples=1, **options)
    close(smooth.explain(images), plain.explain(images), 1e-5)


def test_simple_fullgrad_leaves_out_what_has_no_bias():
    """SiLU has an offset and no bias: the map is that of the input term and the one Conv."""
    nodes = """
        c = Conv <pads = [1,1,1,1]> (x, w, b)
        s = Sigmoid (c)
        r = Mul (c, s)
        p = GlobalAveragePool (r)
        logits = Flatten (p)
    """
    weights = {"w": draw("w", 4, 3, 3, 3), "b": draw("b", 4)}
    model = build(nodes, weights, inputs="float[N,3,8,8] x", outputs="float[N,4] logits")
    images = noise(2, 3, 8, 8)
    found = Session(
        instrument(
            model, psi="signed", emit=("simple-saliency", "bias-gradients", "input-gradient")
        ),
        threads=1,
    ).explain(images, 1)
    assert len(found.bias_gradients) == 2
    by_bias = found.bias_gradients["c"] / draw("b", 4).reshape(1, 4, 1, 1)
    expected = (found.input_gradient * images).sum(1) + by_bias.sum(1)
    close(found.methods["simple-saliency"], expected, 1e-5)
