"""Shape arithmetic is folded although the batch is symbolic."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from conftest import noise, run
from onnx import numpy_helper

from fg_onnx import instrument
from fg_onnx.graph import working
from fg_onnx.source import model as models


def folded(body, inputs="float[N,3,10,12] x", outputs="y", opset=17):
    """The graph of some nodes, everything folded: tensors by name."""
    declared = ", ".join(f"float {name}" for name in outputs.split())
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": {opset}]> net ({inputs}) => ({declared}) {{{body}}}'
    )
    return working.to_graph(proto).cleanup()


def operators(graph):
    return [node.op for node in graph.nodes]


def constant(graph, name):
    tensor = graph.tensors()[name]
    assert isinstance(tensor, gs.Constant), f"{name} is not folded"
    return tensor.values.tolist()


SIZES = """
    shape = Shape (x)
    two = Constant <value_int = 2> ()
    height = Gather (shape, two)
"""


def test_height_is_known_and_the_batch_is_not():
    graph = folded(
        SIZES
        + """
        zero = Constant <value_int = 0> ()
        batch = Gather (shape, zero)
        both = Add (batch, height)
        h = Cast <to = 1> (height)
        b = Cast <to = 1> (both)
        y1 = Mul (x, h)
        y = Mul (y1, b)
    """
    )
    assert constant(graph, "h") == 10.0
    assert operators(graph) == ["Shape", "Gather", "Add", "Cast", "Mul", "Mul"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("s = Shape <start = 2> (x)", [10, 12]),
        ("s = Shape <start = -1> (x)", [12]),
        ("s0 = Shape (x) a = Constant <value_ints = [1]> () b = Constant <value_ints = [3]> ()"
         " s = Slice (s0, a, b)", [3, 10]),
        ("s0 = Shape (x) i = Constant <value_ints = [3,1]> () s = Gather (s0, i)", [12, 3]),
        ("s0 = Shape (x) i = Constant <value_ints = [-1]> () s1 = Gather (s0, i)"
         " m = Constant <value_ints = [5]> () s = Concat <axis = 0> (m, s1)", [5, 12]),
        ("s0 = Shape (x) a = Constant <value_ints = [3]> () b = Constant <value_ints = [0]> ()"
         " z = Constant <value_ints = [0]> () k = Constant <value_ints = [-1]> ()"
         " s = Slice (s0, a, b, z, k)", [12, 10, 3]),
        ("s0 = Shape (x) i = Constant <value_int = 2> () s1 = Gather (s0, i)"
         " z = Constant <value_ints = [0]> () s2 = Unsqueeze (s1, z) s3 = Cast <to = 1> (s2)"
         " half = Constant <value_floats = [0.5]> () s4 = Mul (s3, half) s5 = Ceil (s4)"
         " s = Cast <to = 7> (s5)", [5]),
        ("s0 = Shape <start = 2> (x) m = Constant <value_int = 11> ()"
         " s = Clip (s0, , m)", [10, 11]),
    ],
)  # fmt: skip
def test_values_that_do_not_depend_on_the_batch(body, expected):
    graph = folded(f"{body} g = Cast <to = 1> (s) t = ReduceSum (g) y = Mul (x, t)")
    total = constant(graph, "t")
    assert np.ravel(total).tolist() == [sum(expected)]
    assert operators(graph) == ["Mul"]


def test_a_cast_of_a_partly_known_shape_keeps_its_type():
    graph = folded("""
        s0 = Shape (x)
        s1 = Cast <to = 1> (s0)
        two = Constant <value_int = 2> ()
        height = Gather (s1, two)
        y = Mul (x, height)
    """)
    assert graph.tensors()["height"].dtype == np.float32


def test_a_large_constant_is_not_made():
    graph = folded("""
        n = Constant <value_ints = [3,10,12,100]> ()
        big = ConstantOfShape (n)
        t = ReduceSum <keepdims = 0> (big)
        y = Mul (x, t)
    """)
    assert "ConstantOfShape" in operators(graph)


def test_random_numbers_are_not_folded():
    graph = folded("r = RandomUniform <shape = [1]> () s = Identity (r) y = Mul (x, s)")
    assert "RandomUniform" in operators(graph)


def test_outputs_stay_outputs():
    graph = folded("y = Shape (x)", inputs="float[2,3,4,4] x")
    assert [tensor.name for tensor in graph.outputs] == ["y"]
    assert operators(graph) == ["Shape"]


# As torch.onnx writes F.pad(x, ...) with TensorFlow's SAME padding, for a symbolic batch: the pads
# are made at run time by ConstantOfShape, Concat, Reshape, Slice backwards, Transpose.
SAME = """
    shape = Shape (x)
    two = Constant <value_int = 2> ()
    height = Gather (shape, two)
    h = Cast <to = 1> (height)
    stride = Constant <value_float = 2.0> ()
    ratio = Div (h, stride)
    out = Ceil (ratio)
    one = Constant <value_float = 1.0> ()
    kernel = Constant <value_float = 3.0> ()
    steps = Sub (out, one)
    span = Mul (steps, stride)
    reach = Add (span, kernel)
    total = Sub (reach, h)
    zero = Constant <value_float = 0.0> ()
    pad = Max (total, zero)
    half_f = Div (pad, stride)
    half = Floor (half_f)
    rest = Sub (pad, half)
    before = Cast <to = 7> (half)
    after = Cast <to = 7> (rest)
    axis0 = Constant <value_ints = [0]> ()
    before1 = Unsqueeze (before, axis0)
    after1 = Unsqueeze (after, axis0)
    some = Concat <axis = 0> (before1, after1, before1, after1)
    four = Constant <value_ints = [4]> ()
    none = ConstantOfShape <value = int64[1] {0}> (four)
    all = Concat <axis = 0> (some, none)
    pairs_shape = Constant <value_ints = [-1,2]> ()
    pairs = Reshape (all, pairs_shape)
    last = Constant <value_ints = [-1]> ()
    lowest = Constant <value_ints = [-9223372036854775807]> ()
    turned = Slice (pairs, last, lowest, axis0, last)
    swapped = Transpose <perm = [1,0]> (turned)
    flat = Reshape (swapped, last)
    pads = Cast <to = 7> (flat)
    padded = Pad <mode = "constant"> (x, pads, zero)
    c = Conv <strides = [2,2]> (padded, w, b)
    r = Relu (c)
    p = GlobalAveragePool (r)
    logits = Flatten (p)
"""


@pytest.mark.parametrize("size", [9, 10])
def test_same_padding_of_a_symbolic_batch(size):
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> net (float[N,3,{size},{size}] x) => '
        f"(float[N,4] logits) <float[4,3,3,3] w, float[4] b> {{{SAME}}}"
    )
    draws = np.random.default_rng(0)
    for name, shape in {"w": (4, 3, 3, 3), "b": (4,)}.items():
        weight = draws.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(weight, name))
    graph = working.to_graph(proto).cleanup()
    assert operators(graph) == ["Pad", "Conv", "Relu", "GlobalAveragePool", "Flatten"]
    (pad,) = (node for node in graph.nodes if node.op == "Pad")
    begin = {9: 1, 10: 0}[size]
    assert pad.inputs[1].values.tolist() == [0, 0, begin, begin, 0, 0, 1, 1]
    assert graph.tensors()["c"].shape == ["N", 4, 5, 5]
    feeds = noise(proto)
    found = run(instrument(proto).model, feeds)
    np.testing.assert_array_equal(found["logits"].shape, (3, 4))
    expected = run(proto, feeds)["logits"]
    # float32 rounding of 27 products in another order
    np.testing.assert_allclose(found["logits"], expected, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(
        found["fg_contributions"].sum(1), found["fg_score"], atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize("name", ["dynamic_batch", "bn_on_weights", "nhwc", "fixed_batch"])
def test_folding_leaves_the_outputs_as_they_are(samples, name):
    sample = samples[name]
    source = sample.model
    graph = working.to_graph(models.normalise(models.read(source)))
    again = working.to_proto(graph.cleanup(), source, len(graph.outputs))
    for output, value in run(source, sample.feeds, optimise=False).items():
        np.testing.assert_array_equal(run(again, sample.feeds, optimise=False)[output], value)
