"""From a model to its profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from fg_onnx import manifest
from fg_onnx.profiling.document import Profile, Row
from fg_onnx.profiling.feeds import feeds_of
from fg_onnx.profiling.origins import Origins, named
from fg_onnx.profiling.recording import record

Array = npt.NDArray[Any]


def profile(
    proto: onnx.ModelProto,
    *,
    model: str = "",
    batch: int | None = None,
    target: int | None = None,
    feeds: Mapping[str, Array] | None = None,
    runs: int = 20,
    device: str = "auto",
    threads: int | None = None,
    tf32: bool = False,
) -> Profile:
    """Run a model under ONNX Runtime's profiler, and tell what each kernel is for.

    Args:
        proto: the model, instrumented or not.
        model: how the profile calls it.
        batch: images at once, where the model leaves that open; None: 1.
        target: a class index; None: the predicted class.
        feeds: arrays by input, in the place of noise.
        runs: that medians are over.
        device: ``auto``, ``cpu`` or ``cuda[:N]``. There a kernel's time ends when it is launched,
            unless the environment has CUDA_LAUNCH_BLOCKING=1.
        threads: within an operator on the CPU; None: the runtime's choice.
        tf32: let CUDA round the factors of float32 products to TF32.

    Raises:
        InputError: an option that the model or the runtime cannot follow.
        RuntimeMissingError: there is no ONNX Runtime, or the device is not there.
        ModelError: the runtime does not take the model.
    """
    ran = named(proto)
    fed = feeds_of(ran, batch, target, feeds)
    found = record(ran, fed, runs=runs, device=device, threads=threads, tf32=tf32)
    origins = Origins(ran.graph, found.graph)
    first = next((value for name, value in fed.items() if name != manifest.TARGET), None)
    return Profile(
        model=model,
        what="instrumented" if _explains(proto) else "forward",
        device=found.device,
        threads=found.threads,
        batch=len(first) if first is not None and np.ndim(first) else None,
        runs=found.runs,
        runtime=found.runtime,
        profiled=found.profiled,
        busy=found.busy,
        alone=found.alone,
        rows=tuple(Row(kernel, origins.of(kernel)) for kernel in found.kernels),
    )


def _explains(proto: onnx.ModelProto) -> bool:
    """Whether it is more than a forward part."""
    return any(value.name == manifest.SCORE for value in proto.graph.output)
