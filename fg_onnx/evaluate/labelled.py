"""A labelled data set, to train on and to test with."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.errors import InputError
from fg_onnx.pictures.images import IMAGE_SUFFIXES, find_images, prepare, read_image
from fg_onnx.pictures.preprocess import Preprocessing
from fg_onnx.session import Session

Array = npt.NDArray[Any]

NAMES = ("train_images", "train_labels", "test_images", "test_labels")
"""Of the arrays in a file or folder."""

_HINT = (
    f"give an .npz file with {', '.join(NAMES)}, a folder of these as .npy files, or one with "
    "images as train/CLASS/* and test/CLASS/*"
)


@dataclass(frozen=True, eq=False)
class Part:
    """Images and their labels.

    Attributes:
        images: [N, ...], numbers as the model is fed them.
        labels: integers [N] from 0.

    Raises:
        InputError: ``bad-data``.
    """

    images: Array
    labels: Array

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.ndim < 2 or not len(images) or images.dtype.kind not in "fiu":
            raise _bad(f"{images.dtype} {list(images.shape)} are no images [N, ...]")
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
            raise _bad(
                f"{labels.dtype} {list(labels.shape)} are no labels of {len(images)} images, a "
                "whole number for each"
            )
        if labels.min() < 0:
            raise _bad(f"{labels.min()} is no label, which count from 0")

    def require_finite(self, name: str) -> None:
        """Fail where an image has numbers that are none.

        Args:
            name: of the images, with their file.

        Raises:
            InputError: ``not-finite``.
        """
        if self.images.dtype.kind != "f":
            return
        for row, image in enumerate(self.images):
            if not np.isfinite(image).all():
                raise InputError(
                    "not-finite",
                    f"{name}[{row}] holds values that are not finite",
                    "leave the image out, or see what made it",
                )

    def require_classes(self, count: int) -> None:
        """Fail where labels are of classes that a model has not.

        Raises:
            InputError: ``bad-data``.
        """
        if self.labels.max() >= count:
            raise _bad(
                f"{self.labels.max()} is no label of the model's {count} classes, which count "
                "from 0"
            )


@dataclass(frozen=True, eq=False)
class Labelled:
    """What a classifier is trained on, and what it is tested with.

    Attributes:
        train: the one.
        test: the other.

    Raises:
        InputError: ``bad-data``.
    """

    train: Part
    test: Part

    def __post_init__(self) -> None:
        one, other = self.train.images, self.test.images
        if one.shape[1:] != other.shape[1:] or one.dtype != other.dtype:
            raise _bad(
                f"images to train on, {one.dtype} {list(one.shape)}, and to test with, "
                f"{other.dtype} {list(other.shape)}, are not alike"
            )
        if np.ptp(self.train.labels) == 0:
            raise _bad("all images to train on have one label, so that there is nothing to learn")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that it holds, as hexadecimal."""
        found = hashlib.sha256()
        for part in (self.train, self.test):
            for array in (part.images, part.labels):
                found.update(f"{array.dtype.str}{array.shape}".encode())
                found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()


def read_labelled(path: Path, session: Session, steps: Callable[[], Preprocessing]) -> Labelled:
    """A data set from a file or a folder.

    Arrays are taken as they are. Images are prepared as the model wants them; their classes are
    numbered in the order of the folders' names.

    Args:
        path: an .npz file that holds the arrays `NAMES`, a folder of .npy files with these names,
            which are not loaded before they are used, or a folder of images, ``train/CLASS/*`` and
            ``test/CLASS/*``.
        session: the model that they are for.
        steps: how images are prepared; asked for images alone.

    Raises:
        InputError: there is no such data set, or it does not make sense.
    """
    if path.is_dir() and (path / "train").is_dir():
        return _read_images(path, session, steps())
    held = _read_folder(path) if path.is_dir() else _read_archive(path)
    images, labels, test_images, test_labels = (held[name] for name in NAMES)
    found = Labelled(Part(images, labels), Part(test_images, test_labels))
    found.train.require_finite(f"`{path}`: train_images")
    found.test.require_finite(f"`{path}`: test_images")
    return found


def _read_archive(path: Path) -> Mapping[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in NAMES}
    except KeyError as error:
        raise _bad(f"`{path}` holds no {error.args[0]}") from error
    except FileNotFoundError as error:
        raise _bad(f"there is no data set `{path}`") from error
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise _bad(f"`{path}` cannot be read as an .npz file of numbers") from error


def _read_folder(path: Path) -> Mapping[str, Array]:
    found = {}
    for name in NAMES:
        file = path / f"{name}.npy"
        try:
            found[name] = np.load(file, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise _bad(f"`{path}` holds no {file.name}") from error
        except (OSError, ValueError, EOFError) as error:
            raise _bad(f"`{file}` cannot be read as an array of numbers") from error
    return found


def _read_images(path: Path, session: Session, steps: Preprocessing) -> Labelled:
    classes = _folders(path / "train")
    if not (path / "test").is_dir() or _folders(path / "test") != classes:
        raise _bad(f"`{path}` has not the same classes in train/ and in test/")
    layout = session.manifest.layout

    def read(part: str) -> Part:
        images: list[Array] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            for file in find_images([path / part / name], IMAGE_SUFFIXES):
                image = prepare(read_image(file), steps, session.input_shape, layout).array
                if images and image.shape != images[0].shape:
                    raise _bad(
                        f"`{file}` becomes {list(image.shape)}, and others "
                        f"{list(images[0].shape)}; give a --preprocess with a size"
                    )
                images.append(image)
                labels.append(label)
        return Part(np.concatenate(images), np.array(labels))

    return Labelled(read("train"), read("test"))


def _folders(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir() if each.is_dir())


def _bad(message: str) -> InputError:
    return InputError("bad-data", message, _HINT)
