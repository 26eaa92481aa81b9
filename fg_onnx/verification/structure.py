"""What needs no run: the manifest against the graph, and the forward part against the source."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx

from fg_onnx import manifest
from fg_onnx.manifest import Manifest, Site
from fg_onnx.verification.graphs import Graph
from fg_onnx.verification.report import Check

Array = npt.NDArray[Any]

_IR_OF_DEFAULTS = 4  # before it, every initializer was listed as an input, which meant nothing
_GROUPS = {"layer-maps": manifest.LAYER_MAP, "bias-gradients": manifest.BIAS_GRADIENT}
_SINGLE = {
    "contributions": manifest.CONTRIBUTIONS,
    "saliency": manifest.SALIENCY,
    "input-gradient": manifest.INPUT_GRADIENT,
    **manifest.METHOD_EMITS,
}
_FLOATS = (manifest.SCORE, manifest.CONTRIBUTIONS, manifest.SALIENCY)
_NARROW = {"float16": onnx.TensorProto.FLOAT16, "bfloat16": onnx.TensorProto.BFLOAT16}
_MOST_NAMED = 3
_SHIFT_ROUNDING = 1e-6  # of the largest term: a few operations in float32


def decided(name: str, faults: Iterator[str], held: str) -> Check:
    """A check that holds where nothing speaks against it."""
    found = list(faults)
    if not found:
        return Check(name, "passed", held)
    more = f" (and {len(found) - _MOST_NAMED} more)" if len(found) > _MOST_NAMED else ""
    return Check(name, "failed", "; ".join(found[:_MOST_NAMED]) + more)


# --- the manifest ---------------------------------------------------------------------------------


def source_hash(found: Manifest, source: Graph) -> Check:
    """Whether the manifest names the source by its hash."""
    if found.source_sha256 == source.sha256:
        return Check("source-hash", "passed", f"sha256 {source.sha256[:16]}...")
    return Check(
        "source-hash",
        "failed",
        f"the manifest names sha256 {found.source_sha256[:16]}..., and `{source.name}` has "
        f"{source.sha256[:16]}...",
    )


def manifest_of_graph(found: Manifest, model: Graph, source: Graph) -> Check:
    """Whether all that the manifest names is there, with the types and shapes of the contract."""
    count = len(found.sites)
    held = f"{count} sites, {len(model.inputs)} inputs, {len(model.outputs)} outputs"
    return decided("manifest", _manifest_faults(found, model, source), held)


def _manifest_faults(found: Manifest, model: Graph, source: Graph) -> Iterator[str]:
    yield from _input_faults(found, model, source)
    yield from _output_faults(found, model, source)
    known = {*model.makers, *model.inputs, *model.initializers}
    for what, name in (
        ("explained input", found.input),
        ("explained tensor", found.output),
        ("input of pixels", found.pixels),
        ("ranking output", found.ranking),
    ):
        if name is not None and name not in known:
            yield f"the {what} `{name}` is not in the graph"
    if found.fed not in source.inputs:
        yield f"the source has no input `{found.fed}`"
    narrow = _NARROW.get(found.precision)
    if narrow is not None and narrow not in _kinds(source):
        yield f"it says {found.precision}, and the source holds none"
    if len({site.name for site in found.sites}) < len(found.sites):
        yield "two sites have one name"
    for site in found.sites:
        yield from _site_faults(found, site, model)


def _kinds(graph: Graph) -> set[int]:
    """The types of weights and inputs, and those that are cast to."""
    kinds = {tensor.data_type for tensor in graph.initializers.values()}
    kinds |= {_kind(value) for value in graph.inputs.values()}
    for node in graph.proto.graph.node:
        for attribute in node.attribute:
            kinds.add(attribute.i if attribute.name == "to" else attribute.t.data_type)
    return kinds


def _input_faults(found: Manifest, model: Graph, source: Graph) -> Iterator[str]:
    promoted = [site.promoted_input for site in found.sites if site.promoted_input is not None]
    if found.frozen_biases and promoted:
        yield f"`{promoted[0]}` is promoted, and the biases are frozen"
    seed = manifest.SEED if found.seed else manifest.TARGET
    wanted = {*promoted, seed}
    added = {name for name in model.inputs if manifest.is_reserved(name)}
    yield from (f"there is no input `{name}`" for name in sorted(wanted - added))
    yield from (f"the manifest does not know the input `{name}`" for name in sorted(added - wanted))
    for name in sorted(added & wanted - {manifest.SEED}):
        fed = name == manifest.TARGET and found.runtime != "ort"
        if (name in model.initializers) == fed:
            yield f"the input `{name}` has {'a' if fed else 'no'} default"
    target = model.constant(manifest.TARGET)
    if target is not None and target.tolist() != [manifest.PREDICTED]:
        yield f"`{manifest.TARGET}` is {target.tolist()} by default"
    plain = source.required if source.proto.ir_version < _IR_OF_DEFAULTS else source.inputs
    own = [name for name in model.inputs if name not in added]
    # Defaults of the source's own may have been made constants.
    if own != list(plain) and own != list(source.required):
        yield f"the inputs {own} are not the source's, {list(plain)}"
    for name in own:
        if name in plain and model.inputs[name].type.tensor_type.elem_type != (
            plain[name].type.tensor_type.elem_type
        ):
            yield f"the input `{name}` is of another type than the source's"


def outputs_of(found: Manifest) -> set[str]:
    """The outputs that a model adds to its source's, by its manifest."""
    wanted = {manifest.SCORE, *(_SINGLE[word] for word in found.emits if word in _SINGLE)}
    if not found.seed:
        wanted.add(manifest.EXPLAINED)
    for word in found.emits:
        if word in _GROUPS:
            sites = (s for s in found.sites if word != "layer-maps" or s.spatial)
            wanted.update(_GROUPS[word] + site.name for site in sites)
    return wanted


def _output_faults(found: Manifest, model: Graph, source: Graph) -> Iterator[str]:
    names, original = list(model.outputs), list(source.outputs)
    if names[: len(original)] != original:
        yield f"the first outputs are {names[: len(original)]}, and the source's {original}"
    for name in original:
        if name in model.outputs and _kind(model.outputs[name]) != _kind(source.outputs[name]):
            yield f"the output `{name}` is of another type than the source's"
    wanted = outputs_of(found)
    added = set(names[len(original) :])
    yield from (f"there is no output `{name}`" for name in sorted(wanted - added))
    yield from (
        f"the manifest does not know the output `{name}`" for name in sorted(added - wanted)
    )
    for name in sorted(added & wanted):
        value = model.outputs[name].type.tensor_type
        if name == manifest.EXPLAINED and value.elem_type != onnx.TensorProto.INT64:
            yield f"`{name}` is not int64"
        elif name in _FLOATS and value.elem_type != onnx.TensorProto.FLOAT:
            yield f"`{name}` is not float32"
    if manifest.CONTRIBUTIONS in model.outputs:
        dims = model.outputs[manifest.CONTRIBUTIONS].type.tensor_type.shape.dim
        if len(dims) != 2 or dims[1].dim_value != 1 + len(found.sites):
            yield f"`{manifest.CONTRIBUTIONS}` has not 1 + {len(found.sites)} columns"


def _kind(value: onnx.ValueInfoProto) -> int:
    kind: int = value.type.tensor_type.elem_type
    return kind


def _site_faults(found: Manifest, site: Site, model: Graph) -> Iterator[str]:
    maker = model.maker(site.tensor)
    if maker is None:
        yield f"the tensor `{site.tensor}` of site `{site.name}` is not in the graph"
    elif site.node and maker.name != site.node:
        yield f"`{site.tensor}` of site `{site.name}` is made by `{maker.name}`, not `{site.node}`"
    if maker is not None and site.op != maker.op_type and not onnx.defs.has(site.op):
        yield f"the site `{site.name}` is of `{site.op}`, which is no operator"
    promoted = site.promoted_input
    if promoted is not None:
        if promoted != manifest.BIAS + site.name:
            yield f"the site `{site.name}` has `{promoted}` for its input"
        if maker is not None and promoted not in maker.input:
            yield f"`{site.tensor}` of site `{site.name}` is made without `{promoted}`"
        if site.kind == "implicit":
            yield f"the implicit site `{site.name}` has an input"
    elif site.kind == "batchnorm" and not found.frozen_biases and promoted is not None:
        yield f"the site `{site.name}` is not promoted"
    rank = 1 + len(site.unfolded) if site.unfolded is not None else len(site.shape)
    axes = (site.channel_axis, *(site.spatial_axes or ()))
    if any(axis is not None and not 0 < axis < rank for axis in axes):
        yield f"the site `{site.name}` has axes {axes} of a tensor of {rank}"
    if len(set(axes)) < len(axes):
        yield f"the site `{site.name}` has one axis twice: {axes}"
    if (site.channel_axis is None) != (site.spatial_axes is None):
        yield f"the site `{site.name}` has one of channels and grid"
    yield from _grid_faults(site)


def _grid_faults(site: Site) -> Iterator[str]:
    """What lies where in a site's tensor, as far as its sizes are known."""
    known = [dim for dim in site.shape[1:] if isinstance(dim, int)]
    whole = len(known) == len(site.shape) - 1
    if site.unfolded is not None and whole and math.prod(known) != math.prod(site.unfolded):
        yield f"the site `{site.name}` of {site.shape} is no {site.unfolded} unfolded"
    if site.grid is None:
        if site.grid_start:
            yield f"the site `{site.name}` has a place of a grid, and no grid"
        return
    if site.spatial_axes is None or len(site.spatial_axes) != 1:
        yield f"the site `{site.name}` has a grid along {site.spatial_axes}"
        return
    axis = site.spatial_axes[0]
    length = site.shape[axis] if axis < len(site.shape) else None
    if isinstance(length, int) and not 0 <= site.grid_start <= length - math.prod(site.grid):
        yield f"the site `{site.name}` has a grid of {site.grid} from {site.grid_start} of {length}"


# --- the forward part -----------------------------------------------------------------------------


def forward_part(found: Manifest, model: Graph, source: Graph) -> Check:
    """Whether every node and weight of the source still stands in the instrumented model."""
    held = "every node and weight of the source, to the bit"
    raised = model.opset != source.opset
    if raised:
        held = f"every weight of the source, to the bit (raised to opset {model.opset})"
    faults: list[str] = []
    others = 0
    for node, twin in _pairs(found, model, source):
        if twin is None or _may_differ(node, twin, source, raised=raised):
            others += 1  # what reads its result is compared; constants are folded
            continue
        faults += _node_faults(node, twin, model, source, found, raised=raised)
    faults += _weight_faults(model, source, _is_freed(found, model, source))
    if others:
        held += f"; {others} nodes folded or rewritten, see `outputs` and `tensors`"
    return decided("forward", iter(faults), held)


def _pairs(
    found: Manifest, model: Graph, source: Graph
) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto | None]]:
    """Every node of the source, and the one that makes its result in the model."""
    ends = [*source.outputs, *([found.output] if found.output in source.makers else [])]
    for node in source.ordered(ends):
        if node.op_type in ("Constant", "Identity") and all(
            source.constant(name) is not None for name in node.output if name
        ):
            continue  # compared where it is read
        yield node, model.maker(node.output[0])


def rewritten(found: Manifest, model: Graph, source: Graph) -> list[str]:
    """What nodes of the source make that are another node in the model."""
    raised = model.opset != source.opset
    return [
        node.output[0]
        for node, twin in _pairs(found, model, source)
        if twin is not None and _may_differ(node, twin, source, raised=raised)
    ]


def _may_differ(node: onnx.NodeProto, twin: onnx.NodeProto, source: Graph, *, raised: bool) -> bool:
    """Whether a node may have become another: by the body of a function, or by a newer opset."""
    if node.op_type == twin.op_type and len(node.attribute) == len(twin.attribute):
        return False
    if raised:
        return True
    if node.domain not in ("", "ai.onnx") or node.op_type == "If":
        return True
    schema: Any = onnx.defs.get_schema(node.op_type, source.opset)
    return bool(schema.has_function or schema.has_context_dependent_function)


def _node_faults(
    node: onnx.NodeProto,
    twin: onnx.NodeProto,
    model: Graph,
    source: Graph,
    found: Manifest,
    *,
    raised: bool,
) -> Iterator[str]:
    name = node.name or node.output[0]
    freed = _is_freed(found, model, source)
    if node.op_type != twin.op_type:
        yield f"the node `{name}` is {twin.op_type}, in the source {node.op_type}"
        return
    if not raised and _attributes(node) != _attributes(twin):
        yield f"the attributes of `{name}` ({node.op_type}) differ"
    mine, theirs = list(twin.input), list(node.input)
    for index, (ours, original) in enumerate(zip(mine, theirs, strict=False)):
        if ours == original:
            continue
        before, after = source.constant(original), model.constant(ours)
        shifted = node.op_type == "BatchNormalization" and any(
            name.startswith(manifest.BIAS) for name in mine
        )
        if shifted and index in (2, 3):
            continue  # the shift: see `defaults`
        if before is None or after is None:
            if not raised:
                yield f"`{name}` ({node.op_type}) reads `{ours}`, in the source `{original}`"
        elif not same(before, after) and not raised and not (freed and before.dtype.kind == "i"):
            yield f"`{name}` ({node.op_type}) reads another value than `{original}` in the source"
    if len(mine) != len(theirs) and not raised:
        yield f"`{name}` ({node.op_type}) has {len(mine)} operands, in the source {len(theirs)}"


def _batch(graph: Graph, name: str) -> int:
    """The fixed batch of an input, 0 where it is open."""
    value = graph.inputs.get(name)
    dims = value.type.tensor_type.shape.dim if value is not None else ()
    return dims[0].dim_value if dims else 0


def _is_freed(found: Manifest, model: Graph, source: Graph) -> bool:
    """Whether the source's batch is fixed and the model's open: then shapes are others."""
    return _batch(source, found.fed) > 0 and not _batch(model, found.fed)


def _attributes(node: onnx.NodeProto) -> dict[str, bytes]:
    found = {}
    for attribute in node.attribute:
        plain = onnx.AttributeProto()
        plain.CopyFrom(attribute)
        plain.doc_string = ""
        found[attribute.name] = plain.SerializeToString(deterministic=True)
    return found


def _weight_faults(model: Graph, source: Graph, freed: bool) -> Iterator[str]:
    """Where a weight or Constant of the source has another value under its name."""
    for name in model.initializers:
        before, after = source.constant(name), model.constant(name)
        if before is None or after is None or same(before, after):
            continue
        if not (freed and before.dtype.kind == "i"):
            yield f"the weight `{name}` is another than in the source"


def same(a: Array, b: Array) -> bool:
    """Equal to the bit, the type and the shape."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# --- promoted defaults ----------------------------------------------------------------------------


def defaults(found: Manifest, model: Graph, source: Graph) -> Check:
    """Whether the default of every promoted input is what the source holds."""
    sites = [site for site in found.sites if site.promoted_input is not None]
    if not sites:
        return Check("defaults", "not applicable", "no bias is promoted")
    faults, unheld = [], []
    for site in sites:
        assert site.promoted_input is not None
        default = model.constant(site.promoted_input)
        node = source.makers.get(site.tensor)
        if default is None:
            faults.append(f"`{site.promoted_input}` has no default")
        elif node is None:
            unheld.append(site.name)
        elif site.kind == "batchnorm":
            faults += _shift_faults(site, default, node, source)
        else:
            held = [source.constant(name) for name in node.input if name]
            if not any(value is not None and same(value, default) for value in held):
                faults.append(f"no operand of `{site.tensor}` in the source is the default "
                              f"of `{site.promoted_input}`")  # fmt: skip
    said = f"{len(sites) - len(unheld)} of {len(sites)} are the source's, to the bit"
    if any(site.kind == "batchnorm" for site in sites):
        said += " (BatchNormalization's shifts to rounding)"
    if unheld and not faults:
        return Check("defaults", "passed", f"{said}; within functions: {', '.join(unheld[:3])}")
    return decided("defaults", iter(faults), said)


def _shift_faults(site: Site, default: Array, node: onnx.NodeProto, source: Graph) -> Iterator[str]:
    """``B - mean * scale / sqrt(var + epsilon)``, from the source's four."""
    values = [source.constant(name) for name in node.input[1:5]]
    if node.op_type != "BatchNormalization" or any(value is None for value in values):
        yield f"`{site.tensor}` is no BatchNormalization of constants in the source"
        return
    scale, bias, mean, variance = (np.asarray(value, dtype=np.float64) for value in values)
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    moved = mean * scale / np.sqrt(variance + epsilon)
    info: Any = ml_dtypes.finfo(default.dtype)  # type: ignore[no-untyped-call]
    rounding = max(_SHIFT_ROUNDING, 2.0 * float(info.eps))
    most = rounding * np.maximum(np.abs(bias), np.abs(moved))
    wide = default.astype(np.float64)
    if wide.shape != moved.shape or not np.all(np.abs(wide - (bias - moved)) <= most):
        yield f"`{site.promoted_input}` is not the shift of `{site.tensor}` in the source"
