"""Exported models for Quantus: its metrics judge an `.onnx` and what explains it.

    metric = quantus.MaxSensitivity()
    metric(
        model=quantus_model("model.onnx"), x_batch=images, y_batch=classes,
        explain_func=explain_func("fullgrad"),
    )

Importing this module imports Quantus, and makes it take such models.
"""

from __future__ import annotations

import copy
import functools
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.adapters.tensors import channel_of, showing
from fg_onnx.devices import AUTO
from fg_onnx.errors import InputError, RuntimeMissingError, UnsupportedModelError
from fg_onnx.evaluate.parameters import Parameters, parameters
from fg_onnx.instrumentation import instrument
from fg_onnx.methods import Explainer, explainer
from fg_onnx.session import Session
from fg_onnx.source.model import ModelSource

try:
    _utils: Any = importlib.import_module("quantus.helpers.utils")
    _interfaces: Any = importlib.import_module("quantus.helpers.model.model_interface")
except ImportError as error:
    raise RuntimeMissingError(
        "no-quantus",
        f"Quantus cannot be imported ({error})",
        "install it: pip install --no-deps quantus, then pip install pandas scikit-image "
        "scikit-learn matplotlib tqdm typing_extensions",
    ) from error

Array = npt.NDArray[Any]


def quantus_model(
    source: ModelSource,
    *,
    input: str | None = None,
    output: str | None = None,
    dynamic_batch: bool = False,
    device: str = AUTO,
    threads: int | None = None,
) -> OnnxModel:
    """A model as Quantus's metrics take it.

    Args:
        source: a path or a ModelProto that is not instrumented.
        input: the image input; None: the first.
        output: the explained tensor; None: the logits.
        dynamic_batch: make a fixed batch symbolic.
        device: as `fg_onnx.Session` takes it.
        threads: likewise.

    Raises:
        ModelError: the model cannot be read, or is broken.
        UnsupportedModelError: it cannot be instrumented, or its input has no grid.
        RuntimeMissingError: there is no ONNX Runtime, or it lacks the device.
    """
    chosen = {"input": input, "output": output, "dynamic_batch": dynamic_batch}
    return OnnxModel(source, chosen, {"device": device, "threads": threads})


def explain_func(name: str, **options: Any) -> Callable[..., Array]:
    """A method as Quantus's metrics take it.

    Args:
        name: of `fg_onnx.methods.METHODS`.
        options: as `fg_onnx.methods.explainer` takes them beside the model.

    Returns:
        A function of ``model`` (a `quantus_model`), ``inputs`` [N, ...] and ``targets`` [N] that
        gives maps, float32 [N, 1, *grid]. Of ``explain_func_kwargs`` it takes ``feeds``, further
        inputs of the model by name.
    """

    def explain(
        model: OnnxModel,
        inputs: Any,
        targets: Any,
        *,
        feeds: Mapping[str, Any] | None = None,
        method: str | None = None,  # noqa: ARG001 - `quantus.evaluate` gives the user's word for it
        device: str | None = None,  # noqa: ARG001 - of torch; the model has its own
    ) -> Array:
        classes = np.asarray(targets)
        if np.any(classes < 0):  # the metrics take it for the last class, and methods for none
            raise InputError("wrong-targets", "a class cannot be negative", "count from 0 on")
        return model.explainer(name, options).explain(inputs, classes, feeds=feeds)[:, None]

    return explain


class OnnxModel(_interfaces.ModelInterface):  # type: ignore[misc]
    """What Quantus asks of a model, answered by an exported one.

    Metrics hold it in the place of a wrapper, and give it to ``explain_func`` as it is.

    Args:
        source: the model.
        chosen: options of `fg_onnx.instrument`.
        opened: options of `fg_onnx.Session`.
    """

    def __init__(
        self, source: ModelSource, chosen: Mapping[str, Any], opened: Mapping[str, Any]
    ) -> None:
        super().__init__(source)
        self._chosen, self._opened = chosen, opened
        self._explainers: dict[str, Explainer] = {}
        self._showing: dict[tuple[str, ...], Session] = {}
        self._plain = instrument(source, emit=(), freeze_biases=True, **chosen)
        held = self._plain.manifest
        self._channel, self._output = channel_of(held), held.output
        self._session = Session(showing(self._plain, [held.output]), **opened)

    def called(
        self,
        channel_first: bool,
        softmax: bool | None,
        device: str | None = None,  # noqa: ARG002 - of torch; the model has its own
        model_predict_kwargs: Mapping[str, Any] | None = None,
    ) -> OnnxModel:
        """The same model as the call of a metric wants it."""
        found = copy.copy(self)
        found.channel_first, found.softmax = channel_first, bool(softmax)
        found.model_predict_kwargs = dict(model_predict_kwargs or {})
        return found

    def explainer(self, name: str, options: Mapping[str, Any]) -> Explainer:
        """A method at work on the model; the same one is made once."""
        key = repr((name, sorted(options.items())))
        if key not in self._explainers:
            given = {**self._chosen, **self._opened, **options}
            self._explainers[key] = explainer(self.model, name, **given)
        return self._explainers[key]

    def predict(self, x: Any, **kwargs: Any) -> Array:
        """The scores of all classes, or their softmax, float32 [N, K].

        Args:
            x: [N, ...] as the model takes them.
            kwargs: further inputs of the model by name, as ``model_predict_kwargs``.
        """
        feeds = {**self.model_predict_kwargs, **kwargs}
        ran = self._session.explain(x, feeds=feeds, outputs=[self._output])
        scores = ran.outputs[self._output].reshape(len(ran.scores), -1)
        if not self.softmax:
            return np.asarray(scores, dtype=np.float32)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True), dtype=np.float64)
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)

    def shape_input(
        self,
        x: Any,
        shape: tuple[int, ...],
        channel_first: bool | None = None,
        batched: bool = False,
    ) -> Array:
        """Images as the model takes them."""
        if channel_first is None:
            channel_first = _utils.infer_channel_first(x)
        images = np.reshape(x, shape if batched else (1, *shape))
        return np.moveaxis(images, 1 if channel_first else -1, self._channel)

    def get_model(self) -> OnnxModel:
        """The model, as ``explain_func`` gets it."""
        return self

    def get_softmax_arg_model(self) -> OnnxModel:
        """The model: `predict` applies the softmax, and methods explain what is before it."""
        return self

    @cached_property
    def _parameters(self) -> Parameters:
        return parameters(self.model)

    def state_dict(self) -> dict[str, Array]:
        """The parameters by name."""
        return self._parameters.values()

    def get_random_layer_generator(
        self, order: str = "top_down", seed: int = 42
    ) -> Iterator[tuple[str, OnnxModel]]:
        """Every layer's name, and the model with it redrawn, with those before it in a cascade.

        Args:
            order: ``top_down`` and ``bottom_up`` are cascades, ``independent`` is none.
            seed: of the draws.
        """
        layers = self._parameters.layers
        layers = layers[::-1] if order == "top_down" else layers
        for at, layer in enumerate(layers):
            start = at if order == "independent" else 0
            redrawn = self._parameters.redrawn(layers[start : at + 1], seed)
            yield layer.name, OnnxModel(redrawn, self._chosen, self._opened)

    @property
    def random_layer_generator_length(self) -> int:
        """The number of layers with parameters."""
        return len(self._parameters.layers)

    def add_mean_shift_to_first_layer(self, *_: Any) -> Any:
        """Refuse the metric InputInvariance.

        Raises:
            UnsupportedModelError: always: where the first layer pads its input, no bias makes up
                for what is added to all pixels.
        """
        raise UnsupportedModelError(
            "no-mean-shift",
            "the first layer of an exported model is not shifted, for a layer that pads its input "
            "cannot be",
            "leave out the metric InputInvariance",
        )

    def get_hidden_representations(
        self,
        x: Any,
        layer_names: Sequence[str] | None = None,
        layer_indices: Sequence[int] | None = None,
    ) -> Array:
        """What layers compute, flattened and side by side in the order of the graph: [N, D].

        Args:
            x: [N, ...] as the model takes them.
            layer_names: of nodes or tensors; with ``layer_indices`` None too: all layers that have
                parameters.
            layer_indices: of the layers that have parameters.

        Raises:
            UnsupportedModelError: there is no such layer.
        """
        tensors = self._results_of(layer_names or (), layer_indices or ())
        if tensors not in self._showing:
            self._showing[tensors] = Session(showing(self._plain, tensors), **self._opened)
        session = self._showing[tensors]
        ran = session.explain(x, feeds=self.model_predict_kwargs, outputs=tensors).outputs
        return np.hstack([ran[name].reshape(len(x), -1) for name in tensors])

    def _results_of(self, names: Sequence[str], indices: Sequence[int]) -> tuple[str, ...]:
        """The tensors that layers compute."""
        known = [layer.name for layer in self._parameters.layers]
        numbered = {i: name for j, name in enumerate(known) for i in (j, j - len(known))}
        wanted = {*names, *(numbered.get(index, f"number {index}") for index in indices)}
        wanted = wanted or set(known)
        found = {}
        for node in self._parameters.proto.graph.node:
            for name in wanted.intersection((node.name, *node.output)):
                found[name] = name if name in node.output else node.output[0]
        missing = sorted(wanted - set(found))
        if missing:
            raise UnsupportedModelError(
                "no-such-layer",
                f"the model has no layer `{missing[0]}`",
                f"its layers with parameters: {', '.join(known)}",
            )
        return tuple(dict.fromkeys(found.values()))

    @property
    def get_ml_framework_name(self) -> str:
        """Quantus's word for what runs the model."""
        return "onnx"


def _let_in() -> None:
    """Make Quantus take an `OnnxModel`: it chooses by torch's and keras's classes alone."""
    chosen = _utils.get_wrapped_model

    @functools.wraps(chosen)
    def get_wrapped_model(model: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(model, OnnxModel):
            return model.called(*args, **kwargs)
        return chosen(model, *args, **kwargs)

    _utils.get_wrapped_model = get_wrapped_model


_let_in()
