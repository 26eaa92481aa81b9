"""What a model is fed that is timed: normal noise, and what was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from fg_onnx import manifest
from fg_onnx.errors import InputError
from fg_onnx.source.model import defaults_of
from fg_onnx.verification.feeding import dims_of, noise

Array = npt.NDArray[Any]


def feeds_of(
    proto: onnx.ModelProto,
    batch: int | None,
    target: int | None = None,
    given: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Every input without a default: what was given, else noise; and the target where one is given.

    Args:
        proto: the model that is run.
        batch: the first dimension of what is drawn, where the model leaves it open; None: 1.
        target: a class index; None: the model's default.
        given: arrays by input.

    Raises:
        InputError: an array is of no input, the batch is fixed to another number, a size is open,
            or the model takes no target.
    """
    given = dict(given or {})
    defaults = defaults_of(proto)
    inputs = {value.name: value for value in proto.graph.input}
    for name in given:
        if name not in inputs:
            raise InputError(
                "no-such-input",
                f"the model has no input `{name}`",
                f"it has: {', '.join(inputs)}",
            )
    wanted = {name: value for name, value in inputs.items() if name not in defaults}
    _require_batch(wanted, batch, given)
    draws = np.random.default_rng(0)
    found = {}
    for name, value in wanted.items():
        if name in given:
            continue
        first = (dims_of(value) or [1])[0]
        if name == manifest.TARGET:  # of any length: one for all images
            found[name] = np.array([manifest.PREDICTED], dtype=np.int64)
        else:
            found[name] = noise(value, draws, batch=first if isinstance(first, int) else batch or 1)
    if target is not None:
        if manifest.TARGET not in inputs:
            raise InputError(
                "no-target",
                f"the model takes no target, and {target} cannot be explained",
                "leave out --target",
            )
        found[manifest.TARGET] = np.array([target], dtype=np.int64)
    return {**found, **given}


def _require_batch(
    wanted: Mapping[str, onnx.ValueInfoProto], batch: int | None, given: Mapping[str, Array]
) -> None:
    """Fail where a batch was asked for that no input can have."""
    drawn = {name: dims_of(value) for name, value in wanted.items() if name not in given}
    firsts = {name: dims[0] for name, dims in drawn.items() if dims}
    if batch is None or batch in firsts.values() or not firsts:
        return
    if all(isinstance(first, int) for first in firsts.values()):
        name, first = next(iter(firsts.items()))
        raise InputError(
            "fixed-batch",
            f"`{name}` takes batches of {first}, not {batch}",
            "run `fg-onnx instrument SOURCE --dynamic-batch`, or leave out --batch",
        )
