"""What stands for the absence of an image."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.errors import InputError
from fg_onnx.methods.task import Task

Array = npt.NDArray[Any]

BLUR = 1 / 20
"""The standard deviation of the Gaussian, as a share of each side of the grid."""
_REACH = 4  # standard deviations, beyond which a Gaussian is 0 in float32


def baselines(task: Task, kind: str) -> tuple[Array, tuple[str, ...]]:
    """A baseline for every image, in the shape of the images, and what is to be known of it.

    Raises:
        InputError: the preprocessing is of another number of channels.
    """
    return BASELINES[kind](task)


def _black(task: Task) -> tuple[Array, tuple[str, ...]]:
    steps = task.preprocessing
    if steps is None:
        found, _ = _zero(task)
        return found, ("the preprocessing is not known: black is taken to be 0 in the input",)
    count = task.images.shape[task.channel]
    values = [np.broadcast_to(np.array(v), (max(len(steps.mean), len(steps.std)),))
              for v in (steps.mean, steps.std)]  # fmt: skip
    colour = -values[0] / values[1]
    if len(colour) not in (1, count):
        raise InputError(
            "wrong-shape",
            f"the preprocessing is of {len(colour)} channels, and the input has {count}",
            "give the preprocessing of this model, or another baseline",
        )
    shape = [1] * task.images.ndim
    shape[task.channel] = len(colour)
    return np.broadcast_to(colour.reshape(shape), task.images.shape), ()


def _zero(task: Task) -> tuple[Array, tuple[str, ...]]:
    return np.zeros_like(task.images), ()


def _mean(task: Task) -> tuple[Array, tuple[str, ...]]:
    means = task.images.mean(axis=task.spatial, keepdims=True, dtype=np.float64)
    return np.broadcast_to(means, task.images.shape), ()


def _blur(task: Task) -> tuple[Array, tuple[str, ...]]:
    found = task.images.astype(np.float64)
    for axis in task.spatial:
        size = found.shape[axis]
        mixed = np.tensordot(gaussian(size, BLUR * size), found, (1, axis))
        found = np.moveaxis(mixed, 0, axis)
    return found, ()


def gaussian(size: int, deviation: float) -> Array:
    """[size, size]: the rows blur along an axis, whose ends are repeated beyond it."""
    reach = math.ceil(_REACH * deviation)
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (steps / deviation) ** 2)
    weights /= weights.sum()
    rows = np.zeros((size, size))
    for row in range(size):
        np.add.at(rows[row], np.clip(row + steps, 0, size - 1), weights)
    return rows


BASELINES: Mapping[str, Callable[[Task], tuple[Array, tuple[str, ...]]]] = MappingProxyType(
    {"black": _black, "mean": _mean, "blur": _blur, "zero": _zero}
)
"""``black``: pixels of 0 as the preprocessing makes them; ``mean``: of each channel of the image;
``blur``: the image blurred until nothing small is left; ``zero``: 0 in the input itself."""
