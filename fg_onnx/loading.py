"""The forms in which an instrumented model is loaded to be run.

ONNX Runtime folds, fuses and keeps in its blocked layout only what no caller may change, and a
promoted bias may be changed. Nearly nobody does: so it is a constant, until one is fed. That saves
up to a fifth of a map's time (docs/performance.md).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx

from fg_onnx import manifest
from fg_onnx.closing import closed, closed_file, inputs_of
from fg_onnx.forward import forward_part
from fg_onnx.instrumentation import Instrumented
from fg_onnx.parts import are_light


class Loader:
    """The ONNX Runtime sessions of one model, each opened when it is first asked for.

    Args:
        model: the path of an instrumented model, or what `instrument` returned.
        opened: opens a session on a path or bytes, of so many threads on the CPU; None: as many as
            the runtime takes; and whether its runs take little memory.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Instrumented,
        opened: Callable[[str | bytes, int | None, bool], Any],
    ) -> None:
        self._model = model
        self._opened = opened
        self._sessions: dict[tuple[str | None, bool, int | None], Any] = {}
        self._opening = threading.Lock()  # runs may go on side by side

    @cached_property
    def size(self) -> int:
        """Of the model in bytes; of its file alone, where weights lie beside it."""
        if isinstance(self._model, Instrumented):
            return int(self._model.model.ByteSize())
        return Path(self._model).stat().st_size

    @cached_property
    def _is_light(self) -> bool:
        if isinstance(self._model, Instrumented):
            return is_light(self._model.model.graph.input, self.size)
        return is_light(inputs_of(Path(self._model)), self.size)

    def session(
        self, *, ranking: str | None = None, fed: bool = False, threads: int | None = None
    ) -> Any:
        """The session of one form.

        Args:
            ranking: the output up to which the forward part alone is run; None: the whole model.
            fed: whether promoted biases are inputs, and not constants.
            threads: of the session.

        Raises:
            ModelError: the runtime does not take the model.
        """
        form = (ranking, fed, threads)
        with self._opening:
            if form not in self._sessions:
                source = self._source(ranking, fed)
                self._sessions[form] = self._opened(source, threads, self._is_light)
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
        data = bytes(proto.SerializeToString())
        return data if fed else closed(data)


def is_light(inputs: Iterable[onnx.ValueInfoProto], size: int) -> bool:
    """Whether runs of a model of these inputs, and of so many bytes, take little memory."""
    fed = [value for value in inputs if not feeds_biases([value.name])]
    return are_light([_shape(value) for value in fed], size)


def _shape(value: onnx.ValueInfoProto) -> list[int | None] | None:
    """Of an input; None for what is not known of it."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]


def feeds_biases(names: Iterable[str]) -> bool:
    """Whether inputs of promoted biases are among the names."""
    return any(name.startswith(manifest.BIAS) for name in names)
