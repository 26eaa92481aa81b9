"""Verify an instrumented model against its source: all checks, in order.

Nothing here shares code with what builds such a model: the manifest, the runtime and arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx import manifest
from fg_onnx.errors import UnsupportedModelError
from fg_onnx.verification import structure
from fg_onnx.verification.behaviour import Behaviour
from fg_onnx.verification.feeding import feeds_of
from fg_onnx.verification.graphs import ModelSource, read
from fg_onnx.verification.report import Check, Verification

Array = npt.NDArray[Any]


def verify(
    model: ModelSource,
    against: ModelSource,
    images: npt.ArrayLike | None = None,
    *,
    feeds: Mapping[str, npt.ArrayLike] | None = None,
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
        random_seed: of the noise and of the directions.
        gradients: whether slopes and gradients are checked, which takes most of the time.

    Raises:
        ModelError: a model cannot be read or loaded, or the manifest is none.
        UnsupportedModelError: the model is not instrumented.
        InputError: an array does not fit, or nothing can be drawn for an input.
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
    checks += Behaviour(found, built, source, runs, draws).checks(gradients=gradients)
    count = sum(len(run[found.fed]) for run in runs)
    return Verification(built.name, source.name, count, images is None, tuple(checks))
