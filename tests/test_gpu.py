"""What only a GPU can show: `pytest -m gpu`, with onnxruntime-gpu and, for some, torch for CUDA.

They were written where no GPU was at hand. What they call runs on the host's memory in
`test_binding` and `test_devices`; the bounds here follow from float32 and were not measured.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from commands import FASHION, FASHION_VGG, fg
from conftest import SAMPLES, noise
from onnx import TensorProto, helper
from precision import in_type

from benchmarks.placement import placement_of
from benchmarks.timing import gpu_memory
from fg_onnx import Session, binding, instrument
from fg_onnx.devices import Device, require_device
from fg_onnx.errors import FgOnnxError, InputError, RuntimeMissingError
from fg_onnx.manifest import EMITS

CUDA = (2, 0)  # the first CUDA device, in DLPack's numbers
IMAGES = noise(SAMPLES["residual"].model)["x"]
# Sums of some thousand float32 products in another order, relative to the largest; a map divides by
# the range of a layer, which may be a tenth of what was added up.
SAME, SAME_MAP = 1e-4, 1e-3


pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True, scope="module")
def cuda():
    """Skips where CUDA does not come up, saying why."""
    try:
        require_device(Device("cuda"))
    except FgOnnxError as error:
        pytest.skip(f"no CUDA device: {error.message}")


@pytest.fixture(scope="module")
def sessions():
    model = SAMPLES["residual"].instrument(emit=EMITS)
    return Session(model, device="cuda"), Session(model, device="cpu")


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch")
    if not module.cuda.is_available():
        pytest.skip("this torch has no CUDA device")
    return module


def close(found, wanted, bound):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=bound * np.abs(wanted).max() + 1e-12)


def test_auto_is_cuda():
    model = SAMPLES["residual"].instrument()
    for options in ({}, {"device": "cuda"}, {"device": "cuda:0"}):
        session = Session(model, **options)
        assert session.device == "cuda:0"
        assert session.providers[0] == "CUDAExecutionProvider"
    with pytest.raises(RuntimeMissingError, match="CUDA device"):
        Session(model, device="cuda:99")


@pytest.mark.parametrize("name", SAMPLES)
def test_cuda_computes_what_the_cpu_does(name):
    sample = SAMPLES[name]
    model = sample.instrument(emit=EMITS)
    found, wanted = (sample.explain(Session(model, device=device), 0) for device in ("cuda", "cpu"))
    assert np.all(found.residual <= 1e-4)
    close(found.scores, wanted.scores, SAME)
    close(found.contributions, wanted.contributions, SAME)
    close(found.input_gradient, wanted.input_gradient, SAME)
    for site, value in wanted.bias_gradients.items():
        close(found.bias_gradients[site], value, SAME)
    close(found.saliency, wanted.saliency, SAME_MAP)


NARROW = ("residual", "batchnorm_preact", "bias_free", "dead_branch", "fashion_vgg")
CASES = [
    *((name, TensorProto.FLOAT) for name in SAMPLES),
    *((name, TensorProto.FLOAT16) for name in NARROW),
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_no_node_on_floats_runs_on_the_cpu(tmp_path, name, kind):
    """Shapes are reckoned with on the host, by every runtime; nothing else is."""
    sample = SAMPLES[name]
    path = instrument(in_type(sample.model, kind)).save(tmp_path / "model.fg.onnx")
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    feeds = {key: value.astype(dtype) for key, value in sample.feeds.items()}
    found = placement_of(path, feeds, "cuda")
    assert found.copies == 0
    assert found.floats_on_cpu == {}
    assert found.nodes["CUDAExecutionProvider"] > 0


def test_float16_is_complete_within_its_rounding():
    sample = SAMPLES["residual"]
    session = Session(instrument(in_type(sample.model, TensorProto.FLOAT16)), device="cuda")
    assert np.all(session.explain(IMAGES).residual <= session.tolerance)


def test_tf32_is_complete_within_its_rounding():
    sample = SAMPLES["fashion_vgg"]
    model = sample.instrument()
    full, rounded = (Session(model, device="cuda", tf32=tf32) for tf32 in (False, True))
    assert (full.tolerance, rounded.tolerance) == (1e-4, 1e-2)
    assert np.all(sample.explain(full).residual <= full.tolerance)
    assert np.all(sample.explain(rounded).residual <= rounded.tolerance)


# --- arrays ---------------------------------------------------------------------------------------


def test_images_are_put_once_and_results_stay(sessions):
    there, here = sessions
    array = there.put(IMAGES)
    assert array.__dlpack_device__() == CUDA
    pointer = array.pointer
    for images in (IMAGES, -IMAGES):
        array.update(images)
        assert array.pointer == pointer
        wanted, found = here.explain(images, 1), there.explain_on_device(array, 1)
        close(found.contributions, wanted.contributions, SAME)
        saliency = found.arrays["fg_saliency"]
        assert saliency.__dlpack_device__() == CUDA
        close(saliency.numpy()[:, 0], wanted.saliency, SAME_MAP)
        close(there.explain(array, 1).saliency, wanted.saliency, SAME_MAP)
        close(there.scores(array), here.scores(images), SAME)


def test_buffers_are_kept_or_written_again(sessions):
    there, _ = sessions
    first = there.explain_on_device(IMAGES, 1)
    kept = {name: array.numpy().copy() for name, array in first.arrays.items()}
    there.explain_on_device(-IMAGES, 2)
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(array.numpy(), kept[name])
    pointers = {name: array.pointer for name, array in first.arrays.items()}
    again = there.explain_on_device(-IMAGES, 2, into=first)
    assert {name: array.pointer for name, array in again.arrays.items()} == pointers


def test_memory_does_not_grow_with_the_calls(sessions):
    there, _ = sessions
    for _ in range(3):
        there.explain_on_device(IMAGES)
    before = gpu_memory(0)
    if before is None:
        pytest.skip("nvidia-smi is not there to ask")
    for _ in range(200):
        there.explain_on_device(IMAGES)
    assert gpu_memory(0) - before <= 64  # MiB; others may use the GPU too


def test_a_batch_of_one_is_fed_by_address():
    model = SAMPLES["fixed_batch"].instrument()
    there, here = (Session(model, device=device) for device in ("cuda", "cpu"))
    found = there.explain(there.put(IMAGES), 0)
    close(found.contributions, here.explain(IMAGES, 0).contributions, SAME)


def test_torch_tensors_on_the_gpu(sessions, torch):
    there, here = sessions
    tensor = torch.from_numpy(IMAGES).cuda()
    assert binding.imported("x", tensor).pointer == tensor.data_ptr()
    found = there.explain_on_device(tensor, 1)
    wanted = here.explain(IMAGES, 1)
    close(found.contributions, wanted.contributions, SAME)
    array = found.arrays["fg_saliency"]
    shared = torch.from_dlpack(array)
    assert shared.is_cuda
    assert shared.data_ptr() == array.pointer
    close(shared[:, 0].cpu().numpy(), wanted.saliency, SAME_MAP)
    bias = torch.zeros(5, device="cuda")
    fed = there.explain(tensor, 1, feeds={"fg_bias/logits": bias})
    close(fed.scores, here.explain(IMAGES, 1, feeds={"fg_bias/logits": np.zeros(5)}).scores, SAME)
    with pytest.raises(InputError, match="lies on cuda:0, and the session runs on cpu"):
        here.explain(tensor)
    with pytest.raises(InputError, match=r"fed tensor\(float\), not tensor\(float16\)"):
        there.explain(tensor.half())


def test_what_another_stream_is_still_writing_is_waited_for(sessions, torch):
    there, here = sessions
    wanted = here.explain(IMAGES, 1)
    images = torch.from_numpy(IMAGES).cuda()
    busy = torch.randn(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        tensor = torch.full_like(images, torch.nan)
        for _ in range(50):
            busy = busy @ busy / 64
        tensor.copy_(images)
        found = there.explain_on_device(tensor, 1)
    close(found.contributions, wanted.contributions, SAME)


def test_the_command_line_says_so(tmp_path):
    options = ("--preprocess", FASHION / "preprocess.yaml", "--device", "cuda", "--json")
    found = fg("explain", FASHION_VGG, FASHION / "bag_18.png", *options, "-o", tmp_path)
    assert found.code == 0, found.err
    assert json.loads(found.out)["device"] == "cuda:0"
