"""Where channels and grid lie, through Transposes and operators that keep them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from fg_onnx.grid.layout import NCHW, NHWC, Layout
from fg_onnx.plan import make_plan
from fg_onnx.source import model as models


def sites(body, inputs="float[N,3,8,8] x", outputs="float[N,4] y"):
    """The layout of every site by tensor, and of the input."""
    weights = "<float[4,3,1,1] w, float[4] b, float[4,4,1,1] w2, float[1,4,1,1] c, float[4] last>"
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> '
        f"net ({inputs}) => ({outputs}) {weights} {{{body}}}"
    )
    for name, shape in {
        "w": (4, 3, 1, 1),
        "b": (4,),
        "w2": (4, 4, 1, 1),
        "c": (1, 4, 1, 1),
        "last": (4,),
    }.items():
        values = onnx.numpy_helper.from_array(np.ones(shape, np.float32), name)
        proto.graph.initializer.append(values)
    plan = make_plan(models.read(proto))
    return {bound.site.tensor: bound.layout for bound in plan.sites}, plan.layout


HEAD = "p = GlobalAveragePool (h) y = Flatten (p)"


def test_convolutions_are_channels_first():
    found, layout = sites(f"h = Conv (x, w, b) {HEAD}")
    assert found == {"h": NCHW}
    assert layout == NCHW


@pytest.mark.parametrize(
    ("perm", "expected"),
    [
        ("0,2,3,1", NHWC),
        ("0,3,2,1", Layout(3, (2, 1))),
        ("0,1,3,2", Layout(1, (3, 2))),
        ("0,1,2,3", NCHW),
    ],
)
def test_transpose_moves_the_axes_and_pointwise_operators_keep_them(perm, expected):
    back = {"0,2,3,1": "0,3,1,2", "0,3,2,1": "0,3,2,1", "0,1,3,2": "0,1,3,2", "0,1,2,3": "0,1,2,3"}
    found, _ = sites(f"""
        h0 = Conv (x, w, b)
        t = Transpose <perm = [{perm}]> (h0)
        s = Sigmoid (t)
        u = Tanh (s)
        h = Transpose <perm = [{back[perm]}]> (u)
        {HEAD}
    """)
    assert found == {"h0": NCHW, "s": expected, "u": expected}


def test_layouts_are_found_backwards_too():
    # Nothing but the Transpose before the Conv says where the channels of x and s are.
    found, layout = sites(
        f"""
        s = Sigmoid (x)
        t = Transpose <perm = [0,3,1,2]> (s)
        h = Conv (t, w, b)
        {HEAD}
    """,
        inputs="float[N,8,8,3] x",
    )
    assert found == {"s": NHWC, "h": NCHW}
    assert layout == NHWC


def test_behind_flatten_there_is_no_grid():
    found, _ = sites(
        """
        h = Conv (x, w, b)
        p = GlobalAveragePool (h)
        f = Flatten (p)
        y = Sigmoid (f)
    """,
        outputs="float[N,4] y",
    )  # the logits `f` are explained, so Sigmoid is no site
    assert found == {"h": NCHW}
    found, _ = sites("""
        h = Conv (x, w, b)
        p = GlobalAveragePool (h)
        f = Flatten (p)
        y = Add (f, last)
    """)
    assert found == {"h": NCHW, "y": None}


def test_a_broadcast_operand_does_not_hide_the_layout():
    found, _ = sites(f"h0 = Conv (x, w, b) h = Add (c, h0) {HEAD}")
    assert found == {"h0": NCHW, "h": NCHW}


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("float[N,3,8,8] x", NCHW),
        ("float[N,8,8,3] x", NHWC),
        ("float[N,1,8,8] x", NCHW),
        ("float[N,4,8,4] x", NCHW),
        ("float[N,C,H,W] x", NCHW),
    ],
)
def test_without_any_convolution_the_input_s_shape_decides(inputs, expected):
    _, layout = sites(
        "axes = Constant <value_ints = [1,2]> () e = Exp (x) s = ReduceSum <keepdims = 0> (e, axes)"
        " y = Identity (s)",
        inputs=inputs,
        outputs="float[N,K] y",
    )
    assert layout == expected
    assert layout.name == ("nhwc" if expected == NHWC else "nchw")
