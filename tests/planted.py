"""A data set of which it is known what pixels tell the classes apart, and what learns it fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from graphs import build

from fg_onnx.evaluate.labelled import Labelled, Part

CLASSES, SIZE = 4, 8
TELLING = np.zeros((SIZE, SIZE), dtype=bool)
TELLING[2:4, 1:5] = True  # 8 of 64 pixels
SHARE = 100 * TELLING.sum() / TELLING.size

# rows of a Hadamard matrix, so that the classes are equally far apart
_SIGNS = np.array([[1, -1] * 4, [1, 1, -1, -1] * 2, [1] * 4 + [-1] * 4, [1, -1, -1, 1] * 2])


def planted(train=120, test=80, seed=0) -> Labelled:
    """Noise everywhere, and a pattern of the class on the telling pixels."""
    draws = np.random.default_rng(seed)

    def part(count):
        labels = np.arange(count) % CLASSES
        images = draws.normal(size=(count, 1, SIZE, SIZE)).astype(np.float32)
        images[:, 0, TELLING] += 2 * _SIGNS[labels]
        return Part(images, labels)

    return Labelled(part(train), part(test))


def model():
    """The linear classifier whose gradient is on the telling pixels and nowhere else."""
    weights = np.zeros((CLASSES, SIZE, SIZE))
    weights[:, TELLING] = _SIGNS
    nodes = "flat = Flatten (x)\n logits = Gemm <transB = 1> (flat, w, b)"
    held = {"w": weights.reshape(CLASSES, -1), "b": np.zeros(CLASSES)}
    shape = f"float[N,1,{SIZE},{SIZE}] x"
    return build(nodes, held, inputs=shape, outputs=f"float[N,{CLASSES}] logits")


def oracle(images, targets):
    """The map that knows."""
    return np.tile(TELLING.astype(np.float64), (len(images), 1, 1))


def guess(images, targets):
    """The map that knows nothing."""
    keys = np.abs(images).reshape(len(images), -1).sum(axis=1)
    seeds = (keys * 1000).astype(np.int64)
    return np.stack([np.random.default_rng(seed).random((SIZE, SIZE)) for seed in seeds])


@dataclass(frozen=True)
class Centroid:
    """The nearest class mean of a random nine tenths of the images."""

    share: float = 0.9
    runs: ClassVar[list[int]] = []

    def __call__(self, images, labels, seed, progress):
        self.runs.append(seed)
        rows = np.random.default_rng(seed).permutation(len(images))[: int(self.share * len(images))]
        flat = images[rows].reshape(len(rows), -1).astype(np.float64)
        means = np.stack([flat[labels[rows] == k].mean(axis=0) for k in range(labels.max() + 1)])
        progress(1.0)

        def classify(images):
            apart = images.reshape(len(images), 1, -1) - means
            return (apart**2).sum(axis=2).argmin(axis=1)

        return classify
