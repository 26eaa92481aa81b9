"""Grad-CAM; its map is computed in the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from fg_onnx.manifest import Emit
from fg_onnx.methods.method import Found, Method
from fg_onnx.methods.task import Task


@dataclass(frozen=True, kw_only=True)
class GradCam(Method):
    """The positive part of a layer's maps, weighed by their mean gradients.

    Attributes:
        layer: a node or tensor by name; None: the last convolution, with what follows it position
            by position, or what an instrumented model has.
    """

    name: ClassVar[str] = "grad-cam"
    summary: ClassVar[str] = "relu(sum over channels of mean gradient * activation) of a layer"
    citation: ClassVar[str] = "Selvaraju et al., Grad-CAM, ICCV 2017"
    emit: ClassVar[tuple[Emit, ...]] = ("grad-cam",)
    layer: str | None = None

    @property
    def instrumenting(self) -> dict[str, Any]:
        """The layer is chosen in the graph."""
        return {} if self.layer is None else {"grad_cam_layer": self.layer}

    def maps(self, task: Task) -> Found:
        """The map that the model emits."""
        clean = task.clean("grad-cam", lambda found: found.methods["grad-cam"])
        assert clean.values is not None
        note = f"the layer is `{task.session.manifest.grad_cam_layer}`"
        return Found(clean.values, clean.targets, clean.scores, notes=(note,))
