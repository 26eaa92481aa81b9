"""Quantus's metrics on an exported model, against the same metrics on the net in torch.

Both compute in float32, and both take chance from NumPy's global source, which is seeded anew for
each. The bound is that of a few thousand float32 products; a metric divides by no small number.
"""

from __future__ import annotations

import functools
import importlib
import math
import sys

import numpy as np
import pytest

from fg_onnx.errors import RuntimeMissingError, UnsupportedModelError
from fg_onnx.evaluate.parameters import parameters
from fg_onnx.methods import METHODS, explainer

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
quantus = pytest.importorskip("quantus")

from pairs import exported, gradients, images, small_net  # noqa: E402
from torch import nn  # noqa: E402

from fg_onnx.adapters.quantus import explain_func, quantus_model  # noqa: E402

BOUND = 1e-4
SEED = 42  # Quantus's own of its randomisations


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The net, whose layers are redrawn as the exported model's are."""
    found = exported(small_net(), tmp_path_factory.mktemp("net") / "net.onnx", images())
    held = parameters(found.path)
    drawn = held.redrawn(held.layers, SEED).graph.initializer
    values = {each.name: quantus_array(each) for each in drawn}
    for name, module in found.net.named_modules():
        if hasattr(module, "reset_parameters"):
            new = {part: values[f"{name}.{part}"] for part in ("weight", "bias")}
            module.reset_parameters = functools.partial(module.load_state_dict, new)
    return found


def quantus_array(tensor):
    from onnx import numpy_helper

    return torch.tensor(numpy_helper.to_array(tensor))


@pytest.fixture(scope="module")
def model(pair):
    return quantus_model(pair.path, threads=1)


def by_torch(model, inputs, targets, **_):
    """The method `input-gradient`."""
    return np.abs(gradients(model, inputs, targets)[1]).sum(axis=1, keepdims=True)


def flat(scores):
    """What a metric returns, in one row."""
    if isinstance(scores, dict):
        scores = list(scores.values())
    return np.asarray(scores, dtype=np.float64).ravel()


def judged(metric, model, pair, explain, **more):
    np.random.seed(1)
    call = {"x_batch": pair.images, "y_batch": pair.classes, "channel_first": True, "a_batch": None}
    return flat(metric(model=model, explain_func=explain, **{**call, **more}))


def same(found, expected):
    assert found.shape == expected.shape
    assert np.isfinite(expected).all()
    assert len(np.unique(expected)) > 1  # it says something of the images
    assert np.abs(found - expected).max() <= BOUND * np.abs(expected).max()


QUIET = {"disable_warnings": True}
METRICS = {
    "FaithfulnessEstimate": {"features_in_step": 32},
    "MaxSensitivity": {"nr_samples": 4},
    "AvgSensitivity": {"nr_samples": 4},
    "LocalLipschitzEstimate": {"nr_samples": 4},
    "RelativeInputStability": {"nr_samples": 4},
    "RelativeOutputStability": {"nr_samples": 4},
    "Sparseness": {},
    "Complexity": {},
    "RandomLogit": {"num_classes": 5, "seed": 3},
    "MPRT": {},
    "EfficientMPRT": {},
}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_says_what_it_says_of_the_net(pair, model, name):
    def metric():
        return getattr(quantus, name)(**METRICS[name], **QUIET)

    found = judged(metric(), model, pair, explain_func("input-gradient"))
    same(found, judged(metric(), pair.net, pair, by_torch))


# These rank pixels: that rounding swaps two is no matter if the maps are the same.
RANKING = {
    "PixelFlipping": {"features_in_step": 16},
    "FaithfulnessCorrelation": {"nr_runs": 20, "subset_size": 24},
    "RegionPerturbation": {"patch_size": 4, "regions_evaluation": 5},
    "Selectivity": {"patch_size": 4},
    "SensitivityN": {"features_in_step": 48, "n_max_percentage": 0.8},
    "MonotonicityCorrelation": {"nr_samples": 3, "features_in_step": 48},
    "ROAD": {"percentages": [10, 50, 90]},
    "IROF": {},
    "Infidelity": {"n_perturb_samples": 5, "perturb_patch_sizes": [4]},
}


@pytest.mark.parametrize("method", ["fullgrad", "grad-cam"])
@pytest.mark.parametrize("name", RANKING)
def test_a_metric_of_the_same_maps_says_the_same(pair, model, name, method):
    maps = explain_func(method)(model, pair.images, pair.classes)
    found, expected = (
        judged(
            getattr(quantus, name)(**RANKING[name], **QUIET), each, pair, by_torch, a_batch=maps
        )
        for each in (model, pair.net)
    )
    same(found, expected)
