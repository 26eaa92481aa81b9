"""Methods against torch: plain forms that need gradients inside a net, and captum's own.

Torch computes in float64; the bound is that of a few thousand float32 products.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import build, draw
from plain import close, inputs
from test_psi import plain_map, resized

from fg_onnx.methods import explainer

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

BOUND = 1e-4
TARGETS = [2, 4, 1]


def of(name, model, **options):
    return explainer(model, name, threads=1, **options)


def twin(model):
    """`graphs.two_stages` as a torch module with the same weights, in float64."""
    nn = torch.nn
    conv1, conv2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, stride=(2, 1), padding=1)
    last = nn.Linear(8, 5)
    net = nn.Sequential(
        conv1, nn.ReLU(), nn.MaxPool2d(3, 2, 1), conv2, nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), last,
    ).double().eval()  # fmt: skip
    held = {w.name: torch.tensor(onnx.numpy_helper.to_array(w)) for w in model.graph.initializer}
    with torch.no_grad():
        for module, weight, bias in (
            (conv1, "w1", "b1"),
            (conv2, "w2", "b2"),
            (last, "fc_weight", "fc_bias"),
        ):
            module.weight.copy_(held[weight])
            module.bias.copy_(held[bias])
    return net


@pytest.fixture(scope="module")
def pair():
    """The model, its twin, and images as each takes them."""
    model, images = inputs("images")
    return model, twin(model), images, torch.tensor(images, dtype=torch.float64)


def with_gradients(net, x, modules):
    """The gradients of the targets' scores by the input and by the results of some modules."""
    results = []
    handles = [
        module.register_forward_hook(lambda *at: results.append(at[2])) for module in modules
    ]
    x = x.clone().requires_grad_()
    score = net(x)[range(len(x)), TARGETS].sum()
    for handle in handles:
        handle.remove()
    found = torch.autograd.grad(score, [x, *results])
    return [each.numpy() for each in found], [each.detach().numpy() for each in results]


def test_the_twin_is_one(pair):
    model, net, images, x = pair
    scores = of("random", model).attribute(images, TARGETS).scores
    close(scores, net(x).detach().numpy()[range(3), TARGETS], BOUND)


# --- plain forms --------------------------------------------------------------------------------


@pytest.mark.parametrize("psi", ["reference", "paper", "abs", "signed"])
def test_simple_fullgrad_takes_the_gradients_by_the_biases(pair, psi):
    model, net, images, x = pair
    (gradient, *by_biases), _ = with_gradients(net, x, [net[0], net[3]])
    expected = plain_map(psi, gradient * images, by_biases)
    close(of("simple-fullgrad", model, psi=psi).explain(images, TARGETS), expected, BOUND)


def test_grad_cam_of_the_default_layer(pair):
    model, net, images, x = pair
    (_, gradient), (activations,) = with_gradients(net, x, [net[4]])
    weighed = np.maximum((gradient.mean((2, 3), keepdims=True) * activations).sum(1), 0)
    expected = resized(weighed, (16, 12), "half_pixel")
    close(of("grad-cam", model).explain(images, TARGETS), expected, BOUND)


def rectified(net, x, rule):
    """What arrives at the input where every ReLU passes ``rule(ct, its true gradient)`` on."""
    handles = [
        module.register_full_backward_hook(lambda _, given, got: (rule(got[0], given[0]),))
        for module in net
        if isinstance(module, torch.nn.ReLU)
    ]
    x = x.clone().requires_grad_()
    net(x)[range(len(x)), TARGETS].sum().backward()
    for handle in handles:
        handle.remove()
    return x.grad.numpy()


RULES = {
    "guided-backprop": lambda _, true: true.clamp(min=0),
    "deconvnet": lambda ct, _: ct.clamp(min=0),
}


@pytest.mark.parametrize("name", RULES)
def test_other_rules_of_relu(pair, name):
    model, net, images, x = pair
    expected = rectified(net, x, RULES[name])
    close(of(name, model).explain(images, TARGETS), np.abs(expected).sum(1), BOUND)
    close(of(name, model, signed=True).explain(images, TARGETS), expected.sum(1), BOUND)
    true = rectified(net, x, lambda _, gradient: gradient)
    assert np.abs(true - expected).max() > 100 * BOUND * np.abs(expected).max()


@pytest.mark.parametrize("name", RULES)
def test_relu6_is_a_relu_that_is_clipped(name):
    """ReLU6 passes no gradient where it saturates, which one of the two rules looks at."""
    nodes = """
        c = Conv (x, w, b)
        r = Clip (c, low, high)
        f = Flatten (r)
        logits = Gemm <transB = 1> (f, v)
    """
    weights = {"w": draw("w", 4, 3, 3, 3), "b": draw("b", 4), "v": draw("v", 5, 4 * 14 * 10)}
    weights |= {"low": np.array(0.0), "high": np.array(0.5)}
    model = build(nodes, weights, inputs="float[N,3,16,12] x")
    _, images = inputs("images")
    x = torch.tensor(images, dtype=torch.float64, requires_grad=True)
    before = torch.nn.functional.conv2d(x, *(torch.tensor(weights[k]) for k in ("w", "b")))
    ct = torch.tensor(weights["v"][TARGETS]).reshape(before.shape).clamp(min=0)
    if name == "guided-backprop":
        ct = ct * ((before > 0) & (before < 0.5))
        assert (before >= 0.5).any()
    before.backward(ct)
    expected = x.grad.abs().sum(1).numpy()
    close(of(name, model).explain(images, TARGETS), expected, BOUND)


# --- captum -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def captum():
    return pytest.importorskip("captum.attr", reason="captum is not installed")


def attributed(method, x, **options):
    return method.attribute(x.clone().requires_grad_(), target=TARGETS, **options).detach().numpy()


def test_gradients_are_captums(pair, captum):
    model, net, images, x = pair
    gradient = attributed(captum.Saliency(net), x, abs=False)
    close(of("input-gradient", model, signed=True).explain(images, TARGETS), gradient.sum(1), BOUND)
    product = attributed(captum.InputXGradient(net), x)
    found = of("gradient-x-input", model, signed=True).explain(images, TARGETS)
    close(found, product.sum(1), BOUND)


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
def test_other_rules_of_relu_are_captums(pair, captum):
    model, net, images, x = pair
    for name, method in (
        ("guided-backprop", captum.GuidedBackprop),
        ("deconvnet", captum.Deconvolution),
    ):
        expected = attributed(method(net), x).sum(1)
        close(of(name, model, signed=True).explain(images, TARGETS), expected, BOUND)


def test_grad_cam_is_captums(pair, captum):
    model, net, images, x = pair
    found = attributed(captum.LayerGradCam(net, net[4]), x, relu_attributions=True)
    expected = captum.LayerAttribution.interpolate(
        torch.tensor(found), (16, 12), interpolate_mode="bilinear"
    )
    close(of("grad-cam", model).explain(images, TARGETS), expected[:, 0].numpy(), BOUND)


def test_integrated_gradients_are_captums(pair, captum):
    """Two quadratures of many steps: each is off by what its own delta says, and by no more."""
    model, net, images, x = pair
    found = of("integrated-gradients", model, baseline="zero", steps=512, signed=True)
    ours = found.attribute(images, TARGETS)
    expected, delta = captum.IntegratedGradients(net).attribute(
        x, target=TARGETS, n_steps=512, return_convergence_delta=True
    )
    theirs = expected.sum(1).numpy()
    largest = np.abs(theirs).max()
    # Kinks lie between the points of either; at 512 points a kink moves 1/512 of a gradient.
    assert np.abs(ours.maps - theirs).max() <= largest / 100
    assert np.abs(ours.delta).max() <= 0.01 * np.abs(theirs).sum()
    assert np.abs(delta.numpy()).max() <= 0.01 * np.abs(theirs).sum()
