"""What a node of the runtime's graph is for, by its name or its neighbours."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

from fg_onnx import instrument
from fg_onnx.graph import stages
from fg_onnx.graph.stages import STAGES
from fg_onnx.profiling import profile
from fg_onnx.profiling.origins import Origin, Origins, named
from fg_onnx.profiling.recording import Kernel
from sample_models import tiny

EVERYTHING = ("saliency", "contributions", "layer-maps", "bias-gradients", "guided-backprop")


def graph(*nodes):
    return onnx.GraphProto(node=nodes)


def node(op, name, reads, writes, domain=""):
    return helper.make_node(op, reads, writes, name, domain=domain)


MODEL = graph(
    node("Conv", "/block/conv", ["x", "w"], ["c"]),
    node("Relu", "/block/relu", ["c"], ["r"]),
    node("Conv", "fg/adjoint/block/conv/Conv_1", ["ct", "v"], ["fg/Conv_7"]),
    node("Abs", "fg/psi/block/conv/Abs_1", ["fg/Conv_7"], ["fg/Abs_1"]),
    node("Add", "fg/map/Add_1", ["fg/Abs_1", "fg/Abs_1"], ["fg/Add_1"]),
    node("Identity", "fg_saliency", ["fg/Add_1"], ["fg_saliency"]),
    node("Mul", "fg/Mul_9", ["c", "c"], ["fg/Mul_9"]),
)
NCHWC = "com.microsoft.nchwc"
IN, OUT = "ReorderInput", "ReorderOutput"
RAN = graph(
    node(IN, IN, ["x"], ["reorder"], NCHWC),
    node("Conv", "c_nchwc", ["reorder", "w"], ["reorder_1"], NCHWC),
    node(OUT, OUT, ["reorder_1"], ["r"], NCHWC),
    node("MemcpyToHost", "Memcpy", ["r"], ["r_host"]),
    node("Conv", "fg/Conv_7_nchwc", ["ct", "v"], ["reorder_2"], NCHWC),
    node("Transpose", "Transpose_token_3", ["reorder_2"], ["fresh"]),
    node("Abs", "fg/psi/block/conv/Abs_1", ["fresh"], ["fg/Abs_1"]),
    node("Add", "fg/map/Add_1", ["fg/Abs_1", "fg/Abs_1"], ["fg_saliency"]),
    node("Cast", "Cast_in", ["nowhere"], ["nothing"]),
    node("Mul", "fg/Mul_9", ["c", "c"], ["fg/Mul_9"]),
)


def origin(name, operator, reads=("float",), writes=("float",)):
    kernel = Kernel(name, operator, "CPUExecutionProvider", 1e-3, reads, writes)
    return Origins(MODEL, RAN).of(kernel)


@pytest.mark.parametrize(
    ("name", "operator", "expected"),
    [
        ("c_nchwc", "Conv", Origin("forward", "forward", "block/conv", "Conv (blocked)")),
        ("/block/relu", "Relu", Origin("forward", "forward", "block/relu", "Relu")),
        (IN, IN, Origin("reorders", "forward", "block/conv", IN)),
        (OUT, OUT, Origin("reorders", "forward", "block/relu", OUT)),
        ("Memcpy", "MemcpyToHost", Origin("copies", "forward", "block/relu", "MemcpyToHost")),
        ("fg/Conv_7_nchwc", "Conv", Origin("adjoint", "adjoint", "block/conv", "Conv (blocked)")),
        ("Transpose_token_3", "Transpose", Origin("reorders", "psi", "block/conv", "Transpose")),
        ("fg/psi/block/conv/Abs_1", "Abs", Origin("aggregation", "psi", "block/conv", "Abs")),
        ("fg/map/Add_1", "Add", Origin("aggregation", "map", "", "Add")),
        # of an fg-onnx whose names say no stage
        ("fg/Mul_9", "Mul", Origin("other", "", "", "Mul")),
        ("unheard_of", "FusedThing", Origin("other", "", "", "FusedThing")),
    ],
)  # fmt: skip
def test_the_origin(name, operator, expected):
    assert origin(name, operator) == expected


@pytest.mark.parametrize(
    ("reads", "writes", "part"),
    [
        ("float16", "float", "copies"),
        ("bool", "float", "aggregation"),
        ("float", "bool", "aggregation"),
    ],
)
def test_a_cast_is_a_copy_unless_it_is_of_truth(reads, writes, part):
    assert origin("fg/map/Add_1", "Cast", (reads,), (writes,)).part == part


def test_every_node_gets_a_name_of_its_own():
    nodes = [
        node("Relu", "", ["x"], ["a"]),
        node("Relu", "twin", ["a"], ["b"]),
        node("Relu", "twin", ["b"], ["c"]),
        node("Relu", "twin_2", ["c"], ["d"]),
        node("Split", "", ["d"], ["", "e"]),
    ]
    found = named(helper.make_model(helper.make_graph(nodes, "g", [], [])))
    assert [each.name for each in found.graph.node] == ["a", "twin", "twin_3", "twin_2", "e"]


def test_emitted_nodes_tell_their_stage_and_site():
    model = tiny.residual()
    own = {each.name or each.output[0] for each in model.graph.node}
    seen = set()
    for each in instrument(model, emit=EVERYTHING).model.graph.node:
        found = stages.parse(each.name)
        if found is None:
            assert (each.name or each.output[0]) in own or each.name.startswith("fg_")
            continue
        stage, site = found
        assert site in {"", *own}, each.name
        assert site or stage != "adjoint", each.name
        seen.add(stage)
    assert seen == set(STAGES)


def test_a_site_may_have_slashes():
    assert stages.parse("fg/psi/a/b/Conv/Abs_1") == ("psi", "a/b/Conv")
    assert stages.parse("fg/map/Concat_2") == ("map", "")
    assert stages.parse("fg/Mul_1") == (None, "")
    assert stages.parse("Mul_1") is None


@pytest.mark.parametrize("hazard", ["residual", "grouped", "bn_unfolded", "two_inputs"])
def test_nothing_of_a_model_is_unknown(hazard):
    model = tiny.all_models()[hazard]
    own = {each.strip("/") for each in (n.name or n.output[0] for n in model.graph.node)}
    found = profile(instrument(model).model, runs=1)
    assert {"forward", "adjoint", "aggregation"} <= {line.key[0] for line in found.parts}
    for row in found.rows:
        assert row.origin.part != "other", row
        assert row.origin.site in {"", *own}, row


def test_an_operator_that_the_runtime_writes_out():
    nodes = "y = HardSwish (x) t = Tanh (y) z = HardSwish (t)"
    text = f"g (float[N,9] x) => (float[N,9] z) {{ {nodes} }}"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]>\n{text}')
    found = profile(model, runs=1)
    assert [(row.origin.site, row.origin.operator) for row in found.rows] == [
        ("y", "HardSigmoid"), ("y", "Mul"), ("t", "Tanh"), ("z", "HardSigmoid"), ("z", "Mul"),
    ]  # fmt: skip
