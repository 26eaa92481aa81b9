"""Where ONNX Runtime puts a model's nodes under its CUDA provider, foretold without a device.

The runtime gives the provider each node that it has a kernel for, except a few forms; then it takes
back those that compute on tensors of the host alone, such as sizes that come of Shape. A Memcpy
stands wherever a tensor lies on one side and is read on the other. Initializers, and what depends
on them alone, are computed and copied when a model is loaded, and are no matter here. What is in
the bodies of If and Loop is not looked at.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import onnx
from cuda_kernels import Kernels
from onnx import TensorProto, defs, helper

from fg_onnx.source.model import opset_of

KERNELS = Kernels.load()

_SECOND = ["CumSum", "Expand", "Reshape", "Split", "Squeeze", "Tile", "TopK", "Trilu", "Unsqueeze"]
_REDUCING = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]
HOST_INPUTS = {
    **{op_type: {1} for op_type in [*_SECOND, *(f"Reduce{name}" for name in _REDUCING)]},
    **{op_type: {1, 2} for op_type in ["Clip", "Dropout", "OneHot"]},
    **{op_type: {1, 2, 3} for op_type in ["Pad", "Resize"]},
    "Slice": {1, 2, 3, 4},
    "Range": {0, 1, 2},
    "ConstantOfShape": {0},
}
"""Operands that CUDA's kernels read on the host (``InputMemoryType`` of their registrations)."""
HOST_OUTPUTS = {"Shape", "Size"}
_SMALL = 100  # entries of an initializer that may be read on the host
_NARROW = {TensorProto.FLOAT16, TensorProto.BFLOAT16}


@dataclass(frozen=True)
class Copy:
    """A Memcpy: of a tensor, from the node that makes it to one that reads it."""

    tensor: str
    source: str
    target: str
    to_device: bool


class Placement:
    """The nodes of a model under a version of onnxruntime-gpu.

    Attributes:
        without_kernel: the nodes that CUDA has no kernel for.
        preferred: those on the host although there is one: their operands are there.
    """

    def __init__(self, model: onnx.ModelProto, runtime: str) -> None:
        values = _values(model)
        self._types = {name: value.elem_type for name, value in values.items()}
        held = {weight.name for weight in model.graph.initializer}
        given = {value.name for value in model.graph.input}
        self._nodes, constants = folded(model, held - given)
        self._inputs = given - held
        self._small = {name for name in constants | held if _is_small(values.get(name))}
        opset = opset_of(model)
        self.without_kernel = [
            node for node in self._nodes if not has_kernel(runtime, node, opset, self._types)
        ]
        missing = {id(node) for node in self.without_kernel}
        self.preferred = self._preferred(missing)
        self._host = missing | {id(node) for node in self.preferred}

    def _preferred(self, missing: set[int]) -> list[onnx.NodeProto]:
        """As GetCpuPreferredNodes of the runtime's core/framework/fallback_cpu_capability.cc."""
        on_host = {
            name for node in self._nodes if node.op_type in HOST_OUTPUTS for name in node.output
        }
        found = []
        for node in self._nodes:
            if not on_host.intersection(node.input):
                continue
            if id(node) in missing:
                on_host.update(node.output)
            elif all(self._stays(node, place, on_host) for place in range(len(node.input))):
                found.append(node)
                on_host.update(node.output)
        return found

    def _stays(self, node: onnx.NodeProto, place: int, on_host: set[str]) -> bool:
        """Whether an operand lets its node be put on the host."""
        name = node.input[place]
        if self._types.get(name) in _NARROW:
            return False
        if not name or name in self._small or name in self._inputs:
            return True
        return name in on_host and place not in HOST_INPUTS.get(node.op_type, ())

    @cached_property
    def copies(self) -> list[Copy]:
        """Every tensor that is made on one side and read on the other, once a side."""
        made = {name: node for node in self._nodes for name in node.output if name}
        found: dict[tuple[str, bool], Copy] = {}
        for node in self._nodes:
            for place, name in enumerate(node.input):
                if name not in made:
                    continue
                maker = made[name]
                lies_on_host = id(maker) in self._host or maker.op_type in HOST_OUTPUTS
                read_on_host = id(node) in self._host or place in HOST_INPUTS.get(node.op_type, ())
                if lies_on_host != read_on_host:
                    copy = Copy(name, maker.name, node.name, to_device=lies_on_host)
                    found.setdefault((name, lies_on_host), copy)
        return list(found.values())


def folded(model: onnx.ModelProto, constants: set[str]) -> tuple[list[onnx.NodeProto], set[str]]:
    """What the runtime leaves of a model at load: the nodes, and the constants it has then."""
    kept, known = [], set(constants)
    for node in model.graph.node:
        if known.issuperset(filter(None, node.input)):
            known.update(node.output)
        else:
            kept.append(node)
    return kept, known


def _is_small(value: onnx.TypeProto.Tensor | None) -> bool:
    """Whether a constant may be read on the host."""
    dims = value.shape.dim if value is not None and value.HasField("shape") else None
    return dims is not None and math.prod(dim.dim_value for dim in dims) <= _SMALL


def _values(model: onnx.ModelProto) -> dict[str, onnx.TypeProto.Tensor]:
    """The types and shapes of a model's tensors; a large model loses its weights."""
    for weight in model.graph.initializer:
        if len(weight.raw_data) > 10_000:  # shape inference would copy them
            weight.ClearField("raw_data")
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    weights = [
        helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in graph.initializer
    ]
    values = [*graph.value_info, *graph.input, *graph.output, *weights]
    return {value.name: value.type.tensor_type for value in values}


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """The element types of a model's tensors; a large model loses its weights."""
    return {name: value.elem_type for name, value in _values(model).items()}


def ranks_of(model: onnx.ModelProto) -> dict[str, int]:
    """The ranks of a model's tensors, where they are known; a large model loses its weights."""
    values = _values(model).items()
    return {name: len(value.shape.dim) for name, value in values if value.HasField("shape")}


def has_kernel(runtime: str, node: onnx.NodeProto, opset: int, types: Mapping[str, int]) -> bool:
    """Whether CUDA takes a node: there is a kernel, and it does not refuse the form."""
    if node.domain not in ("", "ai.onnx") or not defs.has(node.op_type, opset):
        return False
    since = defs.get_schema(node.op_type, opset).since_version
    known = KERNELS.have(runtime, node.op_type, since, operand_types(node, opset, types))
    return known and not (node.op_type == "ConvTranspose" and pads_unevenly(node))


def operand_types(node: onnx.NodeProto, opset: int, types: Mapping[str, int]) -> dict[str, str]:
    """The types of a node's operands, by their names in the schema and those of its types.

    A type that is not known is ``undefined``, which no kernel takes.
    """
    schema = defs.get_schema(node.op_type, opset)
    found = {}
    for formals, names in ((schema.outputs, node.output), (schema.inputs, node.input)):
        for place, name in enumerate(names):
            if name:
                formal = formals[min(place, len(formals) - 1)]
                kind = TensorProto.DataType.Name(types.get(name, 0)).lower()
                found[formal.name] = found[formal.type_str] = kind
    return found


def pads_unevenly(node: onnx.NodeProto) -> bool:
    """Whether a window is padded more on one side, or may be."""
    attrs = attributes(node)
    pads = list(attrs.get("pads", []))
    half = len(pads) // 2
    return pads[:half] != pads[half:] or attrs.get("auto_pad", b"NOTSET") in (
        *(b"SAME_UPPER", b"SAME_LOWER"),
    )


def attributes(node: onnx.NodeProto) -> dict[str, object]:
    """A node's attributes by name."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def emitted(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that the tool added."""
    return [node for node in model.graph.node if node.name.startswith("fg")]


def lacking(model: onnx.ModelProto, runtime: str) -> dict[tuple[str, int], set[str]]:
    """What is emitted that CUDA has no kernel for: nodes by operator and version of its schema."""
    opset, types = opset_of(model), types_of(model)
    found = defaultdict(set)
    for node in emitted(model):
        if not has_kernel(runtime, node, opset, types):
            since = defs.get_schema(node.op_type, opset).since_version
            found[node.op_type, since].add(node.name)
    return dict(found)
