"""What `python -m benchmarks` compares; no library is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Library = Literal["onnxruntime", "torch"]

FORWARD, INSTRUMENTED, BARE = "forward", "instrumented", "bare"
TORCH_FORWARD, TORCH_GRADIENT, AUTHORS = "torch-forward", "torch-gradient", "authors"
GRAD_CAM, RISE, ONNX_AD, ORT_TRAINING = "grad-cam", "rise", "onnx-ad", "ort-training"

RISE_MASKS = 1000
RISE_MEASURED = 64  # of them


@dataclass(frozen=True)
class Method:
    """One way to run a net.

    Attributes:
        key: by which it is asked for and found in the JSON.
        title: the head of its column.
        library: that runs it, in a process of its own.
        optional: a peer that is measured where it is installed, after the others.
        most: images at once; a larger batch is not run, but reckoned from so many.
    """

    key: str
    title: str
    library: Library
    optional: bool = False
    most: int | None = None

    def share(self, batch: int) -> float:
        """How much of the work is measured; the time of the whole is reckoned in proportion."""
        if self.key == RISE:
            return RISE_MEASURED / (RISE_MASKS * batch)
        return min(batch, self.most or batch) / batch


# The authors' code and pytorch-grad-cam resize every channel of every layer to the image's size:
# 16 images at once take 10 GB and more.
METHODS = {
    method.key: method
    for method in (
        Method(FORWARD, "ORT forward", "onnxruntime"),
        Method(INSTRUMENTED, "instrumented", "onnxruntime"),
        Method(BARE, "instrumented, in bare ONNX Runtime", "onnxruntime"),
        Method(TORCH_FORWARD, "torch forward", "torch"),
        Method(TORCH_GRADIENT, "torch forward + input gradient", "torch"),
        Method(AUTHORS, "authors' algorithm", "torch", most=4),
        Method(GRAD_CAM, "pytorch-grad-cam", "torch", optional=True, most=4),
        Method(RISE, f"RISE, {RISE_MASKS:,} masks", "onnxruntime", optional=True),
        Method(ONNX_AD, "onnx-ad, input gradient", "onnxruntime", optional=True),
        Method(ORT_TRAINING, "ort-training's gradients", "onnxruntime", optional=True),
    )
}
PEERS = tuple(key for key, method in METHODS.items() if method.optional)
