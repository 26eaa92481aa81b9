"""Promoted biases of convolutions, added behind them.

On the CPU, ONNX Runtime computes a convolution in its blocked layout only where weight and bias are
constants, which a promoted bias is not. Without one it does, and a whole map of ResNet-50 or
MobileNetV2 takes a tenth less time (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from fg_onnx import manifest
from fg_onnx.graph import stages

_RANK = 4  # [M, C, kH, kW]: the blocked layout is one of images
_ALONG_CHANNELS = f"{stages.EMITTED}forward/along-channels"


def add_behind(graph: onnx.GraphProto) -> None:
    """Turn ``Conv(x, w, b)`` into ``Conv(x, w) + b`` where b is promoted and w a constant."""
    inputs = {value.name for value in graph.input}
    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.name not in inputs}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes.append(node)
        if _has_promoted(node) and _is_of_images(constants.get(node.input[1])):
            nodes += _behind(node)
    if len(nodes) == len(graph.node):
        return
    shape = np.array([1, -1, *[1] * (_RANK - 2)], np.int64)
    graph.initializer.append(numpy_helper.from_array(shape, _ALONG_CHANNELS))
    del graph.node[:]
    graph.node.extend(nodes)


def _has_promoted(node: onnx.NodeProto) -> bool:
    return (
        node.op_type == "Conv"
        and not node.domain
        and len(node.input) == 3
        and node.input[2].startswith(manifest.BIAS)
    )


def _is_of_images(weight: onnx.TensorProto | None) -> bool:
    return (
        weight is not None
        and weight.data_type == onnx.TensorProto.FLOAT
        and len(weight.dims) == _RANK
    )


def _behind(conv: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    """The nodes that add a convolution's bias, which it loses, to what it makes then."""
    bias, result = conv.input.pop(), conv.output[0]
    stem = stages.EMITTED + stages.stem(
        "forward", stages.place(bias.removeprefix(manifest.BIAS)), ""
    )
    conv.name = conv.name or result  # by which a nameless node is known
    conv.output[0], row = f"{stem}/unbiased", f"{stem}/bias"
    return (
        helper.make_node("Reshape", [bias, _ALONG_CHANNELS], [row], f"{stem}/Reshape"),
        helper.make_node("Add", [conv.output[0], row], [result], f"{stem}/Add"),
    )
