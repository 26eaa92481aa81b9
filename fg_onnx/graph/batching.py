"""A fixed batch made symbolic, where that is sound.

The batch is followed from the inputs through the graph. Each node must keep the images apart, with
the batch on one axis of what it makes; a size that is written into a Reshape, a Resize, an Expand
or a Slice is set free. Everything else is refused by name. The result is then run on several
batches at once and held against the source, which takes them one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from fg_onnx.errors import ModelError, UnsupportedModelError
from fg_onnx.graph import working
from fg_onnx.graph.primal import attributes, node_name
from fg_onnx.runtime import run_once
from fg_onnx.source import model

_BATCHES = 3  # of the source, that are stacked for the comparison
_TOLERANCE = 1e-4  # of the largest: float32, and the runtime's choice of kernels for a batch
_SYMBOL = "N"
_END = 2**31 - 1  # of a Slice, whatever the size of the axis


def free_batch(proto: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model with a symbolic batch in the place of a fixed one; itself where it has none.

    The first axis of every input that has to be fed is taken for the batch.

    Raises:
        UnsupportedModelError: the inputs have no common batch, or a node does not keep the images
            of a batch apart, or cannot be shown to.
        ModelError: the model does not run, or not alike on a larger batch.
    """
    defaults = model.defaults_of(proto)
    fed = [value for value in proto.graph.input if value.name not in defaults]
    first = {value.name: _first_size(value) for value in fed}
    sizes = set(first.values())
    if not any(sizes):
        return proto
    if len(sizes) > 1:
        shown = ", ".join(f"{size or 'open'} for `{key}`" for key, size in first.items())
        raise UnsupportedModelError(
            "fixed-batch",
            f"the inputs of `{name}` have no common batch: their first axes are {shown}",
            "export the model with a dynamic batch",
        )
    graph = working.to_graph(proto)
    walk = _Walk(graph, model.opset_of(proto), sizes.pop(), list(first))
    walk.follow()
    result = _declared(proto, walk)
    _require_alike(proto, result, name, walk)
    return result


def _first_size(value: onnx.ValueInfoProto) -> int:
    """The size of the first axis, 0 where it is open or there is none."""
    dims = value.type.tensor_type.shape.dim
    return int(dims[0].dim_value) if dims else 0


def _declared(proto: onnx.ModelProto, walk: _Walk) -> onnx.ModelProto:
    """The graph that was walked as a model, with the symbol wherever the batch lies."""
    like = onnx.ModelProto()
    like.CopyFrom(proto)
    values = [*like.graph.input, *like.graph.output]
    symbol = _SYMBOL
    while any(d.dim_param == symbol for v in values for d in v.type.tensor_type.shape.dim):
        symbol += "_"
    tensors = walk.graph.tensors()
    for name, axis in walk.axes.items():
        shape = tensors[name].shape
        if shape is not None:
            tensors[name].shape = [symbol if i == axis else dim for i, dim in enumerate(shape)]
    for value in values:
        dims = value.type.tensor_type.shape.dim
        if value.name in walk.axes and dims:
            dims[walk.axes[value.name]].dim_param = symbol
    return working.to_proto(walk.graph, like, len(proto.graph.output))


def _require_alike(proto: onnx.ModelProto, freed: onnx.ModelProto, name: str, walk: _Walk) -> None:
    """Run several batches at once, and one by one in the source."""
    feeds = [model.noise(proto, seed) for seed in range(_BATCHES)]
    alone = [run_once(proto, feed) for feed in feeds]
    stacked = {
        key: np.concatenate([feed[key] for feed in feeds]) if key in walk.axes else feeds[0][key]
        for key in feeds[0]
    }
    for index, found in enumerate(run_once(freed, stacked)):
        output = proto.graph.output[index].name
        parts = [results[index] for results in alone]
        axis = walk.axes.get(output)
        wanted = parts[0] if axis is None else np.concatenate(parts, axis)
        scale = float(np.max(np.abs(wanted.astype(np.float64)), initial=1e-30))
        if found.shape != wanted.shape or not np.allclose(
            found.astype(np.float64), wanted.astype(np.float64), rtol=0, atol=_TOLERANCE * scale
        ):
            raise ModelError(
                "fixed-batch",
                f"`{name}` does not compute `{output}` alike for a larger batch",
                "export the model with a dynamic batch",
            )


class _Walk:
    """Where the batch lies in every tensor that depends on the images.

    Attributes:
        graph: that is walked, and changed where it holds the size of the batch.
        axes: by tensor; what is not in it is the same for any images.
    """

    def __init__(self, graph: gs.Graph, opset: int, size: int, fed: Sequence[str]) -> None:
        self.graph = graph
        self.axes = dict.fromkeys(fed, 0)
        self._opset = opset
        self._size = size
        self._sizes: set[str] = set()  # integers that follow from the shape of a batch

    def follow(self) -> None:
        """Walk through all nodes.

        Raises:
            UnsupportedModelError: naming the first node that may mix images.
        """
        for node in list(self.graph.nodes):
            reads = working.read_by(node)
            if reads.isdisjoint(self.axes.keys() | self._sizes):
                continue
            made = [tensor for tensor in node.outputs if tensor.name]
            if node.op in ("Shape", "Size") or reads.isdisjoint(self.axes):
                if any(t.dtype is None or np.dtype(t.dtype).kind not in "iub" for t in made):
                    raise self.refusal(node, "it computes with the size of the batch")
                self._sizes.update(tensor.name for tensor in made)
                continue
            axis = self._rule(node)(self, node, attributes(node, self._opset))
            for tensor in made:
                shape = tensor.shape
                if shape is not None and (len(shape) <= axis or shape[axis] != self._size):
                    raise self.refusal(node, f"`{tensor.name}` of shape {shape} has no batch")
                self.axes[tensor.name] = axis
        for output in self.graph.outputs:
            if output.name in self._sizes:
                raise self.refusal(output.inputs[0], "the size of the batch is an output")

    def _rule(self, node: gs.Node) -> Rule:
        if node.domain in (None, "", "ai.onnx") and node.op in _RULES:
            return _RULES[node.op]
        raise self.refusal(node, "it is not known to keep the images of a batch apart")

    def refusal(self, node: gs.Node, reason: str) -> UnsupportedModelError:
        """The error for a node that stands in the way."""
        return UnsupportedModelError(
            "fixed-batch",
            f"`{node.op}` at `{node_name(node)}`: {reason}, so the batch stays {self._size}",
            "export the model with a dynamic batch, or leave it fixed: images are then explained "
            "one by one",
            op=node.op,
            node=node_name(node),
        )

    def shape(self, node: gs.Node, tensor: gs.Tensor) -> list[Any]:
        """The shape of an operand, of which at least the rank is known."""
        if tensor.shape is None:
            raise self.refusal(node, f"the rank of `{tensor.name}` is unknown")
        return list(tensor.shape)

    def only_first(self, node: gs.Node) -> int:
        """The batch axis of the first operand, which alone depends on the images."""
        depends = [tensor.name in self.axes for tensor in node.inputs]
        if depends.index(True) > 0 or any(depends[1:]):
            raise self.refusal(node, "more than its first operand depends on the images")
        return self.axes[node.inputs[0].name]

    def integers(self, node: gs.Node, index: int) -> list[int] | None:
        """A constant integer operand, None where it is omitted."""
        if len(node.inputs) <= index or not node.inputs[index].name:
            return None
        operand = node.inputs[index]
        if not isinstance(operand, gs.Constant):
            raise self.refusal(node, f"its operand `{operand.name}` is computed at run time")
        return [int(value) for value in np.asarray(operand.values).reshape(-1)]

    def replace(self, node: gs.Node, index: int, values: Sequence[int]) -> None:
        """Give a node another constant; others that share the old one keep it."""
        name = f"{node.inputs[index].name}/{node_name(node)}/free"
        node.inputs[index] = gs.Constant(name, np.array(values, dtype=np.int64))

    def measure(self, node: gs.Node, index: int) -> None:
        """Take the first entry of an operand that holds a shape from the first operand's."""
        stem = f"{node_name(node)}/free_{index}"
        first, rest, joined = (
            gs.Variable(f"{stem}/{part}", np.int64) for part in ("first", "rest", "joined")
        )
        start = gs.Constant(f"{stem}/start", np.array([1], np.int64))
        end = gs.Constant(f"{stem}/end", np.array([_END], np.int64))
        place = next(i for i, other in enumerate(self.graph.nodes) if other is node)
        self.graph.nodes[place:place] = [
            gs.Node("Shape", first.name, {"start": 0, "end": 1}, [node.inputs[0]], [first]),
            gs.Node("Slice", rest.name, {}, [node.inputs[index], start, end], [rest]),
            gs.Node("Concat", joined.name, {"axis": 0}, [first, rest], [joined]),
        ]
        node.inputs[index] = joined

    @property
    def size(self) -> int:
        """Of the batch in the source."""
        return self._size


# --- what operators do to the batch ---------------------------------------------------------------

Rule: TypeAlias = Callable[[_Walk, gs.Node, dict[str, Any]], int]
_RULES: dict[str, Rule] = {}


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


def _rule(*op_types: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        _RULES.update(dict.fromkeys(op_types, function))
        return function

    return register


@_rule(*_POSITION_BY_POSITION)
def _position_by_position(walk: _Walk, node: gs.Node, _: dict[str, Any]) -> int:
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


@_rule(*_IMAGE_BY_IMAGE)
def _image_by_image(walk: _Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    if walk.only_first(node) != 0:
        raise walk.refusal(node, "its first axis is not the batch")
    if attrs.get("training_mode"):
        raise walk.refusal(node, "it takes its statistics from the whole batch")
    if node.op == "MaxPool" and len(node.outputs) > 1 and node.outputs[1].name:
        raise walk.refusal(node, "its indices count through the whole batch")
    return 0


@_rule("Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "TopK", "Split", "ArgMax", "ArgMin")
def _along_an_axis(walk: _Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    axis = attrs["axis"] % len(walk.shape(node, node.inputs[0]))
    if axis == batch:
        raise walk.refusal(node, "it works along the batch")
    return batch - (not attrs.get("keepdims", 1) and axis < batch)


@_rule("LayerNormalization", "RMSNormalization")
def _from_an_axis(walk: _Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    if attrs["axis"] % len(walk.shape(node, node.inputs[0])) <= batch:
        raise walk.refusal(node, "it works along the batch")
    return batch


@_rule(*(f"Reduce{kind}" for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min")))
@_rule("ReduceProd", "ReduceSum", "ReduceSumSquare", "MeanVarianceNormalization", "CumSum")
def _along_axes(walk: _Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    rank = len(walk.shape(node, node.inputs[0]))
    axes = attrs.get("axes") or walk.integers(node, 1)
    if not axes and attrs.get("noop_with_empty_axes"):
        return batch
    if not axes or batch in [axis % rank for axis in axes]:
        raise walk.refusal(node, "it works along the batch")
    return batch if attrs.get("keepdims", 1) else batch - sum(a % rank < batch for a in axes)


@_rule("QuantizeLinear", "DequantizeLinear")
def _quantised(walk: _Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    rank = len(walk.shape(node, node.inputs[0]))
    scales = len(walk.shape(node, node.inputs[1]))
    if scales > 1 or (scales == 1 and attrs["axis"] % rank == batch):
        raise walk.refusal(node, "its scales lie along the batch")
    return batch


@_rule("Transpose")
def _transposed(walk: _Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    rank = len(walk.shape(node, node.inputs[0]))
    perm = attrs.get("perm") or list(reversed(range(rank)))
    return list(perm).index(walk.only_first(node))


@_rule("Flatten")
def _flattened(walk: _Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    rank = len(walk.shape(node, node.inputs[0]))
    axis = attrs["axis"] if attrs["axis"] == rank else attrs["axis"] % rank
    if axis == 1 and walk.only_first(node) == 0:
        return 0
    raise walk.refusal(node, "it merges the batch with another axis")


@_rule("Squeeze")
def _squeezed(walk: _Walk, node: gs.Node, _: dict[str, Any]) -> int:
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


@_rule("Unsqueeze")
def _unsqueezed(walk: _Walk, node: gs.Node, _: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    axes = walk.integers(node, 1) or []
    rank = len(walk.shape(node, node.inputs[0])) + len(axes)
    added = {axis % rank for axis in axes}
    return [axis for axis in range(rank) if axis not in added][batch]


@_rule("Reshape")
def _reshaped(walk: _Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
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


@_rule("Expand")
def _expanded(walk: _Walk, node: gs.Node, _: dict[str, Any]) -> int:
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


@_rule("Tile")
def _tiled(walk: _Walk, node: gs.Node, _: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    if (walk.integers(node, 1) or [])[batch] != 1:
        raise walk.refusal(node, "it repeats the batch")
    return batch


@_rule("Concat")
def _joined(walk: _Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
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


@_rule("Slice")
def _sliced(walk: _Walk, node: gs.Node, _: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    rank = len(walk.shape(node, node.inputs[0]))
    starts, ends = walk.integers(node, 1) or [], walk.integers(node, 2) or []
    axes = walk.integers(node, 3) or list(range(len(starts)))
    steps = walk.integers(node, 4) or [1] * len(starts)
    for i, axis in enumerate(axes):
        if axis % rank == batch:
            if (starts[i], steps[i]) != (0, 1) or ends[i] < walk.size:
                raise walk.refusal(node, "it takes a part of the batch")
            walk.replace(node, 2, [*ends[:i], _END, *ends[i + 1 :]])
    return batch


@_rule("Gather")
def _gathered(walk: _Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    axis = attrs["axis"] % len(walk.shape(node, node.inputs[0]))
    if axis == batch:
        raise walk.refusal(node, "it takes a part of the batch")
    added = len(walk.shape(node, node.inputs[1])) - 1
    return batch + added if axis < batch else batch


@_rule("Pad")
def _padded(walk: _Walk, node: gs.Node, _: dict[str, Any]) -> int:
    batch = walk.only_first(node)
    rank = len(walk.shape(node, node.inputs[0]))
    pads = walk.integers(node, 1) or []
    axes = walk.integers(node, 3) or list(range(rank))
    for i, axis in enumerate(axes):
        if axis % rank == batch and (pads[i], pads[len(axes) + i]) != (0, 0):
            raise walk.refusal(node, "it pads the batch")
    return batch


@_rule("Resize")
def _resized(walk: _Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
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


@_rule("Gemm")
def _gemm(walk: _Walk, node: gs.Node, attrs: dict[str, Any]) -> int:
    if walk.only_first(node) != attrs["transA"]:
        raise walk.refusal(node, "it sums over the batch")
    if len(node.inputs) > 2 and node.inputs[2].name:
        shape = walk.shape(node, node.inputs[2])
        if len(shape) > 1 and shape[0] != 1:
            raise walk.refusal(node, f"`{node.inputs[2].name}` holds a batch of its own")
    return 0


@_rule("MatMul")
def _matmul(walk: _Walk, node: gs.Node, _: dict[str, Any]) -> int:
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
