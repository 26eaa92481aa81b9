"""A ReLU as a part of the MaxPool behind it: the same cotangents, and no mask of its own."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import resized_input, two_stages
from onnx import parser
from placement import emitted

from fg_onnx import Session, instrument
from fg_onnx.vjps.rectified_pooling import joined

from .harness import evaluate
from .planned import plan_adjoint

JOINED: Any = partial(joined, kept=())
WINDOWS = {
    "tiles": "kernel_shape = [2,2], strides = [2,2]",
    "uneven tiles": "kernel_shape = [3,2], strides = [3,2]",
    "overlapping": "kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]",
    "gaps": "kernel_shape = [2,2], strides = [3,3]",
}
WHOLE = "kernel_shape = [6,6]"
READERS = {
    "MaxPool alone": ("y = Identity (p)", 0),
    "a sum too": ("g = GlobalAveragePool (r) y = Add (p, g)", 1),
    "two MaxPools": (f"q = MaxPool <{WHOLE}> (r) y = Add (p, q)", 1),
}


def net(window: str, rest: str = "y = Identity (p)", size: str = "6,6") -> onnx.ModelProto:
    """Of one ReLU and MaxPool, in float64."""
    return parser.parse_model(
        f'<ir_version: 10, opset_import: ["": 17]> g (double[N,3,{size}] x) => (double[N,C,H,W] y) '
        f"{{ r = Relu (x) p = MaxPool <{window}> (r) {rest} }}"
    )


def integers(*shape: int) -> np.ndarray:
    """From -2 to 2: windows with ties above 0 and at 0, and with nothing above 0."""
    x = np.random.default_rng(0).integers(-2, 3, shape).astype(np.float64)
    x[:, 0, :3, :3] = -1
    return x


@pytest.mark.parametrize("size", ["6,6", "H,W"])
@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_cotangents_are_the_same(window: str, size: str) -> None:
    proto = net(window, size=size)
    x = integers(2, 3, 6, 6)
    y = evaluate(proto, {"x": x})["y"]
    assert (y == 0).any()
    fed = {"x": x, "ct": np.random.default_rng(1).normal(size=y.shape)}
    one, other = (
        evaluate(plan_adjoint(proto, "x", "y", steps), fed)["pulled"] for steps in (JOINED, list)
    )
    assert np.array_equal(one, other)
    assert one.any()


@pytest.mark.parametrize(("rest", "left"), READERS.values(), ids=READERS)
def test_a_relu_that_others_read_keeps_its_own_step(rest: str, left: int) -> None:
    seen: list[Any] = []
    plan_adjoint(net(WHOLE, rest), "x", "y", lambda steps: seen.extend(JOINED(steps)) or seen)
    assert sum(p.op_type == "Relu" for p in seen) == left


def test_no_mask_of_the_size_of_the_relu_is_made() -> None:
    made = plan_adjoint(net(WINDOWS["tiles"], size="12,12"), "x", "y", JOINED)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim[2:]]
        for value in onnx.shape_inference.infer_shapes(made).graph.value_info
    }
    masks = [shapes[node.output[0]] for node in made.graph.node if node.op_type == "Greater"]
    assert masks == [[6, 6]]


@pytest.mark.parametrize("size", [(16, 12), ("H", "W")])
def test_what_is_emitted_reads_nothing_before_the_relu(size: tuple[int | str, ...]) -> None:
    """Read by anything but its ReLU, a convolution would not be fused with it."""
    made = emitted(instrument(resized_input(two_stages(16, 12), "N", 3, *size)).model)
    read = [name for node in made for name in node.input]
    assert "c1" not in read
    assert "r1" in read
    assert [n.input[0] for n in made if n.op_type == "HardSigmoid"] == ["h", "small"]


def test_large_tiles_are_not_pooled_for_each_of_their_entries() -> None:
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[N,2,8,8] x) => (float[N,2] y) '
        "{ p = MaxPool <kernel_shape = [8,8], strides = [8,8]> (x) y = Flatten (p) }"
    )
    made = emitted(instrument(model, emit=["input-gradient"]).model)
    assert sum(node.op_type == "MaxPool" for node in made) == 1


def test_grad_cam_sees_the_cotangent_of_a_relu_before_its_mask() -> None:
    """Each window hands all of its cotangent to one position, be its maximum above 0 or not."""
    weights = np.array([[0.5, -1.0], [1.0, 2.0]], np.float32)
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[N,2,4,4] x) => (float[N,2] y) '
        "<float[2,2,1,1] k = {1, 0, 0, 1}, float[2,2] w = {0.5, -1, 1, 2}> { "
        "c = Conv (x, k) r = Relu (c) p = MaxPool <kernel_shape = [2,2], strides = [2,2]> (r) "
        "m = GlobalAveragePool (p) f = Flatten (m) y = MatMul (f, w) }"
    )
    images = integers(1, 2, 4, 4).astype(np.float32)
    made = instrument(model, emit=("grad-cam",), grad_cam_layer="r")
    found = Session(made, device="cpu").explain(images, target=0)
    activations = np.maximum(images[0], 0)
    expected = np.maximum(np.tensordot(weights[:, 0] / 16, activations, 1), 0)
    np.testing.assert_allclose(found.methods["grad-cam"][0], expected, rtol=1e-6)
    assert expected.any()
