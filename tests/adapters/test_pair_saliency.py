"""PAIR-saliency's methods on an exported model."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from conftest import noise
from graphs import two_stages
from saliency import core

from fg_onnx import Session, instrument
from fg_onnx.adapters.pair_saliency import model_function
from fg_onnx.errors import InputError, UnsupportedModelError
from fg_onnx.methods import explainer
from sample_models import tiny

BOUND = 1e-5  # of float32 sums that are taken in another order
TARGET = {"target": 2}


def close(found, expected, bound=BOUND):
    assert found.shape == expected.shape
    assert np.abs(expected).max() > 0
    assert np.abs(found - expected).max() <= bound * np.abs(expected).max()


def last(images):
    """The channels last."""
    return np.moveaxis(images, 1, -1)


@pytest.fixture(scope="module")
def model():
    return two_stages(16, 12)


@pytest.fixture(scope="module")
def function(model):
    return model_function(model, threads=1)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).standard_normal((3, 3, 16, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def explained(model, images):
    session = Session(instrument(model, emit=("input-gradient",)), threads=1)
    return session.explain(images, [2, 4, 1])


def test_scores_and_gradients(function, images, explained):
    found = function(last(images), {"target": [2, 4, 1]})
    assert sorted(found) == ["INPUT_OUTPUT_GRADIENTS", "OUTPUT_LAYER_VALUES"]
    close(found["OUTPUT_LAYER_VALUES"], explained.scores)
    close(found["INPUT_OUTPUT_GRADIENTS"], last(explained.input_gradient))


def test_vanilla_gradient(function, images, explained):
    found = core.GradientSaliency().GetMask(last(images)[0], function, TARGET)
    close(found, last(explained.input_gradient)[0])


def test_the_class_alone_is_a_target(function, images):
    masks = [core.GradientSaliency().GetMask(last(images)[0], function, to) for to in (2, TARGET)]
    assert np.array_equal(*masks)


def test_predicted(model, function, images):
    targets = Session(instrument(model, emit=()), threads=1).explain(images).targets
    assert [function.predicted(image) for image in last(images)] == targets.tolist()


def test_integrated_gradients_are_ours_but_for_the_ends(model, function, images):
    # x_steps gradients from the baseline to the image, all of one weight, there; n intervals, the
    # two ends of half a weight, here. So (n + 1) theirs - n ours = half of what the ends give.
    intervals = 6
    image = last(images)[0]
    theirs = core.IntegratedGradients().GetMask(image, function, TARGET, x_steps=intervals + 1)
    explain = explainer(
        model, "integrated-gradients", steps=intervals, baseline="zero", signed=True, threads=1
    )
    ours = explain.explain(images[:1], 2)[0]
    ends = function(np.stack([np.zeros_like(image), image]), TARGET)["INPUT_OUTPUT_GRADIENTS"]
    expected = (intervals * ours + (0.5 * ends.sum(axis=0) * image).sum(-1)) / (intervals + 1)
    close(theirs.sum(axis=-1), expected)


def test_channels_last():
    model = tiny.all_models()["nhwc"]
    images = np.random.default_rng(0).standard_normal((2, 16, 16, 3)).astype(np.float32)
    expected = Session(instrument(model, emit=("input-gradient",))).explain(images, 2)
    found = model_function(model)(images, TARGET)
    assert np.array_equal(found["INPUT_OUTPUT_GRADIENTS"], expected.input_gradient)


LAYER = ("CONVOLUTION_LAYER_VALUES", "CONVOLUTION_OUTPUT_GRADIENTS")


def test_grad_cam_is_ours_on_a_layer_of_the_images_size(model, images):
    found = core.GradCam().GetMask(
        last(images)[0], model_function(model, layer="r1"), TARGET,
        should_resize=False, three_dims=False,
    )  # fmt: skip
    expected = explainer(model, "grad-cam", layer="r1", threads=1).explain(images[:1], 2)[0]
    close(found, expected)


def test_grad_cam_looks_at_the_last_convolution(model, function, images):
    found = function(last(images), TARGET, LAYER)
    named = model_function(model, layer="h")(last(images), TARGET, LAYER)
    for key in LAYER:
        assert found[key].shape == (3, 4, 6, 8)
        assert np.array_equal(found[key], named[key])


@pytest.mark.parametrize("hazard", ["residual", "shared_weights", "grouped", "nhwc", "two_inputs"])
def test_a_layers_gradients_are_those_of_the_whole_model(hazard):
    # A bias-gradient is the bias times the gradient by the convolution's result.
    model = tiny.all_models()[hazard]
    feeds = noise(model)
    images = feeds.pop(model.graph.input[0].name)
    whole = Session(instrument(model, emit=("bias-gradients",)))
    found = whole.explain(images, 2, feeds=feeds)
    made_by = {node.output[0]: node for node in model.graph.node}
    weights = {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
    sites = [site for site in whole.manifest.sites if site.op == "Conv"]
    assert sites
    for site in sites:
        bias = weights[made_by[site.tensor].input[2]][:, None, None]
        function = model_function(model, layer=site.tensor)
        given = images if hazard == "nhwc" else last(images)
        layer = function(given, {"target": 2, "feeds": feeds}, LAYER)
        close(layer[LAYER[1]], last(found.bias_gradients[site.name] / bias))


def test_a_fixed_batch_of_one_is_run_image_by_image(model, images):
    one = onnx.ModelProto()
    one.CopyFrom(model)
    one.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    one.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    keys = ["INPUT_OUTPUT_GRADIENTS", *LAYER]
    found, expected = (model_function(each)(last(images), TARGET, keys) for each in (one, model))
    for key in keys:
        close(found[key], expected[key])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "no class was named"),
        ({"feeds": {}}, "no class was named"),
        ({"target": -1}, "no class was named"),
        ({"class": 2}, "no `class`"),
        ({"target": 7}, "7"),
    ],
)
def test_arguments_that_do_not_fit(function, images, given, message):
    with pytest.raises(InputError, match=message):
        function(last(images), given)


def test_other_things_that_do_not_fit(function, images):
    with pytest.raises(InputError, match="LAYER"):
        function(last(images), TARGET, ["LAYER"])
    with pytest.raises(InputError, match=r"\[16, 12\]") as caught:
        function.predicted(images[0, 0])
    assert "[H, W, 1]" in caught.value.hint


def test_a_layer_that_is_not_there(model, images):
    function = model_function(model, layer="no such")
    assert function(last(images), TARGET)
    with pytest.raises(UnsupportedModelError, match="no layer `no such`"):
        function(last(images), TARGET, LAYER)


def test_what_is_explained_is_no_layer(model, images):
    function = model_function(model, layer="h", output="h")
    with pytest.raises(UnsupportedModelError, match="`h` is what is explained"):
        function(last(images), TARGET, LAYER)


# --- the methods on the same net in torch -------------------------------------------------------


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    pytest.importorskip("torch")
    import pairs

    return pairs.exported(
        pairs.small_net(), tmp_path_factory.mktemp("net") / "net.onnx", pairs.images()
    )


def by_torch(net):
    import pairs
    import torch

    def call(x, call_model_args=None, expected_keys=None):
        fed = np.ascontiguousarray(np.moveaxis(x, -1, 1), dtype=np.float32)
        target = [call_model_args["target"]] * len(fed)
        scores, gradients = pairs.gradients(net, fed, target)
        found = {"OUTPUT_LAYER_VALUES": scores, "INPUT_OUTPUT_GRADIENTS": last(gradients)}
        if LAYER[0] in expected_keys:
            values = net[:5](torch.tensor(fed)).detach().requires_grad_()
            total = net[5:](values)[range(len(fed)), target].sum()
            (ct,) = torch.autograd.grad(total, values)
            found |= {LAYER[0]: last(values.detach().numpy()), LAYER[1]: last(ct.numpy())}
        return found

    return call


METHODS = {
    "GradientSaliency": {},
    "IntegratedGradients": {"x_steps": 10, "batch_size": 4},
    "BlurIG": {"steps": 10, "max_sigma": 5, "batch_size": 4},
    "GuidedIG": {"x_steps": 10},
    "GradCam": {},
    "Occlusion": {"size": 5},
    "XRAI": {"extra_parameters": core.XRAIParameters(steps=10), "batch_size": 10},
}


SMOOTHED = ("GradientSaliency", "IntegratedGradients", "BlurIG", "GuidedIG", "GradCam")


@pytest.fixture
def numpys_quantile(monkeypatch):
    """saliency 0.2.1's GuidedIG calls `numpy.quantile` by a word that NumPy 2.4 took away."""
    quantile = np.quantile

    def called(values, share, *, interpolation):
        return quantile(values, share, method=interpolation)

    monkeypatch.setattr(np, "quantile", called)


@pytest.mark.torch
@pytest.mark.usefixtures("numpys_quantile")
@pytest.mark.parametrize("name", METHODS)
def test_a_method_gives_what_it_gives_of_the_net(pair, name):
    method = getattr(core, name)()
    image = last(pair.images)[0]
    functions = model_function(pair.path, threads=1), by_torch(pair.net)
    masks = [method.GetMask(image, each, TARGET, **METHODS[name]) for each in functions]
    close(*masks, bound=1e-4)


@pytest.mark.torch
@pytest.mark.usefixtures("numpys_quantile")
@pytest.mark.parametrize("name", SMOOTHED)
def test_a_method_with_noise_gives_what_it_gives_of_the_net(pair, name):
    method = getattr(core, name)()
    image = last(pair.images)[0]
    masks = []
    for each in (model_function(pair.path, threads=1), by_torch(pair.net)):
        np.random.seed(0)
        few = {"nsamples": 3, **METHODS[name]}
        masks.append(method.GetSmoothedMask(image, each, TARGET, **few))
    close(*masks, bound=1e-4)
