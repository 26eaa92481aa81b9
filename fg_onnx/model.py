"""Read, check, normalise and write ONNX files; the only file that knows ModelProto's corners.

GraphSurgeon drops a model's metadata, versions and doc strings, and the listing of initializers
among the inputs; what a source model says of itself is kept here and given back by `to_proto`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from google.protobuf.message import DecodeError
from onnx import external_data_helper, inliner, shape_inference, version_converter
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from fg_onnx.errors import ModelError, OutputError
from fg_onnx.folding import fold_shapes
from fg_onnx.runtime import run_once

ModelSource: TypeAlias = "str | os.PathLike[str] | onnx.ModelProto"

LOWEST_OPSET = 17
_LOWEST_IR = 8  # of opset 17; default-valued inputs need 4
_BIG = 1024  # entries of an initializer that shape inference need not see
_RAISING_TOLERANCE = 1e-5  # float32 rounding of a changed operator order, relative to the largest
_PROTO_LIMIT = 2**31 - 1
_PLAIN_CONSTANTS = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


@dataclass(frozen=True, eq=False)
class Source:
    """A model as it was given: the proto (never changed), its hash, and a name for messages."""

    proto: onnx.ModelProto
    sha256: str
    name: str


def read(model: ModelSource) -> Source:
    """Load and check a model.

    Raises:
        ModelError: missing, not ONNX, truncated, its external data missing, or it does not check.
    """
    if isinstance(model, onnx.ModelProto):
        proto, name = model, model.graph.name or "the model"
        data = proto.SerializeToString() if proto.ByteSize() < _PROTO_LIMIT else b""
    else:
        path = Path(model)
        name = str(path)
        data = _bytes(path)
        proto = _parse(data, path)
        _load_external_data(proto, path)
    _check(proto, name)
    return Source(proto, hashlib.sha256(data).hexdigest(), name)


def existing(path: str | os.PathLike[str]) -> Path:
    """The path, if it can be read.

    Raises:
        ModelError: there is no such file, or it cannot be read.
    """
    _bytes(Path(path), 1)
    return Path(path)


def _bytes(path: Path, most: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ModelError(
            "unreadable", f"cannot read `{path}`: {reason}", "give the path of an .onnx file"
        ) from error


def _parse(data: bytes, path: Path) -> onnx.ModelProto:
    hint = "is the file an .onnx file, and was it copied whole?"
    try:
        proto = onnx.ModelProto()
        proto.ParseFromString(data)
    except DecodeError as error:
        raise ModelError("not-onnx", f"`{path}` is not an ONNX file, or truncated", hint) from error
    if not proto.graph.node or not proto.opset_import:
        raise ModelError("not-onnx", f"`{path}` holds no ONNX graph", hint)
    return proto


def _load_external_data(proto: onnx.ModelProto, path: Path) -> None:
    try:
        external_data_helper.load_external_data_for_model(proto, str(path.parent))
    except Exception as error:  # checker errors, OSError and ValueError, by version of onnx
        missing = [
            entry.value
            for tensor in proto.graph.initializer
            for entry in tensor.external_data
            if entry.key == "location"
        ]
        raise ModelError(
            "external-data",
            f"the external data of `{path}` cannot be read "
            f"({', '.join(sorted(set(missing))) or type(error).__name__})",
            "put the data file beside the model, under its own name",
        ) from error


def _check(proto: onnx.ModelProto, name: str) -> None:
    try:
        # Weights are of no matter to the checker, and beyond 2 GiB it could not take them.
        onnx.checker.check_model(_skeleton(proto))
    except onnx.checker.ValidationError as error:
        reason = (str(error).strip().splitlines() or ["?"])[0]
        raise ModelError(
            "broken-model", f"`{name}` does not pass ONNX's checker: {reason}", "export it again"
        ) from error


def opset_of(proto: onnx.ModelProto) -> int:
    """The version of ONNX's own operator set (0 where the model imports none)."""
    versions = [e.version for e in proto.opset_import if e.domain in ("", "ai.onnx")]
    return max(versions, default=0)


def normalise(source: Source, opset: int | None = None) -> onnx.ModelProto:
    """An equal model without local functions and of a sufficient opset.

    It may be the source's own proto: not to be changed.

    Raises:
        ModelError: the opset cannot be raised, or raising it changes the outputs.
    """
    proto = source.proto
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    return _unlisted(_raised(proto, source.name, opset))


def _raised(proto: onnx.ModelProto, name: str, wanted: int | None) -> onnx.ModelProto:
    found = opset_of(proto)
    lowest = max(found, LOWEST_OPSET)
    target = lowest if wanted is None else wanted
    newest = onnx.defs.onnx_opset_version()
    if max(lowest, target) > newest:
        raise ModelError(
            "opset",
            f"opset {max(lowest, target)} is newer than the installed onnx knows ({newest})",
            "install a newer onnx",
        )
    if target < lowest:
        raise ModelError(
            "opset",
            f"`{name}` has opset {found}, and cannot be brought to {target}",
            f"give --opset {lowest} or more, or leave it out",
        )
    if target == found:
        return proto
    try:
        raised = version_converter.convert_version(proto, target)
    except Exception as error:  # the converter raises RuntimeError and ValueError of its own
        reason = (str(error).strip().splitlines() or ["?"])[0]
        raise ModelError(
            "opset",
            f"`{name}` cannot be raised from opset {found} to {target}: {reason}",
            "export the model with opset 17 or newer",
        ) from error
    raised.ir_version = max(raised.ir_version, _LOWEST_IR)
    _compare(proto, raised, name, found, target)
    return raised


def _compare(
    before: onnx.ModelProto, after: onnx.ModelProto, name: str, found: int, target: int
) -> None:
    """Run both on the same noise; raising an opset must not change a model."""
    feeds = _noise(before)
    for old, new, output in zip(
        run_once(before, feeds), run_once(after, feeds), before.graph.output, strict=True
    ):
        scale = max(float(np.max(np.abs(old), initial=0.0)), 1e-30)
        worst = float(np.max(np.abs(old - new), initial=0.0)) / scale
        if not worst <= _RAISING_TOLERANCE:
            raise ModelError(
                "opset",
                f"raising `{name}` from opset {found} to {target} changes `{output.name}` "
                f"by {worst:.1e} of its largest value",
                "export the model with opset 17 or newer",
            )


def _noise(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    held = {tensor.name for tensor in proto.graph.initializer}
    feeds = {}
    for value in proto.graph.input:
        if value.name in held:
            continue
        tensor = value.type.tensor_type
        spatial_from = 2  # symbolic batch and channels as 1, symbolic height and width as 64
        shape = [
            dim.dim_value if dim.dim_value > 0 else (1 if axis < spatial_from else 64)
            for axis, dim in enumerate(tensor.shape.dim)
        ]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        feeds[value.name] = np.asarray(generator.random(shape) * 2).astype(dtype)
    return feeds


def _unlisted(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Before IR 4 every initializer had to be listed as an input; such a listing means nothing."""
    held = {tensor.name for tensor in proto.graph.initializer}
    if proto.ir_version >= 4 or not any(value.name in held for value in proto.graph.input):
        return proto
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    del result.graph.input[:]
    result.graph.input.extend(value for value in proto.graph.input if value.name not in held)
    return result


def to_graph(proto: onnx.ModelProto) -> gs.Graph:
    """The graph with all shapes that can be known, shape arithmetic folded; a working copy."""
    graph = gs.import_onnx(proto)
    _constants_from_nodes(graph)
    _infer_shapes(graph, proto)
    while fold_shapes(graph, opset_of(proto)):
        _infer_shapes(graph, proto)
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
    ((attribute, value),) = node.attrs.items()
    if attribute == "value":
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
    """The inferred dimensions, and what the source declared where it says more."""
    if old is None or len(old) != len(new):
        return new
    return [
        b if isinstance(b, int) and not isinstance(a, int) else a
        for a, b in zip(new, old, strict=True)
    ]


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return str(dim.dim_param) if dim.dim_param else None


def _skeleton(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model without its weights: big initializers become inputs of the same name."""
    graph = onnx.GraphProto()
    graph.name = proto.graph.name
    graph.node.extend(proto.graph.node)
    graph.output.extend(proto.graph.output)
    graph.input.extend(proto.graph.input)
    graph.value_info.extend(proto.graph.value_info)
    graph.sparse_initializer.extend(proto.graph.sparse_initializer)
    listed = {value.name for value in graph.input}
    for tensor in proto.graph.initializer:
        if np.prod(tensor.dims, dtype=np.int64) <= _BIG:
            graph.initializer.append(tensor)
        elif tensor.name not in listed:
            graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return _model_of(graph, proto)


def _skeleton_of(graph: gs.Graph, proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same of a working copy, in its present state."""
    exporter = OnnxExporter()
    skeleton = onnx.GraphProto(name=proto.graph.name or "graph")
    skeleton.node.extend(exporter.export_node(node) for node in graph.nodes)
    skeleton.input.extend(proto.graph.input)
    skeleton.output.extend(proto.graph.output)
    listed = {value.name for value in skeleton.input}
    for tensor in graph.tensors().values():
        if not isinstance(tensor, gs.Constant):
            continue
        if np.prod(tensor.shape, dtype=np.int64) <= _BIG:
            skeleton.initializer.append(exporter.export_tensor_proto(tensor))
        elif tensor.name not in listed:
            skeleton.input.append(exporter.export_value_info_proto(tensor, do_type_check=False))
    return _model_of(skeleton, proto)


def _model_of(graph: onnx.GraphProto, like: onnx.ModelProto) -> onnx.ModelProto:
    model = onnx.ModelProto(ir_version=like.ir_version, graph=graph)
    model.opset_import.extend(like.opset_import)
    model.functions.extend(like.functions)
    return model


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
        inner = (n for subgraph in node.subgraphs(recursive=True) for n in subgraph.nodes)
        for reader in (node, *inner):
            needed.update(tensor.name for tensor in reader.inputs if tensor.name)
        for subgraph in node.subgraphs(recursive=True):
            needed.update(tensor.name for tensor in subgraph.outputs)
    graph.nodes = kept[::-1]


def to_proto(graph: gs.Graph, like: onnx.ModelProto, keep_outputs: int) -> onnx.ModelProto:
    """The graph as a model that says of itself all that ``like`` does.

    The first ``keep_outputs`` outputs are declared as in ``like``, and so are its inputs.
    """
    result: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    declared = {value.name: value for value in [*like.graph.input, *like.graph.output]}
    for values in (result.graph.input, result.graph.output[:keep_outputs]):
        for value in values:
            if value.name in declared:
                value.CopyFrom(declared[value.name])
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
    result.ir_version = max(like.ir_version, _LOWEST_IR)
    for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
        setattr(result, field, getattr(like, field))
    for field in ("opset_import", "metadata_props", "training_info"):
        entries = getattr(result, field)
        del entries[:]
        entries.extend(getattr(like, field))
    return result


def write(proto: onnx.ModelProto, path: Path) -> None:
    """Write a model under a temporary name and move it into place.

    Raises:
        OutputError: the place cannot be written.
    """
    with replacing(path) as temporary:
        if proto.ByteSize() < _PROTO_LIMIT:
            temporary.write_bytes(proto.SerializeToString())
        else:
            data = path.name + ".data"
            (path.parent / data).unlink(missing_ok=True)
            onnx.save_model(proto, temporary, save_as_external_data=True, location=data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that takes the place of ``path`` if all goes well.

    Raises:
        OutputError: the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if isinstance(error, FileExistsError | NotADirectoryError):
            reason = "a part of the path is not a folder"
        raise OutputError(
            "not-writable",
            f"cannot write `{path}`: {reason}",
            "choose another place with -o",
        ) from error
