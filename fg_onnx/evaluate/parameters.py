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
from onnx import TensorProto, numpy_helper

from fg_onnx.errors import UnsupportedModelError
from fg_onnx.source import model
from fg_onnx.source.functions import inline_functions
from fg_onnx.source.model import ModelSource

Array = npt.NDArray[Any]

# Which inputs of an operator are its parameters, if they are constants.
_PARAMETERS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "Add": (0, 1),
        "BatchNormalization": (1, 2, 3, 4),
        "Conv": (1, 2),
        "ConvTranspose": (1, 2),
        "DeformConv": (1, 3),
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
# Of these a single number is no parameter but part of a formula, as the 1/2 of a GELU.
_ARITHMETIC = ("Add", "Mul", "Sub")
# Scales and zero points are no parameters: what they scale is.
_QUANTISED = ("DequantizeLinear", "QuantizeLinear")
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
    proto = inline_functions(read)
    stored = _stored(proto)
    made = {name: node for node in proto.graph.node for name in node.output if name}
    layers = []
    for node in proto.graph.node:
        tensors: dict[str, None] = {}
        for slot in _PARAMETERS.get(node.op_type, ()):
            roots = _roots(node.input[slot], stored, made) if slot < len(node.input) else []
            tensors |= dict.fromkeys(roots or [])
        kept = tuple(name for name in tensors if _is_parameter(stored[name], node.op_type))
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
    if values.dtype.kind in "iub":
        return shuffled(values, rng)
    size = np.sqrt(np.mean(np.square(values.astype(np.float64))))
    return np.asarray((size * rng.standard_normal(values.shape)).astype(values.dtype))


def shuffled(values: Array, rng: np.random.Generator) -> Array:
    """The same values at other places."""
    return np.asarray(rng.permutation(values.ravel()).reshape(values.shape))


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
        elif name in made:
            inputs = made[name].input
            waiting += inputs[:1] if made[name].op_type in _QUANTISED else inputs
        else:
            return None
    return list(found)


def _is_parameter(tensor: TensorProto, op: str) -> bool:
    """Whether a constant is numbers that training finds, and no shape or factor of a formula."""
    kinds = (TensorProto.INT8, TensorProto.UINT8)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    floats = np.issubdtype(dtype, np.floating) or tensor.data_type == TensorProto.BFLOAT16
    if not floats and tensor.data_type not in kinds:
        return False
    return op not in _ARITHMETIC or int(np.prod(tensor.dims)) > 1
