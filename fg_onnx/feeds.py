"""What an instrumented model is fed: checked, and fitted to its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx import manifest
from fg_onnx.binding import DeviceArray, as_numpy, taken
from fg_onnx.errors import InputError
from fg_onnx.manifest import Manifest

Array = npt.NDArray[Any]
Fed = Array | DeviceArray

_FLOATS: Mapping[str, npt.DTypeLike] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
}
_IMAGES: Mapping[str, npt.DTypeLike] = {
    **_FLOATS,
    **{f"tensor({kind}{n})": f"{kind}{n}" for kind in ("int", "uint") for n in (8, 16, 32, 64)},
}
_FED: Mapping[str, npt.DTypeLike] = {**_IMAGES, "tensor(bool)": np.bool_}


class Inputs:
    """The inputs of a loaded model.

    Args:
        session: an ``InferenceSession`` on the model.
        held: the model's manifest.
        memory: that the session computes in, as ``__dlpack_device__`` gives it.

    Attributes:
        image: the name of the input that images are fed to.
        shape: of that input; symbolic dimensions as str.

    Raises:
        ModelError: the model has no input to feed images to.
    """

    def __init__(self, session: Any, held: Manifest, memory: tuple[int, int]) -> None:
        self._own = session.get_inputs()
        self._all = {v.name: v for v in [*self._own, *session.get_overridable_initializers()]}
        self._manifest = held
        self._memory = memory
        image = _explained_input(session, held)
        # asked for once: the runtime makes texts and lists anew whenever it is asked
        self.image = str(image.name)
        self.shape: tuple[int | str | None, ...] = tuple(image.shape)
        self._dtype = np.dtype(_IMAGES[image.type])

    @property
    def further(self) -> dict[str, tuple[int | str | None, ...]]:
        """The shapes of the inputs that are to be fed beside the explained one, by name."""
        own = {manifest.SEED, manifest.TARGET, self._manifest.fed}
        return {value.name: tuple(value.shape) for value in self._own if value.name not in own}

    def images(self, array: Any) -> Fed:
        """Images in the type of their input.

        Raises:
            InputError: they do not fit.
        """
        images = self._typed(taken(self.image, array, self._memory))
        wanted = self.shape
        fits = len(images.shape) == len(wanted) and all(
            not isinstance(dim, int) or dim == size or axis == 0
            for axis, (dim, size) in enumerate(zip(wanted, images.shape, strict=False))
        )
        if not fits or not len(images):
            raise InputError(
                "wrong-shape",
                f"the model takes `{self.image}` of shape {list(wanted)}, not {list(images.shape)}",
                "preprocess the images as the model wants them",
            )
        return images

    def _typed(self, images: Fed) -> Fed:
        if isinstance(images, DeviceArray):
            return self._same_type(self.image, images)
        dtype = self._dtype
        if images.dtype == dtype and dtype.kind == "f":
            return images
        if not np.can_cast(images.dtype, np.float64, "same_kind"):
            raise InputError(
                "wrong-type",
                f"`{self.image}` is to be fed numbers of {dtype}, not {images.dtype}",
                "give an array of real numbers",
            )
        if dtype.kind == "f":
            return images.astype(dtype, copy=False)
        limits = np.iinfo(dtype)
        whole = images.dtype.kind in "iu" or np.array_equal(images, np.rint(images))
        if not whole or images.min(initial=0) < limits.min or images.max(initial=0) > limits.max:
            raise InputError(
                "not-pixels",
                f"the model takes `{self.image}` as {dtype}, and these are not whole numbers "
                f"from {limits.min} to {limits.max}",
                "feed pixels as they are: the model does its own preprocessing",
            )
        return images.astype(dtype, copy=False)

    def _same_type(self, name: str, value: DeviceArray) -> DeviceArray:
        """Fail where an array on a device is of another type than its input."""
        declared = self._all[name].type
        if value.type != declared:
            raise InputError(
                "wrong-type",
                f"`{name}` is to be fed {declared}, not {value.type}",
                "convert the array on its device",
            )
        return value

    def fed(self, feeds: Mapping[str, Any], count: int) -> dict[str, Fed]:
        """Further inputs by name, each with a row for every image if it has such.

        Raises:
            InputError: one of them does not fit.
        """
        return {name: self.fitted(name, value, count) for name, value in feeds.items()}

    def fitted(self, name: str, given: Any, count: int) -> Fed:
        """A further input in its own type, with a row for every image if it has such.

        Raises:
            InputError: it does not fit, or the model has no such input.
        """
        declared = self._all.get(name)
        if declared is None:
            raise InputError(
                "no-such-input",
                f"the model has no input `{name}`",
                f"its inputs: {', '.join(value.name for value in self._own)}",
            )
        value = taken(name, given, self._memory)
        if isinstance(value, DeviceArray):
            value = self._same_type(name, value)
        else:
            value = self._converted(name, value)
        if not self.is_per_image(name):
            return value
        dims = self._manifest.score_shape if name == manifest.SEED else None
        rank = len(declared.shape) if dims is None else 1 + len(dims)
        if isinstance(value, DeviceArray):
            fits = len(value.shape) == rank == len(declared.shape) and len(value) == count
        else:
            value = value[None] if value.ndim == rank - 1 else value
            fits = value.ndim > 0 and len(value) in (1, count)
        if not fits:
            raise InputError(
                "wrong-shape",
                f"`{name}` of shape {list(value.shape)} does not fit {count} images: "
                f"it takes {list(declared.shape)}",
                "give one row for each"
                if isinstance(value, DeviceArray)
                else "give one row for all images, or one for each",
            )
        if isinstance(value, DeviceArray) or len(value) == count:
            return value
        return np.repeat(value, count, axis=0)

    def _converted(self, name: str, value: Array) -> Array:
        dtype = _FED.get(self._all[name].type)
        if dtype is None:
            return value
        if not np.can_cast(value.dtype, dtype, "same_kind"):
            raise InputError(
                "wrong-type",
                f"`{name}` is to be fed {np.dtype(dtype)}, not {value.dtype}",
                "convert the array",
            )
        return value.astype(dtype, copy=False)

    def is_per_image(self, name: str) -> bool:
        """Whether the first dimension of an input is the batch."""
        if name in (manifest.TARGET, manifest.SEED):
            return True
        if name.startswith(manifest.BIAS):
            return False
        shape = self._all[name].shape
        return bool(shape) and shape[0] == self.shape[0]

    def targets(self, target: int | Sequence[int] | Array | None, count: int) -> Array:
        """int64 [count]: what is explained of each image.

        Raises:
            InputError: another number of targets, or one that is no whole number or out of range.
        """
        if target is None:
            return np.full(count, manifest.PREDICTED, dtype=np.int64)
        targets = np.atleast_1d(as_numpy("target", target))
        scores = self._manifest.scores
        if targets.ndim != 1 or len(targets) not in (1, count):
            raise InputError(
                "wrong-targets", f"{len(targets)} targets for {count} images", "give one, or each"
            )
        if targets.dtype.kind not in "iu":
            raise InputError(
                "wrong-targets",
                f"a target is the number of a score, not {targets.tolist()[0]!r}",
                "give whole numbers, or leave it out for the predicted class",
            )
        highest = np.iinfo(np.int64).max if scores is None else scores - 1
        if targets.min() < manifest.PREDICTED or targets.max() > highest:
            wrong = next(int(t) for t in targets if not manifest.PREDICTED <= t <= highest)
            raise InputError(
                "target-range",
                f"the target {wrong} is out of range: the model has {scores} scores",
                f"give 0 to {highest}, or leave it out for the predicted class",
            )
        return np.broadcast_to(targets.astype(np.int64), (count,)).copy()

    def as_declared(self, feeds: Mapping[str, Fed]) -> dict[str, Fed]:
        """The feeds of one run; the seed of scores without a batch dimension has none either."""
        seed = feeds.get(manifest.SEED)
        wanted = len(self._all[manifest.SEED].shape) if seed is not None else 0
        if isinstance(seed, np.ndarray) and seed.ndim > wanted:
            return {**feeds, manifest.SEED: seed.reshape(seed.shape[1:])}
        return dict(feeds)


def _explained_input(session: Any, held: Manifest) -> Any:
    for value in session.get_inputs():
        if value.name == held.fed and value.type in _IMAGES and value.shape:
            return value
    raise manifest.broken(f"the model has no image input `{held.fed}`")
