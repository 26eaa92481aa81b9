"""Verify an instrumented model against its source: all checks, in order.

Nothing here shares code with what builds such a model: the manifest, the runtime and arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx import manifest
from fg_onnx.errors import InputError, ModelError, UnsupportedModelError
from fg_onnx.verification import structure
from fg_onnx.verification.behaviour import Behaviour
from fg_onnx.verification.feeding import feeds_of
from fg_onnx.verification.graphs import ModelSource, read
from fg_onnx.verification.report import Check, ImageResult, Verification

Array = npt.NDArray[Any]


def verify(
    model: ModelSource,
    against: ModelSource,
    images: npt.ArrayLike | None = None,
    *,
    feeds: Mapping[str, npt.ArrayLike] | None = None,
    names: Sequence[str] | None = None,
    random_seed: int = 0,
    gradients: bool = True,
) -> Verification:
    """Check an instrumented model against its source (docs/verify.md).

    Args:
        model: the instrumented model, a path or a proto.
        against: the source model, a path or a proto.
        images: preprocessed, [N, ...] in the shape of the input that images are fed to; None:
            noise. All of them are run through both models; gradients are checked on the first few.
        feeds: further inputs by name; noise by default.
        names: of the images, in the result; their numbers by default.
        random_seed: of the noise and of the directions.
        gradients: whether slopes and gradients are checked, which takes most of the time.

    Raises:
        ModelError: a model cannot be read, the manifest is none, or the runtime does not take a
            model of which nothing else was found.
        UnsupportedModelError: the model is not instrumented.
        InputError: an array does not fit, nothing can be drawn for an input, or the source is
            itself an instrumented model.
        RuntimeMissingError: no runtime is installed.
    """
    built, source = read(model), read(against)
    found = manifest.find(built.proto)
    if found is None:
        raise UnsupportedModelError(
            "not-instrumented",
            f"`{built.name}` is not an instrumented model",
            "give the model that `fg-onnx instrument` wrote, and its source with --against",
        )
    if manifest.find(source.proto) is not None:
        raise InputError(
            "instrumented-source",
            f"`{source.name}` is an instrumented model itself",
            "give the model that it was made from",
        )
    checks: list[Check] = [
        structure.source_hash(found, source),
        structure.manifest_of_graph(found, built, source),
        structure.forward_part(found, built, source),
        structure.defaults(found, built, source),
    ]
    draws = np.random.default_rng(random_seed)
    if checks[1].outcome == "failed":  # nothing can be looked up by its names
        why = "the manifest is not that of the graph"
        checks.append(Check("behaviour", "not run", why))
        return Verification(built.name, source.name, 0, images is None, tuple(checks))
    runs = feeds_of(source, found.fed, images, feeds, draws)
    count = sum(len(run[found.fed]) for run in runs)
    if names is not None and len(names) != count:
        raise InputError(
            "wrong-names", f"there are {len(names)} names for {count} images", "give one for each"
        )
    behaviour = Behaviour(found, built, source, runs, draws)
    per_image: tuple[ImageResult, ...] = ()
    try:
        checks += behaviour.checks(gradients=gradients)
        per_image = tuple(behaviour.per_image(names or [str(i) for i in range(count)]))
    except ModelError as error:
        if not any(check.outcome == "failed" for check in checks):
            raise
        checks.append(Check("behaviour", "not run", error.message))
    return Verification(built.name, source.name, count, images is None, tuple(checks), per_image)
