"""The trainer that comes along: the paper's 9-layer VGG with BatchNorm, in torch."""

from __future__ import annotations

import contextlib
import importlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.errors import InputError, RuntimeMissingError
from fg_onnx.evaluate.training import Advance, Classify
from fg_onnx.manifest import LayoutName

Array = npt.NDArray[Any]

DEPTHS = (2, 3, 3)
"""Convolutions in each stage; every stage has twice the channels of the one before."""

_HALVINGS = 2 ** len(DEPTHS)
_DECAY = 0.01


def require_torch() -> Any:
    """The module ``torch``.

    Raises:
        RuntimeMissingError: ``no-torch``.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise RuntimeMissingError(
            "no-torch",
            "torch, which trains the network, is not installed",
            'pip install "fg-onnx[train]", or name a trainer of your own',
        ) from error


def network(channels: int, size: tuple[int, int], classes: int, width: int) -> Any:
    """The untrained network, a ``torch.nn.Sequential`` from [N, channels, *size] to logits.

    Eight times Conv-BatchNorm-ReLU in three stages with max-pooling, then one linear layer. The
    convolutions have no bias of their own, since BatchNorm's shift takes its place.

    Args:
        channels: of the images.
        size: their height and width.
        classes: how many logits there are.
        width: channels of the first stage.
    """
    nn = require_torch().nn
    layers: OrderedDict[str, Any] = OrderedDict()
    for stage, depth in enumerate(DEPTHS, 1):
        made = width * 2 ** (stage - 1)
        for step in range(1, depth + 1):
            place = f"{stage}_{step}"
            layers[f"conv{place}"] = nn.Conv2d(channels, made, 3, padding=1, bias=False)
            layers[f"bn{place}"] = nn.BatchNorm2d(made)
            layers[f"relu{place}"] = nn.ReLU()
            channels = made
        layers[f"pool{stage}"] = nn.MaxPool2d(2)
    layers["flatten"] = nn.Flatten()
    pixels = (size[0] // _HALVINGS) * (size[1] // _HALVINGS)
    layers["classifier"] = nn.Linear(channels * pixels, classes)
    return nn.Sequential(layers)


@dataclass(frozen=True)
class Vgg:
    """A `Trainer`: AdamW under a one-cycle schedule, on the CPU, without augmentation.

    On one machine, the same images, labels and seed give the same weights.

    Attributes:
        width: channels of the first stage; the last has four times as many.
        epochs: how often every image is seen.
        batch: images in a step.
        rate: the highest learning rate.
        threads: that torch may use; another number sums in another order.
        layout: of the images, ``nchw`` or ``nhwc``.

    Raises:
        InputError: ``bad-training``.
    """

    width: int = 16
    epochs: int = 3
    batch: int = 128
    rate: float = 0.01
    threads: int = 2
    layout: LayoutName = "nchw"

    def __post_init__(self) -> None:
        if min(self.width, self.epochs, self.batch, self.threads) < 1 or not self.rate > 0:
            raise InputError(
                "bad-training",
                f"a network cannot be trained so: {self}",
                "give a width, epochs, a batch, threads and a rate above 0",
            )
        if self.layout not in ("nchw", "nhwc"):
            raise InputError(
                "bad-training",
                f"the network that comes along takes flat images, and the model {self.layout}",
                "name a trainer of your own",
            )

    def __call__(self, images: Array, labels: Array, seed: int, progress: Advance) -> Classify:
        """Train from scratch.

        Args:
            images: [N, ...] in `layout`, at least 8 pixels a side.
            labels: integers [N] from 0.
            seed: of the first weights and of the order of the images.
            progress: is called after every step.

        Raises:
            InputError: images of another shape.
            RuntimeMissingError: torch is not installed.
        """
        torch = require_torch()
        inputs = self._tensor(torch, images)
        classes = torch.from_numpy(labels.astype(np.int64))
        size = (inputs.shape[2], inputs.shape[3])
        with self._settled(torch), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = network(inputs.shape[1], size, int(labels.max()) + 1, self.width)
            model.to(memory_format=torch.channels_last)
            optimiser = torch.optim.AdamW(model.parameters(), weight_decay=_DECAY)
            steps = self.epochs * -(-len(inputs) // self.batch)
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimiser, max_lr=self.rate, total_steps=steps
            )
            done = 0
            for _ in range(self.epochs):
                for rows in torch.randperm(len(inputs)).split(self.batch):
                    optimiser.zero_grad()
                    scores = model(_last(torch, inputs[rows]))
                    torch.nn.functional.cross_entropy(scores, classes[rows]).backward()
                    optimiser.step()
                    schedule.step()
                    done += 1
                    progress(done / steps)
        model.eval()

        def classify(images: Array) -> Array:
            with self._settled(torch), torch.no_grad():
                batches = self._tensor(torch, images).split(self.batch)
                return np.concatenate([model(each).argmax(1).numpy() for each in batches])

        return classify

    def _tensor(self, torch: Any, images: Array) -> Any:
        """As a float32 tensor [N, C, H, W]."""
        if images.ndim != 4:
            raise _unfit(images)
        flat = images if self.layout == "nchw" else images.transpose(0, 3, 1, 2)
        if min(flat.shape[2:]) < _HALVINGS:
            raise _unfit(images)
        return _last(torch, torch.from_numpy(flat.astype(np.float32)))

    @contextlib.contextmanager
    def _settled(self, torch: Any) -> Iterator[None]:
        """The same sums every time; torch is left as it was."""
        threads, exact = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
        torch.set_num_threads(self.threads)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(exact)


def _last(torch: Any, images: Any) -> Any:
    """The same numbers with the channels of a pixel side by side, which takes a third less time."""
    return images.contiguous(memory_format=torch.channels_last)


def _unfit(images: Array) -> InputError:
    return InputError(
        "no-network",
        f"the network that comes along takes flat images of {_HALVINGS} pixels a side or more, not "
        f"{list(images.shape[1:])}",
        "name a trainer of your own",
    )
