"""Operators without a rule, expanded into the function bodies of their schemas."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import parser

from fg_onnx import instrument
from fg_onnx.errors import UnsupportedModelError
from fg_onnx.graph.bodies import has_body
from fg_onnx.manifest import CONTRIBUTIONS, INPUT_GRADIENT, SCORE, SEED
from fg_onnx.plan import make_plan
from fg_onnx.source import model
from fg_onnx.vjps import REFUSED, RULES, expanded, status


def parsed(nodes: str, opset: int, inputs: str = "float[N,4,2,6] x") -> onnx.ModelProto:
    proto = parser.parse_model(
        f'<ir_version: 10, opset_import: ["": {opset}]> net ({inputs}) => (float[N,a,b,c] y) '
        f"{{{nodes}}}"
    )
    onnx.checker.check_model(proto)
    return proto


def run(proto: onnx.ModelProto, **feeds: np.ndarray) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


BODIES = {
    "attention": ("y = Attention (x, x, x)", range(23, 27)),
    "causal": ("y = Attention <is_causal = 1, softcap = 2.0> (x, x, x)", range(23, 27)),
    "a cast": ("h = Constant <value_float = 0.5> () g = CastLike (h, x) y = Mul (g, x)", (17, 21)),
    "a crop": (
        "s = Constant <value_ints = [1, 8]> () y = CenterCropPad <axes = [2, 3]> (x, s)",
        (18, 26),
    ),
}


@pytest.mark.parametrize(
    ("nodes", "opset"),
    [
        pytest.param(nodes, opset, id=f"{name}-{opset}")
        for name, (nodes, opsets) in BODIES.items()
        for opset in opsets
    ],
)
def test_on_the_runtime(nodes: str, opset: int) -> None:
    """The same output, a complete decomposition, and the gradient that differences say."""
    source = parsed(nodes, opset)
    generator = np.random.default_rng(0)
    x, v = generator.normal(size=(2, 2, 4, 2, 6)).astype(np.float32)
    y = run(source, x=x)["y"]
    ct = generator.normal(size=y.shape).astype(np.float32)
    emit = ("contributions", "input-gradient")
    found = run(instrument(source, seed=True, emit=emit).model, **{"x": x, SEED: ct})
    np.testing.assert_allclose(found["y"], y, rtol=0, atol=1e-5 * np.abs(y).max())
    total = found[CONTRIBUTIONS].sum(axis=1)
    np.testing.assert_allclose(total, found[SCORE], rtol=0, atol=1e-4)
    above, below = (run(source, x=x + s * v)["y"] for s in (1e-2, -1e-2))
    left = ct * (above.astype(np.float64) - below) / 2e-2
    # float32 rounding over the step, 1e-7 / 1e-2, and truncation, 1e-4 / 6 of the third derivative.
    right = (found[INPUT_GRADIENT] * v).sum()
    assert left.sum() == pytest.approx(right, abs=1e-3 * np.abs(left).sum())


def test_two_of_a_kind_and_a_name_that_is_taken() -> None:
    nodes = "t = Identity (x) a = Attention (t, t, t) y = Attention (a, a, x)"
    source = parsed(nodes, 23)
    source.graph.node[0].output[0] = source.graph.node[1].input[0] = "a/QReshaped"
    source.graph.node[1].input[1] = source.graph.node[1].input[2] = "a/QReshaped"
    graph = make_plan(model.read(source)).graph
    names = [tensor.name for node in graph.nodes for tensor in node.outputs if tensor.name]
    assert len(names) == len(set(names))
    assert len({node.name for node in graph.nodes}) == len(graph.nodes)
    assert any(name.startswith("a_2/") for name in names)


def test_what_is_not_active_stays_as_it_is() -> None:
    nodes = "a = Attention (z, z, z) y = Add (x, a)"
    source = parsed(nodes, 23, "float[N,4,2,6] x, float[N,4,2,6] z")
    assert [node.op for node in make_plan(model.read(source)).graph.nodes] == ["Attention", "Add"]


def test_an_attribute_that_is_left_out_has_its_default() -> None:
    plan = make_plan(model.read(parsed("y = SwiGLU (x, x)", 28)))
    assert [p.op_type for p in plan.primals] == ["Swish", "Mul"]
    assert plan.primals[0].attrs["alpha"] == 1.0


def test_a_body_in_a_body_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    for loss in ("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"):
        monkeypatch.delitem(REFUSED, loss)
    source = parser.parse_model(
        '<ir_version: 10, opset_import: ["": 13]> net (float[N,5] x, int64[N] t) => (float[N] y) '
        '{ y = SoftmaxCrossEntropyLoss <reduction = "none"> (x, t) }'
    )
    plan = make_plan(model.read(source), input="x", output="y", opset=18)
    assert plan.unsupported == ()
    assert {"LogSoftmax", "GatherElements"} <= {p.op_type for p in plan.primals}


def test_a_node_of_which_the_schema_makes_no_body() -> None:
    source = parsed(
        "z = Attention (x, k, v) y = Relu (z)", 23, "float[N,4,2,6] x, float k, float v"
    )
    with pytest.raises(UnsupportedModelError, match=r"`Attention` at `z`: .* its body") as caught:
        instrument(source)
    assert caught.value.op == "Attention"


def test_the_rule_comes_before_the_body() -> None:
    assert has_body("HardSwish", 22)
    assert status("HardSwish", opset=22)[0] == "rule"
    assert not set(expanded()) & set(RULES)


def test_the_answer_depends_on_the_opset() -> None:
    assert status("GroupNormalization", opset=18)[0] == "body"  # a scale for each group
    assert status("GroupNormalization", opset=21)[0] == "rule"  # one for each channel
    answer, reason = status("CenterCropPad", opset=17)
    assert (answer, reason) == ("unknown", "it has no VJP rule, but a function body since opset 18")
