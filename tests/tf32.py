"""TF32 on a machine without it: factors of products are rounded by operators before they meet."""

from __future__ import annotations

import copy

import numpy as np
from onnx import ModelProto, helper, numpy_helper

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum")
_SPLIT = 2.0**13 + 1  # Veltkamp's: what is left of 24 bits are 11, those of TF32


def in_tf32(model: ModelProto) -> ModelProto:
    """A copy in which every product has its two factors rounded to the nearest TF32 number.

    A GPU may cut them off instead, which is at most twice as far.
    """
    result = copy.deepcopy(model)
    graph = result.graph
    split = "tf32/split"
    graph.initializer.append(numpy_helper.from_array(np.float32(_SPLIT), split))
    nodes, rounded = [], {}
    for node in graph.node:
        if node.op_type in _PRODUCTS:
            for index, name in enumerate(node.input[:2]):
                if name not in rounded:
                    rounded[name] = f"tf32/{name}"
                    nodes += _rounding(name, rounded[name], split)
                node.input[index] = rounded[name]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return result


def _rounding(name: str, result: str, split: str) -> list:
    c, d = f"{result}/c", f"{result}/d"
    return [
        helper.make_node("Mul", [name, split], [c], name=c),
        helper.make_node("Sub", [c, name], [d], name=d),
        helper.make_node("Sub", [c, d], [result], name=result),
    ]
