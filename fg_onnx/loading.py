"""The forms in which an instrumented model is loaded to be run.

ONNX Runtime folds, fuses and keeps in its blocked layout only what no caller may change, and a
promoted bias may be changed. Nearly nobody does: so it is a constant, until one is fed. That saves
up to a fifth of a map's time (docs/performance.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from fg_onnx import manifest
from fg_onnx.forward import forward_part
from fg_onnx.instrumentation import Instrumented


class Loader:
    """The ONNX Runtime sessions of one model, each opened when it is first asked for.

    Args:
        model: the path of an instrumented model, or what `instrument` returned.
        opened: opens a session on a path or bytes.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Instrumented,
        opened: Callable[[str | bytes], Any],
    ) -> None:
        self._model = model
        self._opened = opened
        self._sessions: dict[tuple[str | None, bool], Any] = {}

    def session(self, *, ranking: str | None = None, fed: bool = False) -> Any:
        """The session of one form.

        Args:
            ranking: the output up to which the forward part alone is run; None: the whole model.
            fed: whether promoted biases are inputs, and not constants.

        Raises:
            ModelError: the runtime does not take the model.
        """
        form = (ranking, fed)
        if form not in self._sessions:
            self._sessions[form] = self._opened(self._source(ranking, fed))
        return self._sessions[form]

    def _source(self, ranking: str | None, fed: bool) -> str | bytes:
        if isinstance(self._model, Instrumented):
            proto = self._model.model
        elif ranking is not None:
            proto = onnx.load(self._model)
        else:
            return str(self._model) if fed else closed_file(Path(self._model))
        if ranking is not None:
            proto = forward_part(proto, ranking)
        return bytes((proto if fed else closed(proto)).SerializeToString())


def closed_file(path: Path) -> str | bytes:
    """A model file with its promoted biases as constants: its bytes.

    Its path, where it has none; where weights lie beside it, which the runtime looks for from
    there; and where it cannot be read, of which the runtime has more to say.
    """
    try:
        proto = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError):
        return str(path)
    beside = any(
        tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer
    )
    return str(path) if beside or not _close(proto) else bytes(proto.SerializeToString())


def feeds_biases(names: Iterable[str]) -> bool:
    """Whether inputs of promoted biases are among the names."""
    return any(name.startswith(manifest.BIAS) for name in names)


def closed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model with its promoted biases as constants of their trained values."""
    found = onnx.ModelProto()
    found.CopyFrom(proto)
    _close(found)
    return found


def _close(proto: onnx.ModelProto) -> bool:
    """Take the promoted biases from a model's inputs; whether there were any."""
    trained = {tensor.name for tensor in proto.graph.initializer}
    promoted = [
        value
        for value in proto.graph.input
        if value.name.startswith(manifest.BIAS) and value.name in trained
    ]
    for value in promoted:
        proto.graph.input.remove(value)
    return bool(promoted)
