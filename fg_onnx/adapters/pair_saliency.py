"""Exported models for PAIR-saliency (the package ``saliency``): its ``call_model_function``.

    from saliency import core

    model = model_function("model.onnx")
    core.XRAI().GetMask(image, model, {"target": model.predicted(image)})

The package is not imported: the function that it calls is a plain one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.adapters.tensors import behind, channel_of, declared, showing
from fg_onnx.devices import AUTO
from fg_onnx.errors import InputError, UnsupportedModelError
from fg_onnx.fullgrad.cam import choose_layer
from fg_onnx.instrumentation import instrument
from fg_onnx.plan import make_plan
from fg_onnx.session import Session
from fg_onnx.source import model
from fg_onnx.source.model import ModelSource

Array = npt.NDArray[Any]

# The package's own words.
VALUES = "OUTPUT_LAYER_VALUES"
GRADIENTS = "INPUT_OUTPUT_GRADIENTS"
LAYER_VALUES = "CONVOLUTION_LAYER_VALUES"
LAYER_GRADIENTS = "CONVOLUTION_OUTPUT_GRADIENTS"
_KEYS = (VALUES, GRADIENTS, LAYER_VALUES, LAYER_GRADIENTS)
_ARGUMENTS = ("target", "feeds")


def model_function(
    source: ModelSource,
    *,
    input: str | None = None,
    output: str | None = None,
    layer: str | None = None,
    dynamic_batch: bool = False,
    device: str = AUTO,
    threads: int | None = None,
) -> ModelFunction:
    """A model as PAIR-saliency calls it.

    Args:
        source: a path or a ModelProto that is not instrumented.
        input: the image input; None: the first.
        output: the explained tensor; None: the logits.
        layer: of Grad-CAM, a node or tensor by name; None: the last convolution, with what follows
            it position by position.
        dynamic_batch: make a fixed batch symbolic.
        device: as `fg_onnx.Session` takes it.
        threads: likewise.

    Raises:
        ModelError: the model cannot be read, or is broken.
        UnsupportedModelError: it cannot be instrumented, or its input has no channels.
        RuntimeMissingError: there is no ONNX Runtime, or it lacks the device.
    """
    chosen = {"input": input, "output": output, "dynamic_batch": dynamic_batch}
    return ModelFunction(source, chosen, layer, {"device": device, "threads": threads})


class ModelFunction:
    """What `model_function` gives: images with the channels last in, NumPy arrays out.

    Args:
        source: the model.
        chosen: options of `fg_onnx.instrument`.
        layer: that Grad-CAM looks at.
        opened: options of `fg_onnx.Session`.
    """

    def __init__(
        self,
        source: ModelSource,
        chosen: Mapping[str, Any],
        layer: str | None,
        opened: Mapping[str, Any],
    ) -> None:
        self._instrumented = instrument(
            source, emit=("input-gradient",), freeze_biases=True, **chosen
        )
        self._source, self._chosen, self._named, self._opened = source, chosen, layer, opened
        self._channel = channel_of(self._instrumented.manifest)
        self._session = Session(self._instrumented, **opened)

    def predicted(self, image: Any) -> int:
        """The class that the model predicts for one image [*grid, C]."""
        found = self._session.explain(self._fed(np.asarray(image)[None]), outputs=()).targets
        assert found is not None  # the model was instrumented without --seed
        return int(found[0])

    def __call__(
        self,
        x_value_batch: Any,
        call_model_args: Any = None,
        expected_keys: Collection[str] | None = None,
    ) -> dict[str, Array]:
        """Scores, gradients and a layer's values.

        Args:
            x_value_batch: images [N, *grid, C].
            call_model_args: ``{"target": class}``, the class for all images or one for each, to
                which ``"feeds"`` may add further inputs by name; or the class alone.
            expected_keys: the package's own words; None: scores and gradients.

        Returns:
            By their words: ``OUTPUT_LAYER_VALUES`` [N], the explained scalar f;
            ``INPUT_OUTPUT_GRADIENTS`` [N, *grid, C], of f by the images;
            ``CONVOLUTION_LAYER_VALUES`` [N, *grid, C] of the layer, and
            ``CONVOLUTION_OUTPUT_GRADIENTS``, of f by them.

        Raises:
            InputError: there is no target, or an array, key or feed does not fit.
            UnsupportedModelError: the model has no layer for Grad-CAM.
        """
        keys = (VALUES, GRADIENTS) if expected_keys is None else tuple(expected_keys)
        target, feeds = _arguments(call_model_args)
        unknown = [key for key in keys if key not in _KEYS]
        if unknown:
            raise InputError(
                "unknown-key",
                f"`{unknown[0]}` is not known",
                f"any of: {', '.join(_KEYS)}",
            )
        images = self._fed(np.asarray(x_value_batch))
        found: dict[str, Array] = {}
        if VALUES in keys or GRADIENTS in keys:
            ran = self._session.explain(images, target, feeds=feeds)
            assert ran.input_gradient is not None
            found[VALUES] = ran.scores
            found[GRADIENTS] = np.moveaxis(ran.input_gradient, self._channel, -1)
        if LAYER_VALUES in keys or LAYER_GRADIENTS in keys:
            values, gradients = self._layer.run(images, target, feeds)
            found |= {LAYER_VALUES: values, LAYER_GRADIENTS: gradients}
        return {key: found[key] for key in keys}

    def _fed(self, images: Array) -> Array:
        """Images as the model takes them."""
        rank = len(self._session.input_shape)
        if images.ndim != rank:
            raise InputError(
                "wrong-shape",
                f"images of shape {list(images.shape[1:])} are none of {rank - 1} dimensions",
                "give images with the channels last, such as [H, W, 3], or [H, W, 1] for gray ones",
            )
        return np.ascontiguousarray(np.moveaxis(images, -1, self._channel))

    @cached_property
    def _layer(self) -> _Layer:
        """The layer that Grad-CAM looks at."""
        plan = make_plan(model.read(self._source), freeze=True, **self._chosen)
        p, layout = choose_layer(plan.primals, plan.layouts, self._named)
        if layout.tokens is not None or layout.unfolded is not None:
            raise UnsupportedModelError(
                "no-such-layer",
                f"`{p.y.name}` is no tensor of channels on a grid",
                "name another layer, or take grad-cam of fg_onnx.methods",
            )
        if p.y.name == plan.y.name:
            raise UnsupportedModelError(
                "no-such-layer",
                f"`{p.y.name}` is what is explained itself, and no layer on the way to it",
                "name another layer",
            )
        rest = behind(self._instrumented.model, declared(p.y), declared(plan.y))
        gradients = instrument(
            rest,
            input=p.y.name,
            output=plan.y.name,
            emit=("input-gradient",),
            freeze_biases=True,
        )
        values = showing(self._instrumented, [p.y.name])
        opened = self._opened
        return _Layer(
            p.y.name,
            layout.channel,
            self._instrumented.manifest.fed,
            Session(values, **opened),
            Session(gradients, **opened),
        )


class _Layer:
    """A tensor inside the model, its values and the gradients of the score by them."""

    def __init__(
        self, name: str, channel: int, image: str, values: Session, gradients: Session
    ) -> None:
        self._name, self._channel, self._image = name, channel, image
        self._values, self._gradients = values, gradients

    def run(self, images: Array, target: Any, feeds: Mapping[str, Any]) -> tuple[Array, Array]:
        """Both, with the channels last."""
        ran = self._values.explain(images, target, feeds=feeds, outputs=[self._name])
        values = ran.outputs[self._name]
        given = {self._image: images, **feeds}
        past = {name: given[name] for name in self._gradients.further_inputs if name in given}
        found = self._gradients.explain(values, target, feeds=past).input_gradient
        assert found is not None
        return np.moveaxis(values, self._channel, -1), np.moveaxis(found, self._channel, -1)


def _arguments(given: Any) -> tuple[Any, Mapping[str, Any]]:
    """The target and further inputs."""
    named = given if isinstance(given, Mapping) else {"target": given}
    unknown = [name for name in named if name not in _ARGUMENTS]
    if unknown:
        raise InputError(
            "unknown-argument",
            f"`call_model_args` has no `{unknown[0]}`",
            f"it takes: {', '.join(_ARGUMENTS)}",
        )
    target = named.get("target")
    if target is None or np.any(np.asarray(target) < 0):
        raise InputError(
            "no-target",
            "no class was named, and what is predicted changes along the way from a baseline",
            'give call_model_args={"target": model.predicted(image)}',
        )
    return target, named.get("feeds", {})
