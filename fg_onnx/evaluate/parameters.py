"""The parameters of an exported model, layer by layer, and other values for them."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from fg_onnx.errors import UnsupportedModelError
from fg_onnx.source import model
from fg_onnx.source.functions import inline_functions
from fg_onnx.source.model import ModelSource
from fg_onnx.vjps import ZERO

Array = npt.NDArray[Any]

# Which inputs of an operator are its parameters, if they are constants.
_ALL = slice(None)
_PARAMETERS: Mapping[str, tuple[int, ...] | slice] = MappingProxyType(
    {
        "Add": (0, 1),
        "BatchNormalization": (1, 2, 3, 4),
        "Concat": _ALL,
        "Conv": (1, 2),
        "ConvTranspose": (1, 2),
        "DeformConv": (1, 3),
        "Div": (0, 1),
        "Einsum": _ALL,
        "Gather": (0,),
        "Gemm": (0, 1, 2),
        "GroupNormalization": (1, 2),
        "InstanceNormalization": (1, 2),
        "LayerNormalization": (1, 2),
        "MatMul": (0, 1),
        "Mul": (0, 1),
        "PRelu": (1,),
        "RMSNormalization": (1,),
        "Sub": (0, 1),
    }
)
# Of these a single number is no parameter but part of a formula, as the 1/2 of a GELU; and before
# the first of the others they prepare the image, as the subtraction of a mean colour does.
_ARITHMETIC = ("Add", "Concat", "Div", "Mul", "Sub")
# Scales and zero points are no parameters: what they scale is.
_QUANTISED = ("DequantizeLinear", "QuantizeLinear")
# Of these the values of an operand have no part in the result.
_OF_SHAPES = ("Shape", "Size")
_VARIANCE = ("BatchNormalization", 4)


@dataclass(frozen=True)
class Layer:
    """A node with parameters.

    Attributes:
        name: the node's, or that of its first output where it has none.
        op: its operator.
        tensors: the constants that hold its parameters, or that these are computed from.
    """

    name: str
    op: str
    tensors: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Parameters:
    """A model and its layers.

    Attributes:
        proto: the model, functions inlined; not to be changed.
        layers: in topological order, from input to output.
    """

    proto: onnx.ModelProto
    layers: tuple[Layer, ...]

    def values(self) -> dict[str, Array]:
        """The parameters of all layers by the names of their tensors."""
        chosen = {name for layer in self.layers for name in layer.tensors}
        stored = _stored(self.proto).items()
        return {name: numpy_helper.to_array(held) for name, held in stored if name in chosen}

    def redrawn(self, layers: Iterable[Layer], seed: int) -> onnx.ModelProto:
        """The model with other parameters in some of its layers.

        What is drawn follows from the seed and the tensor's name, whatever the other layers.
        """
        chosen = {name for layer in layers for name in layer.tensors}
        found = copy.deepcopy(self.proto)
        variances = _variances(found)
        for name, tensor in _stored(found).items():
            if name in chosen:
                rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
                values = numpy_helper.to_array(tensor)
                drawn = shuffled(values, rng) if name in variances else redraw(values, rng)
                tensor.CopyFrom(numpy_helper.from_array(drawn, tensor.name))
        return found


def parameters(source: ModelSource) -> Parameters:
    """The parameters of a model.

    Raises:
        ModelError: the model cannot be read.
        UnsupportedModelError: ``no-parameters``: it has none that are known as such.
    """
    read = model.read(source)
    proto = _with_tensors(inline_functions(read))
    stored = _stored(proto)
    made = {name: node for node in proto.graph.node for name in node.output if name}
    quantised = _quantised(proto, stored, made)
    fed = {value.name for value in proto.graph.input} - set(stored)
    weighed: set[str] = set()  # what depends on an input by way of a layer that is no arithmetic
    layers = []
    for node in proto.graph.node:
        if node.op_type in ZERO or fed.isdisjoint(node.input):
            continue
        fed.update(node.output)
        behind = not weighed.isdisjoint(node.input)
        if node.op_type in _PARAMETERS and node.op_type not in _ARITHMETIC:
            behind = True
        if not behind:
            continue
        weighed.update(node.output)
        tensors: dict[str, None] = {}
        for name in _operands(node):
            tensors |= dict.fromkeys(_roots(name, stored, made) or [])
        kept = tuple(
            name
            for name in tensors
            if _is_parameter(stored[name], node.op_type, is_quantised=name in quantised)
        )
        if kept:
            layers.append(Layer(node.name or node.output[0], node.op_type, kept))
    if not layers:
        raise UnsupportedModelError(
            "no-parameters",
            f"`{read.name}` has no parameters that could be randomised",
            "it needs constants in a Conv, Gemm, MatMul or normalisation",
        )
    return Parameters(proto, tuple(layers))


def redraw(values: Array, rng: np.random.Generator) -> Array:
    """Others of the same shape and type: normal around 0 with the root mean square of what was.

    Zeros stay zeros. Whole numbers, which are quantised, are shuffled.
    """
    if values.dtype.kind == "b" or "int" in values.dtype.name:  # int4 has a kind of its own
        return shuffled(values, rng)
    size = np.sqrt(np.mean(np.square(values.astype(np.float64))))
    return np.asarray((size * rng.standard_normal(values.shape)).astype(values.dtype))


def shuffled(values: Array, rng: np.random.Generator) -> Array:
    """The same values at other places."""
    return np.asarray(rng.permutation(values.ravel()).reshape(values.shape))


def _with_tensors(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the floats of all its Constant nodes as tensors."""
    forms = ("value_float", "value_floats")

    def is_bare(node: onnx.NodeProto) -> bool:
        return node.op_type == "Constant" and any(each.name in forms for each in node.attribute)

    if not any(map(is_bare, proto.graph.node)):
        return proto
    found = copy.deepcopy(proto)
    for node in filter(is_bare, found.graph.node):
        (held,) = node.attribute
        values = np.asarray(helper.get_attribute_value(held), dtype=np.float32)
        held.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(values)))
    return found


def _operands(node: onnx.NodeProto) -> list[str]:
    """The inputs of a node that are its parameters, if they are constants."""
    slots = _PARAMETERS.get(node.op_type, ())
    if isinstance(slots, slice):
        return list(node.input[slots])
    return [node.input[slot] for slot in slots if slot < len(node.input)]


def _quantised(
    proto: onnx.ModelProto, stored: Collection[str], made: Mapping[str, onnx.NodeProto]
) -> set[str]:
    """The constants that a DequantizeLinear takes for numbers, whatever their type."""
    taken = (node.input[0] for node in proto.graph.node if node.op_type == "DequantizeLinear")
    return {root for name in taken for root in _roots(name, stored, made) or ()}


def _stored(proto: onnx.ModelProto) -> dict[str, TensorProto]:
    """The constants of the graph by name, as they lie in it."""
    found = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant":
            tensors = [each.t for each in node.attribute if each.name == "value"]
            found |= dict.fromkeys(node.output, *tensors) if tensors else {}
    return found


def _variances(proto: onnx.ModelProto) -> set[str]:
    """The constants that are variances, or that these are computed from."""
    stored = _stored(proto)
    made = {name: node for node in proto.graph.node for name in node.output if name}
    op, slot = _VARIANCE
    found: set[str] = set()
    for node in proto.graph.node:
        if node.op_type == op:
            found.update(_roots(node.input[slot], stored, made) or ())
    return found


def _roots(
    name: str, stored: Collection[str], made: Mapping[str, onnx.NodeProto]
) -> list[str] | None:
    """The constants that a tensor is computed from; None where it depends on an input."""
    found: dict[str, None] = {}
    waiting, seen = [name], set()
    while waiting:
        name = waiting.pop()
        if not name or name in seen:
            continue
        seen.add(name)
        if name in stored:
            found[name] = None
        elif name in made and made[name].op_type in _OF_SHAPES:
            continue
        elif name in made:
            inputs = made[name].input
            waiting += inputs[:1] if made[name].op_type in _QUANTISED else inputs
        else:
            return None
    return list(found)


def _is_parameter(tensor: TensorProto, op: str, *, is_quantised: bool) -> bool:
    """Whether a constant is numbers that training finds, and no shape or factor of a formula."""
    kinds = (TensorProto.INT8, TensorProto.UINT8, TensorProto.BFLOAT16)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    is_number = np.issubdtype(dtype, np.floating) or tensor.data_type in kinds
    if not is_number and not is_quantised:
        return False
    return op not in _ARITHMETIC or int(np.prod(tensor.dims)) > 1
