"""Which device a model runs on: what is asked for, what is there, and what is said of it."""

from __future__ import annotations

import ctypes

import onnxruntime as ort
import pytest

from fg_onnx import Session, devices
from fg_onnx.devices import Device, cuda_devices, cuda_uuid, parse_device
from fg_onnx.errors import InputError, RuntimeMissingError

HAS_CUDA = cuda_devices() > 0 and "CUDAExecutionProvider" in ort.get_available_providers()
without_cuda = pytest.mark.skipif(HAS_CUDA, reason="there is a CUDA device")


@pytest.fixture(scope="module")
def model(samples):
    return samples["residual"].instrument()


@pytest.fixture
def pretended(monkeypatch):
    """A runtime and a driver that say they have CUDA; the provider does not come up all the same.

    ONNX Runtime itself answers as it does where libraries are missing: with the CPU.
    """
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: names)
    monkeypatch.setattr(devices, "cuda_devices", lambda: 1)
    devices._fault.cache_clear()
    yield
    devices._fault.cache_clear()


@pytest.mark.parametrize(
    ("spec", "device"),
    [
        ("auto", None),
        ("cpu", Device("cpu")),
        ("cuda", Device("cuda", 0)),
        ("cuda:3", Device("cuda", 3)),
        ("tensorrt", Device("tensorrt", 0)),
        ("tensorrt:12", Device("tensorrt", 12)),
    ],
)
def test_a_device_by_name(spec, device):
    assert parse_device(spec) == device
    if device is not None:
        assert parse_device(str(device)) == device


@pytest.mark.parametrize(
    "spec",
    ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "auto:0", "cuda:0 ", "\n", None, 0],
)
def test_what_names_no_device(spec, model):
    for given in (parse_device, lambda text: Session(model, device=text)):
        with pytest.raises(InputError, match="is no device") as caught:
            given(spec)
        assert caught.value.code == "no-such-device"
        assert "cuda:N" in caught.value.hint


def test_what_the_providers_are_told():
    """Full float32 unless it is asked otherwise; TensorRT's remainder goes to CUDA, not the CPU."""
    (name, options), last = Device("cuda", 2).providers()
    assert (name, last) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert options == {"device_id": "2", "use_tf32": "0"}
    assert Device("cuda").providers(tf32=True)[0][1]["use_tf32"] == "1"
    (first, where), (second, _), _ = Device("tensorrt", 1).providers()
    assert (first, second) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert where == {"device_id": "1"}
    assert Device("cpu").providers() == ["CPUExecutionProvider"]


@without_cuda
def test_auto_is_the_cpu_here(model):
    for options in ({}, {"device": "auto"}, {"device": "cpu"}, {"tf32": True}):
        session = Session(model, **options)
        assert session.device == "cpu"
        assert session.providers == ("CPUExecutionProvider",)
        assert session.tolerance == 1e-4


@without_cuda
@pytest.mark.parametrize("spec", ["cuda", "cuda:1", "tensorrt", "tensorrt:1"])
def test_an_absent_device_is_an_error(model, spec):
    with pytest.raises(RuntimeMissingError) as caught:
        Session(model, device=spec)
    assert caught.value.code in ("no-provider", "no-device")
    assert f"`{parse_device(spec)}`" in caught.value.message
    assert "fg-onnx[gpu]" in caught.value.hint or "nvidia-smi" in caught.value.hint


@without_cuda
@pytest.mark.usefixtures("pretended")
@pytest.mark.filterwarnings("ignore:Specified provider")  # the runtime's own words for it
@pytest.mark.parametrize("spec", ["cuda", "tensorrt"])
def test_no_silent_fall_back_to_the_cpu(model, spec):
    with pytest.raises(RuntimeMissingError, match="does not bring up") as caught:
        Session(model, device=spec)
    assert caught.value.code == "no-device"
    assert 'pip install "fg-onnx[gpu]"' in caught.value.hint
    assert ("pip install tensorrt" in caught.value.hint) == (spec == "tensorrt")
    named = [parse_device(spec).providers()[0], "CPUExecutionProvider"]
    with pytest.raises(RuntimeMissingError, match="does not bring up"):
        Session(model, providers=named)
    assert Session(model).device == "cpu"


@pytest.mark.usefixtures("pretended")
def test_more_devices_than_there_are(model):
    with pytest.raises(RuntimeMissingError, match=r"the driver shows 1 CUDA device") as caught:
        Session(model, device="cuda:1")
    assert caught.value.hint == "give cuda:0 or less"


@pytest.mark.parametrize(("status", "count"), [(0, 2), (100, 0)])  # 100: CUDA_ERROR_NO_DEVICE
def test_the_driver_is_asked(monkeypatch, status, count):
    class Driver:
        def cuInit(self, flags):  # noqa: N802
            return status

        def cuDeviceGetCount(self, found):  # noqa: N802
            found._obj.value = 2
            return 0

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver())
    assert cuda_devices() == count


def test_a_device_has_the_name_that_the_driver_gives_it(monkeypatch):
    """The second of those that CUDA shows, whatever index it has among all."""

    class Driver:
        def cuInit(self, flags):  # noqa: N802
            return 0

        def cuDeviceGet(self, found, index):  # noqa: N802
            found._obj.value = 40 + index
            return 0 if index < 2 else 101  # CUDA_ERROR_INVALID_DEVICE

        def cuDeviceGetUuid(self, found, device):  # noqa: N802
            found._obj[:] = [device.value, *range(1, 16)]
            return 0

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver())
    assert cuda_uuid(1) == "GPU-29010203-0405-0607-0809-0a0b0c0d0e0f"
    assert cuda_uuid(2) is None


def test_no_driver(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert cuda_devices() == 0
    assert cuda_uuid(0) is None


def test_providers_stand_in_the_place_of_a_device(model):
    session = Session(model, providers=["CPUExecutionProvider"])
    assert (session.device, session.providers) == ("cpu", ("CPUExecutionProvider",))
    for options in ({"device": "cpu"}, {"tf32": True}):
        with pytest.raises(InputError) as caught:
            Session(model, providers=["CPUExecutionProvider"], **options)
        assert caught.value.code == "two-devices"
