"""What operators do to the batch: which axis it lies on, or why its images do not stay apart."""

from __future__ import annotations

from typing import Any

import onnx_graphsurgeon as gs

from fg_onnx.batching.walk import END, Walk, rule

# fmt: off
_POSITION_BY_POSITION = (
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitShift", "Cast",
    "CastLike", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Div", "Dropout", "Elu", "Equal", "Erf",
    "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity",
    "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish",
    "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu",
    "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Sub", "Sum",
    "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor",
)
_IMAGE_BY_IMAGE = (
    "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "DepthToSpace",
    "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "GroupNormalization",
    "InstanceNormalization", "LRN", "LpPool", "MaxPool", "SpaceToDepth",
)
# fmt: on


@rule(*_POSITION_BY_POSITION)
def _position_by_position(walk: Walk, node: gs.Node, _: dict[str, Any]) -> int:
    shapes = {t.name: walk.shape(node, t) for t in node.inputs if t.name}
    rank = max(map(len, shapes.values()))
    found = {
        rank - len(shape) + walk.axes[name] for name, shape in shapes.items() if name in walk.axes
    }
    if len(found) > 1:
        raise walk.refusal(node, "its operands have the batch on different axes")
    (axis,) = found
    for name, shape in shapes.items():
        own = axis - (rank - len(shape))
        if name not in walk.axes and own >= 0 and shape[own] != 1:
            raise walk.refusal(node, f"`{name}` of shape {shape} holds a batch of its own")
    return axis


@rule(*_IMAGE_BY_IMAGE)
def _image_by_image(walk: Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    if walk.only_first(node) != 0:
        raise walk.refusal(node, "its first axis is not the batch")
    if attrs.get("training_mode"):
        raise walk.refusal(node, "it takes its statistics from the whole batch")
    if node.op == "MaxPool" and len(node.outputs) > 1 and node.outputs[1].name:
        raise walk.refusal(node, "its indices count through the whole batch")
    return 0


@rule("Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "TopK", "Split", "ArgMax", "ArgMin")
def _along_an_axis(walk: Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    axis = attrs["axis"] % len(walk.shape(node, node.inputs[0]))
    if axis == batch:
        raise walk.refusal(node, "it works along the batch")
    return batch - (not attrs.get("keepdims", 1) and axis < batch)


@rule("LayerNormalization", "RMSNormalization")
def _from_an_axis(walk: Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    if attrs["axis"] % len(walk.shape(node, node.inputs[0])) <= batch:
        raise walk.refusal(node, "it works along the batch")
    return batch


@rule(*(f"Reduce{kind}" for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min")))
@rule("ReduceProd", "ReduceSum", "ReduceSumSquare", "MeanVarianceNormalization", "CumSum")
def _along_axes(walk: Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    rank = len(walk.shape(node, node.inputs[0]))
    axes = attrs.get("axes") or walk.integers(node, 1)
    if not axes and attrs.get("noop_with_empty_axes"):
        return batch
    if not axes or batch in [axis % rank for axis in axes]:
        raise walk.refusal(node, "it works along the batch")
    return batch if attrs.get("keepdims", 1) else batch - sum(a % rank < batch for a in axes)


@rule("QuantizeLinear", "DequantizeLinear")
def _quantised(walk: Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    rank = len(walk.shape(node, node.inputs[0]))
    scales = len(walk.shape(node, node.inputs[1]))
    if scales > 1 or (scales == 1 and attrs["axis"] % rank == batch):
        raise walk.refusal(node, "its scales lie along the batch")
    return batch


@rule("Transpose")
def _transposed(walk: Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    rank = len(walk.shape(node, node.inputs[0]))
    perm = attrs.get("perm") or list(reversed(range(rank)))
    return list(perm).index(walk.only_first(node))


@rule("Flatten")
def _flattened(walk: Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    rank = len(walk.shape(node, node.inputs[0]))
    axis = attrs["axis"] if attrs["axis"] == rank else attrs["axis"] % rank
    if axis == 1 and walk.only_first(node) == 0:
        return 0
    raise walk.refusal(node, "it merges the batch with another axis")


@rule("Squeeze")
def _squeezed(walk: Walk, node: gs.Node, _: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    shape = walk.shape(node, node.inputs[0])
    axes = walk.integers(node, 1)
    if axes is None:
        axes = [axis for axis, dim in enumerate(shape) if dim == 1]
        if not all(isinstance(dim, int) for dim in shape):
            raise walk.refusal(node, "it is open which axes it drops")
    dropped = {axis % len(shape) for axis in axes}
    if batch in dropped:
        raise walk.refusal(node, "it drops the batch")
    return batch - sum(axis < batch for axis in dropped)


@rule("Unsqueeze")
def _unsqueezed(walk: Walk, node: gs.Node, _: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    axes = walk.integers(node, 1) or []
    rank = len(walk.shape(node, node.inputs[0])) + len(axes)
    added = {axis % rank for axis in axes}
    return [axis for axis in range(rank) if axis not in added][batch]


@rule("Reshape")
def _reshaped(walk: Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    """Images stay rows: where the batch comes first on both sides, so does each image."""
    batch = walk.only_first(node)
    before, after = walk.shape(node, node.inputs[0]), walk.shape(node, node.outputs[0])
    if batch != 0 or not after or after[0] != walk.size:
        raise walk.refusal(node, f"it may mix the batch with other axes: {before} to {after}")
    if attrs.get("allowzero") or not isinstance(node.inputs[1], gs.Constant):
        walk.measure(node, 1)
    else:
        # 0 keeps the batch; a -1 elsewhere still stands for the same number, being the only one.
        walk.replace(node, 1, [0, *(walk.integers(node, 1) or [])[1:]])
    return 0


@rule("Expand")
def _expanded(walk: Walk, node: gs.Node, _: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    target = walk.integers(node, 1) or []
    own = len(walk.shape(node, node.inputs[0]))
    axis = batch + max(len(target) - own, 0)
    place = axis - max(own - len(target), 0)
    if place >= 0:
        if target[place] not in (1, walk.size):
            raise walk.refusal(node, "it repeats the batch")
        walk.replace(node, 1, [1 if i == place else size for i, size in enumerate(target)])
    return axis


@rule("Tile")
def _tiled(walk: Walk, node: gs.Node, _: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    if (walk.integers(node, 1) or [])[batch] != 1:
        raise walk.refusal(node, "it repeats the batch")
    return batch


@rule("Concat")
def _joined(walk: Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    axes = {walk.axes.get(tensor.name) for tensor in node.inputs}
    if None in axes:
        fixed = next(tensor.name for tensor in node.inputs if tensor.name not in walk.axes)
        raise walk.refusal(node, f"`{fixed}` holds a batch of its own")
    if len(axes) > 1:
        raise walk.refusal(node, "its operands have the batch on different axes")
    axis = attrs["axis"] % len(walk.shape(node, node.inputs[0]))
    (batch,) = axes
    assert batch is not None
    if axis == batch:
        raise walk.refusal(node, "it works along the batch")
    return batch


@rule("Slice")
def _sliced(walk: Walk, node: gs.Node, _: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    rank = len(walk.shape(node, node.inputs[0]))
    starts, ends = walk.integers(node, 1) or [], walk.integers(node, 2) or []
    axes = walk.integers(node, 3) or list(range(len(starts)))
    steps = walk.integers(node, 4) or [1] * len(starts)
    for i, axis in enumerate(axes):
        if axis % rank == batch:
            if (starts[i], steps[i]) != (0, 1) or ends[i] < walk.size:
                raise walk.refusal(node, "it takes a part of the batch")
            walk.replace(node, 2, [*ends[:i], END, *ends[i + 1 :]])
    return batch


@rule("Gather")
def _gathered(walk: Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    axis = attrs["axis"] % len(walk.shape(node, node.inputs[0]))
    if axis == batch:
        raise walk.refusal(node, "it takes a part of the batch")
    added = len(walk.shape(node, node.inputs[1])) - 1
    return batch + added if axis < batch else batch


@rule("Pad")
def _padded(walk: Walk, node: gs.Node, _: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    rank = len(walk.shape(node, node.inputs[0]))
    pads = walk.integers(node, 1) or []
    axes = walk.integers(node, 3) or list(range(rank))
    for i, axis in enumerate(axes):
        if axis % rank == batch and (pads[i], pads[len(axes) + i]) != (0, 0):
            raise walk.refusal(node, "it pads the batch")
    return batch


@rule("Resize")
def _resized(walk: Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    own = attrs.get("axes")
    touched = own is None or batch in own
    if touched and attrs["coordinate_transformation_mode"] == "tf_crop_and_resize":
        raise walk.refusal(node, "it may crop the batch")
    if touched and len(node.inputs) > 3 and node.inputs[3].name:
        if batch != 0 or own is not None:
            raise walk.refusal(node, "its first axis is not the batch")
        walk.measure(node, 3)
    return batch


@rule("Gemm")
def _gemm(walk: Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    if walk.only_first(node) != attrs["transA"]:
        raise walk.refusal(node, "it sums over the batch")
    if len(node.inputs) > 2 and node.inputs[2].name:
        shape = walk.shape(node, node.inputs[2])
        if len(shape) > 1 and shape[0] != 1:
            raise walk.refusal(node, f"`{node.inputs[2].name}` holds a batch of its own")
    return 0


@rule("MatMul")
def _matmul(walk: Walk, node: gs.Node, _: dict[str, Any]) -> int:
    shapes = [walk.shape(node, tensor) for tensor in node.inputs]
    rank = max(map(len, shapes))
    if min(map(len, shapes)) < 2:
        raise walk.refusal(node, "one of its operands is a vector")
    summed = (rank - 1, rank - 2)  # where each operand's axis that is summed over lies
    found = set()
    for tensor, shape, over in zip(node.inputs, shapes, summed, strict=True):
        if tensor.name in walk.axes:
            axis = rank - len(shape) + walk.axes[tensor.name]
            if axis == over:
                raise walk.refusal(node, "it sums over the batch")
            found.add(axis)
    (axis, *others) = found
    both = all(tensor.name in walk.axes for tensor in node.inputs)
    if others or (both and axis >= rank - 2):
        raise walk.refusal(node, "its operands have the batch on different axes")
    for tensor, shape in zip(node.inputs, shapes, strict=True):
        own = axis - (rank - len(shape))
        if axis < rank - 2 and tensor.name not in walk.axes and own >= 0 and shape[own] != 1:
            raise walk.refusal(node, f"`{tensor.name}` of shape {shape} holds a batch of its own")
    return axis
