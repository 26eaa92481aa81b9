"""Remove pixels: which ones, in what order, and what stands in their place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from fg_onnx.errors import InputError
from fg_onnx.evaluate.maps import spatial_axes
from fg_onnx.manifest import LayoutName
from fg_onnx.pictures.absence import black, blurred, mean_colour
from fg_onnx.pictures.preprocess import Preprocessing

Array = npt.NDArray[Any]
Order = Literal["least", "most", "random"]
Replacement = Literal["black", "mean", "blur"]

ORDERS: tuple[Order, ...] = get_args(Order)
REPLACEMENTS: tuple[Replacement, ...] = get_args(Replacement)


def pixel_order(maps: Array, order: Order, seed: int, numbers: Sequence[int]) -> Array:
    """The pixels of each image in the order in which they are removed: int64 [N, pixels].

    Pixels of equal salience, and in ``random`` order all pixels, are shuffled by a generator of the
    image's own: the same seed gives the same order whatever the batches.

    Args:
        maps: float [N, *grid], finite.
        order: by salience, or by chance.
        seed: of the experiment.
        numbers: of the images among all, [N].
    """
    rows = []
    for values, number in zip(maps.reshape(len(maps), -1), numbers, strict=True):
        shuffled = np.random.default_rng([seed, number]).permutation(values.size)
        keys = {"least": values, "most": -values, "random": np.zeros_like(values)}
        rows.append(np.lexsort((shuffled, keys[order])))
    return np.stack(rows)


def count_of(percent: float, pixels: int) -> int:
    """How many pixels a share of them is; halves are rounded up."""
    return math.floor(percent / 100 * pixels + 0.5)


def remove(
    images: Array, instead: Array, order: Array, count: int | Array, layout: LayoutName
) -> Array:
    """The images, with the first pixels of an order taken from another batch, in all channels.

    Args:
        images: [N, ...], as the model is fed them.
        instead: what stands in the place of a pixel, in the shape of the images.
        order: int64 [N, pixels], as `pixel_order` gives it.
        count: how many pixels are removed, of all images or of each [N].
        layout: of the images.
    """
    grid = [images.shape[axis] for axis in spatial_axes(layout)]
    first = np.arange(order.shape[1]) < np.broadcast_to(count, len(images))[:, None]
    gone = np.zeros(order.shape, dtype=bool)
    np.put_along_axis(gone, order, first, axis=1)
    mask = np.expand_dims(gone.reshape(len(images), *grid), layout.index("c"))
    return np.where(mask, instead, images)


def replacing_pixels(
    images: Array, how: Replacement, layout: LayoutName, steps: Preprocessing | None
) -> Array:
    """What stands in the place of every pixel, in the shape and type of the images.

    As `absence` makes it: ``black`` as the preprocessing does, ``mean`` of each image's own colour,
    ``blur`` of the image blurred.

    Raises:
        InputError: ``no-preprocessing``: without it black is not known; or it is of other images.
    """
    axes = spatial_axes(layout)
    if how == "mean":
        made = mean_colour(images, axes)
    elif how == "blur":
        made = blurred(images, axes)
    elif steps is not None:
        made = black(images, layout.index("c"), steps)
    else:
        raise InputError(
            "no-preprocessing",
            "what black is to the model is not known, for nothing says how its images are prepared",
            "give --preprocess, or replace pixels by mean or blur",
        )
    return np.broadcast_to(made, images.shape).astype(images.dtype)
