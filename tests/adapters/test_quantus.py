"""Quantus's metrics on an exported model, against the same metrics on the net in torch.

Both compute in float32, and both take chance from NumPy's global source, which is seeded anew for
each. The bound is that of a few thousand float32 products; a metric divides by no small number.
"""

from __future__ import annotations

import functools
import importlib
import sys

import numpy as np
import pytest
from onnx import numpy_helper

from fg_onnx.errors import InputError, RuntimeMissingError, UnsupportedModelError
from fg_onnx.evaluate.parameters import parameters
from fg_onnx.methods import METHODS, explainer

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
quantus = pytest.importorskip("quantus")

from pairs import exported, gradients, images, small_net  # noqa: E402
from torch import nn  # noqa: E402

from fg_onnx.adapters.quantus import explain_func, quantus_model  # noqa: E402

BOUND = 1e-4
# Of correlations of ranks, which MPRT gives. Rounding swaps, or ties, two neighbours among the 192
# pixels of a map: in its correlation 1 - 6 sum(d^2) / n^3 with another map, in which those two may
# stand n apart, that is 12 / n^2 at most.
RANKS = 12 / 192**2
SEED = 42  # Quantus's own of its randomisations


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The net, whose layers are redrawn as the exported model's are."""
    found = exported(small_net(), tmp_path_factory.mktemp("net") / "net.onnx", images())
    held = parameters(found.path)
    drawn = held.redrawn(held.layers, SEED).graph.initializer
    values = {each.name: torch.tensor(numpy_helper.to_array(each)) for each in drawn}
    for name, module in found.net.named_modules():
        if hasattr(module, "reset_parameters"):
            new = {part: values[f"{name}.{part}"] for part in ("weight", "bias")}
            module.reset_parameters = functools.partial(module.load_state_dict, new)
    return found


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


def same(found, expected, bound=BOUND):
    assert found.shape == expected.shape
    assert np.isfinite(expected).all()
    assert len(np.unique(expected)) > 1  # it says something of the images
    assert np.abs(found - expected).max() <= bound * np.abs(expected).max()


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
    same(found, judged(metric(), pair.net, pair, by_torch), RANKS if "MPRT" in name else BOUND)


# These rank pixels, and rounding may swap two: so the maps are the same.
RANKING = {
    "PixelFlipping": {"features_in_step": 16},
    "FaithfulnessCorrelation": {"nr_runs": 20, "subset_size": 24, "return_aggregate": False},
    "RegionPerturbation": {"patch_size": 4, "regions_evaluation": 5},
    "Selectivity": {"patch_size": 4},
    "SensitivityN": {"features_in_step": 48, "n_max_percentage": 0.8, "return_aggregate": False},
    "MonotonicityCorrelation": {"nr_samples": 3, "features_in_step": 48},
    "AttributionLocalisation": {},
    "TopKIntersection": {"k": 20},
    "AUC": {},
    "Infidelity": {"n_perturb_samples": 5, "perturb_patch_sizes": [4]},
}


@pytest.mark.parametrize("method", ["fullgrad", "grad-cam"])
@pytest.mark.parametrize("name", RANKING)
def test_a_metric_of_the_same_maps_says_the_same(pair, model, name, method):
    maps = explain_func(method)(model, pair.images, pair.classes)
    parts = np.zeros((3, 1, 16, 12), dtype=bool)
    parts[..., 4:12, 3:9] = True
    given = {"a_batch": maps, "s_batch": parts}
    found, expected = (
        judged(getattr(quantus, name)(**RANKING[name], **QUIET), each, pair, by_torch, **given)
        for each in (model, pair.net)
    )
    same(found, expected)


@pytest.mark.parametrize("order", ["top_down", "bottom_up", "independent"])
def test_layers_are_redrawn_in_order(pair, model, order):
    def metric():
        return quantus.MPRT(layer_order=order, **QUIET)

    found = judged(metric(), model, pair, explain_func("input-gradient"))
    same(found, judged(metric(), pair.net, pair, by_torch), RANKS)


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ({}, {"layer_names": ["0", "3", "7"]}),
        ({"layer_indices": [0, -1]}, {"layer_names": ["0", "7"]}),
        ({"layer_names": ["/4/Relu", "/3/Conv_output_0"]}, {"layer_names": ["3", "4"]}),
    ],
)
def test_hidden_representations(pair, model, mine, theirs):
    def metric(chosen):
        return quantus.RelativeRepresentationStability(nr_samples=4, **chosen, **QUIET)

    found = judged(metric(mine), model, pair, explain_func("input-gradient"))
    same(found, judged(metric(theirs), pair.net, pair, by_torch))


@pytest.mark.parametrize("chosen", [{"layer_names": ["no such"]}, {"layer_indices": [3]}])
def test_a_layer_that_is_not_there(pair, model, chosen):
    wrapped = quantus.helpers.utils.get_wrapped_model(model, channel_first=True, softmax=False)
    with pytest.raises(UnsupportedModelError, match="no layer") as caught:
        wrapped.get_hidden_representations(pair.images, **chosen)
    assert "/0/Conv, /3/Conv, /7/Gemm" in caught.value.hint


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """A linear net of whole numbers, on images of whole numbers from 0 on: float32 is exact."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 5)).eval()
    draws = np.random.default_rng(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.tensor(draws.integers(-9, 10, weight.shape)))
    pixels = draws.integers(0, 9, (3, 1, 8, 6)).astype(np.float32)
    return exported(net, tmp_path_factory.mktemp("linear") / "net.onnx", pixels)


@pytest.mark.parametrize(
    ("explain", "complete"),
    [
        (explain_func("gradient-x-input", signed=True), True),
        (explain_func("gradient-x-input"), False),
    ],
)
def test_completeness(linear, explain, complete):
    def metric():
        return quantus.Completeness(abs=False, normalise=False, **QUIET)

    model = quantus_model(linear.path, output="logits", threads=1)
    maps = explain(model, linear.images, linear.classes)
    found = judged(metric(), model, linear, explain)
    assert found.tolist() == [complete] * 3
    assert judged(metric(), linear.net, linear, by_torch, a_batch=maps).tolist() == found.tolist()


@pytest.mark.parametrize("softmax", [True, False])
def test_predictions(pair, model, softmax):
    found, expected = (
        quantus.helpers.utils.get_wrapped_model(each, channel_first=True, softmax=softmax).predict(
            pair.images
        )
        for each in (model, pair.net)
    )
    assert found.dtype == np.float32
    same(found, expected)


def test_channels_last(pair, tmp_path):
    class Turned(nn.Sequential):
        def forward(self, x):
            return super().forward(x.permute(0, 3, 1, 2))

    last = np.ascontiguousarray(np.moveaxis(pair.images, 1, -1))
    turned = exported(Turned(*pair.net).eval(), tmp_path / "net.onnx", last)
    model = quantus_model(turned.path, threads=1)
    for metric in (
        lambda: quantus.MaxSensitivity(nr_samples=4, **QUIET),
        lambda: quantus.PixelFlipping(features_in_step=16, **QUIET),
        lambda: quantus.MPRT(**QUIET),
    ):
        found = judged(metric(), model, turned, explain_func("input-gradient"), channel_first=False)
        same(found, judged(metric(), pair.net, pair, by_torch), RANKS)


@pytest.mark.parametrize(
    "name", [name for name, made in METHODS.items() if not {"samples", "steps"} & {*made.options()}]
)
def test_the_maps_are_the_methods(pair, model, name):
    maps = explain_func(name)(model, pair.images, pair.classes)
    expected = explainer(pair.path, name, threads=1).explain(pair.images, pair.classes)
    assert maps.shape == (3, 1, 16, 12)
    assert np.array_equal(maps[:, 0], expected)


def test_evaluate_takes_the_methods_by_name(pair, model):
    # It prints what fails, and goes on.
    found = quantus.evaluate(
        metrics={"sparse": quantus.Sparseness(**QUIET), "stable": quantus.MaxSensitivity(**QUIET)},
        xai_methods={name: explain_func(name) for name in ("fullgrad", "grad-cam")},
        model=model,
        x_batch=pair.images,
        y_batch=pair.classes,
        explain_func_kwargs={},
        call_kwargs={"one": {"channel_first": True, "device": "cpu"}},
    )
    rows = [found[name][metric] for name in ("fullgrad", "grad-cam") for metric in found[name]]
    assert np.isfinite(np.array(rows)).all()
    assert len(np.unique(np.array(rows))) == 12


def test_options_make_another_explainer(pair, model):
    signed, plain = (
        explain_func("input-gradient", signed=signed)(model, pair.images, pair.classes)
        for signed in (True, False)
    )
    assert (signed < 0).any()
    assert (plain >= 0).all()


def test_the_parameters_by_name(pair, model):
    wrapped = quantus.helpers.utils.get_wrapped_model(model, channel_first=True, softmax=False)
    held = wrapped.state_dict()
    assert held.keys() == pair.net.state_dict().keys()
    assert all(np.array_equal(held[name], own) for name, own in pair.net.state_dict().items())


def test_a_class_is_not_negative(pair, model):
    with pytest.raises(InputError, match="negative"):
        explain_func("input-gradient")(model, pair.images, [0, -1, 2])


def test_input_invariance_is_refused(pair, model):
    metric = quantus.InputInvariance(**QUIET)
    with pytest.raises(UnsupportedModelError, match="first layer"):
        judged(metric, model, pair, explain_func("input-gradient"))


def test_other_models_are_quantus_own():
    wrapped = quantus.helpers.utils.get_wrapped_model(small_net(), True, softmax=False)
    assert type(wrapped) is quantus.PyTorchModel
    with pytest.raises(ValueError, match="torch"):
        quantus.helpers.utils.get_wrapped_model("net.onnx", True, softmax=False)


def test_without_quantus(monkeypatch):
    monkeypatch.delitem(sys.modules, "fg_onnx.adapters.quantus")
    monkeypatch.setitem(sys.modules, "quantus.helpers.utils", None)
    with pytest.raises(RuntimeMissingError, match="Quantus") as caught:
        importlib.import_module("fg_onnx.adapters.quantus")
    assert "pip install --no-deps quantus" in caught.value.hint
