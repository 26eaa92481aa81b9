"""A small net in torch and exported, and images for both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from sample_models.torch_export import export_module


@dataclass(frozen=True, eq=False)
class Pair:
    """One net twice.

    Attributes:
        net: in torch, [N,3,16,12] to [N,5].
        path: of the model that it was exported to.
        images: float32 [3,3,16,12].
        classes: int64 [3], that are explained; each is a class of its own.
    """

    net: Any
    path: Any
    images: np.ndarray
    classes: np.ndarray

    @property
    def model(self) -> onnx.ModelProto:
        """What was exported."""
        return onnx.load(self.path)


def small_net() -> nn.Sequential:
    """Two convolutions, whose weights are always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
        ).eval()  # fmt: skip


def exported(net: nn.Module, path: Any, images: np.ndarray) -> Pair:
    """A net and its export."""
    export_module(net, path, torch.tensor(images))
    return Pair(net, path, images, np.array([2, 4, 1]))


def images() -> np.ndarray:
    """Smooth ones, in float32."""
    draws = np.random.default_rng(0).standard_normal((3, 3, 16, 12))
    return np.cumsum(np.cumsum(draws, axis=2), axis=3).astype(np.float32) / 8


def gradients(net: nn.Module, x: Any, classes: Any) -> tuple[np.ndarray, np.ndarray]:
    """The scores of the classes, and their gradients by the images."""
    x = torch.tensor(np.asarray(x), dtype=torch.float32, requires_grad=True)
    scores = net(x)[range(len(x)), classes]
    (found,) = torch.autograd.grad(scores.sum(), x)
    return scores.detach().numpy(), found.numpy()
