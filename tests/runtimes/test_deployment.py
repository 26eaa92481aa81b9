"""``--runtime``: what is written for another runtime than ONNX Runtime, and what is refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import fg_onnx
from fg_onnx import Session, instrument
from fg_onnx.deployment import RUNTIMES, require_operators
from fg_onnx.errors import InputError, UnsupportedModelError
from fg_onnx.manifest import EMITS, TARGET
from tests.commands import FASHION_VGG, WEIGHTS, fg, write_model

OTHERS = [name for name in RUNTIMES if name != "ort"]

STRIDED = """g (float[N,3,9,9] x) => (float[N,4] logits) {
    c = Conv <strides = [2, 2]> (x, w, b)
    r = Relu (c)
    p = GlobalAveragePool (r)
    logits = Flatten (p)
}"""


@pytest.fixture
def strided(tmp_path):
    return write_model(tmp_path / "strided.onnx", STRIDED)


def image(seed=0, side=9):
    return np.random.default_rng(seed).standard_normal((2, 3, side, side)).astype(np.float32)


@pytest.mark.parametrize("runtime", OTHERS)
def test_no_input_has_a_default(strided, runtime):
    made = instrument(str(strided), runtime=runtime)
    graph = made.model.graph
    assert [value.name for value in graph.input] == ["x", TARGET]
    assert not {tensor.name for tensor in graph.initializer} & {"x", TARGET}
    assert made.manifest.frozen_biases
    assert made.manifest.runtime == runtime
    assert all(site.promoted_input is None for site in made.manifest.sites)
    onnx.checker.check_model(made.model, full_check=True)


@pytest.mark.parametrize("runtime", OTHERS)
def test_the_source_s_own_defaults_are_frozen(strided, runtime):
    model = onnx.load(strided)
    model.graph.input.append(onnx.helper.make_tensor_value_info("b", 1, [4]))
    names = [value.name for value in instrument(model).model.graph.input]
    assert "b" in names
    names = [value.name for value in instrument(model, runtime=runtime).model.graph.input]
    assert names == ["x", TARGET]


@pytest.mark.parametrize("runtime", OTHERS)
@pytest.mark.parametrize("target", [None, 2, [1, -1]])
def test_a_session_explains_the_same(strided, runtime, target):
    expected = Session(instrument(str(strided), emit=EMITS)).explain(image(), target)
    session = Session(instrument(str(strided), emit=EMITS, runtime=runtime))
    assert session.further_inputs == {}
    found = session.explain(image(), target)
    np.testing.assert_array_equal(found.targets, expected.targets)
    # biases that are constants are fused otherwise: float32 rounding
    np.testing.assert_allclose(found.contributions, expected.contributions, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.saliency, expected.saliency, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.input_gradient, expected.input_gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("runtime", OTHERS)
def test_a_seed_is_fed_as_ever(strided, runtime):
    made = instrument(str(strided), runtime=runtime, seed=True)
    assert [value.name for value in made.model.graph.input] == ["x", "fg_seed"]


def users_of_weights(graph):
    """The names of the weights of Conv, and of ConvTranspose."""
    return [
        {node.input[1] for node in graph.node if node.op_type == op_type}
        for op_type in ("Conv", "ConvTranspose")
    ]


def test_openvino_gets_a_weight_of_its_own_for_conv_transpose(strided):
    convs, transposes = users_of_weights(instrument(str(strided)).model.graph)
    assert convs & transposes == {"w"}
    graph = instrument(str(strided), runtime="openvino").model.graph
    convs, transposes = users_of_weights(graph)
    assert not convs & transposes
    assert "w" in convs  # the source's own node is as it was
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for name in transposes:
        np.testing.assert_array_equal(held[name], WEIGHTS["w"])


def test_the_source_s_own_conv_transpose_keeps_its_weight(tmp_path):
    text = STRIDED.replace("c = Conv", "c = ConvTranspose").replace("x, w, b", "x, w")
    weights = {"w": np.linspace(-1, 1, 3 * 4 * 9, dtype=np.float32).reshape(3, 4, 3, 3)}
    path = write_model(tmp_path / "net.onnx", text, weights)
    graph = instrument(str(path), runtime="openvino").model.graph
    convs, transposes = users_of_weights(graph)
    assert transposes == {"w"}
    assert "w" not in convs


PADDED = """g (float[N,3,8,8] x) => (float[N,4] logits) {
    wide = Pad <mode = "wrap"> (x, pads)
    c = Conv (wide, w, b)
    p = GlobalAveragePool (c)
    logits = Flatten (p)
}"""


def test_an_operator_that_a_runtime_lacks_is_refused_by_name(tmp_path):
    weights = {**WEIGHTS, "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
    path = write_model(tmp_path / "net.onnx", PADDED, weights, imports='"": 19')
    instrument(str(path), runtime="web")
    with pytest.raises(UnsupportedModelError, match="OpenVINO 2026") as refused:
        instrument(str(path), runtime="openvino")
    assert refused.value.code == "runtime-operator"
    assert refused.value.op == "Pad"
    assert "wrap" in refused.value.reason
    outcome = fg("instrument", path, "--runtime", "openvino")
    assert outcome.code == 2
    assert "`Pad` at" in outcome.err


def test_indices_are_refused_for_tensorrt(tmp_path):
    text = STRIDED.replace("r = Relu (c)", "r, i = MaxPool <kernel_shape = [2, 2]> (c)")
    path = write_model(tmp_path / "net.onnx", text)
    instrument(str(path), runtime="openvino")
    with pytest.raises(UnsupportedModelError, match="Indices"):
        instrument(str(path), runtime="tensorrt")


# An operator's line in the place of STRIDED's ReLU, and what is said of it.
NOT_FOR_TENSORRT = {
    "dilated": ("r = MaxPool <kernel_shape = [2, 2], dilations = [2, 2]> (c)", "dilations"),
    "cubic": ('r = Resize <mode = "cubic"> (c, , scales)', "`cubic`"),
    "shifted": ("q = QuantizeLinear (c, scale, zero)\n r = DequantizeLinear (q, scale, zero)",
                "a zero point other than 0"),
    "unknown": ('u = Cast <to = 2> (c)\n i = BitShift <direction = "LEFT"> (u, bits)\n'
                " f = Cast <to = 1> (i)\n r = Mul (c, f)", "it is not taken"),
}  # fmt: skip
BESIDE = {
    "scales": np.array([1, 1, 2, 2], np.float32),
    "scale": np.array(0.1, np.float32),
    "zero": np.array(3, np.uint8),
    "bits": np.array(1, np.uint8),
}


@pytest.mark.parametrize("name", NOT_FOR_TENSORRT)
def test_what_tensorrt_does_not_take_is_refused(tmp_path, name):
    line, reason = NOT_FOR_TENSORRT[name]
    text = STRIDED.replace("r = Relu (c)", line)
    path = write_model(tmp_path / "net.onnx", text, {**WEIGHTS, **BESIDE}, imports='"": 18')
    instrument(str(path))
    with pytest.raises(UnsupportedModelError, match=r"TensorRT 10\.1, ") as refused:
        instrument(str(path), runtime="tensorrt")
    assert reason in refused.value.reason


@pytest.mark.parametrize("axes", ["computed", "held"])
def test_axes_have_to_be_constants_for_tensorrt(axes):
    text = f"""g (float[N,3] x, int64[1] fed) => (float y) <int64[1] held = {{1}}> {{
        computed = Identity (fed)
        y = ReduceMean (x, {axes})
    }}"""
    graph = onnx.parser.parse_graph(text)
    if axes == "held":
        require_operators(RUNTIMES["tensorrt"], graph)
        return
    with pytest.raises(UnsupportedModelError, match="have to be constants"):
        require_operators(RUNTIMES["tensorrt"], graph)


def test_tensorrt_takes_a_zero_point_of_0(tmp_path):
    text = STRIDED.replace("r = Relu (c)", NOT_FOR_TENSORRT["shifted"][0])
    path = write_model(tmp_path / "net.onnx", text, {**WEIGHTS, **BESIDE, "zero": np.uint8(0)})
    instrument(str(path), runtime="tensorrt")


@pytest.mark.parametrize("runtime", ["web", "tensorrt"])
def test_an_opset_that_a_runtime_does_not_load_is_refused(strided, runtime):
    newest = RUNTIMES[runtime].newest_opset
    instrument(str(strided), runtime=runtime, opset=newest)
    with pytest.raises(UnsupportedModelError, match=f"loads at most {newest}") as refused:
        instrument(str(strided), runtime=runtime, opset=newest + 1)
    assert refused.value.code == "runtime-opset"


def test_an_unknown_runtime_is_an_error(strided):
    with pytest.raises(InputError, match="no runtime `ncnn`") as refused:
        instrument(str(strided), runtime="ncnn")
    assert all(name in refused.value.hint for name in RUNTIMES)


def test_the_command_line_says_what_is_to_be_fed(tmp_path):
    place = tmp_path / "net.onnx"
    outcome = fg("instrument", FASHION_VGG, "-o", place, "--runtime", "web")
    assert outcome.code == 0
    assert "fg_target is to be fed, -1 for the predicted class" in outcome.out
    outcome = fg("instrument", FASHION_VGG, "-o", place, "--runtime", "tensorrt")
    assert "not tried there" in outcome.out
    inspected = fg("inspect", place).out
    assert "fg_target is to be fed" in inspected
    assert "the input image" not in inspected  # the model's own is the only one
    outcome = fg("instrument", FASHION_VGG, "-o", place)
    assert "runtime" not in outcome.out


@pytest.mark.parametrize("runtime", OTHERS)
def test_it_is_verified_against_its_source(strided, tmp_path, runtime):
    made = instrument(str(strided), runtime=runtime)
    found = fg_onnx.verify(made.model, str(strided))
    assert found.verdict == "passed", [check for check in found.checks if check.outcome == "failed"]


def test_a_default_that_came_back_is_found(strided):
    made = instrument(str(strided), runtime="web")
    made.model.graph.initializer.append(numpy_helper.from_array(np.array([-1]), TARGET))
    found = fg_onnx.verify(made.model, str(strided))
    assert found.verdict == "failed"
