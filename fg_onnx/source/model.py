"""Models as protos: read, check, bring to a sufficient opset, write."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from fg_onnx.errors import ModelError, UnsupportedModelError, first_line
from fg_onnx.files import read_bytes, replacing
from fg_onnx.runtime import run_once
from fg_onnx.source.external import load_external_data, require_loaded
from fg_onnx.source.old_forms import raise_opset, reason_of
from fg_onnx.source.order import in_order
from fg_onnx.source.soundness import require_sound

ModelSource: TypeAlias = "str | os.PathLike[str] | onnx.ModelProto"

LOWEST_OPSET = 17
LOWEST_IR = 8  # of opset 17
_IR_OF_DEFAULTS = 4  # before it, every initializer was listed as an input, which meant nothing
_OLDEST_RUN = 7  # ONNX Runtime has all operators since this opset, and some older ones
MOST_SEEN = 1024  # entries of an initializer that neither checker nor shape inference need see
# Rounding in a changed order of operators, relative to the largest: of float32, and of float16.
_RAISING_TOLERANCE = 1e-5
_RAISING_TOLERANCE_NARROW = 1e-2
# Said of what follows an operator that infers nothing (Compress before 11): no contradiction.
_UNTYPED = "expected to have type but instead is null"
_PROTO_LIMIT = 2**31 - 1
_POINTER = b"version https://git-lfs"  # git-lfs/docs/spec.md
_MOST_FED = 2**27  # entries of an input of noise


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
        require_sound(model, "the model")
        proto, name = model, model.graph.name or "the model"
        require_loaded(proto, name)
        data = proto.SerializeToString() if proto.ByteSize() < _PROTO_LIMIT else b""
    else:
        path = Path(model)
        name = str(path)
        data = read_bytes(path)
        proto = _parse(data, path)
        require_sound(proto, name)
        load_external_data(proto, path)
    proto = in_order(proto)
    _check(proto, name)
    return Source(proto, hashlib.sha256(data).hexdigest(), name)


def _parse(data: bytes, path: Path) -> onnx.ModelProto:
    hint = "is the file an .onnx file, and was it copied whole?"
    if data.startswith(_POINTER):
        raise ModelError(
            "not-fetched", f"`{path}` is a Git LFS pointer, not the model", "run `git lfs pull`"
        )
    try:
        proto = onnx.ModelProto()
        proto.ParseFromString(data)
    except DecodeError as error:
        raise ModelError("not-onnx", f"`{path}` is not an ONNX file, or truncated", hint) from error
    if not proto.graph.node or not proto.opset_import:
        raise ModelError("not-onnx", f"`{path}` holds no ONNX graph", hint)
    return proto


def _check(proto: onnx.ModelProto, name: str) -> None:
    try:
        # Weights are of no matter to the checker, and beyond 2 GiB it could not take them.
        onnx.checker.check_model(_skeleton(proto))
    except onnx.checker.ValidationError as error:
        reason = first_line(error)
        raise ModelError(
            "broken-model", f"`{name}` does not pass ONNX's checker: {reason}", "export it again"
        ) from error


def opset_of(proto: onnx.ModelProto) -> int:
    """The version of ONNX's own operator set (0 where the model imports none)."""
    versions = [e.version for e in proto.opset_import if e.domain in ("", "ai.onnx")]
    return max(versions, default=0)


def normalise(
    source: Source, opset: int | None = None, *, freeze_defaults: bool = False
) -> onnx.ModelProto:
    """An equal model of a sufficient opset and IR.

    It may be the source's own proto: not to be changed. Initializers that are listed among its
    inputs are defaults that a caller may override; ``freeze_defaults`` makes them constants.

    Raises:
        ModelError: the opset cannot be raised, or raising it changes the outputs.
    """
    raised = _raised(source.proto, source.name, opset)
    fixed = freeze_defaults or source.proto.ir_version < _IR_OF_DEFAULTS
    return _unlisted(raised) if fixed else raised


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
        raised = raise_opset(proto, found, target)
    except UnsupportedModelError:
        raise
    except Exception as error:  # the converter raises RuntimeError and ValueError of its own
        reason = reason_of(error)
        raise ModelError(
            "opset",
            f"`{name}` cannot be raised from opset {found} to {target}: {reason}",
            "export the model with opset 17 or newer",
        ) from error
    raised.ir_version = max(raised.ir_version, LOWEST_IR)
    try:
        require_equal(proto, raised, f"raising `{name}` from opset {found} to {target}")
    except ModelError as error:
        if found >= _OLDEST_RUN or error.code != "runtime-refuses":
            raise
        raise ModelError(
            "opset",
            f"`{name}` has opset {found}, and ONNX Runtime does not run it: so whether it stays "
            f"the same at opset {target} cannot be checked",
            f"export the model with opset {_OLDEST_RUN} or newer",
        ) from error
    return raised


def require_equal(before: onnx.ModelProto, after: onnx.ModelProto, change: str) -> None:
    """Run both on the same noise.

    Raises:
        ModelError: the change is seen in what they compute, or one of them does not run.
    """
    try:
        feeds = noise(before)
    except (LookupError, MemoryError, TypeError, ValueError) as error:
        raise ModelError(
            "opset",
            f"{change} cannot be checked, for the model cannot be fed: {first_line(error)}",
            "export the model with opset 17 or newer",
        ) from error
    _require_consistent(before, change)
    kinds = {tensor.data_type for tensor in before.graph.initializer}
    narrow = kinds & {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    tolerance = _RAISING_TOLERANCE_NARROW if narrow else _RAISING_TOLERANCE
    for old, new, output in zip(
        run_once(before, feeds), run_once(after, feeds), before.graph.output, strict=True
    ):
        worst = _difference(old, new)
        if not worst <= tolerance:
            raise ModelError(
                "opset",
                f"{change} changes `{output.name}` by {worst:.1e} of its largest value",
                "export the model with opset 17 or newer",
            )


def _require_consistent(proto: onnx.ModelProto, change: str) -> None:
    """Fail where shape inference does, which older runtimes do not survive."""
    skeleton = _skeleton(proto)
    del skeleton.graph.value_info[:]
    for value in skeleton.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    try:
        onnx.shape_inference.infer_shapes(skeleton, strict_mode=True)
    except Exception as error:  # InferenceError, and what the bindings raise beside it
        found = [line for line in str(error).splitlines() if line.strip()]
        if found and all(_UNTYPED in line for line in found):
            return
        raise ModelError(
            "broken-model",
            f"{change} cannot be checked, for its types, shapes and attributes contradict each "
            f"other: {first_line(error)}",
            "export it again",
        ) from error


def _difference(old: Any, new: Any) -> float:
    """The largest, relative to the largest value; NaN and infinities may stay what they are."""
    if isinstance(old, list):  # a sequence of tensors
        found = [_difference(a, b) for a, b in zip(old, new, strict=False)]
        return max([*found, 0.0]) if len(old) == len(new) else np.inf
    if old.shape != new.shape:
        return np.inf
    if old.dtype.kind == "O":  # text
        return 0.0 if np.array_equal(old, new) else np.inf
    old, new = old.astype(np.float64), new.astype(np.float64)
    same = (old == new) | (np.isnan(old) & np.isnan(new))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(old - new))
    largest = float(np.max(np.abs(old[np.isfinite(old)]), initial=0.0))
    return float(np.max(difference, initial=0.0)) / max(largest, 1e-30)


def noise(proto: onnx.ModelProto, seed: int = 0) -> dict[str, np.ndarray]:
    """Random values from 0 to 2 for all inputs that have no default."""
    generator = np.random.default_rng(seed)
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
        if math.prod(shape) > _MOST_FED:
            raise ValueError(f"`{value.name}` has {math.prod(shape)} entries")
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        feeds[value.name] = np.asarray(generator.random(shape) * 2).astype(dtype)
    return feeds


def _unlisted(proto: onnx.ModelProto) -> onnx.ModelProto:
    held = defaults_of(proto)
    if not held:
        return proto
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    del result.graph.input[:]
    result.graph.input.extend(value for value in proto.graph.input if value.name not in held)
    return result


def defaults_of(proto: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """The initializers that are listed among the inputs, by name: a caller may override them."""
    listed = {value.name for value in proto.graph.input}
    return {tensor.name: tensor for tensor in proto.graph.initializer if tensor.name in listed}


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
        if np.prod(tensor.dims, dtype=np.int64) <= MOST_SEEN:
            graph.initializer.append(tensor)
        elif tensor.name not in listed:
            graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return model_of(graph, proto)


def model_of(graph: onnx.GraphProto, like: onnx.ModelProto) -> onnx.ModelProto:
    """A graph as a model of the same versions and functions as another."""
    model = onnx.ModelProto(ir_version=like.ir_version, graph=graph)
    model.opset_import.extend(like.opset_import)
    model.functions.extend(like.functions)
    return model


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
