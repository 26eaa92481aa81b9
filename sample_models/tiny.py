"""Tiny models, one for every structural hazard of real exported graphs.

Each has the input `x`, float [N,3,16,16], and the output `logits`, float [N,5], unless the hazard
says otherwise. The graphs are written in ONNX's text format; the weights are drawn from a generator
that is seeded by the weight's name, so that every run makes the same bytes. No bias is zero.

    python -m sample_models.tiny -o tiny_models
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import ModelProto, helper

from sample_models.fetch import write_bytes
from sample_models.written import written as _model

_hazards: dict[str, Callable[[], ModelProto]] = {}

# Every model with a feature map `h` of 6 channels can end like this.
HEAD = """
    pooled = GlobalAveragePool (h)
    features = Flatten (pooled)
    logits = Gemm <transB = 1> (features, fc_weight, fc_bias)
"""
HEAD_SHAPES = {"fc_weight": (5, 6), "fc_bias": (5,)}
STEM_SHAPES = {"conv1_weight": (6, 3, 3, 3), "conv1_bias": (6,)}
CONV2_SHAPES = {"conv2_weight": (6, 6, 3, 3), "conv2_bias": (6,)}


def all_models() -> dict[str, ModelProto]:
    """Return every tiny model under the name of its hazard."""
    return {name: make() for name, make in _hazards.items()}


def write_all(folder: str | Path) -> list[Path]:
    """Write every tiny model as `folder/<hazard>.onnx`, and return the paths."""
    return [
        write_bytes(Path(folder) / f"{name}.onnx", model.SerializeToString(deterministic=True))
        for name, model in all_models().items()
    ]


def _hazard(make: Callable[[], ModelProto]) -> Callable[[], ModelProto]:
    """Enter a model into the table; its docstring becomes the model's doc string."""

    @functools.wraps(make)
    def documented() -> ModelProto:
        model = make()
        model.graph.name = make.__name__
        model.doc_string = (make.__doc__ or "").strip()
        onnx.checker.check_model(model, full_check=True)
        return model

    _hazards[make.__name__] = documented
    return documented


def _batchnorm_shapes(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}_{part}": (6,) for part in ("scale", "bias", "mean", "var")}


def _move_weights_to_constant_nodes(model: ModelProto) -> None:
    constants = [
        helper.make_node("Constant", [], [weight.name], value=weight)
        for weight in model.graph.initializer
    ]
    nodes = [*constants, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend(nodes)


def _list_initializers_as_inputs(model: ModelProto) -> None:
    for weight in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
        )


@_hazard
def residual() -> ModelProto:
    """A skip connection: one tensor has two consumers, whose cotangents add up."""
    nodes = """
        c1 = Conv <pads = [1,1,1,1]> (x, conv1_weight, conv1_bias)
        r1 = Relu (c1)
        c2 = Conv <pads = [1,1,1,1]> (r1, conv2_weight, conv2_bias)
        sum = Add (c2, r1)
        h = Relu (sum)
    """
    return _model(nodes + HEAD, STEM_SHAPES | CONV2_SHAPES | HEAD_SHAPES)


@_hazard
def shared_weights() -> ModelProto:
    """One weight and one bias serve two convolutions: two sites, each with its own map."""
    nodes = """
        c1 = Conv <pads = [1,1,1,1]> (x, conv1_weight, conv1_bias)
        r1 = Relu (c1)
        c2 = Conv <pads = [1,1,1,1]> (r1, conv2_weight, conv2_bias)
        r2 = Relu (c2)
        small = MaxPool <kernel_shape = [2,2], strides = [2,2]> (r2)
        c3 = Conv <pads = [1,1,1,1]> (small, conv2_weight, conv2_bias)
        h = Relu (c3)
    """
    return _model(nodes + HEAD, STEM_SHAPES | CONV2_SHAPES | HEAD_SHAPES)


@_hazard
def grouped() -> ModelProto:
    """A convolution in two groups, then a depthwise one with a stride."""
    nodes = """
        c1 = Conv <pads = [1,1,1,1]> (x, conv1_weight, conv1_bias)
        r1 = Relu (c1)
        c2 = Conv <group = 2, pads = [1,1,1,1]> (r1, group_weight, group_bias)
        r2 = Relu (c2)
        c3 = Conv <group = 6, pads = [0,0,1,1], strides = [2,2]> (r2, depth_weight, depth_bias)
        h = Relu (c3)
    """
    shapes = {
        "group_weight": (6, 3, 3, 3),
        "group_bias": (6,),
        "depth_weight": (6, 1, 3, 3),
        "depth_bias": (6,),
    }
    return _model(nodes + HEAD, STEM_SHAPES | shapes | HEAD_SHAPES)


@_hazard
def dead_branch() -> ModelProto:
    """Nodes that reach no output, an output that bypasses the logits, and one without the input."""
    nodes = """
        c1 = Conv <pads = [1,1,1,1]> (x, conv1_weight, conv1_bias)
        h = Relu (c1)
        unused_conv = Conv (h, conv2_weight, conv2_bias)
        unused = Sigmoid (unused_conv)
        brightness = GlobalMaxPool (x)
        prior = Softmax (prior_bias)
    """
    outputs = "float[N,5] logits, float[N,3,1,1] brightness, float[5] prior"
    shapes = STEM_SHAPES | CONV2_SHAPES | {"prior_bias": (5,)}
    return _model(nodes + HEAD, shapes | HEAD_SHAPES, outputs=outputs)


@_hazard
def bn_on_weights() -> ModelProto:
    """Weight standardisation: BatchNormalization works on a kernel, which is no feature map.

    Statistics in the graph, training mode and three outputs are torch's way of exporting it.
    """
    nodes = """
        flat_shape = Constant <value_ints = [1,6,27]> ()
        kernel_shape = Constant <value_ints = [6,3,3,3]> ()
        he = Constant <value_float = 0.272> ()
        shift = Constant <value_floats = [0.0,0.0,0.0,0.0,0.0,0.0]> ()
        gain = Mul (gain_scale, he)
        flat = Reshape (conv1_weight, flat_shape)
        mean = ReduceMean <axes = [0,2], keepdims = 0> (flat)
        mean3 = ReduceMean <axes = [0,2], keepdims = 1> (flat)
        centred = Sub (flat, mean3)
        squared = Mul (centred, centred)
        var = ReduceMean <axes = [0,2], keepdims = 0> (squared)
        standard, new_mean, new_var =
            BatchNormalization <epsilon = 1e-6, momentum = 1.0, training_mode = 1>
            (flat, gain, shift, mean, var)
        kernel = Reshape (standard, kernel_shape)
        c1 = Conv <pads = [1,1,1,1]> (x, kernel, conv1_bias)
        h = Relu (c1)
    """
    return _model(nodes + HEAD, STEM_SHAPES | {"gain_scale": (6,)} | HEAD_SHAPES)


@_hazard
def nhwc() -> ModelProto:
    """As tf2onnx writes it: NHWC input, one Transpose, MatMul+Add, Softmax: `probabilities`."""
    nodes = """
        axes = Constant <value_ints = [2,3]> ()
        nchw = Transpose <perm = [0,3,1,2]> (x)
        c1 = Conv <auto_pad = "SAME_UPPER", strides = [2,2]> (nchw, conv1_weight, conv1_bias)
        h = Relu (c1)
        pooled = GlobalAveragePool (h)
        features = Squeeze (pooled, axes)
        product = MatMul (features, dense_weight)
        logits = Add (product, dense_bias)
        probabilities = Softmax <axis = 1> (logits)
    """
    shapes = STEM_SHAPES | {"dense_weight": (6, 5), "dense_bias": (5,)}
    return _model(nodes, shapes, inputs="float[N,16,16,3] x", outputs="float[N,5] probabilities")


@_hazard
def dynamic_batch() -> ModelProto:
    """`view(x.size(0), -1)`: the batch size is read from the tensor by Shape, Gather and Concat."""
    nodes = """
        zero = Constant <value_int = 0> ()
        rest = Constant <value_ints = [-1]> ()
        first = Constant <value_ints = [0]> ()
        c1 = Conv <strides = [2,2]> (x, conv1_weight, conv1_bias)
        r1 = Relu (c1)
        small = MaxPool <kernel_shape = [3,3], strides = [2,2]> (r1)
        shape = Shape (small)
        batch = Gather (shape, zero)
        batch1 = Unsqueeze (batch, first)
        target = Concat <axis = 0> (batch1, rest)
        features = Reshape (small, target)
        logits = Gemm <transB = 1> (features, flat_weight, fc_bias)
    """
    return _model(nodes, STEM_SHAPES | {"flat_weight": (5, 54), "fc_bias": (5,)})


@_hazard
def fixed_batch() -> ModelProto:
    """The batch size is 1, written into the input, the output and a Reshape."""
    nodes = """
        target = Constant <value_ints = [1,54]> ()
        c1 = Conv <strides = [2,2]> (x, conv1_weight, conv1_bias)
        r1 = Relu (c1)
        small = AveragePool <kernel_shape = [3,3], strides = [2,2]> (r1)
        features = Reshape (small, target)
        logits = Gemm <transB = 1> (features, flat_weight, fc_bias)
    """
    shapes = STEM_SHAPES | {"flat_weight": (5, 54), "fc_bias": (5,)}
    return _model(nodes, shapes, inputs="float[1,3,16,16] x", outputs="float[1,5] logits")


@_hazard
def aliasing_identity() -> ModelProto:
    """Equal weights are stored once and aliased by Identity, as torch's older exporter does."""
    nodes = """
        weight_alias = Identity (conv2_weight)
        bias_alias = Identity (conv2_bias)
        var_alias = Identity (bn_var)
        shift_alias = Identity (conv2_bias)
        c1 = Conv <pads = [1,1,1,1]> (x, conv1_weight, conv1_bias)
        r1 = Relu (c1)
        c2 = Conv <pads = [1,1,1,1]> (r1, conv2_weight, conv2_bias)
        r2 = Relu (c2)
        c3 = Conv <pads = [1,1,1,1]> (r2, weight_alias, bias_alias)
        n3 = BatchNormalization (c3, bn_scale, shift_alias, bn_mean, var_alias)
        h = Relu (n3)
    """
    shapes = STEM_SHAPES | CONV2_SHAPES | _batchnorm_shapes("bn") | HEAD_SHAPES
    del shapes["bn_bias"]
    return _model(nodes + HEAD, shapes)


@_hazard
def constant_node_weights() -> ModelProto:
    """Every weight is a Constant node, as Paddle writes it; there are no initializers."""
    nodes = """
        c1 = Conv <pads = [1,1,1,1], strides = [2,2]> (x, conv1_weight, conv1_bias)
        n1 = BatchNormalization (c1, bn_scale, bn_bias, bn_mean, bn_var)
        h = Relu (n1)
    """
    model = _model(nodes + HEAD, STEM_SHAPES | _batchnorm_shapes("bn") | HEAD_SHAPES)
    _move_weights_to_constant_nodes(model)
    return model


@_hazard
def bias_free() -> ModelProto:
    """No bias anywhere: the score is the input term alone."""
    nodes = """
        c1 = Conv <pads = [1,1,1,1]> (x, conv1_weight)
        r1 = Relu (c1)
        small = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1], strides = [2,2]> (r1)
        c2 = Conv <pads = [1,1,1,1]> (small, conv2_weight)
        h = Relu (c2)
        pooled = GlobalAveragePool (h)
        features = Flatten (pooled)
        logits = Gemm <transB = 1> (features, fc_weight)
    """
    weights = STEM_SHAPES | CONV2_SHAPES | HEAD_SHAPES
    return _model(nodes, {name: weights[name] for name in weights if name.endswith("_weight")})


@_hazard
def bn_unfolded() -> ModelProto:
    """Conv and BatchNormalization side by side, once without and once with a convolution bias."""
    nodes = """
        c1 = Conv <pads = [1,1,1,1]> (x, conv1_weight)
        n1 = BatchNormalization <epsilon = 1e-3> (c1, bn1_scale, bn1_bias, bn1_mean, bn1_var)
        r1 = Relu (n1)
        c2 = Conv <pads = [1,1,1,1]> (r1, conv2_weight, conv2_bias)
        n2 = BatchNormalization (c2, bn2_scale, bn2_bias, bn2_mean, bn2_var)
        h = Relu (n2)
    """
    shapes = {"conv1_weight": (6, 3, 3, 3)} | CONV2_SHAPES | HEAD_SHAPES
    return _model(nodes + HEAD, shapes | _batchnorm_shapes("bn1") | _batchnorm_shapes("bn2"))


@_hazard
def batchnorm_preact() -> ModelProto:
    """BatchNormalization before the ReLU, on a residual stream: no exporter can fold it."""
    nodes = """
        stream0 = Conv <pads = [1,1,1,1]> (x, conv1_weight, conv1_bias)
        n1 = BatchNormalization (stream0, bn1_scale, bn1_bias, bn1_mean, bn1_var)
        r1 = Relu (n1)
        c1 = Conv <pads = [1,1,1,1]> (r1, conv2_weight, conv2_bias)
        stream1 = Add (stream0, c1)
        n2 = BatchNormalization (stream1, bn2_scale, bn2_bias, bn2_mean, bn2_var)
        r2 = Relu (n2)
        c2 = Conv <pads = [1,1,1,1]> (r2, conv3_weight)
        stream2 = Add (stream1, c2)
        n3 = BatchNormalization (stream2, bn3_scale, bn3_bias, bn3_mean, bn3_var)
        h = Relu (n3)
    """
    shapes = STEM_SHAPES | CONV2_SHAPES | {"conv3_weight": (6, 6, 3, 3)} | HEAD_SHAPES
    for name in ("bn1", "bn2", "bn3"):
        shapes |= _batchnorm_shapes(name)
    return _model(nodes + HEAD, shapes)


@_hazard
def saturation() -> ModelProto:
    """f(x) = a - ReLU(b - x), a = b = 1, where the gradient alone explains nothing once x > b.

    `x` is float [N,1,1,1], `logits` float [N,1].
    """
    nodes = """
        a = Constant <value_float = 1.0> ()
        b = Constant <value_float = 1.0> ()
        below = Sub (b, x)
        clipped = Relu (below)
        f = Sub (a, clipped)
        logits = Flatten (f)
    """
    return _model(nodes, {}, inputs="float[N,1,1,1] x", outputs="float[N,1] logits")


@_hazard
def old_opset() -> ModelProto:
    """Opset 9 and IR 3: initializers are graph inputs too, Dropout and Squeeze take attributes."""
    nodes = """
        c1 = Conv <pads = [1,1,1,1]> (x, conv1_weight, conv1_bias)
        n1 = BatchNormalization (c1, bn_scale, bn_bias, bn_mean, bn_var)
        r1 = Relu (n1)
        clipped = Clip <min = 0.0, max = 6.0> (r1)
        small = MaxPool <kernel_shape = [2,2], strides = [2,2]> (clipped)
        dropped = Dropout <ratio = 0.5> (small)
        pooled = GlobalAveragePool (dropped)
        features = Squeeze <axes = [2,3]> (pooled)
        logits = Gemm <transB = 1> (features, fc_weight, fc_bias)
    """
    model = _model(nodes, STEM_SHAPES | _batchnorm_shapes("bn") | HEAD_SHAPES, opset=9, ir=3)
    _list_initializers_as_inputs(model)
    return model


@_hazard
def two_inputs() -> ModelProto:
    """A second input, `extra` float [N,4], joins late: only one of the two is the image."""
    nodes = """
        c1 = Conv <pads = [1,1,1,1]> (x, conv1_weight, conv1_bias)
        h = Relu (c1)
        pooled = GlobalAveragePool (h)
        features = Flatten (pooled)
        joined = Concat <axis = 1> (features, extra)
        logits = Gemm <transB = 1> (joined, joint_weight, fc_bias)
    """
    shapes = STEM_SHAPES | {"joint_weight": (5, 10), "fc_bias": (5,)}
    return _model(nodes, shapes, inputs="float[N,3,16,16] x, float[N,4] extra")


def main() -> None:
    """Write every tiny model into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    for path in write_all(parser.parse_args().output):
        print(path)


if __name__ == "__main__":
    main()
