"""Run an instrumented model under ONNX Runtime: images in, attributions out."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx import binding, manifest
from fg_onnx.attribution import (
    SMALL,
    TOLERANCES,
    Attribution,
    DeviceAttribution,
    attribution,
    device_attribution,
)
from fg_onnx.binding import DeviceArray
from fg_onnx.devices import AUTO, device_of, open_on, open_with
from fg_onnx.errors import FgOnnxError, InputError, UnsupportedModelError, first_line
from fg_onnx.feeds import Fed, Inputs
from fg_onnx.files import existing
from fg_onnx.instrumentation import Instrumented
from fg_onnx.loading import Loader, feeds_biases
from fg_onnx.manifest import Manifest
from fg_onnx.runtime import Provider, onnxruntime

Array = npt.NDArray[Any]

_OUTPUTS: Mapping[str, str] = {
    "saliency": manifest.SALIENCY,
    "contributions": manifest.CONTRIBUTIONS,
    "input-gradient": manifest.INPUT_GRADIENT,
    **dict(manifest.METHOD_EMITS.items()),
}
_GROUPS: Mapping[str, str] = {
    "layer-maps": manifest.LAYER_MAP,
    "bias-gradients": manifest.BIAS_GRADIENT,
}


class Session:
    """An instrumented model, loaded.

    Args:
        model: the path of an instrumented model, or what `instrument` returned.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``tensorrt`` or ``tensorrt:N``. ``auto``,
            the default, is the first CUDA device where ONNX Runtime really brings it up, else the
            CPU; of the others, one that is not there is an error.
        providers: in the place of a device: ONNX Runtime's execution providers, in order, by name
            or as (name, options).
        threads: within an operator on the CPU; None: the runtime's choice.
        tf32: let CUDA round the factors of float32 products to TF32, which is faster and widens
            the tolerance of the residual to that of float16.

    Raises:
        InputError: ``device`` or ``providers`` is none, or both are given.
        ModelError: the file cannot be read or loaded, or is not what its manifest says.
        UnsupportedModelError: the model is not instrumented.
        RuntimeMissingError: there is no ONNX Runtime, or it lacks the device or a provider.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Instrumented,
        *,
        device: str = AUTO,
        providers: Sequence[Provider] | None = None,
        threads: int | None = None,
        tf32: bool = False,
    ) -> None:
        if providers is not None and (device != AUTO or tf32):
            raise InputError(
                "two-devices",
                "`providers` stands in the place of `device` and `tf32`",
                "give one of them; a provider's own options stand beside its name",
            )
        options = onnxruntime().SessionOptions()
        # The runtime warns of every default-valued input; here they are on purpose.
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        self._loader = Loader(
            model if isinstance(model, Instrumented) else existing(model),
            partial(open_on, device, options=options, tf32=tf32)
            if providers is None
            else partial(open_with, providers, options=options),
        )
        self._session = self._loader.session()
        self._device = device_of(self._session)
        self._rounds = tf32 and self._device.is_gpu
        self.manifest = _manifest(self._session, model)
        self._outputs = {value.name: value.type for value in self._session.get_outputs()}
        self._inputs = Inputs(self._session, self.manifest, self._device.memory)
        self._seconds = 0.0
        self._counting = threading.Lock()  # runs may go on side by side
        _require_outputs(self._outputs, self.manifest)

    @property
    def device(self) -> str:
        """What the model really runs on: ``cpu``, ``cuda:0``, or the name of another provider."""
        return str(self._device)

    @property
    def seconds(self) -> float:
        """How long ONNX Runtime has run the model so far, all calls together, those at once too."""
        return self._seconds

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers that came up, in order; what one lacks, the next one runs."""
        return tuple(self._session.get_providers())

    @property
    def tolerance(self) -> float:
        """The largest residual of completeness that rounding explains."""
        found = TOLERANCES[self.manifest.precision]
        # TF32 has the mantissa of float16.
        return max(found, TOLERANCES["float16"]) if self._rounds else found

    @property
    def input_shape(self) -> tuple[int | str | None, ...]:
        """Of the input that images are fed to; symbolic dimensions as str."""
        return self._inputs.shape

    @property
    def further_inputs(self) -> dict[str, tuple[int | str | None, ...]]:
        """The shapes of the inputs that are to be fed beside the explained one, by name."""
        return self._inputs.further

    @property
    def output_names(self) -> tuple[str, ...]:
        """Of all outputs of the model, its own first."""
        return tuple(self._outputs)

    def is_per_image(self, name: str) -> bool:
        """Whether the first dimension of an input is the batch."""
        return self._inputs.is_per_image(name)

    def explain(
        self,
        array: Any,
        target: int | Sequence[int] | Array | None = None,
        *,
        seed: Any = None,
        feeds: Mapping[str, Any] | None = None,
        outputs: Collection[str] | None = None,
    ) -> Attribution:
        """Explain N preprocessed images.

        Every array may be NumPy's, or any with ``__dlpack__`` in the host's memory or that of the
        session's device (torch, CuPy, `DeviceArray`): it is read where it lies.

        Args:
            array: in the shape of the input that images are fed to. Where that one is of integers,
                whole numbers within its range.
            target: an index into the explained output, one for all or one for each image; None:
                the predicted class.
            seed: a cotangent [N, *scores] in the shape of the explained output, for a model with
                ``fg_seed``; one row may stand for all images.
            feeds: further inputs by name: the model's own, or ``fg_bias/<site>``. Of an input with
                a row for every image, one row may stand for all. The first bias that is fed loads
                the model once more: until then the biases are constants, which is faster.
            outputs: what is brought beside scores and contributions: words of `instrument`'s
                ``emit``, or names of outputs; None: all. The rest is computed all the same.

        Raises:
            InputError: an array, target, feed or output that does not fit the model.
        """
        images = self._inputs.images(array)
        wanted = self._wanted(outputs)
        found = self._batches(images, self._fed(images, target, seed, feeds), wanted)
        return attribution(dict(zip(wanted, found, strict=True)), len(images), self.manifest)

    def explain_on_device(
        self,
        array: Any,
        target: int | Sequence[int] | Array | None = None,
        *,
        seed: Any = None,
        feeds: Mapping[str, Any] | None = None,
        outputs: Collection[str] | None = None,
        into: DeviceAttribution | None = None,
    ) -> DeviceAttribution:
        """`explain`, with all but scores and contributions left in the device's memory.

        Args:
            array: as `explain` takes it.
            target: likewise.
            seed: likewise.
            feeds: likewise.
            outputs: likewise; None: all tensors.
            into: what an earlier call returned for as many images of the same size: its arrays are
                written again and hold the new values. Without it, every call has its own.

        Raises:
            InputError: as `explain`; or ``into`` is of another model or device, or of images of
                another shape; or the model takes one image at a time and several are given.
        """
        images = self._inputs.images(array)
        shape = tuple(images.shape)
        if into is not None:
            self._require_own(into, shape)
        if self._one_by_one(len(images)):
            raise InputError(
                "fixed-batch",
                f"the model takes one image at a time, not {len(images)}, and what each gives is "
                "not joined on a device",
                "instrument it with --dynamic-batch, or give the images one by one",
            )
        wanted = [name for name in self._wanted(outputs) if self._outputs[name][:7] == "tensor("]
        left = [name for name in wanted if name not in SMALL]
        fed = self._fed(images, target, seed, feeds)
        before = None if into is None else into.arrays
        ran = self._call(images, fed, wanted, left, before)
        found = dict(zip(wanted, ran, strict=True))
        arrays = {name: found.pop(name) for name in left}
        return device_attribution(found, arrays, shape, self.manifest)

    def _require_own(self, into: DeviceAttribution, shape: tuple[int, ...]) -> None:
        """Fail where arrays are another model's, or what is found has no room in them."""
        if into.manifest != self.manifest:
            raise InputError(
                "other-model",
                "`into` holds what another model gave, or this one instrumented otherwise",
                "give what this session returned, or leave it out",
            )
        if into.input_shape != shape:
            raise InputError(
                "wrong-shape",
                f"`into` holds what images of {list(into.input_shape)} gave, not {list(shape)}",
                "leave it out where the batch changes",
            )
        for name, value in into.arrays.items():
            binding.require_memory(f"into.arrays[{name!r}]", value, self._device.memory)

    def put(self, array: Any) -> DeviceArray:
        """Preprocessed images, copied into the memory that the session computes in.

        For images that are explained more than once; `DeviceArray.update` writes the next batch
        into the same memory.

        Raises:
            InputError: they do not fit the model.
        """
        images = self._inputs.images(array)
        host = images.numpy() if isinstance(images, DeviceArray) else images
        return binding.put(host, self._device.memory)

    def fitted(self, images: Array) -> Array:
        """Preprocessed images in the type of the input that they are fed to.

        Raises:
            InputError: they do not fit the model.
        """
        return np.asarray(self._inputs.images(images))

    def scores(self, array: Any, feeds: Mapping[str, Any] | None = None) -> Array:
        """What ranks the classes, per image: float [N, K]; the forward part alone is run.

        Raises:
            InputError: the array does not fit, or no output of the model ranks the classes.
        """
        found = self.dense_scores(array, feeds)
        return found.reshape(len(found), -1)

    def dense_scores(self, array: Any, feeds: Mapping[str, Any] | None = None) -> Array:
        """The same in the shape of the explained output: float [N, *scores].

        Raises:
            InputError: as `scores`.
        """
        name = self.manifest.ranking
        if name is None:
            raise InputError(
                "no-ranking",
                f"`{self.manifest.output}` is no output of the model: its classes have no ranking",
                "give the target as a number",
            )
        images = self._inputs.images(array)
        fed = self._inputs_for(feeds or ()).fed(feeds or {}, len(images))
        (ranked,) = self._batches(images, fed, [name], forward=True)
        dims = self.manifest.score_shape or (-1,)
        static = [dim for dim in dims if isinstance(dim, int)]
        found = np.asarray(ranked)
        return found.reshape(len(images), *static) if len(static) == len(dims) else found

    def _fed(
        self,
        images: Fed,
        target: int | Sequence[int] | Array | None,
        seed: Any,
        feeds: Mapping[str, Any] | None,
    ) -> dict[str, Fed]:
        """What is fed beside the images: further inputs, and the target or the seed."""
        fed = self._inputs_for(feeds or ()).fed(feeds or {}, len(images))
        if self.manifest.seed:
            if seed is None:
                raise InputError(
                    "no-seed",
                    "the model was instrumented with --seed and got none",
                    "give a cotangent in the shape of the explained output",
                )
            fed[manifest.SEED] = self._inputs.fitted(manifest.SEED, seed, len(images))
        elif seed is not None:
            raise InputError(
                "no-seed-input", "the model takes no seed", "instrument it again with --seed"
            )
        else:
            fed[manifest.TARGET] = self._inputs.targets(target, len(images))
        return fed

    def _wanted(self, asked: Collection[str] | None) -> list[str]:
        """The outputs that are asked for and those that always come, in the model's order."""
        if asked is None:
            return list(self._outputs)
        found = set(SMALL)
        for word in asked:
            names = [
                name
                for name in self._outputs
                if name in (word, _OUTPUTS.get(word)) or name.startswith(_GROUPS.get(word, "\0"))
            ]
            if not names:
                raise InputError(
                    "no-such-output",
                    f"the model has no output `{word}`",
                    f"it emits: {', '.join(self.manifest.emits) or 'the score alone'}",
                )
            found.update(names)
        return [name for name in self._outputs if name in found]

    def _feeds_biases(self, names: Collection[str]) -> bool:
        """Whether promoted biases are among what is fed, which are constants otherwise."""
        return not self.manifest.frozen_biases and feeds_biases(names)

    def _inputs_for(self, names: Collection[str]) -> Inputs:
        """What knows the inputs of these names, if the model has them."""
        return self._all_inputs if self._feeds_biases(names) else self._inputs

    @cached_property
    def _all_inputs(self) -> Inputs:
        return Inputs(self._loader.session(fed=True), self.manifest, self._device.memory)

    def _one_by_one(self, count: int) -> bool:
        """Whether the model's batch is fixed to 1, and there are several images.

        Raises:
            InputError: it is fixed to another number than theirs.
        """
        fixed = self.input_shape[0]
        if not isinstance(fixed, int) or fixed == count:
            return False
        if fixed != 1:
            raise InputError(
                "fixed-batch",
                f"the model takes batches of {fixed}, not {count}",
                "instrument it with --dynamic-batch, or export it with a dynamic batch",
            )
        return True

    def _batches(
        self, images: Fed, feeds: Mapping[str, Fed], outputs: list[str], *, forward: bool = False
    ) -> list[Array]:
        """One run, or one for each image where the model's batch is fixed to 1."""
        if not self._one_by_one(len(images)):
            return self._call(images, feeds, outputs, forward=forward)
        rows = []
        for i in range(len(images)):
            fed = {k: _row(v, i) if self.is_per_image(k) else v for k, v in feeds.items()}
            rows.append(self._call(_row(images, i), fed, outputs, forward=forward))
        return [_joined(column) for column in zip(*rows, strict=True)]

    def _call(
        self,
        images: Fed,
        feeds: Mapping[str, Fed],
        outputs: list[str],
        left: Collection[str] = (),
        into: Mapping[str, DeviceArray] | None = None,
        *,
        forward: bool = False,
    ) -> list[Any]:
        fed = {self._inputs.image: images, **self._inputs.as_declared(feeds)}
        ranking = self.manifest.ranking if forward else None
        session = self._loader.session(ranking=ranking, fed=self._feeds_biases(fed))
        if forward:
            taken = [*session.get_inputs(), *session.get_overridable_initializers()]
            fed = {value.name: fed[value.name] for value in taken if value.name in fed}
        began = time.perf_counter()
        try:
            if left or any(isinstance(value, DeviceArray) for value in fed.values()):
                memory = self._device.memory
                return binding.run(session, fed, outputs, left=left, memory=memory, into=into)
            found: list[Array] = session.run(outputs, fed)
        except FgOnnxError:
            raise
        except Exception as error:  # a class of its own for every status code of the runtime
            raise InputError(
                "run-fails",
                f"the model does not run on this input: {first_line(error)}",
                "does it have further inputs to be fed?",
            ) from error
        finally:
            with self._counting:
                self._seconds += time.perf_counter() - began
        return found


def _row(value: Fed, index: int) -> Fed:
    return value.row(index) if isinstance(value, DeviceArray) else value[index : index + 1]


def _joined(column: Sequence[Array]) -> Array:
    """What single images gave, with the batch first, be it a dimension of theirs or not."""
    batched = column[0].ndim > 0 and len(column[0]) == 1
    return np.concatenate(column) if batched else np.stack(column)


def _require_outputs(outputs: Collection[str], held: Manifest) -> None:
    wanted = [manifest.SCORE, *(_OUTPUTS[name] for name in held.emits if name in _OUTPUTS)]
    if not held.seed:
        wanted.append(manifest.EXPLAINED)
    for name in wanted:
        if name not in outputs:
            raise manifest.broken(f"the model has no output `{name}`")


def _manifest(session: Any, model: str | os.PathLike[str] | Instrumented) -> Manifest:
    text = session.get_modelmeta().custom_metadata_map.get(manifest.METADATA_KEY)
    if text is None:
        raise UnsupportedModelError(
            "not-instrumented",
            f"`{model}` is not an instrumented model",
            "run `fg-onnx instrument` on it first",
        )
    return manifest.parse(text)
