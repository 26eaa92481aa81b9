"""Hold the engines against each other: their instrumented models, and their cotangents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fg_onnx.errors import EngineError, InputError
from fg_onnx.instrumentation import instrument
from fg_onnx.manifest import Dim, Emit
from fg_onnx.session import Session
from fg_onnx.source.model import ModelSource
from fg_onnx.verification.kernels import Question, both_cotangents

Array = npt.NDArray[Any]
Against = Literal["ort-training", "kernels"]

AGREEMENT = 1e-5
"""What two engines may differ by, relative to the largest entry: sums of some thousand float32
products in another order."""

_EMIT: tuple[Emit, ...] = ("contributions", "input-gradient", "bias-gradients")


@dataclass(frozen=True)
class Difference:
    """What the standard engine and another witness say of one quantity.

    Attributes:
        against: ``ort-training``, the instrumented model made with that engine; ``kernels``,
            onnxruntime-training's own kernels on the gradient graph that it derived.
        quantity: ``input-gradient``, or ``bias-gradient`` of a site; with kernels ``cotangent``
            of a tensor.
        name: of the site or tensor.
        largest: entry by the standard engine.
        difference: the largest, relative to ``largest``.
    """

    against: Against
    quantity: str
    name: str
    largest: float
    difference: float

    def holds(self, tolerance: float = AGREEMENT) -> bool:
        """Whether the two agree; not a number does not."""
        return self.difference <= tolerance


@dataclass(frozen=True)
class Agreement:
    """All differences, and why the kernels could not be asked, or ``""``."""

    differences: tuple[Difference, ...]
    kernels_trouble: str


def compare_engines(
    source: ModelSource,
    array: npt.ArrayLike | None = None,
    *,
    input: str | None = None,
    output: str | None = None,
    feeds: Mapping[str, Array] | None = None,
    count: int = 1,
    random_seed: int = 0,
) -> Agreement:
    """The gradients of a model by both engines, and by onnxruntime-training's own kernels.

    What is explained is a random linear functional of the explained tensor, so that all of its
    entries take part.

    Args:
        source: the model, a path or a proto.
        array: preprocessed images; None: normal noise in the shape of the input.
        input: the explained input.
        output: the explained tensor.
        feeds: further inputs by name.
        count: of noise images.
        random_seed: of the noise and the functional.

    Raises:
        UnsupportedModelError: a node that either engine cannot take.
        EngineError: the engine is not installed, or it fails, crashes or hangs.
        InputError: the array does not fit, or noise cannot be drawn.
    """
    named: dict[str, Any] = {"input": input, "output": output}
    ours, theirs = (
        Session(instrument(source, gradients=engine, seed=True, emit=_EMIT, **named), device="cpu")
        for engine in ("standard", "ort-training")
    )
    draws = np.random.default_rng(random_seed)
    images = np.asarray(_noise(ours, count, draws) if array is None else array)
    shape = (len(images), *_known(ours.manifest.output, ours.manifest.score_shape or ()))
    seed = draws.standard_normal(shape).astype(np.float32)
    found = [each.explain(images, seed=seed, feeds=feeds) for each in (ours, theirs)]
    differences = [
        _difference("ort-training", "input-gradient", ours.manifest.input,
                    found[0].input_gradient, found[1].input_gradient)
    ]  # fmt: skip
    for site in ours.manifest.sites:
        parts = [each.bias_gradients[site.name] for each in found]
        differences.append(_difference("ort-training", "bias-gradient", site.name, *parts))
    try:
        differences += _kernel_differences(
            Question(source, {ours.manifest.fed: images, **(feeds or {})}, seed, named)
        )
    except EngineError as error:
        return Agreement(tuple(differences), error.message)
    return Agreement(tuple(differences), "")


def _noise(session: Session, count: int, draws: np.random.Generator) -> Array:
    """Normal noise, or pixels, in the shape of the input; the session casts it."""
    batch, *dims = session.input_shape
    sizes = _known(session.manifest.fed, dims)
    shape = (batch if isinstance(batch, int) else count, *sizes)
    if session.manifest.pixels is not None:
        return draws.integers(0, 127, shape, endpoint=True)
    return draws.standard_normal(shape).astype(np.float32)


def _known(name: str, dims: Sequence[Dim]) -> list[int]:
    sizes = [dim for dim in dims if isinstance(dim, int)]
    if len(sizes) < len(dims):
        raise InputError(
            "open-sizes",
            f"`{name}` leaves sizes open: {list(dims)}, so that nothing can be drawn for it",
            "fix its height and width, or name another --output",
        )
    return sizes


def _kernel_differences(question: Question) -> Iterator[Difference]:
    ours, theirs = both_cotangents(question)
    for name, ct in ours.items():
        yield _difference("kernels", "cotangent", name, ct, theirs[name])


def _difference(
    against: Against, quantity: str, name: str, ours: Array | None, theirs: Array | None
) -> Difference:
    assert ours is not None
    assert theirs is not None
    largest = float(np.abs(ours).max(initial=0.0))
    if ours.shape != theirs.shape:
        return Difference(against, quantity, name, largest, float("inf"))
    gap = float(np.abs(ours - theirs).max(initial=0.0))
    return Difference(against, quantity, name, largest, gap / largest if largest else gap)
