"""``view.json``: what the page is told of the model, its images and what to draw them with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from fg_onnx import deployment, manifest
from fg_onnx._version import __version__
from fg_onnx.attribution import TOLERANCES
from fg_onnx.errors import InputError, UnsupportedModelError
from fg_onnx.manifest import Manifest
from fg_onnx.pictures.colours import PERCENTILE, palette
from fg_onnx.pictures.images import MOST_FED
from fg_onnx.pictures.opencv import MOST_DECODED
from fg_onnx.pictures.preprocess import Preprocessing
from fg_onnx.view import runtime

SCHEMA_VERSION = 1

LARGEST = 2**31 - 1
"""Bytes of a model: what one file of ONNX holds, and a browser can take as one array."""
LARGE = 2**29
"""Bytes beyond which the page asks before it loads: the runtime keeps a copy of the weights beside
the file, and has 4 GiB for them and all activations."""

_TYPES: Mapping[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.DOUBLE: "float64",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT16: "int16",
    onnx.TensorProto.UINT16: "uint16",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.UINT32: "uint32",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.UINT64: "uint64",
}


@dataclass(frozen=True, eq=False)
class Viewed:
    """A model that the page can run.

    Attributes:
        name: shown as the title.
        data: the instrumented model.
        held: its manifest.
        input: the graph input that photographs are fed to.
        outputs: the names of the graph's outputs.
        steps: from photograph to input.
        labels: class names, or None.
    """

    name: str
    data: bytes
    held: Manifest
    input: onnx.ValueInfoProto
    outputs: tuple[str, ...]
    steps: Preprocessing
    labels: tuple[str, ...] | None


def viewed(
    model: onnx.ModelProto,
    held: Manifest,
    name: str,
    steps: Preprocessing,
    labels: tuple[str, ...] | None,
) -> Viewed:
    """An instrumented model, checked for what the page cannot do.

    Args:
        model: changed: none of its inputs has a default any more.
        held: its manifest.
        name: shown as the title.
        steps: from photograph to input.
        labels: class names; None: those of the manifest, if it has any.

    Raises:
        InputError: ``not-an-image-input``, ``fixed-batch`` or ``more-inputs``.
        UnsupportedModelError: ``too-large``.
    """
    if model.ByteSize() > LARGEST:
        raise UnsupportedModelError(
            "too-large",
            f"`{name}` has {model.ByteSize() / 1e9:.1f} GB, and a browser takes at most "
            f"{LARGEST / 1e9:.1f}",
            "explain it with `fg-onnx explain`, or export it in float16",
        )
    deployment.drop_defaults(model.graph)
    own = {value.name: value for value in model.graph.input}
    _require_alone(name, set(own) - {held.fed, manifest.TARGET}, held.fed)
    _require_image(name, own[held.fed])
    return Viewed(
        name,
        model.SerializeToString(),
        held,
        own[held.fed],
        tuple(value.name for value in model.graph.output),
        steps,
        labels or held.labels,
    )


def _require_alone(name: str, others: set[str], fed: str) -> None:
    if others:
        raise InputError(
            "more-inputs",
            f"`{name}` is to be fed more than `{fed}`: {', '.join(sorted(others))}; the page has "
            "one photograph to feed",
            "explain it with `fg-onnx explain --feed`",
        )


def _require_image(name: str, value: onnx.ValueInfoProto) -> None:
    shape = _shape(value)
    kind = value.type.tensor_type.elem_type
    if kind not in _TYPES:
        raise InputError(
            "not-an-image-input",
            f"`{name}` takes `{value.name}` as {onnx.TensorProto.DataType.Name(kind)}, which a "
            "browser has no numbers for",
            "export it in float32 or float16",
        )
    if len(shape) != 4:
        raise InputError(
            "not-an-image-input",
            f"`{name}` takes `{value.name}` with {len(shape)} dimensions, and an image needs 4",
            "explain it with `fg-onnx explain`, which takes arrays",
        )
    if shape[0] not in (None, 1):
        raise InputError(
            "fixed-batch",
            f"`{name}` takes batches of {shape[0]}, and the page explains one photograph at a time",
            "run `fg-onnx instrument SOURCE --dynamic-batch`, or export it with a dynamic batch",
        )


def _shape(value: onnx.ValueInfoProto) -> list[int | None]:
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]


def describe(model: Viewed, images: list[tuple[str, Path]]) -> dict[str, Any]:
    """The document.

    Args:
        model: that the page runs.
        images: that it offers: the name that is shown, and the file in the page's folder.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "tool_version": __version__,
        "model": {
            "name": model.name,
            "file": "model.onnx",
            "bytes": len(model.data),
            "sha256": hashlib.sha256(model.data).hexdigest(),
        },
        "input": {
            "type": _TYPES[model.input.type.tensor_type.elem_type],
            "shape": _shape(model.input),
        },
        "outputs": list(model.outputs),
        "manifest": model.held.to_dict(),
        "preprocessing": model.steps.to_dict(),
        "labels": None if model.labels is None else list(model.labels),
        "tolerance": TOLERANCES[model.held.precision],
        "images": [{"name": name, "file": file.as_posix()} for name, file in images],
        "limits": {"decoded": MOST_DECODED, "fed": MOST_FED, "large": LARGE},
        "drawing": {
            "percentile": PERCENTILE,
            "palette": palette(signed=model.held.psi == "signed").tolist(),
        },
        "runtime": {"name": runtime.PACKAGE, "version": runtime.VERSION},
    }
