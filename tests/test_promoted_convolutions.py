"""The promoted bias of a convolution is added behind it, so that the runtime may block it."""

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import run
from onnx import numpy_helper, parser

from fg_onnx import instrument, verify


def net(grid="8,8", kind="float", weight="w"):
    """A convolution of 16 channels, its means over the grid for scores."""
    model = parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]>
        net ({kind}[N,16,{grid}] x, {kind}[16,16{",1" * (grid.count(",") + 1)}] given)
            => ({kind}[N,16] y) {{
            h = Conv (x, {weight}, b)
            r = Relu (h)
            g = GlobalAveragePool (r)
            y = Flatten (g)
        }}""")
    rng, dtype = np.random.default_rng(0), np.float16 if kind == "float16" else np.float32
    for name, shape in (("w", [16, 16, *[1] * (grid.count(",") + 1)]), ("b", [16])):
        values = rng.standard_normal(shape).astype(dtype)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    if weight != "given":
        del model.graph.input[1]
    return model


def forward_convolution(model):
    (found,) = (n for n in model.graph.node if n.op_type == "Conv" and n.input[0] == "x")
    return found


def blocked(model, tmp_path):
    """How many convolutions the runtime computes in blocks."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "ran.onnx")
    options.log_severity_level = 4  # a graph of this machine's own is no news
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    nodes = onnx.load(tmp_path / "ran.onnx", load_external_data=False).graph.node
    return sum(n.op_type == "Conv" and n.domain == "com.microsoft.nchwc" for n in nodes)


def test_a_convolution_stays_blocked_though_its_bias_is_an_input(tmp_path):
    model = instrument(net()).model
    assert len(forward_convolution(model).input) == 2
    if blocked(net(), tmp_path) == 0:
        pytest.skip("this processor has no blocked convolutions")
    assert blocked(model, tmp_path) == 2  # and that of the adjoint


def test_the_bias_is_the_model_s_by_default_and_what_is_fed_else():
    model, x = instrument(net()).model, np.random.default_rng(1).random([2, 16, 8, 8], np.float32)
    plain = run(net(), {"x": x})["y"]
    np.testing.assert_allclose(run(model, {"x": x})["y"], plain, rtol=1e-6)
    other = net()
    (bias,) = (t for t in other.graph.initializer if t.name == "b")
    changed = numpy_helper.to_array(bias) + np.arange(16, dtype=np.float32)
    bias.CopyFrom(numpy_helper.from_array(changed, "b"))
    found = run(model, {"x": x, "fg_bias/h": changed})["y"]
    np.testing.assert_allclose(found, run(other, {"x": x})["y"], rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ({"grid": "8"}, {}),
        ({"kind": "float16"}, {}),
        ({"weight": "given"}, {}),
        ({}, {"freeze_biases": True}),
    ],
    ids=["signal", "float16", "weight is an input", "frozen"],
)
def test_where_nothing_would_be_blocked_by_it_the_node_stays_as_it_is(kind, options):
    model = instrument(net(**kind), **options).model
    assert len(forward_convolution(model).input) == 3
    assert not any(node.name.startswith("fg/forward/") for node in model.graph.node)


def _subtracted(model, _):
    (add,) = (n for n in model.graph.node if n.name == "fg/forward/c2/Add")
    add.op_type = "Sub"


def _of_another_layer(model, _):
    (row,) = (n for n in model.graph.node if n.name == "fg/forward/c2/Reshape")
    row.input[0] = "fg_bias/c1"


def _along_rows(model, tensors):
    shape = tensors["fg/forward/along-channels"]
    shape.CopyFrom(numpy_helper.from_array(np.int64([1, 1, -1, 1]), shape.name))


def _left_out(model, _):
    (add,) = (n for n in model.graph.node if n.name == "fg/forward/c2/Add")
    add.op_type = "Identity"
    del add.input[1:]


@pytest.mark.parametrize("plant", [_subtracted, _of_another_layer, _along_rows, _left_out])
def test_verify_sees_what_is_planted_in_an_added_bias(samples, plant):
    sample = samples["residual"]
    model = sample.instrument().model
    assert verify(model, sample.model).verdict == "passed"
    plant(model, {tensor.name: tensor for tensor in model.graph.initializer})
    assert verify(model, sample.model).verdict == "failed"
