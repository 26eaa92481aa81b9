"""The nets that `python -m benchmarks` measures, as torch modules and as `.onnx`; needs torch.

EfficientNet-Lite0 and SqueezeNet have real weights, the same on both sides. All others have random
ones, under which activations keep a sane scale: time does not depend on them otherwise.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from sample_models import exports, squeezenet
from sample_models.architectures import SIDE
from sample_models.torch_export import export_module

REAL = ("efficientnet_lite0", "squeezenet1_1")


def build(name: str) -> nn.Module:
    """The net in eval mode, its parameters frozen: a bare input gradient is all that is asked."""
    module = _squeezenet() if name == "squeezenet1_1" else exports.build(name)
    return module.eval().requires_grad_(False)


def export(name: str, path: Path) -> None:
    """Write the net as `image` [N,3,224,224] -> `logits` [N,1000], N dynamic."""
    # torch.export leaves Lite0's padding as numbers, TorchScript as 360 nodes of shape arithmetic.
    exporter = "dynamo" if name == "efficientnet_lite0" else "torchscript"
    export_module(build(name), path, torch.zeros(2, 3, SIDE, SIDE), exporter)


def images(count: int) -> torch.Tensor:
    """[count,3,224,224], always the same ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return exports.random_images(count)


def _squeezenet() -> nn.Module:
    """torchvision's module with the weights of `sample_models.squeezenet`, and its pooling."""
    module = exports.torchvision_models().squeezenet1_1(weights=None)
    for layer in module.modules():
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = False
    weights = squeezenet.read_weights()
    held = module.state_dict()
    for name in held:
        kind = "kernel" if name.endswith(".weight") else "bias"
        held[name] = torch.from_numpy(weights[f"{_layer(name)}/{kind}"])
    module.load_state_dict(held)
    return module


_FIRES = {3: 2, 4: 3, 6: 4, 7: 5, 9: 6, 10: 7, 11: 8, 12: 9}  # torchvision's number: the authors'


def _layer(name: str) -> str:
    """`features.4.expand3x3.weight` -> `fire3/expand3x3`."""
    part, number, *rest = name.split(".")
    if part == "classifier":
        return "conv10"
    if number == "0":
        return "conv1"
    inner = rest[0] if rest[0].startswith("expand") else "squeeze1x1"
    return f"fire{_FIRES[int(number)]}/{inner}"
