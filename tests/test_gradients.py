"""Every gradient of an instrumented model is torch's: of the input, and of every bias.

torch runs in float64 and in the same linear region as the model (see `regions`).

Sites are paired with torch modules by the offset itself: the trained value that a site promotes
must be the one that exactly one module computes from its parameters. No two layers of a net have
the same biases, so neither names nor order (which exporters choose) take part in the pairing, and
a site that sat on another layer's tensor could not be paired with it.
"""

from __future__ import annotations

import copy

import numpy as np
import onnx
from conftest import GIVEN

from fg_onnx import Session, instrument
from fg_onnx.manifest import EMITS

# The bound of the project, relative to the largest entry of a tensor, per image. Measured: 3e-7 to
# 2.6e-6; efficientnet_b0 4e-5, in the biases of its squeeze-and-excitation gates, where torch's own
# float32 is 1e-5 from its float64: it has no kink at which torch is put back to the model's values.
GRADIENT = 1e-4
# Folding in float32 rounds the terms of beta - mean * gamma / sqrt(var + eps), and these are some
# ten times their sum: 10 * 2^-24.
OFFSET = 1e-5
# Where torch in float32 and float64 agree to this, no unit has switched sides between them: that is
# 1e-4 and more, rounding 1e-6.
SETTLED = 1e-5
PLAIN = ("squeezenet1_1", "resnet18", "vgg11_bn")


def worst(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference of any image, relative to that image's largest entry."""
    assert ours.shape == theirs.shape
    axes = tuple(range(1, ours.ndim))
    gap, scale = np.abs(ours - theirs).max(axes), np.abs(theirs).max(axes)
    return float(np.max(np.where(scale == 0, gap, gap / np.where(scale == 0, 1, scale))))


def paired(sites, defaults, affines):
    """Every site with an explicit offset, and where in torch that very offset is added."""
    pairs, taken = {}, set()
    for site in sites:
        if site.kind == "implicit":
            continue
        offset = defaults[site.promoted_input].astype(np.float64)
        fits = [
            affine
            for affine in affines
            if affine.offset.shape == offset.shape
            and np.abs(affine.offset - offset).max() <= OFFSET * np.abs(offset).max()
        ]
        assert len(fits) == 1, f"{site.name}: its offset is that of {fits}"
        assert not taken & set(fits[0].modules)
        taken.update(fits[0].modules)
        pairs[site.name] = fits[0]
    offered = {name for affine in affines for name in affine.modules}
    assert taken == offered, f"no site for {offered - taken}"
    return pairs


def explained(net, images):
    """Predicted and given class, all gradients emitted; with the kinks and the promoted values."""
    import regions

    instrumented = instrument(net.path, emit=EMITS)
    kinks = regions.expose_kinks(instrumented.model)
    defaults = {
        weight.name: onnx.numpy_helper.to_array(weight)
        for weight in instrumented.model.graph.initializer
        if weight.name.startswith("fg_bias/")
    }
    session = Session(instrumented)
    return kinks, defaults, [session.explain(images), session.explain(images, GIVEN)]


def test_input_gradient_and_every_bias_gradient_are_those_of_torch(net):
    import regions
    import torch

    images = net.images[:1]
    kinks, defaults, attributions = explained(net, images)
    module = copy.deepcopy(net.module).double().requires_grad_(requires_grad=False)
    x = torch.from_numpy(images).double().requires_grad_()
    with regions.traced(module) as trace:
        with regions.same_region(kinks, attributions[0].outputs):
            logits = module(x)
        pairs = paired(attributions[0].manifest.sites, defaults, trace.affines)
        for attribution in attributions:
            x.grad = None
            logits[0, attribution.targets[0]].backward(retain_graph=True)
            found = {"input": worst(attribution.input_gradient, x.grad.numpy())}
            for name, affine in pairs.items():
                ct = trace.cotangents.pop(affine.output).numpy()
                offset = affine.offset.reshape([-1 if axis == 1 else 1 for axis in range(ct.ndim)])
                found[name] = worst(attribution.bias_gradients[name], ct * offset)
            print(attribution.targets, report(found))  # to be seen with -rP
            assert max(found.values()) <= GRADIENT
    if net.name in PLAIN:
        assert_plain_autograd(net, attributions[0])


def report(found: dict[str, float]) -> str:
    """The input gradient's error, and the three largest of the sites."""
    sites = sorted((error, name) for name, error in found.items() if name != "input")
    largest = ", ".join(f"{name} {error:.1e}" for error, name in reversed(sites[-3:]))
    return f"input {found['input']:.1e}; {largest}"


def assert_plain_autograd(net, attribution):
    """torch as it is, nothing recentred: its float32 and float64 agree here, and so do we."""
    import torch

    found = []
    for dtype in (torch.float32, torch.float64):
        module = copy.deepcopy(net.module).to(dtype).requires_grad_(requires_grad=False)
        x = torch.from_numpy(net.images[:1]).to(dtype).requires_grad_()
        module(x)[0, attribution.targets[0]].backward()
        found.append(x.grad.numpy())
    assert worst(found[0], found[1]) <= SETTLED
    assert worst(attribution.input_gradient, found[1]) <= GRADIENT
