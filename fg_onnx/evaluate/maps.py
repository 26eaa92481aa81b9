"""What an experiment judges: a function from images and classes to maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fg_onnx.errors import FgOnnxError, InputError
from fg_onnx.manifest import LayoutName

Array = npt.NDArray[Any]

Maps: TypeAlias = Callable[[Array, Array], Array]
"""Images [N, ...] as the model is fed them, and the class int64 [N] to explain in each: the maps,
float [N, *grid] on the grid of the input, larger where a pixel counts more."""


Tick: TypeAlias = Callable[[int], None]
"""Told after every step of an experiment: how many images a method is done with since the last."""


class NotJudgedError(FgOnnxError):
    """A method's maps, or a model's scores, of which an experiment can say nothing."""


def spatial_axes(layout: LayoutName | None) -> tuple[int, ...]:
    """Where the grid lies in a batch of images.

    Raises:
        InputError: ``no-pixels``: there is none.
    """
    if layout is None:
        raise InputError(
            "no-pixels",
            "the model's input has no grid, so that it has no pixels to remove",
            "name the image among its inputs with --input",
        )
    return tuple(axis for axis, letter in enumerate(layout) if letter not in "nc")


def maps_of(method: str, maps: Maps, images: Array, targets: Array, layout: LayoutName) -> Array:
    """The maps of a batch, float64 [N, *grid], held to their contract.

    Raises:
        NotJudgedError: they are of another shape, or not finite.
    """
    found = np.asarray(maps(images, targets), dtype=np.float64)
    wanted = (len(images), *(images.shape[axis] for axis in spatial_axes(layout)))
    if found.shape != wanted:
        raise NotJudgedError(
            "wrong-maps",
            f"`{method}` gives maps of shape {list(found.shape)}, and the images have the grid "
            f"{list(wanted)}",
            "a map has a value for every pixel of the input",
        )
    if not np.isfinite(found).all():
        raise NotJudgedError(
            "maps-not-finite",
            f"`{method}` gives maps with values that are not finite",
            "leave the method out, or see with `fg-onnx explain` what the model computes",
        )
    return found


def require_methods(methods: Sequence[str]) -> None:
    """Fail where there is nothing to compare.

    Raises:
        InputError: ``no-methods``.
    """
    if not methods:
        raise InputError("no-methods", "no method was named", "such as --methods fullgrad,random")
