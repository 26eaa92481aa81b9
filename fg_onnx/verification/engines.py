"""Hold the engines against each other: their instrumented models, and their cotangents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx

from fg_onnx.attribution import Attribution
from fg_onnx.errors import EngineError, InputError
from fg_onnx.instrumentation import instrument
from fg_onnx.manifest import ENGINES, Dim, Emit
from fg_onnx.plan import Plan, make_plan
from fg_onnx.session import Session
from fg_onnx.source import model
from fg_onnx.source.model import ModelSource
from fg_onnx.verification.kernels import NO_WITNESS, Question, both_cotangents

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
        quantity: ``input-gradient``, or ``bias-gradient`` or ``implicit bias-gradient`` of a site;
            with kernels ``cotangent`` of a tensor.
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
        """Whether the two agree; not a number does not, nor an input gradient that is 0 all over.

        An implicit bias-gradient is what is left of terms some times its size, ``ct_y y - ct_x x``,
        which one engine takes for one step and the other for several: ten times as much is allowed.
        """
        if self.quantity == "input-gradient" and not self.largest > 0:
            return False
        return self.difference <= tolerance * (10 if self.quantity == IMPLICIT else 1)


IMPLICIT = "implicit bias-gradient"


@dataclass(frozen=True)
class Agreement:
    """All differences, and why the kernels are no witness for the model, or ``""``."""

    differences: tuple[Difference, ...]
    unwitnessed: str


def compare_engines(
    source: ModelSource,
    array: npt.ArrayLike | None = None,
    *,
    input: str | None = None,
    output: str | None = None,
    feeds: Mapping[str, npt.ArrayLike] | None = None,
    count: int = 1,
    random_seed: int = 0,
) -> Agreement:
    """The gradients of a model by both engines, and by onnxruntime-training's own kernels.

    What is explained is a random linear functional of the explained tensor, so that all of its
    entries take part. The sizes that the model leaves open are fixed to those of the array.

    Args:
        source: the model, a path or a proto.
        array: preprocessed images; None: normal noise in the shape of the input.
        input: the explained input.
        output: the explained tensor.
        feeds: further inputs by name.
        count: of noise images, where the batch is open.
        random_seed: of the noise and the functional.

    Raises:
        UnsupportedModelError: a node that either engine cannot take.
        EngineError: the engine is not installed, or it fails, crashes or hangs.
        InputError: the array does not fit, or noise cannot be drawn.
    """
    named: dict[str, Any] = {"input": input, "output": output}
    read = model.read(source)
    plan = make_plan(read, **named)
    draws = np.random.default_rng(random_seed)
    images = _noise(plan, count, draws) if array is None else np.asarray(array)
    given = {plan.fed.name: images, **{k: np.asarray(v) for k, v in (feeds or {}).items()}}
    proto = _of_sizes(read.proto, given)
    found: list[Attribution] = []
    for engine in ENGINES:  # one after the other, for each holds the weights several times over
        made = instrument(proto, gradients=engine, seed=True, emit=_EMIT, **named)
        session = Session(made, device="cpu")
        if not found:
            scores = _known(made.manifest.output, made.manifest.score_shape or ())
            seed = draws.standard_normal((len(images), *scores)).astype(np.float32)
        found.append(session.explain(images, seed=seed, feeds=feeds))
        del made, session
    held = found[0].manifest
    differences = [_difference("ort-training", "input-gradient", held.input,
                               *(each.input_gradient for each in found))]  # fmt: skip
    for site in held.sites:
        quantity = IMPLICIT if site.kind == "implicit" else "bias-gradient"
        parts = [each.bias_gradients[site.name] for each in found]
        differences.append(_difference("ort-training", quantity, site.name, *parts))
    question = Question(proto, _typed(proto, given), seed, named)
    try:
        differences += _kernel_differences(question)
    except EngineError as error:
        if error.code != NO_WITNESS:
            raise
        return Agreement(tuple(differences), error.message)
    return Agreement(tuple(differences), "")


def _of_sizes(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> onnx.ModelProto:
    """The model, the sizes that its inputs leave open fixed to those that are fed."""
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    for value in result.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name in feeds and len(dims) == feeds[value.name].ndim:
            for dim, size in zip(dims, feeds[value.name].shape, strict=True):
                if not dim.HasField("dim_value"):
                    dim.dim_value = size
    return result


def _typed(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What is fed in the types of the inputs; a session has accepted it already."""
    types = {value.name: value.type.tensor_type.elem_type for value in proto.graph.input}
    return {
        name: array.astype(onnx.helper.tensor_dtype_to_np_dtype(types[name]), copy=False)
        for name, array in feeds.items()
    }


def _noise(plan: Plan, count: int, draws: np.random.Generator) -> Array:
    """Normal noise, or pixels, in the shape of the input; the session casts it."""
    batch, *dims = plan.fed.shape
    shape = (batch if isinstance(batch, int) else count, *_known(plan.fed.name, dims))
    if plan.pixels is not None:
        return draws.integers(0, 127, shape, endpoint=True)
    return draws.standard_normal(shape).astype(np.float32)


def _known(name: str, dims: Sequence[Dim]) -> list[int]:
    sizes = [dim for dim in dims if isinstance(dim, int)]
    if len(sizes) < len(dims):
        raise InputError(
            "open-sizes",
            f"`{name}` leaves sizes open: {list(dims)}, so that nothing can be drawn for it",
            "give --array, a .npy file of preprocessed images of the size wanted",
        )
    return sizes


def _kernel_differences(question: Question) -> Iterator[Difference]:
    plan = question.plan()
    seed = question.seed.reshape(_known(plan.y.name, plan.y.shape))
    ours, theirs = both_cotangents(replace(question, seed=seed))
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
