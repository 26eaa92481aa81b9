"""ONNX Runtime, imported late and with a clear word where it is missing."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx

from fg_onnx.errors import ModelError, RuntimeMissingError, first_line

Provider: TypeAlias = str | tuple[str, Mapping[str, str]]
"""An execution provider by name, or with its options."""

_CPU = "CPUExecutionProvider"
_PATIENCE = 120.0  # seconds for one image in the largest of models


def onnxruntime() -> Any:
    """The module ``onnxruntime``.

    Raises:
        RuntimeMissingError: neither onnxruntime nor onnxruntime-gpu is installed.
    """
    try:
        module = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise RuntimeMissingError(
            "no-runtime",
            f"ONNX Runtime cannot be imported ({error})",
            'install one of: pip install "fg-onnx[cpu]" or pip install "fg-onnx[gpu]"',
        ) from error
    return module


def open_session(
    model: str | bytes,
    providers: Sequence[Provider] | None = None,
    options: Any = None,
    *,
    patterns: bool = False,
) -> Any:
    """An ``InferenceSession`` on a model's path or bytes (CPU where no providers are named).

    It runs on the providers that were named, or not at all. On the CPU alone it takes less memory
    than by the runtime's own choice; ``options`` are changed for that. With ``patterns`` runs are
    faster, and take more of it again.

    Raises:
        RuntimeMissingError: no runtime is installed, or it lacks a provider that was named, or
            that one does not come up.
        ModelError: the runtime does not take the model.
    """
    ort = onnxruntime()
    wanted = list(providers or [_CPU])
    names = [provider if isinstance(provider, str) else provider[0] for provider in wanted]
    missing = [name for name in names if name not in ort.get_available_providers()]
    if missing:
        raise RuntimeMissingError(
            "no-provider",
            f"this ONNX Runtime has no {', '.join(missing)}",
            f"it has: {', '.join(ort.get_available_providers())}",
        )
    if options is None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
    if names == [_CPU]:
        # A buffer of the forward part that is to hold a cotangent of its size later would be kept.
        options.enable_mem_reuse = False
        # One block for all tensors, from the second run of a shape on: it saves asking for each,
        # for which runs side by side wait, but lies beside all that the first run took.
        options.enable_mem_pattern = patterns
    try:
        # Left to itself it would print an error of a provider on stdout, and go on with the CPU.
        session = ort.InferenceSession(model, options, providers=wanted, enable_fallback=0)
    except Exception as error:  # the runtime raises a class of its own for every status code
        raise ModelError(
            "runtime-refuses",
            f"ONNX Runtime does not load the model: {first_line(error)}",
            "a newer onnxruntime, or an export with an older opset, may help",
        ) from error
    absent = [name for name in names if name not in session.get_providers()]
    if absent:
        raise RuntimeMissingError(
            "no-device",
            f"ONNX Runtime does not bring up {', '.join(absent)}",
            "the lines that it wrote to stderr say why; look at what `nvidia-smi` lists",
        )
    # The whole model, kept for a fallback that is off.
    session._model_bytes = None
    return session


def run_once(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs of one run on the CPU.

    Raises:
        RuntimeMissingError: no runtime is installed.
        ModelError: the runtime does not take the model, or the run fails.
    """
    session = open_session(model.SerializeToString())
    options = onnxruntime().RunOptions()
    # A loop in the model may have no end.
    patience = threading.Timer(_PATIENCE, lambda: setattr(options, "terminate", True))
    patience.start()
    try:
        outputs: list[np.ndarray] = session.run(None, dict(feeds), options)
    except Exception as error:
        raise ModelError(
            "run-fails",
            f"the model does not run: {first_line(error)}",
            "does the source model run in ONNX Runtime?",
        ) from error
    finally:
        patience.cancel()
    return outputs
