"""``--region``: over which positions of a dense output the scores of a class are summed."""

# OpenCV is slow to import, and --help is not to wait for it
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import fg_onnx
from fg_onnx import regions
from fg_onnx.errors import InputError
from fg_onnx.samples import Sample, is_array, read_array

if TYPE_CHECKING:
    from fg_onnx import Manifest, Preprocessing, Session
    from fg_onnx.pictures.images import Image

    from .targets import Scores

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

ALL = "all"
PREDICTED = "predicted"


@dataclass(frozen=True, eq=False)
class Region:
    """Positions of a dense output.

    Attributes:
        text: as it was asked for: a file, ``all``, or ``predicted``: wherever the class wins.
        mask: the picture uint8 [H, W, 3], or the weights float [*grid], of a file.
    """

    text: str
    mask: Image | Array | None

    def size(self, manifest: Manifest, scores: Scores) -> tuple[int, ...]:
        """Of the explained output's grid; the scores are computed only if it is not fixed.

        Raises:
            UnsupportedModelError: ``no-region``: it has none.
        """
        axes, _ = regions.grid_of(manifest)
        dims = [(manifest.score_shape or ())[axis] for axis in axes]
        static = tuple(dim for dim in dims if isinstance(dim, int))
        if len(static) == len(dims):
            return static
        shape = scores().shape
        return tuple(shape[1 + axis] for axis in axes)

    def weights(
        self,
        session: Session,
        batch: Sequence[Sample],
        steps: Preprocessing | None,
        size: Sequence[int],
    ) -> Array:
        """How much each position counts, [N, *size]; all of them for `predicted`.

        Raises:
            InputError: the mask does not fit the image or the output.
        """
        if self.mask is None:
            return np.ones((len(batch), *size), np.float32)
        if is_array(Path(self.text)):
            if self.mask.shape != tuple(size):
                raise InputError(
                    "wrong-size",
                    f"`{self.text}` has the shape {list(self.mask.shape)}, and the grid of "
                    f"`{session.manifest.output}` is {list(size)}",
                    "give a weight for every position of the output, or a picture",
                )
            return np.repeat(np.asarray(self.mask, np.float32)[None], len(batch), axis=0)
        return np.stack([self._over_photograph(session, one, steps, size) for one in batch])

    def _over_photograph(
        self, session: Session, sample: Sample, steps: Preprocessing | None, size: Sequence[int]
    ) -> Array:
        import cv2

        from fg_onnx.pictures.images import prepare_mask

        assert self.mask is not None
        mask_size = self.mask.shape[0], self.mask.shape[1]
        if sample.size != mask_size or steps is None:
            wanted = "no picture" if sample.size is None else "{} x {}".format(*sample.size)
            raise InputError(
                "wrong-size",
                f"the mask `{self.text}` has {mask_size[0]} x {mask_size[1]} pixels, and "
                f"`{sample.path}` is {wanted}",
                "draw the mask over the photograph itself; for an array, give a .npy file",
            )
        inside = prepare_mask(self.mask, steps, session.input_shape, session.manifest.layout)
        height, width = size
        if inside.shape == (height, width):
            return inside
        shrinks = height <= inside.shape[0] and width <= inside.shape[1]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(inside, (width, height), interpolation=method))

    def sums(self, session: Session, scores: Array, weights: Array) -> Array:
        """What ranks the classes, [N, K]: their scores in the region, or how often they win."""
        if self.text != PREDICTED:
            return regions.class_sums(session.manifest, scores, weights)
        by_class = regions.classes_first(session.manifest, scores)
        winners = by_class.argmax(axis=1).reshape(len(scores), -1)
        return np.stack([np.bincount(row, minlength=by_class.shape[1]) for row in winners])

    def seed(self, session: Session, scores: Scores, weights: Array, classes: Indices) -> Array:
        """The cotangent that sums each image's class over the region."""
        if self.text == PREDICTED:
            winners = regions.classes_first(session.manifest, scores()).argmax(axis=1)
            aside = classes.reshape(-1, *[1] * (winners.ndim - 1))
            weights = (winners == aside).astype(np.float32)
        return regions.region_seed(session.manifest, [int(k) for k in classes], weights)


def read_region(text: str) -> Region:
    """What ``--region`` says.

    Raises:
        InputError: the file cannot be read.
    """
    if text in (ALL, PREDICTED):
        return Region(text, None)
    path = Path(text)
    mask = read_array(path) if is_array(path) else fg_onnx.read_image(path)
    if not np.any(mask):
        raise InputError("empty-mask", f"the mask `{text}` is black", "paint the region white")
    return Region(text, mask)
