"""The authors' released FullGrad, written again as plainly as it goes; needs torch.

Two things differ from their code on purpose. Gradients are paired with biases by the call of the
module they belong to: the released code reverses a list, which only fits nets without branches.
And a module that is called twice counts twice, since each call has a gradient of its own.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

EPSILON = 1e-6


@dataclass(frozen=True, eq=False)
class FullGradients:
    """The decomposition of a batch: grad * x, and grad * bias at the output of every layer."""

    scores: Tensor
    targets: Tensor
    input_term: Tensor
    bias_gradients: list[Tensor]


def full_gradients(module: nn.Module, images: Tensor) -> FullGradients:
    """Explain the predicted classes; the module is in eval mode, in the images' precision."""
    calls: list[tuple[Tensor, Tensor, bool]] = []
    hooks = [
        layer.register_forward_hook(_recorder(calls))
        for layer in module.modules()
        if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d, nn.Linear)) and layer.bias is not None
    ]
    images = images.detach().clone().requires_grad_()
    try:
        logits = module(images)
    finally:
        for hook in hooks:
            hook.remove()
    targets = logits.argmax(1)
    scores = logits.gather(1, targets[:, None])[:, 0]
    at_input, *at_layers = torch.autograd.grad(
        scores.sum(), [images, *(output for output, _, _ in calls)]
    )
    return FullGradients(
        scores.detach(),
        targets,
        (at_input * images).detach(),
        [
            _bias_gradient(gradient.movedim(-1, 1) if last else gradient, bias)
            for gradient, (_, bias, last) in zip(at_layers, calls, strict=True)
        ],
    )


def _recorder(calls):
    def hook(layer, _inputs, output):
        # The channels of a Linear are last, also where its input has a grid (ConvNeXt).
        calls.append((output, bias_of(layer).detach(), isinstance(layer, nn.Linear)))
        # The layers that follow get a copy, so that an in-place ReLU leaves this tensor alone.
        return output.clone()

    return hook


def _bias_gradient(gradient: Tensor, bias: Tensor) -> Tensor:
    """[N, C, ...]."""
    return gradient * bias.reshape(-1, *(1 for _ in gradient.shape[2:]))


def bias_of(layer: nn.Module) -> Tensor:
    """[C]: the bias, or what BatchNorm in eval mode adds: beta - mean * gamma / sqrt(var + eps)."""
    if isinstance(layer, nn.BatchNorm2d):
        deviation = torch.sqrt(layer.running_var + layer.eps)
        return layer.bias - layer.running_mean * layer.weight / deviation
    return layer.bias


def postprocess(values: Tensor) -> Tensor:
    """|values|, moved and scaled to [0, 1) over C, H, W of each image."""
    result = torch.empty_like(values)
    for index, image in enumerate(values.abs()):
        moved = image - image.min()
        result[index] = moved / (moved.max() + EPSILON)
    return result


def fullgrad_map(full: FullGradients) -> Tensor:
    """[N, H, W], Eq. 2 by the authors' code; a layer without a grid (Linear) is left out."""
    total = postprocess(full.input_term).sum(1)
    for gradient in full.bias_gradients:
        if gradient.dim() == 4:
            resized = functional.interpolate(
                postprocess(gradient),
                size=total.shape[1:],
                mode="bilinear",
                align_corners=True,
            )
            total = total + resized.sum(1)
    return total


def fuse_batchnorms(module: nn.Module) -> nn.Module:
    """A copy in which every BatchNorm that directly follows a Conv is folded into it."""
    fused = copy.deepcopy(module)
    for parent in list(fused.modules()):
        names = list(parent._modules)
        for first, second in itertools.pairwise(names):
            conv, norm = parent._modules[first], parent._modules[second]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                parent._modules[first] = fuse_conv_bn_eval(conv, norm)
                parent._modules[second] = nn.Identity()
    return fused
