"""What is run with torch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from sample_models import exports, reference_fullgrad


def forward(module: nn.Module, images: torch.Tensor) -> object:
    """The logits alone."""
    with torch.inference_mode():
        return module(images)


def gradient(module: nn.Module, images: torch.Tensor) -> object:
    """Forward, and the gradient of the predicted classes' scores at the input."""
    images = images.detach().requires_grad_()
    return torch.autograd.grad(module(images).max(1).values.sum(), images)


def fullgrad(module: nn.Module, images: torch.Tensor) -> object:
    """The authors' algorithm."""
    return reference_fullgrad.fullgrad_map(reference_fullgrad.full_gradients(module, images))


def grad_cam(module: nn.Module) -> Callable[[nn.Module, torch.Tensor], object]:
    """FullGrad of pytorch-grad-cam, which hooks the module once."""
    exports.torchvision_models()  # which it imports, and beside a torch for the CPU may need help
    from pytorch_grad_cam import FullGrad

    explainer = FullGrad(module, [])
    return lambda _module, images: explainer(input_tensor=images, targets=None)
