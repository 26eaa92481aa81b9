"""Run an instrumented model under ONNX Runtime: images in, attributions out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from fg_onnx import manifest
from fg_onnx.errors import InputError, UnsupportedModelError, first_line
from fg_onnx.files import existing
from fg_onnx.forward import forward_part
from fg_onnx.instrumentation import Instrumented
from fg_onnx.manifest import Manifest, Precision
from fg_onnx.runtime import onnxruntime, open_session

Array = npt.NDArray[Any]

_DTYPES: Mapping[str, npt.DTypeLike] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
}
_IMAGES: Mapping[str, npt.DTypeLike] = {
    **_DTYPES,
    **{f"tensor({kind}{n})": f"{kind}{n}" for kind in ("int", "uint") for n in (8, 16, 32, 64)},
}
_FED: Mapping[str, npt.DTypeLike] = {**_IMAGES, "tensor(bool)": np.bool_}
_OUTPUTS: Mapping[str, str] = MappingProxyType(
    {
        "saliency": manifest.SALIENCY,
        "contributions": manifest.CONTRIBUTIONS,
        "input-gradient": manifest.INPUT_GRADIENT,
    }
)

TOLERANCES: Mapping[Precision, float] = MappingProxyType(
    {"float64": 1e-4, "float32": 1e-4, "float16": 1e-2, "bfloat16": 1e-1}
)
"""What a residual of completeness may be, by the float type that a model computes in.

What is summed, and the sums, are float32 in every model; a narrow forward pass rounds each of its
activations, by 2^-11 (float16) or 2^-8 (bfloat16) at most, and f is what comes of it. Nets of a
few layers were measured at 5e-4 and 2e-2, once that bound; a hundred layers whose roundings add up
at random come to ten times the bound, 5e-3 and 4e-2. In integers nothing is lost: what rounding
does to quantised numbers is attributed itself.
"""


@dataclass(frozen=True, eq=False)
class Attribution:
    """The full-gradient decomposition of N images, and their FullGrad maps.

    Attributes:
        scores: float [N], the explained scalar f(x).
        targets: int64 [N], the index that is explained; None under ``fg_seed``.
        contributions: float [N, 1+S], the input term and each site's total; None if not emitted.
        residual: float64 [N], ``|f - sum c| / max(|f|, sum |c|)``: 0 is complete; None if there
            are no contributions.
        saliency: float [N, *grid], the map of Eq. 2 on the grid of the input: [N, H, W] for images,
            [N, L] for signals, [N, D, H, W] for volumes; None if not emitted.
        input_gradient: in the shape of the explained input; None if not emitted.
        layer_maps: site name -> float [N, *grid of the site]; empty if not emitted.
        bias_gradients: site name -> in the shape of the site; empty if not emitted.
        outputs: the model's original outputs by name.
        manifest: of the model; names the columns of the contributions.
    """

    scores: Array
    targets: Array | None
    contributions: Array | None
    residual: Array | None
    saliency: Array | None
    input_gradient: Array | None
    layer_maps: Mapping[str, Array]
    bias_gradients: Mapping[str, Array]
    outputs: Mapping[str, Array]
    manifest: Manifest

    def named_contributions(self, image: int = 0) -> dict[str, float]:
        """``{"input": ..., site: ...}`` of one image, in manifest order; empty if not emitted."""
        if self.contributions is None:
            return {}
        names = ["input", *(site.name for site in self.manifest.sites)]
        return dict(zip(names, map(float, self.contributions[image]), strict=True))


def completeness_residual(scores: Array, contributions: Array) -> Array:
    """``|f - sum c| / max(|f|, sum |c|)`` per image: float [N], [N, 1+S] -> float64 [N].

    0 where both are 0; NaN where either holds one. The denominator counts the magnitudes that
    were added, since rounding grows with them and not with their sum.
    """
    f = scores.astype(np.float64)
    c = contributions.astype(np.float64)
    scale = np.maximum(np.abs(f), np.abs(c).sum(axis=1))
    gap = np.abs(f - c.sum(axis=1))
    return np.asarray(np.where(scale == 0, gap, gap / np.where(scale == 0, 1.0, scale)))


class Session:
    """An instrumented model, loaded.

    Args:
        model: the path of an instrumented model, or what `instrument` returned.
        providers: ONNX Runtime's execution providers, in order; None: the CPU.
        threads: within an operator; None: the runtime's choice.

    Raises:
        ModelError: the file cannot be read or loaded, or is not what its manifest says.
        UnsupportedModelError: the model is not instrumented.
        RuntimeMissingError: there is no ONNX Runtime, or it lacks a provider.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Instrumented,
        *,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> None:
        options = onnxruntime().SessionOptions()
        # The runtime warns of every default-valued input; here they are on purpose.
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        if isinstance(model, Instrumented):
            source: str | bytes = model.model.SerializeToString()
        else:
            source = str(existing(model))
        self._model = model
        self._open = partial(open_session, providers=providers, options=options)
        self._session = self._open(source)
        self.manifest = _manifest(self._session, model)
        self._outputs = [value.name for value in self._session.get_outputs()]
        with_default = self._session.get_overridable_initializers()
        self._inputs = {v.name: v for v in [*self._session.get_inputs(), *with_default]}
        self._input = _explained_input(self._session, self.manifest)
        _require_outputs(self._outputs, self.manifest)

    @property
    def tolerance(self) -> float:
        """The largest residual of completeness that rounding explains."""
        return TOLERANCES[self.manifest.precision]

    @property
    def input_shape(self) -> tuple[int | str | None, ...]:
        """Of the input that images are fed to; symbolic dimensions as str."""
        return tuple(self._input.shape)

    @property
    def further_inputs(self) -> dict[str, tuple[int | str | None, ...]]:
        """The shapes of the inputs that are to be fed beside the explained one, by name."""
        own = {manifest.SEED, self.manifest.fed}
        needed = [value for value in self._session.get_inputs() if value.name not in own]
        return {value.name: tuple(value.shape) for value in needed}

    def explain(
        self,
        array: npt.ArrayLike,
        target: int | Sequence[int] | Array | None = None,
        *,
        seed: npt.ArrayLike | None = None,
        feeds: Mapping[str, Array] | None = None,
    ) -> Attribution:
        """Explain N preprocessed images.

        Args:
            array: in the shape of the input that images are fed to. Where that one is of integers,
                whole numbers within its range.
            target: an index into the explained output, one for all or one for each image; None:
                the predicted class.
            seed: a cotangent [N, *scores] in the shape of the explained output, for a model with
                ``fg_seed``; one row may stand for all images.
            feeds: further inputs by name: the model's own, or ``fg_bias/<site>``. Of an input with
                a row for every image, one row may stand for all.

        Raises:
            InputError: an array, target or feed that does not fit the model.
        """
        images = self._images(array)
        fed = self._fed(feeds or {}, len(images))
        if self.manifest.seed:
            if seed is None:
                raise InputError(
                    "no-seed",
                    "the model was instrumented with --seed and got none",
                    "give a cotangent in the shape of the explained output",
                )
            fed[manifest.SEED] = self._fitted(manifest.SEED, np.asarray(seed), len(images))
        elif seed is not None:
            raise InputError(
                "no-seed-input", "the model takes no seed", "instrument it again with --seed"
            )
        else:
            fed[manifest.TARGET] = self._targets(target, len(images))
        return self._attribution(len(images), self._run(images, fed))

    def scores(self, array: npt.ArrayLike, feeds: Mapping[str, Array] | None = None) -> Array:
        """What ranks the classes, per image: float [N, K]; the forward part alone is run.

        Raises:
            InputError: the array does not fit, or no output of the model ranks the classes.
        """
        found = self.dense_scores(array, feeds)
        return found.reshape(len(found), -1)

    def dense_scores(self, array: npt.ArrayLike, feeds: Mapping[str, Array] | None = None) -> Array:
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
        images = self._images(array)
        (ranked,) = self._batches(images, self._fed(feeds or {}, len(images)), [name])
        dims = self.manifest.score_shape or (-1,)
        static = [dim for dim in dims if isinstance(dim, int)]
        found = np.asarray(ranked)
        return found.reshape(len(images), *static) if len(static) == len(dims) else found

    def _images(self, array: npt.ArrayLike) -> Array:
        images = self._typed(array)
        wanted = self.input_shape
        fits = images.ndim == len(wanted) and all(
            not isinstance(dim, int) or dim == size or axis == 0
            for axis, (dim, size) in enumerate(zip(wanted, images.shape, strict=False))
        )
        if not fits or not len(images):
            raise InputError(
                "wrong-shape",
                f"the model takes `{self._input.name}` of shape {list(wanted)}, "
                f"not {list(images.shape)}",
                "preprocess the images as the model wants them",
            )
        return images

    def _typed(self, array: npt.ArrayLike) -> Array:
        dtype = np.dtype(_IMAGES[self._input.type])
        images = np.asarray(array)
        if dtype.kind == "f":
            return images.astype(dtype, copy=False)
        limits = np.iinfo(dtype)
        whole = images.dtype.kind in "iu" or np.array_equal(images, np.rint(images))
        if not whole or images.min(initial=0) < limits.min or images.max(initial=0) > limits.max:
            raise InputError(
                "not-pixels",
                f"the model takes `{self._input.name}` as {dtype}, and these are not whole numbers "
                f"from {limits.min} to {limits.max}",
                "feed pixels as they are: the model does its own preprocessing",
            )
        return images.astype(dtype, copy=False)

    def _fed(self, feeds: Mapping[str, npt.ArrayLike], count: int) -> dict[str, Array]:
        return {name: self._fitted(name, np.asarray(value), count) for name, value in feeds.items()}

    def _fitted(self, name: str, value: Array, count: int) -> Array:
        """A further input in its own type, with a row for every image if it has such."""
        declared = self._inputs.get(name)
        if declared is None:
            raise InputError(
                "no-such-input",
                f"the model has no input `{name}`",
                f"its inputs: {', '.join(value.name for value in self._session.get_inputs())}",
            )
        dtype = _FED.get(declared.type)
        if dtype is not None:
            if not np.can_cast(value.dtype, dtype, "same_kind"):
                raise InputError(
                    "wrong-type",
                    f"`{name}` is to be fed {np.dtype(dtype)}, not {value.dtype}",
                    "convert the array",
                )
            value = value.astype(dtype, copy=False)
        if not self.is_per_image(name):
            return value
        dims = self.manifest.score_shape if name == manifest.SEED else None
        rank = len(declared.shape) if dims is None else 1 + len(dims)
        if value.ndim == rank - 1:
            value = value[None]
        if value.ndim == 0 or len(value) not in (1, count):
            raise InputError(
                "wrong-shape",
                f"`{name}` of shape {list(value.shape)} does not fit {count} images: "
                f"it takes {list(declared.shape)}",
                "give one row for all images, or one for each",
            )
        return np.repeat(value, count, axis=0) if len(value) != count else value

    def is_per_image(self, name: str) -> bool:
        """Whether the first dimension of an input is the batch."""
        if name in (manifest.TARGET, manifest.SEED):
            return True
        shape = self._inputs[name].shape
        own = not name.startswith(manifest.BIAS) and bool(shape)
        return own and shape[0] == self.input_shape[0]

    @cached_property
    def _forward(self) -> Any:
        """The forward part alone, in a session of its own."""
        if isinstance(self._model, Instrumented):
            proto = self._model.model
        else:
            proto = onnx.load(self._model)
        assert self.manifest.ranking is not None
        return self._open(forward_part(proto, self.manifest.ranking).SerializeToString())

    def _targets(self, target: int | Sequence[int] | Array | None, count: int) -> Array:
        targets = np.atleast_1d(
            np.asarray(manifest.PREDICTED if target is None else target, dtype=np.int64)
        )
        scores = self.manifest.scores
        if targets.ndim != 1 or len(targets) not in (1, count):
            raise InputError(
                "wrong-targets", f"{len(targets)} targets for {count} images", "give one, or each"
            )
        highest = np.iinfo(np.int64).max if scores is None else scores - 1
        if targets.min() < manifest.PREDICTED or targets.max() > highest:
            wrong = next(int(t) for t in targets if not manifest.PREDICTED <= t <= highest)
            raise InputError(
                "target-range",
                f"the target {wrong} is out of range: the model has {scores} scores",
                f"give 0 to {highest}, or leave it out for the predicted class",
            )
        return np.broadcast_to(targets, (count,)).copy()

    def _run(self, images: Array, feeds: dict[str, Array]) -> dict[str, Array]:
        return dict(zip(self._outputs, self._batches(images, feeds, None), strict=True))

    def _batches(
        self, images: Array, feeds: dict[str, Array], outputs: list[str] | None
    ) -> list[Array]:
        """One run, or one for each image where the model's batch is fixed to 1."""
        fixed = self.input_shape[0]
        if not isinstance(fixed, int) or fixed == len(images):
            return self._call(images, feeds, outputs)
        if fixed != 1:
            raise InputError(
                "fixed-batch",
                f"the model takes batches of {fixed}, not {len(images)}",
                "instrument it with --dynamic-batch, or export it with a dynamic batch",
            )
        rows = [
            self._call(
                images[i : i + 1],
                {k: v[i : i + 1] if self.is_per_image(k) else v for k, v in feeds.items()},
                outputs,
            )
            for i in range(len(images))
        ]
        return [_joined(column) for column in zip(*rows, strict=True)]

    def _call(
        self, images: Array, feeds: dict[str, Array], outputs: list[str] | None
    ) -> list[Array]:
        seed = feeds.get(manifest.SEED)
        if seed is not None and seed.ndim > len(self._inputs[manifest.SEED].shape):
            # scores without a batch dimension
            feeds = {**feeds, manifest.SEED: seed.reshape(seed.shape[1:])}
        session = self._session if outputs is None else self._forward
        if outputs is not None:
            taken = [*session.get_inputs(), *session.get_overridable_initializers()]
            feeds = {value.name: feeds[value.name] for value in taken if value.name in feeds}
        try:
            found: list[Array] = session.run(outputs, {self._input.name: images, **feeds})
        except Exception as error:  # a class of its own for every status code of the runtime
            raise InputError(
                "run-fails",
                f"the model does not run on this input: {first_line(error)}",
                "does it have further inputs to be fed?",
            ) from error
        return found

    def _attribution(self, images: int, found: dict[str, Array]) -> Attribution:
        scores = found.pop(manifest.SCORE)
        contributions = found.pop(manifest.CONTRIBUTIONS, None)
        saliency = found.pop(manifest.SALIENCY, None)
        targets = found.pop(manifest.EXPLAINED, None)
        _require_shape(manifest.SCORE, scores, (images,))
        _require_shape(manifest.EXPLAINED, targets, (images,))
        columns = 1 + len(self.manifest.sites)
        _require_shape(manifest.CONTRIBUTIONS, contributions, (images, columns))
        _require_shape(manifest.SALIENCY, saliency, (images, 1))
        return Attribution(
            scores=scores,
            targets=targets,
            contributions=contributions,
            residual=None
            if contributions is None
            else completeness_residual(scores, contributions),
            saliency=None if saliency is None else saliency[:, 0],
            input_gradient=found.pop(manifest.INPUT_GRADIENT, None),
            layer_maps=_take(found, manifest.LAYER_MAP, squeeze=True),
            bias_gradients=_take(found, manifest.BIAS_GRADIENT, squeeze=False),
            outputs=MappingProxyType(found),
            manifest=self.manifest,
        )


def _joined(column: Sequence[Array]) -> Array:
    """What single images gave, with the batch first, be it a dimension of theirs or not."""
    batched = column[0].ndim > 0 and len(column[0]) == 1
    return np.concatenate(column) if batched else np.stack(column)


def _take(found: dict[str, Array], prefix: str, *, squeeze: bool) -> Mapping[str, Array]:
    names = [name for name in found if name.startswith(prefix)]
    taken = {name.removeprefix(prefix): found.pop(name) for name in names}
    return MappingProxyType({k: v[:, 0] if squeeze else v for k, v in taken.items()})


def _explained_input(session: Any, held: Manifest) -> Any:
    for value in session.get_inputs():
        if value.name == held.fed and value.type in _IMAGES and value.shape:
            return value
    raise manifest.broken(f"the model has no image input `{held.fed}`")


def _require_outputs(outputs: Sequence[str], held: Manifest) -> None:
    wanted = [manifest.SCORE, *(_OUTPUTS[name] for name in held.emits if name in _OUTPUTS)]
    if not held.seed:
        wanted.append(manifest.EXPLAINED)
    for name in wanted:
        if name not in outputs:
            raise manifest.broken(f"the model has no output `{name}`")


def _require_shape(name: str, found: Array | None, wanted: tuple[int, ...]) -> None:
    """Fail where the first dimensions of an output are not those of the contract."""
    if found is not None and found.shape[: len(wanted)] != wanted:
        raise manifest.broken(f"the output `{name}` is of shape {list(found.shape)}")


def _manifest(session: Any, model: str | os.PathLike[str] | Instrumented) -> Manifest:
    text = session.get_modelmeta().custom_metadata_map.get(manifest.METADATA_KEY)
    if text is None:
        raise UnsupportedModelError(
            "not-instrumented",
            f"`{model}` is not an instrumented model",
            "run `fg-onnx instrument` on it first",
        )
    return manifest.parse(text)
