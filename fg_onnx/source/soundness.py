"""What a file may say, looked at before anything that takes it at its word.

ONNX's checker sees neither large weights nor text, its inliner and GraphSurgeon believe what they
read, and some of their versions crash where a file lies. Here nothing is computed and nothing is
allocated.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import onnx
from google.protobuf.message import Message
from onnx import TensorProto, helper

from fg_onnx.errors import ModelError, UnsupportedModelError

MOST_NODES = 1_000_000  # of a graph whose functions are inlined
MOST_AXES = 64  # of a NumPy array
MOST_NESTED = 100  # messages within each other, as far as protobuf reads them

_MOST_ENTRIES = 2**63 - 1

_Callee: TypeAlias = tuple[str, str, str]
"""Domain, name and overload of an operator or function."""

_PACKED_BITS = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2}
_DATA_FIELDS = (
    "float_data",
    "int32_data",
    "string_data",
    "int64_data",
    "double_data",
    "uint64_data",
)


def require_sound(proto: onnx.ModelProto, name: str) -> None:
    """Fail where a model contradicts itself, or is made to be more than it seems.

    The data of weights that lie in other files are not looked at.

    Raises:
        ModelError: text that is not UTF-8, weights whose data do not fit their shape, two versions
            of an operator set, functions that call themselves or are too many nodes.
        UnsupportedModelError: weights that are stored sparsely.
    """
    flaw = _first_flaw(proto)
    if flaw:
        raise ModelError("broken-model", f"`{name}` is broken: {flaw}", "export it again")


def _first_flaw(proto: onnx.ModelProto) -> str | None:
    try:
        for depth, message in _messages(proto):
            flaw = None
            if depth > MOST_NESTED:
                flaw = "its graphs are nested too deeply"
            elif isinstance(message, TensorProto):
                flaw = _flaw_of_data(message)
            elif isinstance(message, onnx.TensorShapeProto):
                flaw = _flaw_of_shape(message)
            elif isinstance(message, onnx.SparseTensorProto):
                raise UnsupportedModelError(
                    "sparse-weights",
                    f"the tensor `{message.values.name}` is stored sparsely",
                    "store it as a plain tensor",
                )
            if flaw:
                return flaw
    except UnicodeDecodeError:
        return "it holds text that is not UTF-8"
    return _flaw_of_versions(proto) or _flaw_of_defaults(proto) or _flaw_of_functions(proto)


def _messages(proto: onnx.ModelProto) -> Iterator[tuple[int, Message]]:
    """All messages of a model, and how deep they lie in others.

    All text is read on the way, but no data of tensors.
    """
    pending: list[tuple[int, Message]] = [(1, proto)]
    while pending:
        depth, message = pending.pop()
        yield depth, message
        if isinstance(message, TensorProto):
            _require_text([message.name, message.doc_string])
            inner = [*message.external_data, *message.metadata_props]
            pending += [(depth + 1, entry) for entry in inner]
            continue
        for field, value in message.ListFields():
            if isinstance(value, Message):
                pending.append((depth + 1, value))
            elif field.message_type is not None:
                pending += [(depth + 1, item) for item in value]
            elif field.type == field.TYPE_STRING:
                _require_text([value] if isinstance(value, str | bytes) else value)


def _require_text(values: Iterable[str | bytes]) -> None:
    """Fail for bytes, which protobuf gives in the place of text that is not UTF-8."""
    for value in values:
        if isinstance(value, bytes):
            value.decode()


# --- weights ------------------------------------------------------------------------------------


def stored_bytes(tensor: TensorProto) -> int:
    """How many bytes a tensor's data take, by its type and dims; 0 for text.

    Raises:
        KeyError: there is no such type.
    """
    kind = TensorProto.DataType.Name(tensor.data_type)
    bits = _PACKED_BITS.get(kind) or 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return 0 if kind == "STRING" else -(-math.prod(tensor.dims) * bits // 8)


def _flaw_of_data(tensor: TensorProto) -> str | None:
    of = f"the tensor `{tensor.name}`"
    if len(tensor.dims) > MOST_AXES or min(tensor.dims, default=0) < 0:
        return f"{of} has the impossible shape {list(tensor.dims)[:MOST_AXES]}"
    try:
        wanted, field = stored_bytes(tensor), helper.tensor_dtype_to_field(tensor.data_type)
    except (KeyError, ValueError):
        return f"{of} is of no known type ({tensor.data_type})"
    if tensor.data_location == TensorProto.EXTERNAL:
        return None  # looked at where it is read
    found = {name: len(getattr(tensor, name)) for name in _DATA_FIELDS}
    listed = found.pop(field)
    if any(found.values()) or (listed and tensor.HasField("raw_data")):
        return f"{of} holds data of several types"
    entries = _entries(tensor, wanted)
    raw = tensor.HasField("raw_data")
    if len(tensor.raw_data) == wanted if raw else listed == entries:
        return None
    return f"the data of {of[4:]} do not fit its shape {list(tensor.dims)}"


def _entries(tensor: TensorProto, wanted: int) -> int:
    """How many numbers a tensor holds that is not stored as bytes."""
    kind = TensorProto.DataType.Name(tensor.data_type)
    if kind in _PACKED_BITS:
        return wanted
    count: int = math.prod(tensor.dims)
    return count * (2 if kind.startswith("COMPLEX") else 1)


def _flaw_of_shape(shape: onnx.TensorShapeProto) -> str | None:
    if len(shape.dim) > MOST_AXES:
        return f"a tensor has {len(shape.dim)} dimensions"
    if math.prod(max(dim.dim_value, 1) for dim in shape.dim) > _MOST_ENTRIES:
        return "a tensor has more entries than can be counted"
    return None


def _flaw_of_defaults(proto: onnx.ModelProto) -> str | None:
    """A weight may be listed as an input too: as what it is."""
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    for value in proto.graph.input:
        tensor, declared = weights.get(value.name), value.type.tensor_type
        if tensor is None:
            continue
        sizes = [dim.dim_value if dim.dim_value > 0 else None for dim in declared.shape.dim]
        fits = not declared.HasField("shape") or (
            len(sizes) == len(tensor.dims)
            and all(s in (None, dim) for s, dim in zip(sizes, tensor.dims, strict=True))
        )
        if declared.elem_type != tensor.data_type or not fits:
            return f"the weight `{value.name}` is listed as an input of another type or shape"
    return None


# --- versions and functions ---------------------------------------------------------------------


def _flaw_of_versions(proto: onnx.ModelProto) -> str | None:
    versions: dict[str, int] = {}
    for entry in proto.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        if versions.setdefault(domain, entry.version) != entry.version or entry.version < 1:
            both = sorted({versions[domain], entry.version})
            return f"it imports opset {' and '.join(map(str, both))} of `{domain or 'ai.onnx'}`"
    return None


def _flaw_of_functions(proto: onnx.ModelProto) -> str | None:
    """Functions can be nested so that a small file is a graph without end, or almost."""
    calls = {(f.domain, f.name, f.overload): _calls(f.node) for f in proto.functions}
    # Depth first without recursion: what is begun and has no size yet is still being counted.
    sizes: dict[_Callee, int | None] = {}
    for start in calls:
        pending = [start]
        while pending:
            key = pending[-1]
            if sizes.get(key) is not None:
                pending.pop()
                continue
            called = [other for other in calls[key] if other in calls]
            new = [other for other in called if other not in sizes]
            if new and key not in sizes:
                sizes[key] = None
                pending += new
                continue
            if any(sizes.get(other) is None for other in called):
                return f"its function `{key[1]}` calls itself"
            sizes[key] = sum(n * (sizes.get(other) or 1) for other, n in calls[key].items())
    whole = sum(n * (sizes.get(other) or 1) for other, n in _calls(proto.graph.node).items())
    return f"its functions are {whole} nodes" if whole > MOST_NODES else None


def _calls(nodes: Iterable[onnx.NodeProto]) -> Counter[_Callee]:
    """How often each operator or function is called, in subgraphs too."""
    found: Counter[_Callee] = Counter()
    pending = [nodes]
    while pending:
        for node in pending.pop():
            found[node.domain, node.op_type, node.overload] += 1
            for attribute in node.attribute:
                pending += [attribute.g.node, *(graph.node for graph in attribute.graphs)]
    return found
