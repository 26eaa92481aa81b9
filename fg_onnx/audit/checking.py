"""Check a model file as it is committed: it can be explained, and by what was made of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from fg_onnx import manifest
from fg_onnx.errors import InputError
from fg_onnx.files import INFIX, instrumented_path, source_path
from fg_onnx.instrumentation import instrument
from fg_onnx.source import model
from fg_onnx.verification.gate import verify
from fg_onnx.verification.report import Verification

_OPEN = 224  # pixels of a side that the model leaves open
_IMAGES = 2


def with_instrumented(paths: Sequence[Path]) -> list[Path]:
    """The same, each once, and after each what was made of it, where that lies beside it.

    A commit that changes ``net.onnx`` alone leaves a ``net.fg.onnx`` that explains another model.
    """
    found: dict[Path, None] = {}
    for path in paths:
        made = instrumented_path(path)
        found |= dict.fromkeys([path, made] if made.is_file() else [path])
    return list(found)


def check(path: Path, random_seed: int = 0) -> Verification:
    """Hold a model against its source, by all but its gradients, on noise.

    A plain model is instrumented in memory and held against itself; an instrumented one, against
    the source beside it: ``net.fg.onnx`` against ``net.onnx``.

    Args:
        path: of the model.
        random_seed: of the noise.

    Raises:
        InputError: ``no-source``: an instrumented model has no source beside it.
        ModelError: a model cannot be read.
        RuntimeMissingError: no runtime is installed.
        UnsupportedModelError: a plain model cannot be instrumented.
    """
    read = model.read(path)
    if manifest.find(read.proto) is None:
        source = path
        built = instrument(str(path), emit=("contributions",)).model
    else:
        source = _source_of(path)
        built = read.proto
    images = _noise(built, np.random.default_rng(random_seed))
    return verify(built, str(source), images, random_seed=random_seed, gradients=False)


def _source_of(path: Path) -> Path:
    source = source_path(path)
    if source is None or not source.is_file():
        raise InputError(
            "no-source",
            f"`{path}` is instrumented, and its source does not lie beside it",
            f"put the source there as NAME.onnx and this one as NAME{INFIX}.onnx, or run "
            "`fg-onnx verify MODEL --against SOURCE`",
        )
    return source


def _noise(built: onnx.ModelProto, draws: np.random.Generator) -> np.ndarray | None:
    """Images where the model leaves their size open; None where `verify` can draw them itself."""
    held = manifest.find(built)
    assert held is not None
    (value,) = (value for value in built.graph.input if value.name == held.fed)
    dims = value.type.tensor_type.shape.dim
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    if all(dim.dim_value for dim in dims[1:]) or dtype.kind != "f":
        return None
    first = dims[0].dim_value or _IMAGES
    shape = [first, *(dim.dim_value or _OPEN for dim in dims[1:])]
    return draws.standard_normal(shape).astype(dtype)
