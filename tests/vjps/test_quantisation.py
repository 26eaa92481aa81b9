"""QuantizeLinear and DequantizeLinear: straight through inside the range, 0 beyond it.

A staircase has no derivative to compare with, so the cases of the other rules do not fit; here the
rule is compared with its definition, and in `test_the_mask_is_that_of_torch` with PyTorch's.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from fg_onnx.errors import UnsupportedModelError

from .harness import Arrays, Walked, evaluate_on_runtime, walk

STRAIGHT_THROUGH = {"QuantizeLinear", "DequantizeLinear"}

LIMITS = {
    TensorProto.UINT8: (0, 255),
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT16: (0, 65535),
    TensorProto.INT16: (-32768, 32767),
    TensorProto.UINT4: (0, 15),
    TensorProto.INT4: (-8, 7),
}


def pair(
    kind: int,
    opset: int,
    scale: np.ndarray,
    zero: np.ndarray | None,
    shape: tuple[int, ...] = (2, 3, 4),
    behind: bool = True,
    **attrs: int,
) -> onnx.ModelProto:
    """y = DequantizeLinear(QuantizeLinear(x)), doubled where scores are not what is quantised."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    constants = [numpy_helper.from_array(scale.astype(np.float32), "s")]
    parameters = ["s"]
    if zero is not None:
        constants.append(numpy_helper.from_array(zero.astype(dtype), "z"))
        parameters.append("z")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *parameters], ["q"], name="quantise", **attrs),
        helper.make_node("DequantizeLinear", ["q", *parameters], ["d"], **attrs),
        helper.make_node("Add" if behind else "Identity", ["d"] * (1 + behind), ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "pair",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def run(found: Walked, x: np.ndarray, ct: np.ndarray | None = None) -> Arrays:
    """All outputs, by ONNX Runtime; ``ct`` is 1 everywhere unless given."""
    if ct is None:
        (declared,) = [value for value in found.proto.graph.input if value.name == "ct"]
        ct = np.ones([dim.dim_value for dim in declared.type.tensor_type.shape.dim])
    return evaluate_on_runtime(found.proto, {"x": x, "ct": ct})


def along(parameter: np.ndarray, rank: int, axis: int, size: int, block: int) -> np.ndarray:
    if parameter.ndim == 0:
        return parameter
    if block:
        return np.take(np.repeat(parameter, block, axis), range(size), axis)
    return parameter.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


ONE = np.array(0.25)
EACH = np.array([0.25, 0.5, 0.125])
CASES = {
    "uint8": (TensorProto.UINT8, 17, ONE, np.array(128), {}),
    "uint8 from 0": (TensorProto.UINT8, 17, ONE, np.array(0), {}),
    "the zero point left out": (TensorProto.UINT8, 17, ONE, None, {}),
    "int8": (TensorProto.INT8, 17, ONE, np.array(-3), {}),
    "int8 of opset 21": (TensorProto.INT8, 21, ONE, np.array(5), {}),
    "int8 of opset 25": (TensorProto.INT8, 25, ONE, np.array(5), {}),
    "along an axis": (TensorProto.INT8, 17, EACH, np.array([0, 4, -6]), {"axis": 1}),
    "along a negative axis": (TensorProto.INT8, 23, EACH, np.array([0, 4, -6]), {"axis": -2}),
    "along the first axis": (TensorProto.UINT8, 17, EACH[:2], np.array([3, 9]), {"axis": 0}),
    "uint16": (TensorProto.UINT16, 21, ONE / 256, np.array(32768), {}),
    "int16": (TensorProto.INT16, 23, ONE / 256, np.array(0), {}),
    "uint4": (TensorProto.UINT4, 21, ONE * 4, np.array(8), {}),
    "int4": (TensorProto.INT4, 21, ONE * 4, np.array(0), {}),
    "blocks": (
        TensorProto.INT8,
        21,
        0.1 + np.arange(12).reshape(2, 3, 2) / 50,
        np.arange(12).reshape(2, 3, 2),
        {"axis": 2, "block_size": 2},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_by_definition(name):
    kind, opset, scale, zero, attrs = CASES[name]
    axis, block = attrs.get("axis", 1), attrs.get("block_size", 0)
    s = along(scale.astype(np.float32), 3, axis, 4, block)
    z = along(np.zeros_like(scale) if zero is None else zero, 3, axis, 4, block)
    low, high = LIMITS[kind]
    draws = np.random.default_rng(0)
    # From a little below the range to a little above it, and clear of the rounding ties.
    steps = draws.uniform(low - 0.3 * (high - low), high + 0.3 * (high - low), (2, 3, 4))
    steps = np.where(np.abs(steps - np.floor(steps) - 0.5) < 0.01, steps + 0.1, steps)
    x = ((steps - z) * s).astype(np.float32)
    ct = draws.standard_normal((2, 3, 4))
    out = run(walk(pair(kind, opset, scale, zero, **attrs)), x, ct)
    inside = (np.round(steps) >= low) & (np.round(steps) <= high)
    assert 0 < inside.sum() < inside.size
    numbers = (np.clip(np.round(steps), low, high) - z) * s
    # float32 products of 16-bit integers and scales
    np.testing.assert_allclose(out["y"], 2 * numbers, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(out["pulled/x"], 2 * ct * inside, rtol=1e-6)
    np.testing.assert_allclose(
        out["term/quantise"], 2 * ct * (numbers - inside * x), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("kind", [TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2])
def test_float8(kind):
    walked = walk(pair(kind, 21, ONE, np.array(0)))
    highest = {TensorProto.FLOAT8E4M3FN: 448.0, TensorProto.FLOAT8E5M2: 57344.0}[kind] * 0.25
    x = np.linspace(-1.5 * highest, 1.5 * highest, 24, dtype=np.float32).reshape(2, 3, 4)
    out = run(walked, x)
    np.testing.assert_array_equal(out["pulled/x"], 2.0 * (np.abs(x) <= highest))
    np.testing.assert_allclose(out["term/quantise"], out["y"] - out["pulled/x"] * x, rtol=1e-5)


@pytest.mark.parametrize("zero", [0, -128, 5])
def test_a_tie_at_the_end_of_the_range(zero):
    """round(x / scale) rounds halves to even; at an even zero point 127.5 leaves the range."""
    walked = walk(pair(TensorProto.INT8, 17, np.array(1.0), np.array(zero), (1, 1, 4)))
    steps = np.array([[[-128.5, -128.51, 127.49, 127.5]]], np.float32)
    inside = [1, 0, 1, 0]
    np.testing.assert_array_equal(run(walked, steps - zero)["pulled/x"][0, 0] / 2, inside)


@pytest.mark.torch
@pytest.mark.parametrize(("low", "high", "zero"), [(-128, 127, 0), (0, 255, 128), (0, 255, 0)])
def test_the_mask_is_that_of_torch(low, high, zero):
    torch = pytest.importorskip("torch")
    kind = TensorProto.INT8 if low < 0 else TensorProto.UINT8
    walked = walk(pair(kind, 17, ONE, np.array(zero), (1, 1, 2001)))
    # Multiples of an eighth of a step: ties, and both ends, among them.
    x = (np.linspace(-320, 320, 2001) * 0.25).astype(np.float32).reshape(1, 1, -1)
    leaf = torch.tensor(x, requires_grad=True)
    quantised = torch.fake_quantize_per_tensor_affine(leaf, 0.25, zero, low, high)
    (2 * quantised).sum().backward()
    out = run(walked, x)
    np.testing.assert_array_equal(out["y"], 2 * quantised.detach().numpy())
    np.testing.assert_array_equal(out["pulled/x"], leaf.grad.numpy())


# --- what lies between ----------------------------------------------------------------------------

HEAD = '<ir_version: 10, opset_import: ["": 21]> g'


def walked(
    body: str, inputs: str = "float[1,2,4,4] x", outputs: str = "float[m,n,k,l] y"
) -> Walked:
    scales = (
        "<float s = {0.25}, int8 z = {3}, float t = {0.5}, float[2] v = {0.25, 0.5},"
        "int64[4] shape = {1, 4, 4, 2}, int64[4] from = {0, 0, 1, 0}, int64[4] to = {1, 2, 4, 4}>"
    )
    return walk(parser.parse_model(f"{HEAD} ({inputs}) => ({outputs}) {scales} {{ {body} }}"))


IMAGE = np.random.default_rng(1).uniform(-40, 40, (1, 2, 4, 4)).astype(np.float32)
MOVED = {
    "MaxPool<kernel_shape = [2,2], strides = [2,2]>(q)",
    "Transpose<perm = [0,2,3,1]>(q)",
    "Slice(q, from, to)",
    "Concat<axis = 1>(q, q)",
    "Reshape(q, shape)",
    "Identity(q)",
}


@pytest.mark.parametrize("operator", sorted(MOVED))
def test_integers_that_are_moved_are_the_numbers_moved(operator):
    """The same gradient and the same terms as with the operator between floats."""
    inner, outer = operator, operator.replace("(q", "(d").replace(", q", ", d")
    of_integers = walked(
        f"q = QuantizeLinear(x, s, z) m = {inner} d = DequantizeLinear(m, s, z) y = Add(d, d)"
    )
    of_floats = walked(
        f"q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) m = {outer} y = Add(m, m)"
    )
    ct = np.random.default_rng(2).standard_normal(run(of_floats, IMAGE)["y"].shape)
    wanted, found = run(of_floats, IMAGE, ct), run(of_integers, IMAGE, ct)
    assert np.abs(wanted["pulled/x"]).max() > 0
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_several_readers_of_the_same_integers():
    found = walked(
        "q = QuantizeLinear(x, s, z) a = DequantizeLinear(q, s, z) b = DequantizeLinear(q, s, z)"
        "c = Mul(a, b) y = Add(c, a)"
    )
    assert [site.site.op for site in found.sites] == ["QuantizeLinear", "Mul"]
    ct = np.random.default_rng(3).standard_normal(IMAGE.shape)
    out = run(found, IMAGE, ct)
    steps = np.round(IMAGE / 0.25) + 3
    inside = (steps >= -128) & (steps <= 127)
    numbers = 0.25 * (np.clip(steps, -128, 127) - 3)
    np.testing.assert_allclose(out["pulled/x"], ct * inside * (2 * numbers + 1), rtol=1e-5)
    total = sum(out[f"term/{site.site.name}"].sum() for site in found.sites)
    # float32 terms of up to 1e3, 32 of them
    assert (out["pulled/x"] * IMAGE).sum() + total == pytest.approx((ct * out["y"]).sum(), rel=1e-4)


def test_the_scores_own_quantiser_passes_where_it_saturates():
    """Its clipping is an offset: the highest score would otherwise have no gradient at all."""
    clipped = pair(TensorProto.INT8, 17, ONE, np.array(0), (1, 1, 3))
    scores = pair(TensorProto.INT8, 17, ONE, np.array(0), (1, 1, 3), behind=False)
    x = np.array([[[-50.0, 1.1, 40.0]]], np.float32)
    np.testing.assert_array_equal(run(walk(clipped), x)["pulled/x"], [[[0, 2, 0]]])
    out = run(walk(scores), x)
    np.testing.assert_array_equal(out["pulled/x"], [[[1, 1, 1]]])
    np.testing.assert_allclose(out["term/quantise"], out["y"] - x, rtol=1e-6)


REFUSED = {
    "it calculates with quantised integers": "m = Add(q, q) d = DequantizeLinear(m, s, z)",
    "its operand was quantised by another": "d = DequantizeLinear(q, t, z)",
    "its operands were quantised by several": (
        "r = QuantizeLinear(x, t, z) m = Concat<axis = 1>(q, r) d = DequantizeLinear(m, s, z)"
    ),
    "its scale depends": (
        "r = ReduceMean<keepdims = 0>(x) p = QuantizeLinear(x, r, z) d = DequantizeLinear(p, r, z)"
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refused(reason):
    with pytest.raises(UnsupportedModelError, match=reason):
        walked(f"q = QuantizeLinear(x, s, z) {REFUSED[reason]} y = Add(d, d)")


def test_integers_quantised_along_an_axis_are_not_moved():
    with pytest.raises(UnsupportedModelError, match="several scales"):
        walked(
            "q = QuantizeLinear(x, v) m = Transpose<perm = [0,2,3,1]>(q)"
            "d = DequantizeLinear<axis = 3>(m, v) y = Add(d, d)"
        )
