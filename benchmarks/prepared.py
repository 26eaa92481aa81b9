"""What `benchmarks.gpu` measures: exported and instrumented models, images, and the CPU's maps.

All of it is made on the CPU beforehand, so that no GPU waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

import fg_onnx

MODELS = ("vgg16_bn", "resnet50", "densenet121", "mobilenet_v2", "tf_efficientnet_lite0")
PRECISIONS = ("fp32", "fp16", "tf32")
COMPARED = 8  # images whose maps are compared with the CPU's


@dataclass(frozen=True)
class Prepared:
    """The files of one model; TF32 is a way to run the float32 ones.

    Attributes:
        folder: of all models.
        name: of this one.
    """

    folder: Path
    name: str

    def source(self, precision: str) -> Path:
        """The exported model."""
        return self.folder / f"{self.name}.{_kind(precision)}.onnx"

    def instrumented(self, precision: str) -> Path:
        """The same, instrumented as it is by default."""
        return self.folder / f"{self.name}.{_kind(precision)}.fg.onnx"

    @property
    def maps(self) -> Path:
        """float32 [n, 224, 224]: of the first images, by the float32 model on the CPU."""
        return self.folder / f"{self.name}.maps.npy"

    def images(self, count: int, precision: str) -> np.ndarray:
        """[count, 3, 224, 224] in the type of the model."""
        held = np.load(self.folder / "images.npy", mmap_mode="r")
        return np.ascontiguousarray(held[:count], np.float16 if precision == "fp16" else np.float32)


def _kind(precision: str) -> str:
    return "fp16" if precision == "fp16" else "fp32"


def prepare(folder: Path, names: tuple[str, ...], largest_batch: int, compared: int) -> None:
    """Make what is not there yet; torch is needed for it."""
    import torch

    from sample_models import exports

    folder.mkdir(parents=True, exist_ok=True)
    images = folder / "images.npy"
    if not images.is_file() or len(np.load(images, mmap_mode="r")) < largest_batch:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            np.save(images, exports.random_images(largest_batch).numpy())
    for name in names:
        files = Prepared(folder, name)
        if files.maps.is_file():  # written last
            continue
        exports.export(name, files.source("fp32"))
        fg_onnx.instrument(files.source("fp32")).save(files.instrumented("fp32"))
        onnx.save(_narrowed(onnx.load(files.source("fp32"))), files.source("fp16"))
        fg_onnx.instrument(files.source("fp16")).save(files.instrumented("fp16"))
        session = fg_onnx.Session(files.instrumented("fp32"), device="cpu")
        found = session.explain(files.images(min(compared, largest_batch), "fp32"))
        np.save(files.maps, found.saliency)


def _narrowed(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnxruntime.transformers import float16

    return float16.convert_float_to_float16(model, keep_io_types=False)
