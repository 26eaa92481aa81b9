"""Weights that lie in files of their own beside the model.

A model names these files and says where in them its weights are. What it names is read only if
it is a regular file below the model's folder, and only as far as that file goes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from onnx import TensorProto

from fg_onnx.errors import ModelError, first_line
from fg_onnx.source.soundness import stored_bytes


def load_external_data(proto: onnx.ModelProto, path: Path) -> None:
    """Read all weights into a sound model that was read from ``path``; changes the model.

    Raises:
        ModelError: a file is missing, is no regular file, lies outside the model's folder, or does
            not hold what the model says.
    """
    for tensor in _tensors(proto):
        if tensor.data_location == TensorProto.EXTERNAL:
            tensor.raw_data = _data(tensor, path)
            tensor.ClearField("data_location")
            tensor.ClearField("external_data")


def require_loaded(proto: onnx.ModelProto, name: str) -> None:
    """Fail where weights of a model that came from no file lie in files.

    Raises:
        ModelError: there are such weights.
    """
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in _tensors(proto)):
        raise ModelError(
            "external-data",
            f"`{name}` was loaded without its external data",
            "give the path of the model, or load it with its external data",
        )


def _tensors(proto: onnx.ModelProto) -> Iterator[TensorProto]:
    graphs = [proto.graph]
    nodes = [function.node for function in proto.functions]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            nodes.append(graph.node)
        for node in nodes.pop():
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                if attribute.HasField("g"):
                    graphs.append(attribute.g)
                graphs.extend(attribute.graphs)


def _data(tensor: TensorProto, path: Path) -> bytes:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    file = _file(location, path)
    offset = _number(entries.get("offset") or "0", "offset", location, path)
    wanted = stored_bytes(tensor)
    length = _number(entries.get("length") or str(wanted), "length", location, path)
    if length != wanted:
        raise _error(path, f"`{tensor.name}` takes {wanted} bytes, not {length}")
    if offset + length > file.stat().st_size:
        raise _error(path, f"`{location}` ends before `{tensor.name}` does")
    with file.open("rb") as stream:
        stream.seek(offset)
        return stream.read(length)


def _file(location: str, path: Path) -> Path:
    """The file of that name, if it may be read."""
    # Both kinds of paths, so that a model means the same on every system.
    parts = {*PurePosixPath(location).parts, *PureWindowsPath(location).parts}
    absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).anchor
    if not location or "\0" in location or absolute or ".." in parts:
        raise _error(path, f"`{location}` is not a path below the model's folder")
    file = path.parent / location
    try:
        real = file.resolve(strict=True)
        # Where the model is a link itself (as in download caches), its files lie beside its target.
        homes = (path.parent.resolve(), path.resolve().parent)
        if not any(real.is_relative_to(home) for home in homes):
            raise _error(path, f"`{location}` leads out of the model's folder")
        if not stat.S_ISREG(real.stat().st_mode):
            raise _error(path, f"`{location}` is not a regular file")
        if not os.access(real, os.R_OK):
            raise _error(path, f"`{location}` may not be read")
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        reason = getattr(error, "strerror", None) or first_line(error)
        raise _error(path, f"`{location}` cannot be read: {reason}") from error
    return real


def _number(text: str, what: str, location: str, path: Path) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise _error(path, f"the {what} in `{location}` is no number: `{text}`")
    return int(text)


def _error(path: Path, reason: str) -> ModelError:
    return ModelError(
        "external-data",
        f"the external data of `{path}` cannot be read: {reason}",
        "put the data file beside the model, under its own name",
    )
