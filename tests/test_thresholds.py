"""`Emitter.above` and `below`: exactly 1 or 0, whatever the bound and however near a value is.

And Clip, which is the one that has two of them.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest
from graphs import HEAD, build, draw, everything, noise

from fg_onnx.graph.emit import Emitter

OPSET = 18
BOUNDS = (0.0, 6.0, 1.0, 3.0, -0.5, 0.1, 1e-3, -7.3e10, 1e30, 3.4e38, -3.4e38, 2.0**-126)
LARGEST = np.finfo(np.float32).max


def run(dtype, bound: float, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, set[str]]:
    """Both, and the operators that were written."""
    x = gs.Variable("x", dtype, ["N"])
    graph = gs.Graph(inputs=[x], opset=OPSET)
    op = Emitter(graph, OPSET)
    graph.outputs = [op.above(x, bound), op.below(x, bound)]
    for each in graph.outputs:
        each.dtype, each.shape = dtype, ["N"]
    model = gs.export_onnx(graph)
    model.ir_version = 9
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    above, below = session.run(None, {"x": values})
    return above, below, {node.op for node in graph.nodes}


@pytest.mark.parametrize("bound", BOUNDS)
def test_next_to_a_bound_and_far_from_it(bound: float) -> None:
    at = np.float32(bound)
    near = [np.nextafter(at, np.float32(side)) for side in (-np.inf, np.inf)]
    further = [at * np.float32(0.999999), -at, at / 2]
    least = np.finfo(np.float32).tiny
    values = np.array(
        [at, *near, *further, 0.0, -0.0, 1.0, -1.0, LARGEST, -LARGEST, np.inf, -np.inf],
        np.float32,
    )
    # What differs from the bound by less than the least normal number is not promised.
    apart = np.abs(values.astype(np.float64) - np.float64(at))
    values = values[(apart == 0) | (apart >= least)]
    above, below, _ = run(np.float32, bound, values)
    np.testing.assert_array_equal(above, values > at)
    np.testing.assert_array_equal(below, values < at)


def test_it_is_one_node_in_float32_and_a_comparison_in_other_types() -> None:
    values = np.array([-1.0, 0.0, 1e-30, 1.0, 6.0, 7.0])
    for dtype, operators in (
        (np.float32, {"HardSigmoid"}),
        (np.float64, {"Greater", "Less", "Cast"}),
    ):
        above, below, found = run(dtype, 6.0, values.astype(dtype))
        assert found == operators
        np.testing.assert_array_equal(above, values > 6)
        np.testing.assert_array_equal(below, values < 6)


@pytest.mark.parametrize(
    "bounds", [(0, 6), (0, 0.1), (0, 3.4e38), (0, np.inf), (0, -1), (0.1, 0.2), (-1, 0.1)]
)
def test_a_clip_is_complete(bounds: tuple[float, float]) -> None:
    model = build(
        "c = Conv (x, w, b) h = Clip (c, low, high)" + HEAD,
        {
            "w": draw("w", 6, 3, 3, 3), "b": draw("b", 6),
            "low": np.array(bounds[0]), "high": np.array(bounds[1]),
            "fc_weight": draw("fc_weight", 5, 6), "fc_bias": draw("fc_bias", 5),
        },
    )  # fmt: skip
    found = everything(model).explain(noise(2, 3, 16, 16), 2)
    names = [site.op for site in found.manifest.sites]
    of_clip = found.contributions[:, 1 + names.index("Clip")]
    assert np.all(found.residual <= 1e-5)
    # Only what saturates at a bound other than 0 has an offset.
    assert np.any(of_clip != 0) == (bounds not in [(0, 3.4e38), (0, np.inf), (0, 6)])
