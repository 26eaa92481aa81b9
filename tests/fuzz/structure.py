"""Changes to a model that stays a parseable one: its nodes, weights, names, shapes and versions."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

_Draws = np.random.Generator
_Change = Callable[[_Draws, onnx.ModelProto], None]
_T = TypeVar("_T")

_CHANGES: list[_Change] = []

NAMES = (
    "",
    " ",
    "/",
    "//",
    "../../../etc/passwd",
    "/abs/olute",
    "a/b/c",
    "..\\..\\x",
    "quo\"te's`",
    "new\nline",
    "car\rriage",
    "tab\t",
    "nul\x00byte",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "<script>alert(1)</script>",
    "&amp;<b>",
    "{}",
    "{0}%s%n",
    "\u202egnp.exe",
    "桃\U0001f351",
    "x" * 5000,
    "fg_target",
    "fg_seed",
    "fg_score",
    "fg_saliency",
    "fg_contributions",
    "fg_explained",
    "fg_targets",
    "fg_bias/c1",
    "fg_layer_map/c1",
    "fg/Mul_1",
    "fg/constant_1",
    "input",
    "x",
    "c1",
    "logits",
)
NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    -2,
    7,
    255,
    2**15,
    2**31 - 1,
    -(2**31),
    2**31,
    2**40,
    2**63 - 1,
    -(2**63),
)
_OPSETS = (0, -1, 1, 6, 7, 9, 12, 13, 16, 18, 21, 23, 99, 10**9, 2**62)
# fmt: off
_UNARY = (
    "Abs", "Ceil", "Celu", "Cos", "Elu", "Erf",
    "Exp", "Floor", "Gelu", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid",
    "HardSwish", "Identity", "InstanceNormalization", "LRN", "LeakyRelu", "Log",
    "LogSoftmax", "LpNormalization", "MeanVarianceNormalization", "Mish", "Neg", "Reciprocal",
    "ReduceMax", "ReduceMean", "Relu", "Selu", "Shrink", "Sigmoid",
    "Sign", "Sin", "Softmax", "Softplus", "Softsign", "Sqrt",
    "Squeeze", "Tanh", "ThresholdedRelu", "Transpose",
)
# fmt: on
_OPERATORS = sorted({schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain})


def change(draws: _Draws, model: onnx.ModelProto) -> str:
    """Change one thing, and say what; nothing where the model has none such."""
    made = _CHANGES[draws.integers(len(_CHANGES))]
    with contextlib.suppress(DecodeError):  # nested deeper than protobuf copies
        made(draws, model)
    return made.__name__


def _change(function: _Change) -> _Change:
    _CHANGES.append(function)
    return function


def _one(draws: _Draws, items: Sequence[_T]) -> _T | None:
    return items[int(draws.integers(len(items)))] if len(items) else None


def _tensors(model: onnx.ModelProto) -> list[str]:
    graph = model.graph
    names = [tensor.name for tensor in graph.initializer]
    names += [value.name for value in [*graph.input, *graph.output]]
    names += [name for node in graph.node for name in node.output]
    return names


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    graph = model.graph
    for value in [*graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        if value.name == old:
            value.name = new
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def _set_nodes(model: onnx.ModelProto, nodes: Sequence[NodeProto]) -> None:
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)


# --- nodes --------------------------------------------------------------------------------------


@_change
def drop_node(draws: _Draws, model: onnx.ModelProto) -> None:
    if model.graph.node:
        del model.graph.node[int(draws.integers(len(model.graph.node)))]


@_change
def bypass_node(draws: _Draws, model: onnx.ModelProto) -> None:
    index = int(draws.integers(len(model.graph.node))) if model.graph.node else 0
    for node in model.graph.node[index : index + 1]:
        if not node.input or not node.output:
            return
        old, new = node.output[0], node.input[0]
        del model.graph.node[index]
        for reader in model.graph.node:
            for position, name in enumerate(reader.input):
                if name == old:
                    reader.input[position] = new


@_change
def duplicate_node(draws: _Draws, model: onnx.ModelProto) -> None:
    node = _one(draws, model.graph.node)
    if node is not None:
        model.graph.node.append(node)


@_change
def insert_node(draws: _Draws, model: onnx.ModelProto) -> None:
    """An operator between a tensor and its readers."""
    node = _one(draws, model.graph.node)
    if node is None or not node.output:
        return
    index = list(model.graph.node).index(node)
    inserted = NodeProto(op_type=_one(draws, _OPERATORS), input=[f"{node.output[0]}_before"])
    inserted.output.append(node.output[0])
    inserted.input.extend(_one(draws, _tensors(model)) for _ in range(int(draws.integers(2))))
    node.output[0] = f"{node.output[0]}_before"
    nodes = list(model.graph.node)
    _set_nodes(model, [*nodes[: index + 1], inserted, *nodes[index + 1 :]])


@_change
def another_activation(draws: _Draws, model: onnx.ModelProto) -> None:
    """What remains is a sound model, most of the time."""
    node = _one(draws, [n for n in model.graph.node if len(n.input) == len(n.output) == 1])
    if node is not None:
        node.op_type = _one(draws, _UNARY)
        del node.attribute[:]


@_change
def one_more_activation(draws: _Draws, model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    index = int(draws.integers(len(nodes))) if nodes else 0
    for node in nodes[index : index + 1]:
        if node.output and node.output[0]:
            name, op_type = node.output[0], _one(draws, _UNARY)
            made = NodeProto(op_type=op_type, input=[f"{name}_plain"], output=[name])
            node.output[0] = f"{name}_plain"
            _set_nodes(model, [*nodes[: index + 1], made, *nodes[index + 1 :]])


@_change
def small_numbers(draws: _Draws, model: onnx.ModelProto) -> None:
    """Strides, pads, axes and so on that may well make sense."""
    attribute = _one(draws, [a for node in model.graph.node for a in node.attribute])
    if attribute is None:
        return
    if attribute.type == AttributeProto.INTS:
        attribute.ints[:] = [int(draws.integers(4)) for _ in attribute.ints]
    elif attribute.type == AttributeProto.INT:
        attribute.i = int(draws.integers(-1, 3))
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = float(draws.random())


@_change
def shuffle_nodes(draws: _Draws, model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    _set_nodes(model, [nodes[i] for i in draws.permutation(len(nodes))])


@_change
def rewire(draws: _Draws, model: onnx.ModelProto) -> None:
    node = _one(draws, model.graph.node)
    if node is not None and node.input:
        node.input[int(draws.integers(len(node.input)))] = _one(draws, _tensors(model))


@_change
def cycle(draws: _Draws, model: onnx.ModelProto) -> None:
    node = _one(draws, model.graph.node)
    last = _one(draws, model.graph.node)
    if node is not None and node.input and last is not None and last.output:
        node.input[0] = last.output[0]


@_change
def more_inputs(draws: _Draws, model: onnx.ModelProto) -> None:
    node = _one(draws, model.graph.node)
    if node is not None:
        for _ in range(1 + int(draws.integers(3))):
            node.input.append(_one(draws, ["", *_tensors(model)]))


@_change
def fewer_inputs(draws: _Draws, model: onnx.ModelProto) -> None:
    node = _one(draws, model.graph.node)
    if node is not None and node.input:
        del node.input[int(draws.integers(len(node.input))) :]


@_change
def blank_input(draws: _Draws, model: onnx.ModelProto) -> None:
    node = _one(draws, model.graph.node)
    if node is not None and node.input:
        node.input[int(draws.integers(len(node.input)))] = ""


@_change
def outputs_of_a_node(draws: _Draws, model: onnx.ModelProto) -> None:
    node = _one(draws, model.graph.node)
    if node is None:
        return
    if draws.random() < 0.5:
        node.output.append(_one(draws, ["", "more", *_tensors(model)]))
    elif node.output:
        del node.output[0]


@_change
def operator(draws: _Draws, model: onnx.ModelProto) -> None:
    node = _one(draws, model.graph.node)
    if node is not None:
        node.op_type = _one(draws, [*_OPERATORS, *_OPERATORS, *NAMES])


@_change
def domain(draws: _Draws, model: onnx.ModelProto) -> None:
    node = _one(draws, model.graph.node)
    if node is not None:
        node.domain = _one(draws, ["ai.onnx", "ai.onnx.ml", "com.microsoft", "com.acme", *NAMES])


# --- attributes ---------------------------------------------------------------------------------


def _some_value(draws: _Draws) -> Any:
    kind = int(draws.integers(6))
    if kind == 0:
        return int(_one(draws, NUMBERS))
    if kind == 1:
        return float(_one(draws, [0.0, -1.0, 1e-30, 1e38, np.inf, np.nan]))
    if kind == 2:
        return [int(_one(draws, NUMBERS)) for _ in range(1 + int(draws.integers(6)))]
    if kind == 3:
        return [float(draws.standard_normal()) for _ in range(1 + int(draws.integers(4)))]
    if kind == 4:
        return str(_one(draws, NAMES))
    return numpy_helper.from_array(draws.standard_normal((2, 2)).astype(np.float32))


@_change
def attribute_value(draws: _Draws, model: onnx.ModelProto) -> None:
    attributes = [a for node in model.graph.node for a in node.attribute]
    attribute = _one(draws, attributes)
    if attribute is None:
        return
    if attribute.type == AttributeProto.INTS and draws.random() < 0.5:
        for index in range(len(attribute.ints)):
            if draws.random() < 0.5:
                attribute.ints[index] = _one(draws, NUMBERS[: 1 + int(draws.integers(15))])
    elif attribute.type == AttributeProto.INT and draws.random() < 0.5:
        attribute.i = _one(draws, NUMBERS)
    elif attribute.type == AttributeProto.FLOAT and draws.random() < 0.5:
        attribute.f = _one(draws, [0.0, -1.0, 1e-30, 1e38, np.inf, np.nan])
    else:
        attribute.CopyFrom(helper.make_attribute(attribute.name, _some_value(draws)))


@_change
def attribute_type(draws: _Draws, model: onnx.ModelProto) -> None:
    attribute = _one(draws, [a for node in model.graph.node for a in node.attribute])
    if attribute is not None:
        attribute.type = int(draws.integers(15))


@_change
def drop_attribute(draws: _Draws, model: onnx.ModelProto) -> None:
    node = _one(draws, [node for node in model.graph.node if node.attribute])
    if node is not None:
        del node.attribute[int(draws.integers(len(node.attribute)))]


@_change
def duplicate_attribute(draws: _Draws, model: onnx.ModelProto) -> None:
    node = _one(draws, [node for node in model.graph.node if node.attribute])
    if node is not None:
        node.attribute.append(node.attribute[0])


@_change
def new_attribute(draws: _Draws, model: onnx.ModelProto) -> None:
    """One that the operator knows, or does not."""
    node = _one(draws, model.graph.node)
    if node is None:
        return
    names = [*NAMES, "axis", "axes", "perm", "pads", "strides", "dilations", "group", "to"]
    if onnx.defs.has(node.op_type):
        names += 10 * list(onnx.defs.get_schema(node.op_type).attributes)
    node.attribute.append(helper.make_attribute(_one(draws, names) or "a", _some_value(draws)))


# --- weights ------------------------------------------------------------------------------------


@_change
def weight_dims(draws: _Draws, model: onnx.ModelProto) -> None:
    """Dims that do not fit the data."""
    tensor = _one(draws, model.graph.initializer)
    if tensor is None:
        return
    if tensor.dims and draws.random() < 0.6:
        tensor.dims[int(draws.integers(len(tensor.dims)))] = _one(draws, NUMBERS)
    elif draws.random() < 0.5:
        tensor.dims.append(_one(draws, NUMBERS))
    else:
        del tensor.dims[:]


@_change
def reshaped_weight(draws: _Draws, model: onnx.ModelProto) -> None:
    """Dims that fit the data, but not the graph."""
    tensor = _one(draws, model.graph.initializer)
    if tensor is not None and tensor.dims:
        dims = list(draws.permutation(list(tensor.dims)))
        dims = dims if draws.random() < 0.5 else [1, *dims]
        del tensor.dims[:]
        tensor.dims.extend(int(dim) for dim in dims)


@_change
def weight_type(draws: _Draws, model: onnx.ModelProto) -> None:
    tensor = _one(draws, model.graph.initializer)
    if tensor is not None:
        tensor.data_type = int(draws.integers(27))


@_change
def weight_bytes(draws: _Draws, model: onnx.ModelProto) -> None:
    tensor = _one(draws, model.graph.initializer)
    if tensor is not None:
        data = tensor.raw_data
        tensor.raw_data = data[: int(draws.integers(len(data) + 1))] + draws.bytes(
            int(draws.integers(16))
        )


@_change
def weight_values(draws: _Draws, model: onnx.ModelProto) -> None:
    tensor = _one(draws, [t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT])
    if tensor is None or tensor.data_location == TensorProto.EXTERNAL:
        return
    try:
        values = numpy_helper.to_array(tensor).copy()
    except (ValueError, TypeError):
        return
    if values.size:
        special = _one(draws, [0.0, np.nan, np.inf, -np.inf, 1e30, -1e-40])
        values.reshape(-1)[int(draws.integers(values.size))] = special
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


@_change
def both_kinds_of_data(draws: _Draws, model: onnx.ModelProto) -> None:
    tensor = _one(draws, model.graph.initializer)
    if tensor is not None:
        tensor.float_data.extend([1.0] * int(draws.integers(10)))
        if draws.random() < 0.5:
            tensor.ClearField("raw_data")


@_change
def drop_weight(draws: _Draws, model: onnx.ModelProto) -> None:
    if model.graph.initializer:
        del model.graph.initializer[int(draws.integers(len(model.graph.initializer)))]


@_change
def duplicate_weight(draws: _Draws, model: onnx.ModelProto) -> None:
    tensor = _one(draws, model.graph.initializer)
    if tensor is not None:
        model.graph.initializer.append(tensor)


@_change
def external_weight(draws: _Draws, model: onnx.ModelProto) -> None:
    tensor = _one(draws, model.graph.initializer)
    if tensor is None:
        return
    places = ["w.bin", "mutant.onnx", ".", "/dev/zero", "/dev/stdin", "/etc/passwd", *NAMES]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=_one(draws, places))
    for key in ("offset", "length"):
        if draws.random() < 0.5:
            value = _one(draws, [*map(str, NUMBERS), "many", ""])
            tensor.external_data.add(key=key, value=value)


@_change
def sparse_weight(draws: _Draws, model: onnx.ModelProto) -> None:
    tensor = _one(draws, model.graph.initializer)
    if tensor is None:
        return
    values = numpy_helper.from_array(np.ones(2, np.float32), tensor.name)
    indices = numpy_helper.from_array(np.array([0, _one(draws, NUMBERS)], np.int64), "i")
    sparse = onnx.SparseTensorProto(values=values, indices=indices, dims=tensor.dims)
    model.graph.sparse_initializer.append(sparse)
    if draws.random() < 0.7:
        model.graph.initializer.remove(tensor)


@_change
def weight_as_input(draws: _Draws, model: onnx.ModelProto) -> None:
    tensor = _one(draws, model.graph.initializer)
    if tensor is not None:
        kind = tensor.data_type if draws.random() < 0.8 else int(draws.integers(20))
        value = helper.make_tensor_value_info(tensor.name, kind, list(tensor.dims))
        model.graph.input.append(value)


# --- declared types and shapes ------------------------------------------------------------------


def _value(draws: _Draws, model: onnx.ModelProto) -> onnx.ValueInfoProto | None:
    graph = model.graph
    return _one(draws, [*graph.input, *graph.output, *graph.value_info])


@_change
def declared_dim(draws: _Draws, model: onnx.ModelProto) -> None:
    value = _value(draws, model)
    dim = _one(draws, value.type.tensor_type.shape.dim) if value is not None else None
    if dim is None:
        return
    dim.Clear()
    kind = int(draws.integers(3))
    if kind == 0:
        dim.dim_value = _one(draws, NUMBERS)
    elif kind == 1:
        dim.dim_param = _one(draws, NAMES)


@_change
def declared_rank(draws: _Draws, model: onnx.ModelProto) -> None:
    value = _value(draws, model)
    if value is None:
        return
    shape = value.type.tensor_type.shape
    if draws.random() < 0.3:
        value.type.tensor_type.ClearField("shape")
    elif draws.random() < 0.5 and shape.dim:
        del shape.dim[int(draws.integers(len(shape.dim)))]
    else:
        shape.dim.add(dim_value=_one(draws, NUMBERS))


@_change
def declared_type(draws: _Draws, model: onnx.ModelProto) -> None:
    value = _value(draws, model)
    if value is None:
        return
    kind = int(draws.integers(4))
    if kind == 0:
        value.ClearField("type")
    elif kind == 1:
        value.type.CopyFrom(helper.make_sequence_type_proto(value.type))
    elif kind == 2:
        value.type.CopyFrom(helper.make_optional_type_proto(value.type))
    else:
        value.type.tensor_type.elem_type = int(draws.integers(27))


@_change
def declared_inside(draws: _Draws, model: onnx.ModelProto) -> None:
    """A lie about a tensor inside the graph."""
    name = _one(draws, _tensors(model))
    if name is not None:
        dims = [_one(draws, [*NUMBERS, "N", None]) for _ in range(int(draws.integers(5)))]
        kind = 1 if draws.random() < 0.7 else int(draws.integers(20))
        model.graph.value_info.append(helper.make_tensor_value_info(name, kind, dims))


@_change
def one_more_output(draws: _Draws, model: onnx.ModelProto) -> None:
    name = _one(draws, _tensors(model))
    if name is not None:
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        model.graph.output.insert(int(draws.integers(len(model.graph.output) + 1)), value)


@_change
def drop_declared(draws: _Draws, model: onnx.ModelProto) -> None:
    values = _one(draws, [model.graph.input, model.graph.output])
    if values:
        del values[int(draws.integers(len(values)))]


@_change
def duplicate_declared(draws: _Draws, model: onnx.ModelProto) -> None:
    values = _one(draws, [model.graph.input, model.graph.output])
    if values:
        values.append(values[0])


# --- names --------------------------------------------------------------------------------------


@_change
def tensor_name(draws: _Draws, model: onnx.ModelProto) -> None:
    """A name everywhere; it may belong to another tensor already."""
    _rename(model, _one(draws, _tensors(model)) or "", _one(draws, NAMES) or "")


@_change
def node_names(draws: _Draws, model: onnx.ModelProto) -> None:
    same = _one(draws, NAMES)
    for node in model.graph.node:
        node.name = same if draws.random() < 0.5 else _one(draws, NAMES)


@_change
def other_names(draws: _Draws, model: onnx.ModelProto) -> None:
    model.graph.name = _one(draws, NAMES)
    model.producer_name = _one(draws, NAMES)
    model.doc_string = _one(draws, NAMES)
    model.domain = _one(draws, NAMES)


# --- versions, metadata, functions --------------------------------------------------------------


@_change
def opset(draws: _Draws, model: onnx.ModelProto) -> None:
    kind = int(draws.integers(3))
    if kind == 0 and model.opset_import:
        model.opset_import[0].version = _one(draws, _OPSETS)
    elif kind == 1:
        domain = _one(draws, ["", "ai.onnx", "ai.onnx.ml", *NAMES])
        model.opset_import.append(helper.make_opsetid(domain, _one(draws, _OPSETS)))
    else:
        del model.opset_import[:]


@_change
def ir_version(draws: _Draws, model: onnx.ModelProto) -> None:
    model.ir_version = _one(draws, [0, 1, 3, 4, 7, 10, 13, 99, -1, 2**62])


@_change
def metadata(draws: _Draws, model: onnx.ModelProto) -> None:
    key = _one(draws, ["fg_onnx.manifest", *NAMES])
    documents = ["null", "[]", "{}", "1", '{"schema_version": 1}', "[" * 100_000, *NAMES]
    documents += ['{"schema_version": 1, "sites": [{}]}', '{"schema_version": 1, "sites": 3}']
    model.metadata_props.add(key=key, value=_one(draws, documents))


@_change
def annotations(draws: _Draws, model: onnx.ModelProto) -> None:
    note = model.graph.quantization_annotation.add(tensor_name=_one(draws, NAMES))
    note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value=_one(draws, NAMES))


@_change
def training_info(draws: _Draws, model: onnx.ModelProto) -> None:
    info = model.training_info.add()
    if draws.random() < 0.5:
        info.algorithm.CopyFrom(model.graph)
    info.update_binding.add(key=_one(draws, NAMES), value=_one(draws, NAMES))


@_change
def function(draws: _Draws, model: onnx.ModelProto) -> None:
    """A node becomes a call of a function, which may call itself, or one that calls it."""
    node = _one(draws, model.graph.node)
    if node is None:
        return
    inner = onnx.NodeProto()
    inner.CopyFrom(node)
    called = f"Called{len(model.functions)}"
    node.op_type, node.domain = called, "local"
    del node.attribute[:]
    if draws.random() < 0.3:
        inner.op_type, inner.domain = called if draws.random() < 0.5 else "Called0", "local"
    imports = [*model.opset_import, helper.make_opsetid("local", 1)]
    model.functions.append(
        helper.make_function("local", called, node.input, node.output, [inner], imports)
    )
    if draws.random() < 0.8 and not any(entry.domain == "local" for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid("local", 1))


@_change
def nested(draws: _Draws, model: onnx.ModelProto) -> None:
    """A node moves into the branches of an If in an If in ..."""
    node = _one(draws, model.graph.node)
    if node is None or not node.output:
        return
    original = onnx.NodeProto()
    original.CopyFrom(node)
    depth = int(_one(draws, [1, 1, 1, 2, 5, 20, 31, 60]))
    outputs = [helper.make_tensor_value_info(name, 1, None) for name in node.output if name]
    inner = original
    for _ in range(depth):
        body = helper.make_graph([inner], "body", [], outputs)
        inner = NodeProto(op_type="If", input=["which"], output=original.output)
        inner.attribute.append(helper.make_attribute("then_branch", body))
        if depth < 5:
            inner.attribute.append(helper.make_attribute("else_branch", body))
    node.CopyFrom(inner)
    if draws.random() < 0.9:
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "which"))


@_change
def loop(draws: _Draws, model: onnx.ModelProto) -> None:
    """A node moves into the body of a Loop that may never end."""
    node = _one(draws, model.graph.node)
    if node is None or not node.output:
        return
    original = onnx.NodeProto()
    original.CopyFrom(node)
    boolean, integer = TensorProto.BOOL, TensorProto.INT64
    keep = helper.make_node("Identity", ["go"], ["went"])
    body = helper.make_graph(
        [original, keep],
        "body",
        [
            helper.make_tensor_value_info("i", integer, []),
            helper.make_tensor_value_info("go", boolean, []),
        ],
        [
            helper.make_tensor_value_info("went", boolean, []),
            *(helper.make_tensor_value_info(name, 1, None) for name in node.output),
        ],
    )
    node.CopyFrom(
        helper.make_node("Loop", ["most", "yes"], [f"{n}_all" for n in original.output], body=body)
    )
    most = np.array(_one(draws, [0, 1, 3, 1000]), np.int64)
    model.graph.initializer.append(numpy_helper.from_array(most, "most"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))


# --- sizes --------------------------------------------------------------------------------------


@_change
def chain(draws: _Draws, model: onnx.ModelProto) -> None:
    """A long way from a tensor to its readers."""
    name = _one(draws, [value.name for value in model.graph.input])
    if name is None:
        return
    op_type = _one(draws, ["Relu", "Identity", "Sigmoid", "Neg", "Softplus"])
    length = int(_one(draws, [10, 50, 200]))
    links = [name, *(f"link{i}" for i in range(length))]
    for node in model.graph.node:
        for index, read in enumerate(node.input):
            if read == name:
                node.input[index] = links[-1]
    chained = [helper.make_node(op_type, [old], [new]) for old, new in itertools.pairwise(links)]
    _set_nodes(model, [*chained, *model.graph.node])


@_change
def grown(draws: _Draws, model: onnx.ModelProto) -> None:
    """Shape arithmetic that asks for more memory than there is."""
    name = _one(draws, [n for node in model.graph.node for n in node.output])
    if name is None:
        return
    size = _one(draws, [7, 2**15, 2**31, 2**40, 2**62, -1])
    sizes = numpy_helper.from_array(np.array([size] * int(1 + draws.integers(4)), np.int64), "huge")
    kind = int(draws.integers(4))
    if kind == 0:
        made = [helper.make_node("ConstantOfShape", ["huge"], ["filled"])]
    elif kind == 1:
        made = [helper.make_node("Expand", ["huge_one", "huge"], ["filled"])]
    elif kind == 2:
        made = [helper.make_node("Tile", ["huge_one", "huge"], ["filled"])]
    else:
        made = [helper.make_node("Range", ["nought", "huge_most", "huge_one"], ["filled"])]
    one = numpy_helper.from_array(np.array(1, np.float32), "huge_one")
    nought = numpy_helper.from_array(np.array(0, np.float32), "nought")
    most = numpy_helper.from_array(np.array(size, np.float32), "huge_most")
    model.graph.initializer.extend([sizes, one, nought, most])
    made.append(helper.make_node("ReduceMax", ["filled"], ["most_filled"], keepdims=0))
    made.append(helper.make_node("Add", [f"{name}_plain", "most_filled"], [name]))
    for node in model.graph.node:
        for index, output in enumerate(node.output):
            if output == name:
                node.output[index] = f"{name}_plain"
    where = next((i for i, n in enumerate(model.graph.node) if f"{name}_plain" in n.output), 0)
    nodes = list(model.graph.node)
    _set_nodes(model, [*nodes[: where + 1], *made, *nodes[where + 1 :]])
