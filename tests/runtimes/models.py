"""The fixed set of models that every runtime is to run, and an image for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

import fg_onnx
from fg_onnx import Instrumented
from fg_onnx.manifest import EMITS, RuntimeName
from sample_models import fetch
from tests.commands import FASHION, FASHION_VGG
from tests.corpus.exported import exported

from .runners import RUNNERS, Arrays

Form = str
FORMS: tuple[Form, ...] = ("default", "frozen", "own")
"""``default``; ``--freeze-biases``; and ``--runtime`` with the runtime's own name."""
GIVEN = 3
"""The class that is explained in the form of the runtime's own; elsewhere the predicted one."""


@dataclass(frozen=True)
class Tried:
    """A model.

    Attributes:
        title: in the table.
        source: gives its path; it may be fetched or exported first.
        image: gives what it is fed.
        torch: whether exporting it needs torch.
        slow: whether the reference evaluator takes more than ten seconds for it.
    """

    title: str
    source: Callable[[], Path]
    image: Callable[[], np.ndarray]
    torch: bool = False
    slow: bool = False


def _squeezenet() -> Path:
    from sample_models import squeezenet

    path = fetch.cache_dir() / "squeezenet1.1.onnx"
    return path if path.is_file() else squeezenet.write(path)


def _exported(name: str, exporter: str = "dynamo") -> Callable[[], Path]:
    return lambda: exported(name, exporter)


def _bag() -> np.ndarray:
    gray = cv2.imread(str(FASHION / "bag_18.png"), cv2.IMREAD_GRAYSCALE)
    return gray[None, None].astype(np.float32) / 255


def _cat(preset: str, side: int = 224) -> Callable[[], np.ndarray]:
    def image() -> np.ndarray:
        from sample_models import photos

        path = fetch.cache_dir() / "photos" / "chelsea.png"
        if not path.is_file():
            photos.write()
        steps = fg_onnx.load_preprocessing(preset)
        shape = (1, 3, side, side)
        return fg_onnx.prepare(fg_onnx.read_image(path), steps, shape, "nchw").array

    return image


MODELS = {
    "fashion_vgg": Tried("Fashion VGG with BN (trained)", lambda: FASHION_VGG, _bag),
    "squeezenet": Tried("SqueezeNet 1.1 (trained)", _squeezenet, _cat("caffe-bgr", 227)),
    "efficientnet_lite0": Tried(
        "EfficientNet-Lite0 (trained)", _exported("efficientnet_lite0"), _cat("imagenet"),
        torch=True, slow=True,
    ),
    "mobilenet_v3": Tried(
        "MobileNetV3-Small", _exported("mobilenet_v3_small"), _cat("imagenet"), torch=True
    ),
    "resnet18": Tried(
        "ResNet-18", _exported("resnet18", "torchscript"), _cat("imagenet"), torch=True, slow=True
    ),
    "densenet121": Tried(
        "DenseNet-121", _exported("densenet121"), _cat("imagenet"), torch=True, slow=True
    ),
}  # fmt: skip


@cache
def image_of(name: str) -> np.ndarray:
    """The image of a model, float32 [1, C, H, W]."""
    return MODELS[name].image()


def instrumented(name: str, form: Form, runtime: RuntimeName) -> Instrumented:
    """A model that computes all there is of its decomposition."""
    return fg_onnx.instrument(
        MODELS[name].source(),
        emit=EMITS,
        freeze_biases=form == "frozen",
        runtime=runtime if form == "own" else "ort",
    )


def fed_to(made: Instrumented, name: str, form: Form) -> dict[str, np.ndarray]:
    """The image, and the target in the form of the runtime's own."""
    feeds = {made.manifest.fed: image_of(name)}
    if form == "own":
        feeds["fg_target"] = np.array([GIVEN])
    return feeds


def expected(name: str) -> dict[Form, Arrays]:
    """What ONNX Runtime computes of the default form on the CPU, for what each form is fed."""
    made = instrumented(name, "default", "ort")
    found = {form: RUNNERS["ort"].run(made.model, fed_to(made, name, form)) for form in FORMS[1:]}
    return {"default": found["frozen"], **found}
