"""Operators, and forms of them, that some device of ONNX Runtime's cannot take, or gets wrong.

The one list of what must not be emitted. CUDA and WebGPU providers of ONNX Runtime, TensorRT and
OpenVINO lack some operators, or forms of them, that the CPU has; for which versions and types CUDA
has kernels, `placement` knows. Only nodes that the tool adds are looked at: those named ``fg...``.
"""

from __future__ import annotations

import onnx
from placement import attributes, emitted, folded, pads_unevenly, ranks_of, types_of

ABSENT = {
    "MaxUnpool": "no CUDA, no TensorRT",
    "Col2Im": "no CUDA, no TensorRT",
    "AffineGrid": "no CUDA",
    "CumProd": "no CUDA",
    "Sign": "the CPU on WebGPU",
    "Sum": "the CPU on WebGPU",
    "Max": "the CPU on WebGPU",
    "Min": "the CPU on WebGPU",
    "Or": "the CPU on WebGPU",
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
    "Scan": "control flow",
}


def traps(model: onnx.ModelProto) -> list[tuple[str, str, str]]:
    """Every emitted node that some device cannot take: its operator, its name, and why.

    A large model loses its weights.
    """
    types = types_of(model)
    given = {value.name for value in model.graph.input}
    weights = {weight.name for weight in model.graph.initializer}
    constants = weights - given
    computed = folded(model, weights)[1] - weights  # a runtime may take defaults for constants
    ranks = ranks_of(model)
    found = []
    for node in emitted(model):
        reason = ABSENT.get(node.op_type) or _form(node, types, constants)
        if node.op_type == "Abs" and node.input[0] in computed and ranks.get(node.input[0]) == 1:
            reason = "dropped by OpenVINO where a vector is computed from constants"
        if reason:
            found.append((node.op_type, node.name, reason))
    return found


def _form(node: onnx.NodeProto, types: dict[str, int], constants: set[str]) -> str | None:
    """What is wrong with the form of a node whose operator is not."""
    if node.domain:
        return "a custom domain"
    if node.op_type in ("MaxPool", "Dropout") and len(node.output) > 1:
        return "Indices: fails on WebGPU, rejected by TensorRT"
    if node.op_type == "ConvTranspose" and pads_unevenly(node):
        return "uneven pads: the CPU on CUDA"
    if node.op_type == "AveragePool":
        return "wrong on CUDA for uneven pads, ceil_mode and dilations"
    if node.op_type == "Where" and types.get(node.input[1]) == onnx.TensorProto.BOOL:
        return "no kernel for bool"
    if node.op_type.startswith("Reduce") and "axes" not in attributes(node):
        constant = len(node.input) > 1 and node.input[1] in constants
        return None if constant else "TensorRT wants axes as initializers"
    return None
