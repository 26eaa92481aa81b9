"""The graphs that the methods ask for, on the small samples and in every form."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from conftest import SAMPLES
from graphs import two_stages
from traps import traps

from fg_onnx import Session, instrument
from fg_onnx.manifest import METHOD_EMITS
from fg_onnx.vjps import RULES
from fg_onnx.vjps.rectifiers import OTHER_ACTIVATIONS, RECTIFIERS
from sample_models import tasks

ANYWHERE = ("simple-saliency", "grad-cam", "probability")
RECTIFYING = ("guided-backprop", "deconvnet")
TASKS = tasks.all_models()
# Small samples without a convolution on a grid of more than one position.
WITHOUT_LAYER = {"saturation"}


def test_every_activation_is_taken_or_refused_by_the_other_rules_of_relu():
    """A new activation is to be thought of here, or it would pass for linear."""
    family = "fg_onnx.vjps.activations"
    theirs = {
        name
        for name, rule in RULES.items()
        if rule.vjp.__module__ == family or family in _modules(rule)
    }
    assert {"Relu", "Tanh", "Gelu", "Clip"} <= theirs
    assert theirs <= RECTIFIERS | OTHER_ACTIVATIONS
    assert not RECTIFIERS & OTHER_ACTIVATIONS


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
