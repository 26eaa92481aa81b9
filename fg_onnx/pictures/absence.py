"""What stands for the absence of an image: black, its mean colour, or what is left when it blurs.

Images are [N, ...] as a model is fed them, and what is made is float64, of a shape that broadcasts
to theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.errors import InputError
from fg_onnx.pictures.preprocess import Preprocessing

Array = npt.NDArray[Any]

BLUR = 1 / 20
"""The standard deviation of the Gaussian, as a share of each side of the grid."""
_REACH = 4  # standard deviations, beyond which a Gaussian is 0 in float32


def black(images: Array, channel: int, steps: Preprocessing) -> Array:
    """What the preprocessing makes of a black pixel: ``-mean / std``, 0 only where mean is.

    Args:
        images: [N, ...].
        channel: the axis of the channels.
        steps: how the images were prepared.

    Raises:
        InputError: ``wrong-channel-count``: it prepares other images.
    """
    colour = np.asarray(-np.array(steps.mean) / np.array(steps.std))
    count = images.shape[channel]
    if len(colour) not in (1, count):
        raise InputError(
            "wrong-channel-count",
            f"the preprocessing is of {len(colour)} channels, and the input has {count}",
            "give the preprocessing of this model, or replace pixels by mean or blur",
        )
    shape = [1] * images.ndim
    shape[channel] = len(colour)
    return colour.reshape(shape)


def mean_colour(images: Array, spatial: Sequence[int]) -> Array:
    """Each image's own mean of each channel over the axes of the grid."""
    return np.asarray(images.mean(axis=tuple(spatial), keepdims=True, dtype=np.float64))


def blurred(images: Array, spatial: Sequence[int]) -> Array:
    """Each image blurred along the axes of the grid until nothing small is left."""
    found = images.astype(np.float64)
    for axis in spatial:
        size = found.shape[axis]
        mixed = np.tensordot(gaussian(size, BLUR * size), found, (1, axis))
        found = np.moveaxis(mixed, 0, axis)
    return found


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
