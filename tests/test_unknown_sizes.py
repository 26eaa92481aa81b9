"""Models of unknown height and width: the same numbers as if the sizes were known."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from conftest import run
from onnx import numpy_helper
from traps import traps

from fg_onnx import instrument
from fg_onnx.manifest import EMITS

HEAD = """
    c0 = Conv <strides = [2,2], auto_pad = "SAME_UPPER"> (x, w0, b0)
    r0 = HardSwish (c0)
"""
TAIL = """
    g = GlobalAveragePool (last)
    logits = Flatten (g)
"""
BODIES = {
    "pools": """
        m = MaxPool <kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]> (r0)
        a = AveragePool <kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]> (m)
        n = MaxPool <kernel_shape = [2,2], strides = [2,2], ceil_mode = 1> (a)
        last = Conv <pads = [1,1,1,1]> (n, w1, b1)
    """,
    "pyramid": """
        d = Conv <strides = [2,2], pads = [1,1,1,1]> (r0, w1, b1)
        s = Sigmoid (d)
        z0 = Constant <value_ints = [2]> ()
        z1 = Constant <value_ints = [4]> ()
        hw = Shape <start = 2> (r0)
        nc = Shape <start = 0, end = 2> (s)
        sizes = Concat <axis = 0> (nc, hw)
        u = Resize <mode = "linear"> (s, , , sizes)
        last = Add (u, r0)
    """,
    "upsampling": """
        two = Constant <value = float[4] {1.0, 1.0, 2.0, 2.0}> ()
        u = Resize <coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">
            (r0, , two)
        p = Pad <mode = "reflect"> (u, pads)
        last = Conv (p, w1, b1)
    """,
    "focus": """
        from = Constant <value_ints = [1]> ()
        to = Constant <value_ints = [2147483647]> ()
        two = Constant <value_ints = [2]> ()
        zero = Constant <value_ints = [0]> ()
        three = Constant <value_ints = [3]> ()
        even = Slice (r0, zero, to, three, two)
        odd = Slice (r0, from, to, three, two)
        both = Concat <axis = 3> (even, odd)
        last = Sigmoid (both)
    """,
}


def model(body: str, sizes: str) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> net (float[N,3,{sizes}] x) => (float[N,4] logits)'
        f" <float[4,3,3,3] w0, float[4] b0, float[4,4,3,3] w1, float[4] b1, int64[8] pads>"
        f" {{{HEAD}{body}{TAIL}}}"
    )
    draws = np.random.default_rng(0)
    for name, shape in {"w0": (4, 3, 3, 3), "b0": (4,), "w1": (4, 4, 3, 3), "b1": (4,)}.items():
        weight = draws.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(weight, name))
    pads = np.array([0, 0, 1, 2, 0, 0, 2, 1])
    proto.graph.initializer.append(numpy_helper.from_array(pads, "pads"))
    return proto


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_the_numbers_are_those_of_a_model_of_known_sizes(body):
    open_ended = instrument(model(body, "H,W"), emit=EMITS).model
    assert traps(open_ended) == []
    for height, width in [(16, 20), (17, 21), (18, 15)]:
        x = np.random.default_rng(height).standard_normal((2, 3, height, width)).astype("f")
        known = instrument(model(body, f"{height},{width}"), emit=EMITS).model
        found, wanted = run(open_ended, {"x": x}), run(known, {"x": x})
        for name, array in wanted.items():
            # float32 rounding of sums in another order
            scale = max(1.0, float(np.abs(array).max()))
            np.testing.assert_allclose(found[name], array, rtol=0, atol=2e-5 * scale, err_msg=name)
        np.testing.assert_allclose(
            found["fg_contributions"].sum(1), found["fg_score"], rtol=0, atol=1e-5
        )
