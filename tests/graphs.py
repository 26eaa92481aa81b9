"""Small models in ONNX's text format with weights given as arrays, and ways to look inside them."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from fg_onnx import Attribution, Session, instrument
from fg_onnx.manifest import BIAS, EMITS

# A feature map `h` of some channels can end like this.
HEAD = """
    pooled = GlobalAveragePool (h)
    features = Flatten (pooled)
    logits = Gemm <transB = 1> (features, fc_weight, fc_bias)
"""


def build(
    nodes: str,
    weights: Mapping[str, np.ndarray],
    *,
    inputs: str = "float[N,3,16,16] x",
    outputs: str = "float[N,5] logits",
) -> ModelProto:
    """A checked model of opset 17; nodes are named after their outputs by the tool."""
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]>\nsmall ({inputs}) => ({outputs}) {{{nodes}}}'
    )
    for name, values in weights.items():
        array = np.asarray(values, dtype=np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(model, full_check=True)
    return model


def draw(name: str, *shape: int, scale: float = 0.3) -> np.ndarray:
    """Normal draws that follow from the name alone."""
    return scale * np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)


def convolutions(layers: int, channels: int, size: int, layer: str) -> ModelProto:
    """3x3 convolutions of so many channels in a row, and their means for scores.

    Args:
        layers: how many.
        channels: of the images, and of each convolution.
        size: of the images, both ways.
        layer: the nodes of one, its output `a{i}`, with its input {x}, its number {i}, and as
            {stride} 1 and 2 in turn; there are constants `zero` and `six`.
    """
    read = ["x", *(f"a{i}" for i in range(layers))]
    nodes = "".join(layer.format(x=read[i], i=i, stride=1 + i % 2) for i in range(layers))
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[N,{channels},{size},{size}] x) => (float[N,{channels}] y)
        <float zero = {{0.0}}, float six = {{6.0}}> {{
            {nodes}
            g = GlobalAveragePool (a{layers - 1})
            y = Flatten (g)
        }}""")
    rng = np.random.default_rng(0)
    for i in range(layers):
        for name, shape in ((f"w{i}", [channels, channels, 3, 3]), (f"b{i}", [channels])):
            values = 0.2 * rng.standard_normal(shape, dtype=np.float32)
            model.graph.initializer.append(numpy_helper.from_array(values, name))
    return model


def two_stages(height: int, width: int) -> ModelProto:
    """Conv, ReLU and MaxPool, a strided Conv and ReLU, then the head."""
    nodes = """
        c1 = Conv <pads = [1,1,1,1]> (x, w1, b1)
        r1 = Relu (c1)
        small = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1], strides = [2,2]> (r1)
        c2 = Conv <pads = [1,1,1,1], strides = [2,1]> (small, w2, b2)
        h = Relu (c2)
    """
    weights = {
        "w1": draw("w1", 6, 3, 3, 3),
        "b1": draw("b1", 6),
        "w2": draw("w2", 8, 6, 3, 3),
        "b2": draw("b2", 8),
        "fc_weight": draw("fc_weight", 5, 8),
        "fc_bias": draw("fc_bias", 5),
    }
    return build(nodes + HEAD, weights, inputs=f"float[N,3,{height},{width}] x")


def resized_input(model: ModelProto, *shape: int | str) -> ModelProto:
    """A copy whose first input has another shape; its spatial sizes must not matter."""
    changed = copy.deepcopy(model)
    dims = changed.graph.input[0].type.tensor_type.shape.dim
    for dim, size in zip(dims, shape, strict=True):
        dim.Clear()
        if isinstance(size, str):
            dim.dim_param = size
        else:
            dim.dim_value = size
    del changed.graph.value_info[:]
    return changed


def expose(model: ModelProto, tensors: Sequence[str]) -> ModelProto:
    """A copy that also outputs these float tensors, after its own outputs."""
    changed = copy.deepcopy(model)
    for name in tensors:
        changed.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return onnx.shape_inference.infer_shapes(changed)


def everything(model: ModelProto, psi: str = "reference", **options: object) -> Session:
    """The model instrumented with all that can be emitted, loaded on one thread."""
    return Session(instrument(model, psi=psi, emit=EMITS, **options), threads=1)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def random_feeds(model: ModelProto, batch: int = 2) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Random values for the first input, and for the others that have no default."""
    held = {weight.name for weight in model.graph.initializer}
    feeds = {
        value.name: noise(
            *(dim.dim_value or batch for dim in value.type.tensor_type.shape.dim), seed=index
        )
        for index, value in enumerate(model.graph.input)
        if value.name not in held
    }
    first = next(iter(feeds))
    return feeds.pop(first), feeds


def bias_defaults(model: ModelProto) -> dict[str, np.ndarray]:
    """What `fg_bias/*` holds unless it is fed: the trained value of every promoted bias."""
    return {
        weight.name: numpy_helper.to_array(weight)
        for weight in instrument(model).model.graph.initializer
        if weight.name.startswith(BIAS)
    }


def same_attribution(one: Attribution, other: Attribution) -> bool:
    """Whether input-gradient and bias-gradients are the same bits."""
    return np.array_equal(one.input_gradient, other.input_gradient) and all(
        np.array_equal(one.bias_gradients[name], other.bias_gradients[name])
        for name in one.bias_gradients
    )
