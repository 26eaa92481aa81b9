"""The models and images that are judged, written where the commands find them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reproduction.sizes import Size
from sample_models import (
    digits,
    efficientnet_lite0,
    fashion_vgg,
    more_photos,
    photos,
    squeezenet,
)


@dataclass(frozen=True)
class Subject:
    """A model and how its images are prepared.

    Attributes:
        title: for the page.
        model: its file.
        preprocess: the preset.
    """

    title: str
    model: Path
    preprocess: str


@dataclass(frozen=True)
class Inputs:
    """All that the experiments read.

    Attributes:
        fashion: the 9-layer VGG of section 5.
        digits: the CNN of section 6.
        squeezenet: trained on ImageNet.
        efficientnet: trained on ImageNet.
        fashion_images: test images as an array.
        fashion_few: the first of them.
        fashion_data: images to train and to test on, with their labels.
        digit_images: test images of all digits as an array.
        photographs: a folder.
        shown: photographs that a page may show, by name.
        folder: where the arrays of `digit` lie.
    """

    fashion: Subject
    digits: Subject
    squeezenet: Subject
    efficientnet: Subject
    fashion_images: Path
    fashion_few: Path
    fashion_data: Path
    digit_images: Path
    photographs: Path
    shown: dict[str, Path]
    folder: Path

    def digit(self, number: int) -> Path:
        """The test images of one digit as an array."""
        return self.folder / f"digit_{number}.npy"


def prepare(folder: Path, size: Size) -> Inputs:
    """Fetch the models and write the images into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels, _ = fashion_vgg.read("t10k")
    found, labels = digits.part("test")
    chosen = {number: _as_fed(found[labels == number][: size.digits]) for number in range(10)}
    arrays = {
        "fashion": _as_fed(pixels[: size.fashion]),
        "fashion_few": _as_fed(pixels[: size.randomised]),
        "digits": np.concatenate(list(chosen.values())),
        **{f"digit_{number}": images for number, images in chosen.items()},
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    data = {}
    for name, source, count in (("train", "train", size.trained), ("test", "t10k", size.tested)):
        pixels, classes = fashion_vgg.read(source)
        data[f"{name}_images"] = _as_fed(pixels[:count])
        data[f"{name}_labels"] = classes[:count].astype(np.int64)
    np.savez(folder / "fashion.npz", **data)
    photographs = more_photos.write()
    return Inputs(
        fashion=Subject("Fashion-MNIST, 9-layer VGG-BN", fashion_vgg.MODEL, "unit"),
        digits=Subject("MNIST, 3 convolutions", digits.MODEL, "unit"),
        squeezenet=Subject("photographs, SqueezeNet 1.1", squeezenet.write(), "caffe-bgr"),
        efficientnet=Subject(
            "photographs, EfficientNet-Lite0",
            efficientnet_lite0.write(exporter="dynamo"),
            "efficientnet-lite",
        ),
        fashion_images=folder / "fashion.npy",
        fashion_few=folder / "fashion_few.npy",
        fashion_data=folder / "fashion.npz",
        digit_images=folder / "digits.npy",
        photographs=photographs[0].parent,
        shown={path.stem: path for path in photos.write()},
        folder=folder,
    )


def _as_fed(images: np.ndarray) -> np.ndarray:
    """uint8 [N,28,28] as float32 [N,1,28,28] between 0 and 1, as `unit` prepares them."""
    return images[:, None] / np.float32(255)
