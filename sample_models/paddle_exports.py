"""A tiny Paddle CNN with random weights, written by paddle2onnx.

NCHW input `image` float [N,3,H,W] of any size, BatchNorm kept beside its convolutions, HardSwish,
squeeze-and-excitation, Softmax at the end, 5 classes. The outputs for two images, as Paddle
computes them, are kept beside it.

Paddle is 0.7 GB, and not needed to use the files, which are in the repository:

    pip install paddlepaddle==3.3.1 paddle2onnx==2.1.0 onnx packaging
    python -m sample_models.paddle_exports -o sample_models/exported
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import paddle
import paddle2onnx
from paddle import nn
from paddle.static import InputSpec

CLASSES = 5
OPSET = 11


class Gate(nn.Layer):
    """Squeeze-and-excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.reduce = nn.Conv2D(channels, 4, 1)
        self.expand = nn.Conv2D(4, channels, 1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        gate = self.expand(nn.functional.relu(self.reduce(self.pool(x))))
        return x * nn.functional.hardsigmoid(gate)


class Net(nn.Layer):
    """Strided, depthwise and pointwise convolutions, each with its BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2D(3, 6, 3, stride=2, padding=1, bias_attr=False),
            nn.BatchNorm2D(6),
            nn.Hardswish(),
            nn.Conv2D(6, 6, 3, padding=1, groups=6, bias_attr=False),
            nn.BatchNorm2D(6),
            nn.ReLU(),
            Gate(6),
            nn.Conv2D(6, 8, 1, bias_attr=False),
            nn.BatchNorm2D(8),
            nn.ReLU(),
        )
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.dropout = nn.Dropout(0.2)
        self.classify = nn.Linear(8, CLASSES)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        features = paddle.flatten(self.pool(self.body(x)), 1)
        return nn.functional.softmax(self.classify(self.dropout(features)))


def write_all(folder: Path) -> list[Path]:
    """Write `paddle.onnx` and `paddle.npz` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    net = Net()
    _randomise(net)
    net.eval()
    images = np.random.default_rng(1).normal(size=(2, 3, 20, 16)).astype(np.float32)
    outputs = net(paddle.to_tensor(images)).numpy()
    spec = InputSpec([None, 3, None, None], "float32", "image")
    path = folder / "paddle.onnx"
    # Without the optimiser, which folds the Constant nodes and installs packages of its own.
    paddle2onnx.dygraph2onnx(net, str(path), [spec], opset_version=OPSET, optimize_tool="None")
    np.savez_compressed(folder / "paddle.npz", images=images, outputs=outputs)
    return [path, folder / "paddle.npz"]


def _randomise(net: nn.Layer) -> None:
    draws = np.random.default_rng(0)
    for name, weight in net.state_dict().items():
        shape = weight.shape
        if name.endswith("_variance"):
            values = draws.uniform(0.5, 1.5, shape)
        elif len(shape) < 2:
            values = draws.uniform(0.1, 0.5, shape) * draws.choice([-1, 1], shape)
        else:
            fan_in = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))
            values = draws.normal(0, np.sqrt(2 / fan_in), shape)
        weight.set_value(values.astype(np.float32))


def main() -> None:
    """Write the model into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    for path in write_all(parser.parse_args().output):
        print(path)


if __name__ == "__main__":
    main()
