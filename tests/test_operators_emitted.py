"""What is emitted runs on other devices too: none of the traps that their kernels set.

CUDA and WebGPU providers of ONNX Runtime, TensorRT and OpenVINO lack some operators, or forms of
them, that the CPU has. Only nodes that the tool adds are looked at: those named ``fg...``.
"""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

from fg_onnx import instrument
from fg_onnx.fullgrad.psi import STYLES
from fg_onnx.manifest import EMITS
from sample_models import tasks

TASKS = tasks.all_models()

ABSENT = {
    "MaxUnpool": "no CUDA, no TensorRT",
    "Col2Im": "no CUDA, no TensorRT",
    "Sign": "the CPU on WebGPU",
    "Sum": "the CPU on WebGPU",
    "Max": "the CPU on WebGPU",
    "Min": "the CPU on WebGPU",
    "OneHot": "the CPU on WebGPU; TensorRT wants a constant depth",
    "Range": "the CPU on WebGPU",
    "PRelu": "the CPU on WebGPU",
    "LogSoftmax": "the CPU on WebGPU",
    "SpaceToDepth": "the CPU on WebGPU",
    "Equal": "its schema moved at opset 19: no CUDA there",
    "ScatterElements": "float16 throws on the CPU, a plugin on TensorRT",
    "ScatterND": "TensorRT has no reduction",
    "NonZero": "shapes that depend on data",
    "If": "control flow",
    "Loop": "control flow",
}


def emitted(model):
    return [node for node in model.graph.node if node.name.startswith("fg")]


def attributes(node):
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def traps(model):
    """Every emitted node that some device cannot take, and why; drops the model's weights."""
    for weight in model.graph.initializer:
        if len(weight.raw_data) > 10_000:  # shape inference would copy them
            weight.ClearField("raw_data")
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in [*inferred.value_info, *inferred.input, *inferred.output]
    }
    constants = {weight.name for weight in model.graph.initializer}
    found = []
    for node in emitted(model):
        attrs, reason = attributes(node), ABSENT.get(node.op_type)
        if node.domain:
            reason = "a custom domain"
        elif node.op_type in ("MaxPool", "Dropout") and len(node.output) > 1:
            reason = "Indices: fails on WebGPU, rejected by TensorRT"
        elif node.op_type == "ConvTranspose":
            pads = list(attrs.get("pads", []))
            half = len(pads) // 2
            if pads[:half] != pads[half:] or attrs.get("auto_pad", b"NOTSET") != b"NOTSET":
                reason = "uneven pads: the CPU on CUDA"
        elif node.op_type == "AveragePool":
            reason = "wrong on CUDA for uneven pads and ceil_mode"
        elif node.op_type == "Where" and types.get(node.input[1]) == onnx.TensorProto.BOOL:
            reason = "no kernel for bool"
        elif node.op_type.startswith("Reduce") and "axes" not in attrs:
            constant = len(node.input) > 1 and node.input[1] in constants
            reason = None if constant else "TensorRT wants axes as initializers"
        if reason:
            found.append((node.op_type, node.name, reason))
    return found


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
        assert not source & set(node.output)
    assert emitted(model)


def test_a_trap_is_found():
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[1,1,4,4] x, float[1,1,2,2] w, int64[N] axes) => (float y, float r) {
            s = Sign (x)
            big = ConvTranspose <pads = [0,0,1,1]> (s, w)
            y, i = MaxPool <kernel_shape = [2,2]> (big)
            c = Greater (x, s)
            b = Where (c, c, c)
            r = ReduceSum (x, axes)
        }
    """)
    for index, node in enumerate(model.graph.node):
        node.name = f"fg/{index}"
    assert [op for op, *_ in traps(model)] == [
        "Sign", "ConvTranspose", "MaxPool", "Where", "ReduceSum",
    ]  # fmt: skip
