"""Export torchvision and timm architectures with random weights, through either torch exporter.

Only the architectures are torchvision's (BSD-3-Clause) and timm's (Apache-2.0): the weights are
random, see `sample_models.random_weights`. `efficientnet_lite0` alone is real; see
`sample_models.efficientnet_lite0`.

    python -m sample_models.exports resnet18 -o resnet18.onnx --exporter dynamo
"""

from __future__ import annotations

import argparse
import types
from pathlib import Path

import torch
from torch import nn

from sample_models.architectures import KNOWN, SIDE, Architecture
from sample_models.random_weights import measure_batchnorm, randomise
from sample_models.torch_export import OPSET, Exporter, export_module


def export(
    name: str, path: str | Path, exporter: Exporter = "torchscript", seed: int = 0
) -> nn.Module:
    """Write the model `name` to `path`; return the torch module, in eval mode, to compare with.

    The input is `image` [N,3,H,W] of the architecture's own height and width, the output `logits`
    [N,1000], N dynamic.
    """
    side = find(name).side
    module = build(name, seed)
    export_module(module, path, torch.zeros(2, 3, side, side), exporter)
    return module


def build(name: str, seed: int = 0) -> nn.Module:
    """Return the model `name` in eval mode; its random weights follow from `seed` alone."""
    architecture = find(name)
    if architecture.library == "package":
        from sample_models import efficientnet_lite0  # fetches, so only when asked for

        return efficientnet_lite0.build()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = _construct(architecture)
        randomise(module)
        measure_batchnorm(module, random_images(4, architecture.side))
    return module.eval()


def find(name: str) -> Architecture:
    """Return the architecture `name`, of the list or of either library.

    Raises ValueError where neither has it.
    """
    if name in KNOWN:
        return KNOWN[name]
    models = torchvision_models()
    if name in models.list_models(module=models):
        return Architecture(name, "torchvision")
    import timm

    if name in timm.list_models(name):
        return Architecture(name, "timm")
    raise ValueError(f"neither torchvision nor timm has a model {name!r}")


def _construct(architecture: Architecture) -> nn.Module:
    models = torchvision_models()  # timm imports torchvision too
    if architecture.library == "timm":
        import timm

        return timm.create_model(architecture.name, pretrained=False)
    with_heads = architecture.name in ("googlenet", "inception_v3")  # that only training uses
    options = {"aux_logits": False, "init_weights": False} if with_heads else {}
    return models.get_model(architecture.name, weights=None, **options)


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


def random_images(count: int, side: int = SIDE) -> torch.Tensor:
    """Return smooth random images [count,3,side,side] of about unit variance."""
    coarse = torch.randn(count, 3, 14, 14)
    smooth = nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    return smooth + 0.3 * torch.randn(count, 3, side, side)


def main() -> None:
    """Export the model named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of a torchvision or timm architecture")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--exporter", choices=tuple(OPSET), default="torchscript")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    export(arguments.name, arguments.output, arguments.exporter, arguments.seed)
    print(arguments.output)


if __name__ == "__main__":
    main()
