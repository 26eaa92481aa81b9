"""Where a model runs: ``auto``, ``cpu``, ``cuda[:N]`` or ``tensorrt[:N]``, and nowhere else.

ONNX Runtime answers a provider that does not come up with a line in its log and the CPU. Here a
device that was asked for and is not there is an error, and what a session reports is believed only
after it was made.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import io
import re
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from fg_onnx.errors import FgOnnxError, InputError, ModelError, RuntimeMissingError
from fg_onnx.runtime import Provider, onnxruntime, open_session

AUTO = "auto"
_CPU, _CUDA, _TENSORRT = "cpu", "cuda", "tensorrt"
_PROVIDERS = {
    _CPU: "CPUExecutionProvider",
    _CUDA: "CUDAExecutionProvider",
    _TENSORRT: "TensorrtExecutionProvider",
}
_SPEC = re.compile(r"(?P<kind>cpu|(?P<gpu>cuda|tensorrt)(:(?P<index>\d{1,3}))?)")

HOST = (1, 0)
"""DLPack's number of the host's memory, and of the device within its kind."""
_CUDA_MEMORY = 2  # DLPack's kDLCUDA

# One node, to learn whether a provider comes up without blaming a model for it.
_PROBE = (
    '<ir_version: 8, opset_import: ["": 17]> probe (float[1] x) => (float[1] y) { y = Neg (x) }'
)


@dataclass(frozen=True)
class Device:
    """What a session runs on.

    Attributes:
        kind: ``cpu``, ``cuda``, ``tensorrt``, or the name of another execution provider.
        index: of the GPU among those that CUDA shows.
    """

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}" if self.is_gpu else self.kind

    @property
    def is_gpu(self) -> bool:
        """Whether its memory is CUDA's."""
        return self.kind in (_CUDA, _TENSORRT)

    @property
    def memory(self) -> tuple[int, int]:
        """The memory that arrays are bound in, as ``__dlpack_device__`` gives it."""
        return (_CUDA_MEMORY, self.index) if self.is_gpu else HOST

    def providers(self, *, tf32: bool = False) -> list[Provider]:
        """ONNX Runtime's providers with their options, the one asked for first.

        CUDA rounds the factors of float32 products to TF32 unless it is told not to. TensorRT does
        so too, and has no such option: there the environment variable NVIDIA_TF32_OVERRIDE=0 does.
        """
        where = {"device_id": str(self.index)}
        cuda: Provider = (_PROVIDERS[_CUDA], {**where, "use_tf32": str(int(tf32))})
        first: dict[str, list[Provider]] = {
            _CUDA: [cuda],
            _TENSORRT: [(_PROVIDERS[_TENSORRT], where), cuda],
        }
        return [*first.get(self.kind, []), _PROVIDERS[_CPU]]


def parse_device(spec: str) -> Device | None:
    """The device that a text names; None for ``auto``.

    Raises:
        InputError: it names none.
    """
    found = _SPEC.fullmatch(spec) if isinstance(spec, str) else None
    if spec != AUTO and found is None:
        raise InputError(
            "no-such-device",
            f"`{spec}` is no device",
            "give auto, cpu, cuda, cuda:N, tensorrt or tensorrt:N",
        )
    if found is None:
        return None
    return Device(found["gpu"] or _CPU, int(found["index"] or 0))


def open_on(
    spec: str,
    model: str | bytes,
    options: Any = None,
    *,
    tf32: bool = False,
    patterns: bool = False,
) -> Any:
    """An ``InferenceSession`` on the device that is named; with ``auto``, on CUDA if it is there.

    ``patterns`` is as `open_session` takes it.

    Raises:
        InputError: the text names no device.
        RuntimeMissingError: no runtime is installed, or the device is not there.
        ModelError: the runtime does not take the model.
    """
    device = parse_device(spec) or _best()
    if device.is_gpu:
        require_device(device)
    return open_session(model, device.providers(tf32=tf32), options, patterns=patterns)


def open_with(
    providers: Sequence[Provider],
    model: str | bytes,
    options: Any = None,
    *,
    patterns: bool = False,
) -> Any:
    """An ``InferenceSession`` on execution providers, all of which come up.

    ``patterns`` is as `open_session` takes it.

    Raises:
        InputError: they are not given as `Provider` has it.
        RuntimeMissingError: no runtime is installed, or it lacks a provider.
        ModelError: the runtime does not take the model.
    """
    if isinstance(providers, str) or not all(map(_is_provider, providers)):
        raise InputError(
            "not-providers",
            f"`{providers}` is no sequence of execution providers",
            'give names, or names with their options: ["CPUExecutionProvider"]',
        )
    try:
        return open_session(model, providers, options, patterns=patterns)
    except ModelError:
        try:
            open_session(_probe(), providers)
        except ModelError as error:
            names = [found if isinstance(found, str) else found[0] for found in providers]
            raise RuntimeMissingError(
                "no-device",
                f"ONNX Runtime does not bring up {', '.join(names)}: {error.message}",
                "install what the provider needs, or leave it out",
            ) from error
        raise


def _is_provider(given: object) -> bool:
    """Whether it is a name, or a name with options."""
    if isinstance(given, str):
        return True
    return (
        isinstance(given, tuple)
        and len(given) == 2
        and isinstance(given[0], str)
        and isinstance(given[1], Mapping)
    )


def device_of(session: Any) -> Device:
    """What a session runs on: its first provider."""
    provider = session.get_providers()[0]
    kind = next((kind for kind, name in _PROVIDERS.items() if name == provider), provider)
    options = session.get_provider_options().get(provider, {})
    return Device(kind, int(options.get("device_id", 0)))


def require_device(device: Device) -> None:
    """Fail where a GPU cannot be used, saying why.

    Raises:
        RuntimeMissingError: the runtime has no such provider, the driver no such device, or the
            provider does not come up.
    """
    ort = onnxruntime()
    name = _PROVIDERS[device.kind]
    if name not in ort.get_available_providers():
        raise RuntimeMissingError(
            "no-provider",
            f"`{device}` needs {name}, and this ONNX Runtime {ort.__version__} has only "
            f"{', '.join(ort.get_available_providers())}",
            'pip uninstall onnxruntime, then pip install "fg-onnx[gpu]"',
        )
    count = cuda_devices()
    if device.index >= count:
        shown = f"the driver shows {count} CUDA device(s)" if count else "no CUDA device is there"
        raise RuntimeMissingError(
            "no-device",
            f"`{device}` cannot be used: {shown}",
            f"give cuda:{count - 1} or less" if count else "see what `nvidia-smi` lists",
        )
    reason = _fault(device)
    if reason is not None:
        extra = ", and TensorRT's with pip install tensorrt" if device.kind == _TENSORRT else ""
        raise RuntimeMissingError(
            "no-device",
            f"`{device}` cannot be used: ONNX Runtime does not bring up {name}: {reason}",
            f'CUDA\'s libraries come with pip install "fg-onnx[gpu]"{extra}',
        )


def cuda_devices() -> int:
    """How many devices the CUDA driver shows; 0 where there is no driver."""
    driver, count = _driver(), ctypes.c_int(0)
    if driver is None or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def cuda_uuid(index: int) -> str | None:
    """What ``nvidia-smi`` calls a CUDA device, None where there is none of that index.

    Its own indices are others: CUDA counts the devices that CUDA_VISIBLE_DEVICES shows, in an
    order of its own.
    """
    driver, device, found = _driver(), ctypes.c_int(0), (ctypes.c_ubyte * 16)()
    if driver is None or driver.cuDeviceGet(ctypes.byref(device), index):
        return None
    if driver.cuDeviceGetUuid(ctypes.byref(found), device):
        return None
    return f"GPU-{uuid.UUID(bytes=bytes(found))}"


def _driver() -> Any:
    """CUDA's driver, ready to be asked; None where there is none."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    return None if driver.cuInit(0) else driver


def _best() -> Device:
    first = Device(_CUDA)
    with contextlib.suppress(RuntimeMissingError):
        require_device(first)
        return first
    return Device(_CPU)


@functools.cache
def _fault(device: Device) -> str | None:
    """Why a provider does not come up, None where it does."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):  # where the runtime says what it cannot load
        _preload(device)
        try:
            open_session(_probe(), device.providers())
        except FgOnnxError as error:
            return next(iter(printed.getvalue().splitlines()), error.message)
    return None


def _probe() -> bytes:
    return bytes(onnx.parser.parse_model(_PROBE).SerializeToString())


def _preload(device: Device) -> None:
    """Load the libraries that pip installed, which no loader finds by itself."""
    preload = getattr(onnxruntime(), "preload_dlls", None)
    if preload is not None:
        preload()
    if device.kind == _TENSORRT:
        with contextlib.suppress(ImportError):
            importlib.import_module("tensorrt")  # loads its own
