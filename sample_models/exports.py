"""Export torchvision architectures with random weights, through either torch exporter.

Only the architectures are torchvision's (BSD-3-Clause): the weights are random, every bias and
BatchNorm statistic is non-trivial, and the BatchNorm statistics are measured on the way, so that
activations keep a sane scale through the depth of the net. `efficientnet_lite0` alone is real; see
`sample_models.efficientnet_lite0`.

    python -m sample_models.exports resnet18 -o resnet18.onnx --exporter dynamo
"""

from __future__ import annotations

import argparse
import types
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from sample_models.torch_export import OPSET, SIDE, Exporter, export_module

NAMES = (
    "squeezenet1_1",
    "vgg11_bn",
    "vgg16_bn",
    "resnet18",
    "resnet50",
    "densenet121",
    "mobilenet_v2",
    "googlenet",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "regnet_y_400mf",
    "efficientnet_lite0",
)


def export(
    name: str, path: str | Path, exporter: Exporter = "torchscript", seed: int = 0
) -> nn.Module:
    """Write the model `name` to `path`; return the torch module, in eval mode, to compare with.

    The input is `image` [N,3,224,224], the output `logits` [N,1000], N dynamic.
    """
    module = build(name, seed)
    export_module(module, path, torch.zeros(2, 3, SIDE, SIDE), exporter)
    return module


def build(name: str, seed: int = 0) -> nn.Module:
    """Return the model `name` in eval mode; its random weights follow from `seed` alone."""
    if name == "efficientnet_lite0":
        from sample_models import efficientnet_lite0  # fetches, so only when asked for

        return efficientnet_lite0.build()
    if name not in NAMES:
        raise ValueError(f"no model {name!r}: choose one of {', '.join(NAMES)}")
    constructor: Callable[..., nn.Module] = getattr(torchvision_models(), name)
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = constructor(weights=None, **options)
        _randomise(module)
        _measure_batchnorm(module)
    return module.eval()


def torchvision_models() -> types.ModuleType:
    """Import `torchvision.models`, also where torchvision's compiled half does not fit torch.

    The index's torchvision wheel is linked against a CUDA torch. Beside a CPU torch its operators
    do not load, and the import fails on registering shapes for an undefined `torchvision::nms`.
    Declaring the two operators is enough: no classification model calls them.
    """
    try:
        import torchvision.models
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        _declare_detection_operators()
        import torchvision.models
    return torchvision.models


_declared: list[torch.library.Library] = []  # a Library withdraws its operators when collected


def _declare_detection_operators() -> None:
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)


def _randomise(module: nn.Module) -> None:
    """Draw every weight, bias and BatchNorm affine afresh (He scale, biases about 0.1)."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.normal_(layer.bias, std=0.1)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.7, 1.3)
            nn.init.normal_(layer.bias, std=0.2)


def _measure_batchnorm(module: nn.Module) -> None:
    """Measure the BatchNorm statistics on one batch of smooth random images, then perturb them.

    The perturbation keeps a normalised map from having exactly the mean and variance of its affine.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    module.eval()
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        module(random_images(4))
        for norm in norms:
            norm.momentum = 0.1
            spread = norm.running_var.sqrt()
            norm.running_mean += 0.1 * spread * torch.randn_like(spread)
            norm.running_var *= torch.empty_like(spread).uniform_(0.8, 1.25)


def random_images(count: int) -> torch.Tensor:
    """Return smooth random images [count,3,224,224] of about unit variance."""
    coarse = torch.randn(count, 3, 14, 14)
    smooth = nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic")
    return smooth + 0.3 * torch.randn(count, 3, SIDE, SIDE)


def main() -> None:
    """Export the model named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--exporter", choices=tuple(OPSET), default="torchscript")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    export(arguments.name, arguments.output, arguments.exporter, arguments.seed)
    print(arguments.output)


if __name__ == "__main__":
    main()
