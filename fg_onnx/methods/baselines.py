"""What stands for the absence of an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.methods.task import Task
from fg_onnx.pictures import absence

Array = npt.NDArray[Any]


def baselines(task: Task, kind: str) -> tuple[Array, tuple[str, ...]]:
    """A baseline for every image, in the shape of the images, and what is to be known of it.

    Raises:
        InputError: the preprocessing is of another number of channels.
    """
    found, notes = BASELINES[kind](task)
    return np.broadcast_to(found, task.images.shape), notes


def _black(task: Task) -> tuple[Array, tuple[str, ...]]:
    if task.preprocessing is None:
        found, _ = _zero(task)
        return found, ("the preprocessing is not known: black is taken to be 0 in the input",)
    return absence.black(task.images, task.channel, task.preprocessing), ()


def _zero(task: Task) -> tuple[Array, tuple[str, ...]]:
    return np.zeros_like(task.images), ()


def _mean(task: Task) -> tuple[Array, tuple[str, ...]]:
    return absence.mean_colour(task.images, task.spatial), ()


def _blur(task: Task) -> tuple[Array, tuple[str, ...]]:
    return absence.blurred(task.images, task.spatial), ()


BASELINES: Mapping[str, Callable[[Task], tuple[Array, tuple[str, ...]]]] = MappingProxyType(
    {"black": _black, "mean": _mean, "blur": _blur, "zero": _zero}
)
"""``black``: pixels of 0 as the preprocessing makes them; ``mean``: of each channel of the image;
``blur``: the image blurred until nothing small is left; ``zero``: 0 in the input itself."""
