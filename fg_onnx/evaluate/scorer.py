"""The scores of the model that is judged, without any explanation of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.devices import AUTO
from fg_onnx.instrumentation import instrument
from fg_onnx.manifest import LayoutName, Manifest
from fg_onnx.session import Session
from fg_onnx.source.model import ModelSource

Array = npt.NDArray[Any]


class Scorer:
    """The forward pass of a plain model, up to the tensor that is explained.

    It is an instrumented model that emits its score alone, and so has the source's nodes, weights
    and values; a Softmax behind the logits is passed by, as everywhere.

    Args:
        source: a path or a ModelProto that is not instrumented.
        input: the image input; None: the first.
        output: the explained tensor; None: the logits.
        device: where to run, as of `Session`.

    Raises:
        ModelError: the model cannot be read, or is broken.
        UnsupportedModelError: it cannot be instrumented, or is so already.
        RuntimeMissingError: there is no ONNX Runtime, or it lacks the device.
    """

    def __init__(
        self,
        source: ModelSource,
        *,
        input: str | None = None,
        output: str | None = None,
        device: str = AUTO,
    ) -> None:
        instrumented = instrument(source, input=input, output=output, emit=(), freeze_biases=True)
        self.session = Session(instrumented, device=device)

    @classmethod
    def over(cls, session: Session) -> Scorer:
        """The scores of a model that is open already, whatever else it computes meanwhile."""
        found = cls.__new__(cls)
        found.session = session
        return found

    @property
    def manifest(self) -> Manifest:
        """What is explained of the model."""
        return self.session.manifest

    @property
    def layout(self) -> LayoutName | None:
        """Of the input that images are fed to."""
        return self.manifest.layout

    def predicted(self, images: Array) -> Array:
        """The class of each image, int64 [N].

        Raises:
            InputError: the images do not fit.
        """
        found = self.session.explain(images).targets
        assert found is not None  # the model was instrumented without --seed
        return found

    def scores(self, images: Array, targets: int | Array) -> Array:
        """The score of a class in each image, float64 [N].

        Raises:
            InputError: the images do not fit, or there is no such class.
        """
        return self.session.explain(images, targets).scores.astype(np.float64)
