"""The working copy of a model: a GraphSurgeon graph that knows what can be known of its shapes.

GraphSurgeon drops a model's metadata, versions, doc strings and default-valued inputs; `to_proto`
gives them back.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import shape_inference
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter
from onnx_graphsurgeon.logger import G_LOGGER

from fg_onnx.errors import FgOnnxError, ModelError, first_line
from fg_onnx.graph.ceiling import write_out_ceil_modes
from fg_onnx.graph.folding import fold_shapes
from fg_onnx.source.model import LOWEST_IR, MOST_SEEN, defaults_of, model_of, opset_of

_PLAIN_CONSTANTS = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}

_UNKNOWN = "unk__"  # how onnx begins the names of dimensions that it cannot infer

# What onnx has no inference for, although its result is like its operand.
_NOT_INFERRED = frozenset({"GroupNormalization", "MeanVarianceNormalization"})


def to_graph(proto: onnx.ModelProto) -> gs.Graph:
    """The graph with all shapes that can be known, shape arithmetic folded; a working copy.

    Raises:
        ModelError: its types, shapes and attributes contradict each other.
    """
    try:
        graph = _imported(_importable(proto))
        infer(graph, proto)
    except FgOnnxError:
        raise
    except Exception as error:  # of onnx and GraphSurgeon, which take a graph to be consistent
        raise ModelError(
            "broken-model",
            f"`{proto.graph.name}` is broken: its types, shapes and attributes contradict each "
            f"other ({first_line(error)})",
            "export it again",
        ) from error
    return graph


def infer(graph: gs.Graph, proto: onnx.ModelProto) -> None:
    """Find all shapes that can be known, and fold shape arithmetic; changes the graph.

    Args:
        graph: a working copy of ``proto``'s, in which nodes may have been replaced.
        proto: the model.
    """
    _constants_from_nodes(graph)
    _infer_shapes(graph, proto)
    while write_out_ceil_modes(graph) or fold_shapes(graph, opset_of(proto)):
        _infer_shapes(graph, proto)


def _importable(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model as GraphSurgeon can take it.

    Without its defaults: what a caller may change is no constant. Without the types of sequences,
    maps and optional tensors, of which it knows only some. And without what is said a second time
    of an input or an output, which it would believe rather than the first.
    """
    defaults = defaults_of(proto)
    ends = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    inner = [value for value in proto.graph.value_info if value.name not in ends]
    twice = len(inner) < len(proto.graph.value_info)
    if not defaults and not twice and all(map(_is_tensor, _declared(proto))):
        return proto
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    del result.graph.initializer[:]
    result.graph.initializer.extend(t for t in proto.graph.initializer if t.name not in defaults)
    del result.graph.value_info[:]
    result.graph.value_info.extend(inner)
    for value in _declared(result):
        if not _is_tensor(value):
            value.ClearField("type")
    return result


def _declared(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    return [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]


def _is_tensor(value: onnx.ValueInfoProto) -> bool:
    return value.type.WhichOneof("value") in (None, "tensor_type")


def _imported(proto: onnx.ModelProto) -> gs.Graph:
    """The graph with NumPy's types; GraphSurgeon leaves bfloat16 and float8 as ONNX's numbers."""
    with G_LOGGER.suppress():  # it writes to stdout
        graph = gs.import_onnx(proto)
        for tensor in graph.tensors().values():
            if isinstance(tensor.dtype, int) and isinstance(tensor, gs.Constant):
                tensor.values = np.asarray(tensor.values)
            elif isinstance(tensor.dtype, int):
                tensor.dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.dtype)
    return graph


def _constants_from_nodes(graph: gs.Graph) -> None:
    """Make Constant nodes constants, and let those who read a constant's alias read it itself."""
    kept = {id(tensor) for tensor in graph.outputs}
    for node in graph.nodes:
        value = _constant_value(node) if node.op == "Constant" else None
        if value is not None:
            (result,) = node.outputs
            node.outputs.clear()
            result.to_constant(value)
        elif (
            node.op == "Identity"
            and isinstance(node.inputs[0], gs.Constant)
            and id(node.outputs[0]) not in kept
        ):
            (alias,) = node.outputs
            for reader in list(alias.outputs):
                for index, tensor in enumerate(reader.inputs):
                    if tensor is alias:
                        reader.inputs[index] = node.inputs[0]
            node.outputs.clear()
    graph.nodes = [node for node in graph.nodes if node.outputs]


def _constant_value(node: gs.Node) -> np.ndarray | None:
    if len(node.attrs) != 1:
        raise ValueError(f"the Constant `{node.name}` has {len(node.attrs)} values")
    ((attribute, value),) = node.attrs.items()
    if attribute == "value":
        with G_LOGGER.suppress():  # it warns of types that are none of NumPy's own
            return np.asarray(value.values)
    kind = _PLAIN_CONSTANTS.get(attribute)
    return None if kind is None else np.asarray(value, dtype=kind)


def _infer_shapes(graph: gs.Graph, proto: onnx.ModelProto) -> None:
    """Fill in types and shapes; those inferred before are not built upon, being vaguer."""
    inferred = shape_inference.infer_shapes(_skeleton_of(graph, proto), data_prop=True)
    tensors = graph.tensors()
    for value in [*inferred.graph.value_info, *inferred.graph.output]:
        tensor = tensors.get(value.name)
        if not isinstance(tensor, gs.Variable) or not value.type.HasField("tensor_type"):
            continue
        kind = value.type.tensor_type
        if kind.elem_type and tensor.dtype is None:
            tensor.dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if kind.HasField("shape"):
            tensor.shape = _sharper([_dim(dim) for dim in kind.shape.dim], tensor.shape)


def _sharper(
    new: list[int | str | None], old: list[int | str | None] | None
) -> list[int | str | None]:
    """The inferred dimensions, and what the source declared where nothing could be inferred.

    What it declared of a dimension that an input leaves open is of another day: only the one size
    that it was exported with.
    """
    if old is None or len(old) != len(new):
        return new
    return [
        b if isinstance(b, int) and (a is None or str(a).startswith(_UNKNOWN)) else a
        for a, b in zip(new, old, strict=True)
    ]


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return str(dim.dim_param) if dim.dim_param else None


def _skeleton_of(graph: gs.Graph, proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same of a working copy, in its present state."""
    exporter = OnnxExporter()
    skeleton = onnx.GraphProto(name=proto.graph.name or "graph")
    for node in graph.nodes:
        exported = exporter.export_node(node)
        if node.op in _NOT_INFERRED and not node.domain:
            exported = onnx.helper.make_node("Identity", exported.input[:1], exported.output)
        skeleton.node.append(exported)
    skeleton.input.extend(proto.graph.input)
    for output in proto.graph.output:  # what is inferred of an output must not be its declaration
        inferred = skeleton.output.add()
        inferred.CopyFrom(output)
        if inferred.type.HasField("tensor_type"):
            inferred.type.tensor_type.ClearField("shape")
    listed = {value.name for value in skeleton.input}
    for tensor in graph.tensors().values():
        if not isinstance(tensor, gs.Constant):
            continue
        if np.prod(tensor.shape, dtype=np.int64) <= MOST_SEEN:
            skeleton.initializer.append(exporter.export_tensor_proto(tensor))
        elif tensor.name not in listed:
            skeleton.input.append(exporter.export_value_info_proto(tensor, do_type_check=False))
    return model_of(skeleton, proto)


def drop_unused(graph: gs.Graph) -> None:
    """Remove the nodes that no output needs, in time linear in their number.

    Changes the graph, whose nodes are in topological order.
    """
    needed = {tensor.name for tensor in graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if not any(tensor.name in needed for tensor in node.outputs):
            continue
        kept.append(node)
        needed.update(read_by(node))
    graph.nodes = kept[::-1]


def read_by(node: gs.Node) -> set[str]:
    """Names of the tensors that a node reads, those that the graphs within it capture too."""
    subgraphs = list(node.subgraphs(recursive=True))
    readers = (node, *(inner for subgraph in subgraphs for inner in subgraph.nodes))
    names = {tensor.name for reader in readers for tensor in reader.inputs if tensor.name}
    return names.union(tensor.name for subgraph in subgraphs for tensor in subgraph.outputs)


def to_proto(graph: gs.Graph, like: onnx.ModelProto, keep_outputs: int) -> onnx.ModelProto:
    """The graph as a model that says of itself all that ``like`` does.

    The first ``keep_outputs`` outputs are declared as in ``like``, and so are its inputs.
    """
    with G_LOGGER.suppress():
        result: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    _repack(result, graph)
    declared = {value.name: value for value in like.graph.input}
    for value in result.graph.input:
        if value.name in declared:
            value.CopyFrom(declared[value.name])
    for value, own in zip(result.graph.output[:keep_outputs], like.graph.output, strict=True):
        value.CopyFrom(own)
    result.graph.initializer.extend(defaults_of(like).values())
    noted = {
        node.output[0]: node for node in like.graph.node if node.doc_string or node.metadata_props
    }
    for node in result.graph.node:
        if node.output[0] in noted:
            node.doc_string = noted[node.output[0]].doc_string
            node.metadata_props.extend(noted[node.output[0]].metadata_props)
    result.graph.name = like.graph.name or "graph"
    result.graph.doc_string = like.graph.doc_string
    result.graph.metadata_props.extend(like.graph.metadata_props)
    result.graph.quantization_annotation.extend(like.graph.quantization_annotation)
    result.ir_version = max(like.ir_version, LOWEST_IR)
    for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
        setattr(result, field, getattr(like, field))
    for field in ("opset_import", "metadata_props", "training_info"):
        entries = getattr(result, field)
        del entries[:]
        entries.extend(getattr(like, field))
    return result


def _repack(proto: onnx.ModelProto, graph: gs.Graph) -> None:
    """Write the constants of types that are none of NumPy's own again: 4-bit ones are packed."""
    tensors = graph.tensors()
    for entry in proto.graph.initializer:
        constant = tensors[entry.name]
        if np.dtype(constant.dtype).isbuiltin != 1:
            entry.CopyFrom(onnx.numpy_helper.from_array(np.asarray(constant.values), entry.name))
