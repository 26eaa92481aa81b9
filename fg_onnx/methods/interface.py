"""The one interface to all methods: a model and a method's name in, maps out."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx import manifest
from fg_onnx.errors import InputError, UnsupportedModelError
from fg_onnx.instrumentation import Instrumented, instrument
from fg_onnx.manifest import Manifest
from fg_onnx.methods.method import Method
from fg_onnx.methods.table import METHODS
from fg_onnx.methods.task import Progress, Task
from fg_onnx.pictures.preprocess import Preprocessing
from fg_onnx.session import Session
from fg_onnx.source import model
from fg_onnx.source.model import ModelSource

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class MethodMaps:
    """What a method made of N images.

    Attributes:
        method: the method's name.
        maps: float32 [N, *grid], larger where more salient.
        signed: whether what speaks against the target is negative.
        targets: int64 [N], the index that was explained.
        scores: [N], the explained scalar f of the images themselves.
        residual: float64 [N], relative, 0 is complete: of FullGrad the decomposition's, of
            integrated gradients theirs; None for methods without completeness.
        delta: float64 [N], of integrated gradients: what the attributions sum to beyond
            ``f(x) - f(baseline)``; None for all others.
        notes: what a reader of the numbers has to know, a line each.
        image_notes: the same of single images, by their rows.
    """

    method: str
    maps: Array
    signed: bool
    targets: Array
    scores: Array
    residual: Array | None
    delta: Array | None
    notes: tuple[str, ...]
    image_notes: Mapping[int, str]


class Explainer:
    """A method at work on a model.

    Args:
        session: a model that was instrumented with what the method needs.
        method: the method and its options.
        batch: how many images the model is fed at once; the maps do not depend on it.
        preprocessing: of the images, for baselines that are a colour; None: the manifest's.

    Raises:
        UnsupportedModelError: the model does not emit what the method needs, or has no grid.
    """

    def __init__(
        self,
        session: Session,
        method: Method,
        *,
        batch: int = 8,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        if batch < 1:
            raise InputError("bad-option", f"`batch` cannot be {batch}", "give 1 or more")
        _require(session.manifest, method)
        held = session.manifest.preprocessing
        if preprocessing is None and held is not None:
            preprocessing = Preprocessing.from_dict(held)
        self.session = session
        self.method = method
        self._batch = batch
        self._preprocessing = preprocessing

    def explain(
        self, images: Any, targets: Any = None, *, feeds: Mapping[str, Any] | None = None
    ) -> Array:
        """`attribute`, the maps alone: float32 [N, *grid], larger where more salient."""
        return self.attribute(images, targets, feeds=feeds).maps

    def attribute(
        self,
        images: Any,
        targets: Any = None,
        *,
        feeds: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> MethodMaps:
        """Explain N preprocessed images.

        Args:
            images: in the shape of the input that images are fed to.
            targets: int64, an index for all or one for each image; None: the predicted classes of
                the images themselves, which stay what is explained of everything that a method
                makes of them.
            feeds: further inputs by name: the model's own, or ``fg_bias/<site>``.
            progress: is called after every run of the model with the number of images run so far
                and in all, as far as that is known then.

        Raises:
            InputError: an array, target or feed that does not fit the model.
        """
        images = np.asarray(images)
        if images.ndim != len(self.session.input_shape) or not len(images):
            raise InputError(
                "wrong-shape",
                f"the model takes images of shape {list(self.session.input_shape)}, not "
                f"{list(images.shape)}",
                "preprocess the images as the model wants them",
            )
        asked = np.atleast_1d(np.asarray(manifest.PREDICTED if targets is None else targets))
        if asked.ndim != 1 or len(asked) not in (1, len(images)):
            raise InputError(
                "wrong-targets",
                f"{asked.size} targets for {len(images)} images",
                "give one, or each",
            )
        if asked.dtype.kind not in "iu":
            raise InputError("wrong-targets", f"targets are not {asked.dtype}", "give integers")
        task = Task(
            self.session,
            self.session.fitted(images),
            np.broadcast_to(asked.astype(np.int64), (len(images),)),
            {name: np.asarray(value) for name, value in (feeds or {}).items()},
            self._batch,
            self._preprocessing,
            progress,
        )
        found = self.method.maps(task)
        return MethodMaps(
            self.method.name,
            np.ascontiguousarray(found.maps, dtype=np.float32),
            found.signed,
            found.targets,
            found.scores,
            found.residual,
            found.delta,
            found.notes,
            found.image_notes,
        )


def explainer(
    source: ModelSource | Instrumented,
    name: str,
    *,
    input: str | None = None,
    output: str | None = None,
    dynamic_batch: bool = False,
    device: str = "auto",
    threads: int | None = None,
    tf32: bool = False,
    batch: int = 8,
    preprocessing: Preprocessing | None = None,
    **options: Any,
) -> Explainer:
    """A method by its name, ready to explain with a model.

    Args:
        source: a plain model, which is instrumented in memory with what the method needs, or one
            that was instrumented with it.
        name: of `METHODS`.
        input: as `fg_onnx.instrument` takes it; for a plain model alone.
        output: likewise.
        dynamic_batch: likewise.
        device: as `fg_onnx.Session` takes it.
        threads: likewise.
        tf32: likewise.
        batch: how many images the model is fed at once.
        preprocessing: of the images, for baselines that are a colour; None: the manifest's.
        options: of the method, by the names of its class's fields.

    Raises:
        InputError: an unknown method or option, or a value that makes no sense.
        ModelError: the model cannot be read.
        UnsupportedModelError: it cannot be instrumented, or was so without what is needed here.
    """
    method = make_method(name, options)
    chosen: dict[str, Any] = {"input": input, "output": output, "dynamic_batch": dynamic_batch}
    ready = instrumented_for(source, method, **chosen)
    session = Session(ready, device=device, threads=threads, tf32=tf32)
    return Explainer(session, method, batch=batch, preprocessing=preprocessing)


def instrumented_for(
    source: ModelSource | Instrumented, method: Method, **options: Any
) -> Instrumented:
    """A model with what a method needs; one that is instrumented already, as it is.

    Args:
        source: either.
        method: whose needs count.
        options: further ones, as `fg_onnx.instrument` takes them.

    Raises:
        ModelError: the model cannot be read.
        UnsupportedModelError: it cannot be instrumented.
    """
    if isinstance(source, Instrumented):
        return source
    proto = model.read(source).proto
    held = manifest.find(proto)
    if held is not None:
        return Instrumented(proto, held)
    return instrument(source, emit=method.emit, **method.instrumenting, **options)


def make_method(name: str, options: Mapping[str, Any]) -> Method:
    """A method with its options.

    Raises:
        InputError: there is none of that name, it has no such option, or a value is of another
            type than the option's, or makes no sense.
    """
    if name not in METHODS:
        raise InputError(
            "unknown-method", f"there is no method `{name}`", f"one of: {', '.join(METHODS)}"
        )
    known = METHODS[name].kinds()
    for option, value in options.items():
        if option not in known:
            raise InputError(
                "unknown-option",
                f"{name} has no option `{option}`",
                f"its options: {', '.join(known)}" if known else "it has none",
            )
        if not any(_is(value, kind) for kind in known[option]):
            raise InputError(
                "bad-option",
                f"`{option}` of {name} cannot be {value!r}",
                f"give {' or '.join(_WORDS[kind] for kind in known[option])}",
            )
    return METHODS[name](**options)


_WORDS: Mapping[type, str] = MappingProxyType(
    {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a text",
        type(None): "nothing",
    }
)


def _is(value: object, kind: type) -> bool:
    """Whether a value is of an option's type; NumPy's are, and a truth value is no number."""
    if isinstance(value, (bool, np.bool_)):
        return kind is bool
    numbers_of: dict[type, type] = {int: numbers.Integral, float: numbers.Real}
    return isinstance(value, numbers_of.get(kind, kind))


def _require(held: Manifest, method: Method) -> None:
    missing = [word for word in method.emit if word not in held.emits]
    if missing:
        raise UnsupportedModelError(
            "not-emitted",
            f"the model is instrumented without {', '.join(missing)}, which {method.name} needs",
            "give the source model, or instrument it with that",
        )
    psi = method.instrumenting.get("psi", held.psi)
    if psi != held.psi:
        raise UnsupportedModelError(
            "psi-in-graph",
            f"the model is instrumented with psi {held.psi}, not {psi}",
            "give the source model",
        )
    if held.seed:
        raise UnsupportedModelError(
            "seeded",
            "the model is instrumented with a seed, and takes a cotangent in place of a class",
            "give the source model",
        )
    if held.layout is None:
        raise UnsupportedModelError(
            "no-grid",
            f"the input `{held.fed}` has no spatial grid for a map",
            "methods explain images, signals and volumes",
        )
    if held.pixels is not None and method.samples_inputs:
        raise UnsupportedModelError(
            "integer-input",
            f"the model takes integers as `{held.pixels}`, and {method.name} needs inputs that it "
            "can multiply, mix or add noise to",
            "export the model with its preprocessing outside, so that it takes float images",
        )
