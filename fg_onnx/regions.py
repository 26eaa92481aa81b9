"""Dense outputs explained over a region: a class's scores, summed over some of their positions.

The sum is a linear functional of the explained tensor, so it needs nothing but a cotangent, for a
model that was instrumented with a seed:

    seed = region_seed(session.manifest, [2], mask[None])
    session.explain(images, seed=seed)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.errors import UnsupportedModelError
from fg_onnx.manifest import Manifest

Array = npt.NDArray[Any]


def region_seed(manifest: Manifest, classes: Sequence[int], weights: npt.ArrayLike) -> Array:
    """The cotangent of ``sum_p w_p y_{k,p}``.

    Args:
        manifest: of a model whose explained output has a grid, such as a segmentation.
        classes: k, one for each image.
        weights: [N, *grid], how much each position of the explained output counts, such as a mask
            of zeros and ones; a depth, a height and a width as far as there are such.

    Returns:
        float32 [N, *scores], in the shape of the explained output.

    Raises:
        UnsupportedModelError: ``no-region``: the explained output has no grid.
    """
    grid, class_axis = grid_of(manifest)
    values = np.asarray(weights, dtype=np.float32)
    count = manifest.classes or max(classes) + 1
    chosen = np.eye(count, dtype=np.float32)[np.asarray(classes)]
    # [N, K, *grid], then every axis to where the explained output has it
    product = chosen.reshape(*chosen.shape, *[1] * len(grid)) * values[:, None]
    return np.moveaxis(product, range(1, product.ndim), (1 + class_axis, *(1 + a for a in grid)))


def class_sums(manifest: Manifest, scores: Array, weights: npt.ArrayLike) -> Array:
    """Each class's scores [N, *scores], summed over a region [N, *grid]: [N, K].

    Raises:
        UnsupportedModelError: ``no-region``: the explained output has no grid.
    """
    by_class = classes_first(manifest, scores)
    product = by_class * np.asarray(weights)[:, None]
    return np.asarray(product.sum(axis=tuple(range(2, product.ndim)), dtype=np.float64))


def classes_first(manifest: Manifest, scores: Array) -> Array:
    """Scores [N, *scores] as [N, K, *grid].

    Raises:
        UnsupportedModelError: ``no-region``: the explained output has no grid.
    """
    grid, class_axis = grid_of(manifest)
    return scores.transpose(0, 1 + class_axis, *(1 + axis for axis in grid))


def grid_of(manifest: Manifest) -> tuple[tuple[int, ...], int]:
    """The axes of the grid and that of the classes, among the explained output's per image.

    Raises:
        UnsupportedModelError: ``no-region``: the explained output has no grid.
    """
    if manifest.score_grid is None or manifest.class_axis is None:
        raise UnsupportedModelError(
            "no-region",
            f"the explained output `{manifest.output}` has no grid that lies on the input's",
            "give a flat index as the target, or any cotangent to fg_onnx.Session.explain(seed=)",
        )
    return manifest.score_grid, manifest.class_axis
