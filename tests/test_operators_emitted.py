"""What is emitted runs on other devices too: none of the traps that their kernels set."""

from __future__ import annotations

import onnx
import pytest
from graphs import HEAD, build, draw
from placement import emitted
from traps import traps

from fg_onnx import instrument
from fg_onnx.fullgrad.psi import STYLES
from fg_onnx.manifest import EMITS
from sample_models import tasks

TASKS = tasks.all_models()


@pytest.mark.parametrize("options", [{}, {"seed": True}, {"freeze_biases": True}], ids=str)
@pytest.mark.parametrize("psi", STYLES)
def test_small_samples_hold_no_trap(sample, psi, options):
    assert traps(sample.instrument(emit=EMITS, psi=psi, **options).model) == []


@pytest.mark.parametrize("opset", [18, 20, 22])
def test_small_samples_of_a_newer_opset_hold_no_trap(sample, opset):
    assert traps(sample.instrument(emit=EMITS, opset=opset).model) == []


@pytest.mark.parametrize("options", [{}, {"seed": True}], ids=str)
@pytest.mark.parametrize("task", TASKS)
def test_other_tasks_hold_no_trap(task, options):
    assert traps(instrument(TASKS[task], emit=EMITS, **options).model) == []


def test_exports_hold_no_trap(net):
    assert traps(onnx.load(net.instrumented)) == []


def test_the_forward_nodes_are_not_called_ours(sample):
    source = {output for node in sample.model.graph.node for output in node.output}
    model = sample.instrument(emit=EMITS).model
    for node in emitted(model):
        added_bias = node.name.startswith("fg/forward/") and node.op_type == "Add"
        assert bool(source & set(node.output)) == added_bias
    assert emitted(model)


@pytest.mark.parametrize(("group", "transposed"), [(3, 0), (1, 1)])
def test_depthwise_strided_convolutions_go_back_by_convolutions(group, transposed):
    layer = f"c = Conv <strides = [2,2], pads = [1,1,1,1], group = {group}> (x, w) h = Relu (c)"
    weights = {"w": draw("w", 3, 3 // group, 3, 3)}
    head = {"fc_weight": draw("fc_weight", 5, 3), "fc_bias": draw("fc_bias", 5)}
    made = emitted(instrument(build(layer + HEAD, weights | head)).model)
    assert sum(node.op_type == "ConvTranspose" for node in made) == transposed


@pytest.mark.parametrize(("channels", "transposed"), [(1, 1), (3, 1), (8, 1), (9, 0), (None, 0)])
def test_few_channels_are_gone_back_to_by_a_transposed_convolution(channels, transposed):
    count = channels or 3
    weights = {"w": draw("w", 4, count, 3, 3)}
    head = {"fc_weight": draw("fc_weight", 5, 4), "fc_bias": draw("fc_bias", 5)}
    inputs = f"float[N,{channels or 'C'},16,16] x"
    model = build("h = Conv <pads = [1,1,1,1]> (x, w)" + HEAD, weights | head, inputs=inputs)
    made = emitted(instrument(model, emit=["input-gradient"]).model)
    assert sum(node.op_type == "ConvTranspose" for node in made) == transposed
    assert sum(node.op_type == "Conv" for node in made) == 1 - transposed


def test_few_channels_of_unknown_sizes_are_gone_back_to_without_a_cut():
    weights = {"w": draw("w", 4, 3, 3, 3)}
    head = {"fc_weight": draw("fc_weight", 5, 4), "fc_bias": draw("fc_bias", 5)}
    nodes = "h = Conv <pads = [1,1,1,1]> (x, w)" + HEAD
    model = build(nodes, weights | head, inputs="float[N,3,H,W] x")
    made = emitted(instrument(model, emit=["input-gradient"]).model)
    (back,) = (node for node in made if node.op_type == "ConvTranspose")
    assert not any(node.op_type == "Slice" and back.output[0] in node.input for node in made)


def test_a_trap_is_found():
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[1,1,4,4] x, float[1,1,2,2] w, int64[N] axes) => (float y, float r)
            <float[2] k = {1, 2}> {
            s = Sign (x)
            big = ConvTranspose <pads = [0,0,1,1]> (s, w)
            y, i = MaxPool <kernel_shape = [2,2]> (big)
            c = Greater (x, s)
            b = Where (c, c, c)
            r = ReduceSum (x, axes)
            v = Neg (k)
            a = Abs (v)
        }
    """)
    for index, node in enumerate(model.graph.node):
        node.name = f"fg/{index}"
    assert [op for op, *_ in traps(model)] == [
        "Sign", "ConvTranspose", "MaxPool", "Where", "ReduceSum", "Abs",
    ]  # fmt: skip
