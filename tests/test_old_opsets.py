"""Every operator in its forms of opsets 7 to 16: raised with equal outputs, and differentiated."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from conftest import run
from old_nodes import CONSTANTS, ROWS
from onnx import numpy_helper

import fg_onnx
from fg_onnx.errors import ModelError, UnsupportedModelError
from fg_onnx.manifest import INPUT_GRADIENT, SEED
from fg_onnx.source import model as models
from fg_onnx.versions import since
from fg_onnx.vjps import RULES, status

STEP = 2e-3
KINKS = (-0.5, 0.0, 0.25, 0.5)  # of the nodes and constants


def small(nodes: str, opset: int, inputs: str = "float[2,3,4,6] x") -> onnx.ModelProto:
    """Nodes from ``x`` to ``y`` as a model; constants are initializers."""
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": {opset}]> small ({inputs}) => (float[a] y) {{{nodes}}}'
    )
    read = {name for node in proto.graph.node for name in node.input}
    for name in sorted(read & set(CONSTANTS)):
        array = np.asarray(CONSTANTS[name])
        single = array.astype(np.float32) if array.dtype == np.float64 else array
        proto.graph.initializer.append(numpy_helper.from_array(single, name))
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph.output[0]
    if not inferred.type.tensor_type.HasField("shape"):  # what onnx does not infer is like x
        inferred.type.CopyFrom(proto.graph.input[0].type)
    proto.graph.output[0].CopyFrom(inferred)
    onnx.checker.check_model(proto)
    return proto


def draw(generator: np.random.Generator) -> np.ndarray:
    """Values in (-1, 1), no two within 3 steps of each other, none within 2 of a kink."""
    x = generator.permutation(np.linspace(-0.95, 0.95, 144))
    for kink in KINKS:
        x = np.where(np.abs(x - kink) < 2 * STEP, kink + 3 * STEP, x)
    return x.reshape(2, 3, 4, 6).astype(np.float32)


def _versions() -> list[object]:
    """Each form at the oldest opset that has it, and at every new version of the operator."""
    return [
        pytest.param(op_type, opset, nodes, id=f"{op_type}-{opset}: {nodes}")
        for op_type, opsets, nodes in ROWS
        for opset in opsets
        if opset == opsets[0] or since(op_type, opset) == opset
    ]


@pytest.mark.parametrize(("op_type", "opset", "nodes"), _versions())
def test_raised_with_equal_outputs_and_right_gradients(op_type, opset, nodes):
    source = small(nodes, opset)
    generator = np.random.default_rng(0)
    x, v = draw(generator), generator.uniform(-1, 1, (2, 3, 4, 6)).astype(np.float32)
    y, above, below = (run(source, {"x": x + s * v})["y"] for s in (0, STEP, -STEP))
    raised = models.normalise(models.read(source))
    # Kernels of another version may add in another order.
    np.testing.assert_allclose(run(raised, {"x": x})["y"], y, rtol=1e-5, atol=1e-6)
    if status(op_type, opset=models.LOWEST_OPSET)[0] not in ("rule", "zero", "body"):
        return
    model = fg_onnx.instrument(
        source, input="x", output="y", seed=True, emit=("input-gradient",)
    ).model
    ct = generator.normal(size=y.shape).astype(np.float32)
    found = run(model, {"x": x, SEED: ct})
    np.testing.assert_allclose(found["y"], y, rtol=1e-5, atol=1e-6)
    difference = (above.astype(np.float64) - below) / (2 * STEP)
    left, right = ct * difference, found[INPUT_GRADIENT] * v
    # float32 rounding over the step, 1e-7 / 2e-3, and truncation, 4e-6 of the third derivative.
    assert left.sum() == pytest.approx(right.sum(), abs=1e-3 * np.abs(left).sum())


def test_every_operator_with_a_rule_is_looked_at():
    tested = {op_type for op_type, *_ in ROWS}
    known = {op for op in RULES if since(op, models.LOWEST_OPSET - 1) > 0}
    straight_through = {"QuantizeLinear", "DequantizeLinear"}  # differences do not show it
    assert sorted(known - tested - straight_through) == []


def test_one_form_serves_another_batch_and_size():
    source = small("y = Upsample <scales = [1.0, 1.0, 2.0, 1.5]> (x)", 7, "float[N,3,H,W] x")
    raised = models.normalise(models.read(source))
    x = np.random.default_rng(0).normal(size=(3, 3, 5, 7)).astype(np.float32)
    np.testing.assert_allclose(run(raised, {"x": x})["y"], run(source, {"x": x})["y"], atol=1e-6)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opset", "nodes", "says"),
    [
        (8, "y = BatchNormalization <spatial = 0> (x, b346, b346, b346, v346)", "every position"),
        (9, "y, m, v, s, t = BatchNormalization (x, c3, c3, c3, v3)", "the training form"),
        (10, "y = Resize (x, mixed)", "shrinks along another"),
    ],
)
def test_a_form_that_newer_opsets_have_not(opset, nodes, says):
    with pytest.raises(UnsupportedModelError, match=says) as caught:
        models.normalise(models.read(small(nodes, opset)))
    assert caught.value.node == "y"
    assert caught.value.op in nodes


def test_a_model_that_is_too_old_to_be_compared():
    source = small("y = Add <broadcast = 1> (x, c6)", 6)
    with pytest.raises(ModelError, match="opset 6, and ONNX Runtime does not run it"):
        models.normalise(models.read(source))


def test_an_older_model_that_can_be_compared():
    source = small("r = Relu (x) y = MaxPool <kernel_shape = [2,2]> (r)", 6)
    assert models.opset_of(models.normalise(models.read(source))) == models.LOWEST_OPSET


def test_what_the_converter_says_is_said_without_its_own_code():
    source = small("y = Dropout <is_test = 0> (x)", 6)
    with pytest.raises(ModelError, match=r"to 17: Attribute is_test must not have value 0\n"):
        models.normalise(models.read(source))


def test_boolean_outputs_are_compared():
    source = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 9]> small (float[2,3] x) => (bool[2,3] y) '
        "{ z = Sub (x, x) y = Less (x, z) }"
    )
    assert models.opset_of(models.normalise(models.read(source))) == models.LOWEST_OPSET
