"""Methods that read one run of the model: full-gradients and the plain gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fg_onnx.errors import InputError
from fg_onnx.fullgrad.psi import STYLES
from fg_onnx.manifest import Emit
from fg_onnx.methods.method import Attributing, Found, Method, OverChannels
from fg_onnx.methods.task import Task

SRINIVAS = "Srinivas & Fleuret, Full-Gradient Representation for Neural Network Visualization, 2019"


@dataclass(frozen=True, kw_only=True)
class FullGrad(Method):
    """FullGrad, Eq. 2 of its paper.

    Attributes:
        psi: the post-processing, one of `fg_onnx.fullgrad.psi.STYLES`, of which ``signed`` keeps
            the sign; None: ``reference``, or what an instrumented model has.
    """

    name: ClassVar[str] = "fullgrad"
    summary: ClassVar[str] = "psi(x * gradient) plus psi(bias-gradient) of every layer"
    citation: ClassVar[str] = f"{SRINIVAS}, Eq. 2"
    emit: ClassVar[tuple[Emit, ...]] = ("saliency", "contributions")
    psi: str | None = None

    def __post_init__(self) -> None:
        require_psi(self, self.psi)

    @property
    def instrumenting(self) -> dict[str, Any]:
        """The style is in the graph."""
        return {} if self.psi is None else {"psi": self.psi}

    def maps(self, task: Task) -> Found:
        """The map that the model emits, with its completeness residual."""
        residuals = []

        def pick(found: Any) -> Any:
            residuals.append(found.residual)
            return found.saliency

        clean = task.clean("saliency", pick)
        assert clean.values is not None
        return Found(
            clean.values,
            clean.targets,
            clean.scores,
            signed=task.session.manifest.psi == "signed",
            residual=np.concatenate(residuals),
        )


@dataclass(frozen=True, kw_only=True)
class SimpleFullGrad(Method):
    """FullGrad with the gradient by every bias in the place of its product with the bias.

    Attributes:
        psi: as of `FullGrad`.
    """

    name: ClassVar[str] = "simple-fullgrad"
    summary: ClassVar[str] = "psi(x * gradient) plus psi(gradient by the bias) of every layer"
    citation: ClassVar[str] = "the released code of Srinivas & Fleuret 2019, simple_fullgrad.py"
    emit: ClassVar[tuple[Emit, ...]] = ("simple-saliency",)
    psi: str | None = None

    def __post_init__(self) -> None:
        require_psi(self, self.psi)

    @property
    def instrumenting(self) -> dict[str, Any]:
        """The style is in the graph."""
        return {} if self.psi is None else {"psi": self.psi}

    def maps(self, task: Task) -> Found:
        """The map that the model emits."""
        clean = task.clean("simple-saliency", lambda found: found.methods["simple-saliency"])
        assert clean.values is not None
        signed = task.session.manifest.psi == "signed"
        return Found(clean.values, clean.targets, clean.scores, signed=signed)


def require_psi(method: Method, psi: str | None) -> None:
    """Fail where there is no such style.

    Raises:
        InputError: ``unknown-psi``.
    """
    if psi is not None and psi not in STYLES:
        raise InputError(
            "unknown-psi", f"{method.name} has no psi `{psi}`", f"one of: {', '.join(STYLES)}"
        )


@dataclass(frozen=True, kw_only=True)
class InputGradient(OverChannels):
    """The gradient of the score by the input."""

    name: ClassVar[str] = "input-gradient"
    summary: ClassVar[str] = "|gradient|, summed over channels"
    citation: ClassVar[str] = (
        "Simonyan, Vedaldi & Zisserman, Deep Inside Convolutional Networks, ICLR workshop 2014"
    )
    emit: ClassVar[tuple[Emit, ...]] = ("input-gradient",)

    def maps(self, task: Task) -> Found:
        """The gradient, reduced."""
        clean = task.clean("input-gradient", lambda found: found.input_gradient)
        assert clean.values is not None
        maps = self.reduced(task, clean.values)
        return Found(maps, clean.targets, clean.scores, signed=self.signed)


@dataclass(frozen=True, kw_only=True)
class _ChangedRelu(OverChannels):
    """What reaches the input where the rule of ReLU is another one."""

    def maps(self, task: Task) -> Found:
        """The signal at the input, reduced."""
        (word,) = self.emit
        clean = task.clean(word, lambda found: found.methods[word])
        assert clean.values is not None
        maps = self.reduced(task, clean.values)
        return Found(maps, clean.targets, clean.scores, signed=self.signed)


@dataclass(frozen=True, kw_only=True)
class GuidedBackprop(_ChangedRelu):
    """The gradient with negative signals stopped at every ReLU."""

    name: ClassVar[str] = "guided-backprop"
    summary: ClassVar[str] = "|signal at the input|, ReLU passing max(ct, 0) * [y > 0]"
    citation: ClassVar[str] = (
        "Springenberg, Dosovitskiy, Brox & Riedmiller, Striving for Simplicity, ICLR workshop 2015"
    )
    emit: ClassVar[tuple[Emit, ...]] = ("guided-backprop",)


@dataclass(frozen=True, kw_only=True)
class Deconvnet(_ChangedRelu):
    """The gradient with ReLU applied to the signal in the place of its derivative."""

    name: ClassVar[str] = "deconvnet"
    summary: ClassVar[str] = "|signal at the input|, ReLU passing max(ct, 0)"
    citation: ClassVar[str] = (
        "Zeiler & Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014"
    )
    emit: ClassVar[tuple[Emit, ...]] = ("deconvnet",)


@dataclass(frozen=True, kw_only=True)
class GradientXInput(Attributing):
    """The input term of the full-gradient decomposition alone."""

    name: ClassVar[str] = "gradient-x-input"
    summary: ClassVar[str] = "|sum over channels of gradient * x|"
    citation: ClassVar[str] = (
        "Shrikumar, Greenside, Shcherbina & Kundaje, Not Just a Black Box, arXiv:1605.01713, 2016"
    )
    emit: ClassVar[tuple[Emit, ...]] = ("input-gradient",)
    samples_inputs: ClassVar[bool] = True

    def maps(self, task: Task) -> Found:
        """The product, reduced."""
        clean = task.clean("input-gradient", lambda found: found.input_gradient)
        assert clean.values is not None
        maps = self.reduced(task, clean.values * task.images.astype(np.float64))
        return Found(maps, clean.targets, clean.scores, signed=self.signed)
