"""Run an instrumented model under ONNX Runtime: images in, attributions out."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
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
from fg_onnx.errors import InputError, UnsupportedModelError
from fg_onnx.feeds import Fed, Inputs
from fg_onnx.files import existing
from fg_onnx.instrumentation import Instrumented
from fg_onnx.loading import Loader
from fg_onnx.manifest import Manifest
from fg_onnx.runs import Runs
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
        threads: that a call keeps busy on the CPU; None: one for each core. Several images share
            them, in runs side by side, for which the model is loaded once more.
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

        def load(source: str | bytes, threads: int | None, light: bool) -> Any:
            options = _options(threads)
            if providers is None:
                return open_on(device, source, options, tf32=tf32, patterns=light)
            return open_with(providers, source, options, patterns=light)

        loader = Loader(model if isinstance(model, Instrumented) else existing(model), load)
        self._session = loader.session(threads=threads)
        self._device = device_of(self._session)
        self._rounds = tf32 and self._device.is_gpu
        self.manifest = _manifest(self._session, model)
        self._outputs = {value.name: value.type for value in self._session.get_outputs()}
        self._inputs = Inputs(self._session, self.manifest, self._device.memory)
        self._runs = Runs(loader, self._inputs, self.manifest, self._device, threads)
        _require_outputs(self._outputs, self.manifest)

    @property
    def device(self) -> str:
        """What the model really runs on: ``cpu``, ``cuda:0``, or the name of another provider."""
        return str(self._device)

    @property
    def seconds(self) -> float:
        """How long ONNX Runtime has run the model so far, all calls together, those at once too."""
        return self._runs.seconds

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
        """Explain N preprocessed images, each for itself; on the CPU in runs side by side.

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
        found = self._runs.in_parts(images, self._fed(images, target, seed, feeds), wanted)
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
        self._runs.require_at_once(len(images))
        wanted = [name for name in self._wanted(outputs) if self._outputs[name][:7] == "tensor("]
        left = [name for name in wanted if name not in SMALL]
        fed = self._fed(images, target, seed, feeds)
        before = None if into is None else into.arrays
        ran = self._runs.at_once(images, fed, wanted, left, before)
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
        fed = self._runs.inputs_for(feeds or ()).fed(feeds or {}, len(images))
        (ranked,) = self._runs.in_parts(images, fed, [name], forward=True)
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
        fed = self._runs.inputs_for(feeds or ()).fed(feeds or {}, len(images))
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


def _options(threads: int | None) -> Any:
    """Of ONNX Runtime."""
    options = onnxruntime().SessionOptions()
    # The runtime warns of every default-valued input; here they are on purpose.
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


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
