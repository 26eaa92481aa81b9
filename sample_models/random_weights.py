"""Random weights under which the activations of a deep net keep a sane scale.

An untrained net as its library makes it is a poor test: biases and BatchNorm shifts are 0, layer
scales 1e-6, gates 1. Here every parameter is drawn so that it matters.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)


def randomise(module: nn.Module) -> None:
    """Draw every parameter afresh: kernels at He scale, biases about 0.1, gains about 1."""
    for layer in module.modules():
        convolves, normalises = isinstance(layer, _CONVOLUTIONS), isinstance(layer, _NORMS)
        for name, parameter in layer.named_parameters(recurse=False):
            if convolves and name == "weight":
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
            elif name == "bias":
                nn.init.normal_(parameter, std=0.2 if normalises else 0.1)
            elif normalises:
                nn.init.uniform_(parameter, 0.7, 1.3)
            else:  # layer scales, gains of standardised kernels, temperatures
                nn.init.uniform_(parameter, 0.5, 1.0)


def measure_batchnorm(module: nn.Module, images: torch.Tensor) -> None:
    """Measure the BatchNorm statistics on one batch, then perturb them.

    The perturbation keeps a normalised map from having exactly the mean and variance of its affine.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    module.eval()
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        module(images)
        for norm in norms:
            norm.momentum = 0.1
            spread = norm.running_var.sqrt()
            norm.running_mean += 0.1 * spread * torch.randn_like(spread)
            norm.running_var *= torch.empty_like(spread).uniform_(0.8, 1.25)
