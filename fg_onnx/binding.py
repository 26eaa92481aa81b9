"""Arrays in the memory of a device, and runs that leave them there; DLPack in and out.

Everything works on the host's memory as it does on a GPU's.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import helper

from fg_onnx.devices import HOST
from fg_onnx.errors import InputError, first_line
from fg_onnx.runtime import onnxruntime

Array = npt.NDArray[Any]

_MEMORIES = {1: "cpu", 2: "cuda"}  # DLPack's numbers, ONNX Runtime's names
_PINNED = 3  # the host's memory, which CUDA may read too


class DeviceArray:
    """An array where a session computes, that other libraries take over without a copy.

    ``torch.from_dlpack(array)`` and ``cupy.from_dlpack(array)`` share its memory; `numpy` brings it
    to the host. It is complete when it is handed out: there is nothing to wait for. Keep the
    session as long as its arrays.
    """

    def __init__(self, value: Any, row: int | None = None) -> None:
        self._value = value  # an OrtValue
        self._row = row  # of an array of several images, where it is fed one by one

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        shape = tuple(self._value.shape())
        return shape if self._row is None else (1, *shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its elements."""
        return helper.tensor_dtype_to_np_dtype(self._value.element_type())

    @property
    def type(self) -> str:
        """The same in ONNX's words: ``tensor(float)``."""
        return str(self._value.data_type())

    @property
    def pointer(self) -> int:
        """The address of its first element, in its own memory."""
        first: int = self._value.data_ptr()
        if self._row is None:
            return first
        return first + self._row * int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"DeviceArray({list(self.shape)}, {self.dtype}, {memory_name(self._memory)})"

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._memory

    def __dlpack__(
        self,
        *,
        stream: Any = None,  # the run that wrote it has been waited for
        max_version: tuple[int, int] | None = None,  # an older one may be given
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        if copy or dl_device not in (None, self._memory):
            raise BufferError(f"{self!r} is shared where it is, or not at all")
        if self._row is not None:
            raise BufferError(f"{self!r} is one image of several: share them all, and take it")
        return self._value._ortvalue.__dlpack__()

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        here = self.numpy()
        found = np.array(here, dtype) if copy else np.asarray(here, dtype)
        if copy is False and (found is not here or self._memory != HOST):
            raise ValueError(f"{self!r} has to be copied")
        return found

    def numpy(self) -> Array:
        """In the host's memory: the array itself if it is there, else a copy."""
        found: Array = self._value.numpy()
        return found if self._row is None else found[self._row : self._row + 1]

    def update(self, array: npt.ArrayLike) -> None:
        """Write other numbers into the same memory: as many images of the same size.

        Raises:
            InputError: no array, or of another shape or type; or this is one image of several.
        """
        new = np.asarray(as_numpy("array", array), order="C")
        if self._row is not None:
            raise InputError(
                "one-of-several",
                f"{self!r} is one image of several, which are written together",
                "update the array that it is of",
            )
        if new.shape != self.shape or new.dtype != self.dtype:
            raise InputError(
                "wrong-shape",
                f"{self!r} cannot hold {list(new.shape)} of {new.dtype}",
                "make another with Session.put",
            )
        self._value.update_inplace(new)

    def row(self, index: int) -> DeviceArray:
        """One image of several, as a batch of its own in the same memory; to be fed only."""
        return DeviceArray(self._value, index)

    def bind(self, binding: Any, name: str) -> None:
        """Let a run read it as the input of that name."""
        kind, index = self._memory
        binding.bind_input(
            name,
            _MEMORIES[kind],
            index,
            self._value.element_type(),
            list(self.shape),
            self.pointer,
        )

    def bind_output(self, binding: Any, name: str) -> None:
        """Let a run write into it."""
        binding.bind_ortvalue_output(name, self._value)

    @property
    def _memory(self) -> tuple[int, int]:
        kind, index = self._value._ortvalue.__dlpack_device__()
        return int(kind), int(index)


def put(array: Array, memory: tuple[int, int]) -> DeviceArray:
    """A copy of an array in a device's memory."""
    kind, index = memory
    made = onnxruntime().OrtValue.ortvalue_from_shape_and_type(
        list(array.shape),
        helper.np_dtype_to_tensor_dtype(array.dtype),
        _MEMORIES[kind],
        index,
    )
    found = DeviceArray(made)
    found.update(array)
    return found


def taken(name: str, given: Any, memory: tuple[int, int]) -> Array | DeviceArray:
    """What was given as an input, without a copy: on the host NumPy's, else where it lies.

    Args:
        name: of the input.
        given: whatever NumPy takes, or an object with ``__dlpack__``.
        memory: of the session.

    Raises:
        InputError: it is no array, lies in the memory of another device, or cannot be shared.
    """
    if isinstance(given, np.ndarray) or not hasattr(given, "__dlpack_device__"):
        return as_numpy(name, given)
    kind, _ = map(int, given.__dlpack_device__())
    if kind in (HOST[0], _PINNED):
        return given.numpy() if isinstance(given, DeviceArray) else _shared(name, given)
    require_memory(name, given, memory)
    return given if isinstance(given, DeviceArray) else imported(name, given)


def as_numpy(name: str, given: Any) -> Array:
    """What NumPy takes for an array.

    Raises:
        InputError: it takes it for none: lists of different lengths, say.
    """
    try:
        return np.asarray(given)
    except Exception as error:  # a foreign class may raise anything
        raise InputError(
            "not-an-array",
            f"`{name}` is no array: {first_line(error)}",
            "give an array, or lists of equal lengths",
        ) from error


def require_memory(name: str, given: Any, memory: tuple[int, int]) -> None:
    """Fail where an array lies in other memory than the session's.

    Raises:
        InputError: it does.
    """
    kind, index = map(int, given.__dlpack_device__())
    if (kind, index) != memory:
        raise InputError(
            "wrong-device",
            f"`{name}` lies on {memory_name((kind, index))}, and the session runs on "
            f"{memory_name(memory)}",
            "move the one to the other, or open the session with that device",
        )


def imported(name: str, given: Any) -> DeviceArray:
    """What another library holds in a device's memory, shared.

    Raises:
        InputError: it cannot be shared: it is not contiguous, say, or records gradients.
    """
    values = onnxruntime().OrtValue
    try:
        if hasattr(values, "from_dlpack"):
            return DeviceArray(values.from_dlpack(given))
        # Older runtimes have it elsewhere, and are to be told of truth values.
        bindings = importlib.import_module("onnxruntime.capi._pybind_state")
        dtype = getattr(given, "dtype", None)
        is_bool = str(getattr(dtype, "name", dtype)).rpartition(".")[2] == "bool"
        return DeviceArray(values(bindings.OrtValue.from_dlpack(given.__dlpack__(), is_bool)))
    except Exception as error:
        raise _not_shared(name, error) from error


def run(
    session: Any,
    feeds: Mapping[str, Array | DeviceArray],
    outputs: Sequence[str],
    *,
    left: Collection[str] = (),
    memory: tuple[int, int] = HOST,
    into: Mapping[str, DeviceArray] | None = None,
) -> list[Any]:
    """One run on bound memory: the outputs as NumPy's arrays, those that are ``left`` as they lie.

    Args:
        session: an ``InferenceSession``.
        feeds: the inputs by name.
        outputs: the names of those that are wanted; others are computed and not brought.
        left: those of them that stay in ``memory``.
        memory: of the session.
        into: arrays of an earlier run that are written again.
    """
    ort = onnxruntime()
    binding = session.io_binding()
    kept = []  # as long as the run reads it
    for name, value in feeds.items():
        if isinstance(value, DeviceArray):
            value.bind(binding, name)
        else:
            kept.append(ort.OrtValue.ortvalue_from_numpy(np.asarray(value, order="C")))
            binding.bind_ortvalue_input(name, kept[-1])
    for name in outputs:
        if into is not None and name in into:
            into[name].bind_output(binding, name)
        else:
            kind, index = memory if name in left else HOST
            binding.bind_output(name, _MEMORIES[kind], index)
    # Who wrote an input may not have finished, and the runtime has a stream of its own.
    binding.synchronize_inputs()
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    found = zip(outputs, binding.get_outputs(), strict=True)
    return [DeviceArray(value) if name in left else value.numpy() for name, value in found]


def memory_name(memory: tuple[int, int]) -> str:
    """``cpu``, ``cuda:0``, or what DLPack numbers so."""
    kind, index = memory
    if kind not in _MEMORIES:
        return f"DLPack's device {kind}:{index}"
    return "cpu" if memory == HOST else f"{_MEMORIES[kind]}:{index}"


def _shared(name: str, given: Any) -> Array:
    try:
        return np.from_dlpack(given)
    except Exception as error:
        raise _not_shared(name, error) from error


def _not_shared(name: str, error: Exception) -> InputError:
    return InputError(
        "not-shared",
        f"`{name}` cannot be shared through DLPack: {first_line(error)}",
        "give a contiguous array of a type that ONNX has, detached from what records gradients",
    )
