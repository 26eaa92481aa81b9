"""Train a narrow 9-layer VGG with BatchNorm on Fashion-MNIST and export it with BatchNorm unfolded.

It is the network of the paper's pixel-perturbation and ROAR experiments in small: eight times
Conv-BatchNorm-ReLU in three stages with max-pooling, then one linear layer, as
`fg_onnx.evaluate.vgg` builds it.

Data: Fashion-MNIST, (c) 2017 Zalando SE, MIT licence, from Debian's `dataset-fashion-mnist`.
Needs torch, `apt-get` and `dpkg-deb`; the result is committed, so nobody has to train it to use it.
The input `image` is [N,1,28,28], pixel / 255 and nothing else; the output is `logits` [N,10].

    python -m sample_models.fashion_vgg -o fashion_vgg.onnx
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from fg_onnx.evaluate import vgg
from fg_onnx.files import replacing
from sample_models.fetch import DebianPackage, fetch_debian, write_bytes
from sample_models.torch_export import export_module

DATA = DebianPackage(
    "dataset-fashion-mnist",
    "0.0~git20200523.55506a9-1",
    "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
)
LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
WIDTH = 16  # channels of the first of three stages
SEED = 0
EPOCHS = 4
BATCH = 128

HERE = Path(__file__).parent
MODEL = HERE / "fashion_vgg.onnx"
IMAGES = HERE / "fashion"


def network() -> nn.Sequential:
    """Return the untrained network."""
    return vgg.network(channels=1, size=(28, 28), classes=len(LABELS), width=WIDTH)


def read(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 [count,28,28] and labels [count] of `part`, "train" or "t10k"."""
    folder = fetch_debian(DATA) / "usr" / "share" / "datasets" / "fashion-mnist"
    images = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    # An IDX file is a header of 4 bytes and 4 bytes per dimension, then the values.
    return (
        np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28),
        np.frombuffer(labels, np.uint8, offset=8),
    )


def tensors(part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `part` as the network takes it: float [count,1,28,28] in [0,1], and int64 labels."""
    images, labels = read(part)
    return torch.from_numpy(images / np.float32(255))[:, None], torch.from_numpy(
        labels.astype(np.int64)
    )


def train() -> nn.Module:
    """Train from the fixed seed; return the network in eval mode.

    Two threads and deterministic kernels: another thread count sums in another order, and then
    the weights differ in their last digits and the accuracy by a few images.
    """
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    model = network()
    images, labels = tensors("train")
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    steps = EPOCHS * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.01, total_steps=steps)
    for epoch in range(EPOCHS):
        model.train()
        for batch in torch.randperm(len(images)).split(BATCH):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {EPOCHS}: test accuracy {accuracy(model):.2%}", flush=True)
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module) -> float:
    """Return the share of the 10,000 test images that `model` classifies correctly."""
    model.eval()
    images, labels = tensors("t10k")
    right = sum(
        int((model(x).argmax(1) == y).sum())
        for x, y in zip(images.split(1000), labels.split(1000), strict=True)
    )
    return right / len(labels)


def write(path: str | Path = MODEL) -> Path:
    """Train, export to `path` with the BatchNormalization nodes left alone, and return the path."""
    model = train()
    # Only PRESERVE without folding keeps Conv and BatchNormalization apart in this exporter.
    export_module(
        model,
        path,
        torch.zeros(2, 1, 28, 28),
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
    )
    return Path(path)


def write_images(folder: str | Path = IMAGES) -> list[Path]:
    """Write the first test image of every class as `label_index.png`, and `labels.txt`."""
    images, labels = read("t10k")
    paths = []
    for number, label in enumerate(LABELS):
        index = int(np.argmax(labels == number))
        slug = label.lower().replace("/", "-").replace(" ", "-")
        path = Path(folder) / f"{slug}_{index}.png"
        with replacing(path) as temporary:
            cv2.imwrite(str(temporary), images[index])
        paths.append(path)
    write_bytes(Path(folder) / "labels.txt", "".join(f"{label}\n" for label in LABELS).encode())
    return paths


def main() -> None:
    """Train and write the model, and the folder `fashion` of test images beside it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=MODEL)
    arguments = parser.parse_args()
    path = write(arguments.output)
    write_images(path.parent / "fashion")
    print(path)


if __name__ == "__main__":
    main()
