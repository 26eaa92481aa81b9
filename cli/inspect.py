"""``fg-onnx inspect``: what instrumenting would do, or what an instrumented model says."""

# onnx is slow to import, and --help is not to wait for it
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from fg_onnx.errors import ModelError, UnsupportedModelError

from . import describe
from .console import CHECK_FAILED, fields, say, say_json, strong, table
from .options import InputOption, JsonOption, ModelArgument, OutputOption

if TYPE_CHECKING:
    from fg_onnx.manifest import Manifest, Site
    from fg_onnx.source.model import Source
    from fg_onnx.steps import Unsupported

SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class Inspection:
    """What is known of a model without writing anything.

    Attributes:
        source: the model as it was read.
        input: name of the explained input, None where none could be chosen.
        pixels: the input of integers that it is made from, None where it is itself fed.
        explained: name of the explained tensor and the reason, None where none could be chosen.
        sites: in topological order.
        unsupported: what stands in the way; empty: nothing does.
        manifest: of an instrumented model.
    """

    source: Source
    input: str | None
    pixels: str | None
    explained: tuple[str, str] | None
    sites: tuple[Site, ...]
    unsupported: tuple[Unsupported, ...]
    manifest: Manifest | None = None


def inspect(
    model: ModelArgument,
    json_: JsonOption = False,
    input_: InputOption = None,
    output: OutputOption = None,
) -> None:
    """Show what instrumenting MODEL would do; write nothing.

    Of a model that is instrumented already, its manifest is shown. Exit code 1 if MODEL cannot be
    instrumented.
    """
    from fg_onnx.source.model import read

    found = look(read(model), input_, output)
    if json_:
        say_json(to_document(found))
    else:
        _print(found)
    if found.unsupported:
        raise typer.Exit(CHECK_FAILED)


def look(source: Source, input_: str | None = None, output: str | None = None) -> Inspection:
    """Plan, and carry the plan out in memory: some refusals depend on shapes known only then."""
    import fg_onnx
    from fg_onnx import manifest, plan, steps

    held = manifest.find(source.proto)
    if held is not None:
        explained = (held.output, held.output_reason)
        return Inspection(source, held.input, held.pixels, explained, held.sites, (), held)
    try:
        planned = plan.make_plan(source, input=input_, output=output)
    except (ModelError, UnsupportedModelError) as error:
        return Inspection(source, None, None, None, (), (steps.describe_failure(error),))
    explained = (planned.y.name, planned.reason)
    sites = tuple(bound.site for bound in planned.sites)
    unsupported = planned.unsupported
    if not unsupported:
        try:
            # its list is the shorter one: sites that no cotangent reaches are left out
            made = fg_onnx.instrument(source.proto, input=input_, output=output)
            sites = made.manifest.sites
        except UnsupportedModelError as error:
            unsupported = (steps.describe_failure(error),)
    pixels = planned.pixels.name if planned.pixels else None
    return Inspection(source, planned.x.name, pixels, explained, sites, unsupported)


def to_document(found: Inspection) -> dict[str, Any]:
    """The JSON document; of an instrumented model it holds the ``manifest`` too."""
    explained = found.explained and {"name": found.explained[0], "reason": found.explained[1]}
    document = {
        "schema_version": SCHEMA_VERSION,
        "instrumentable": not found.unsupported,
        "explained_input": found.input,
        "pixels": found.pixels,
        "explained_output": explained,
        "sites": [
            {
                "name": site.name,
                "kind": site.kind,
                "op": site.op,
                "shape": site.shape,
                "spatial": site.spatial,
                "channel_axis": site.channel_axis,
                "spatial_axes": site.spatial_axes,
                "grid": site.grid,
            }
            for site in found.sites
        ],
        "unsupported": [
            {"op": row.op, "node": row.node, "reason": row.reason} for row in found.unsupported
        ],
    }
    if found.manifest is not None:
        document["manifest"] = found.manifest.to_dict()
    return document


# --- for people ---------------------------------------------------------------------------------


def _print(found: Inspection) -> None:
    from fg_onnx.manifest import is_reserved
    from fg_onnx.source.model import opset_of

    proto = found.source.proto
    values = [("input", describe.value_text(value)) for value in describe.inputs_of(proto)]
    values += [("output", describe.value_text(value)) for value in describe.own_outputs(proto)]
    rows = [("model", f"{found.source.name}  (opset {opset_of(proto)})")]
    rows += values
    rows += describe.gradient_rows(found.input, found.pixels)
    own = [value for value in describe.inputs_of(proto) if not is_reserved(value.name)]
    if found.input and len(own) > 1:
        rows.append(("explained", f"the input {found.input}"))
    if found.explained:
        rows.append(("explained", "{}  ({})".format(*found.explained)))
    if found.manifest is None:
        rows.append(("operators", describe.operators_text(proto.graph.node)))
    else:
        rows += _manifest_rows(found.manifest)
    if found.explained and not found.unsupported:  # else they are not all known
        rows.append(("sites", describe.sites_text(found.sites)))
    fields(_merged([*rows, ("verdict", _verdict(found))]))
    if found.sites:
        say()
        _print_sites(found.sites)
    if found.unsupported:
        say()
        _print_unsupported(found.unsupported)


def _merged(rows: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """A name that repeats is said once."""
    names = [name for name, _ in rows]
    return [
        ("" if i and names[i - 1] == name else name, value) for i, (name, value) in enumerate(rows)
    ]


def _manifest_rows(manifest: Manifest) -> list[tuple[str, str]]:
    return [
        ("psi", manifest.psi),
        ("computes", ", ".join(manifest.emits) or "the score alone"),
        ("target", "a cotangent, fg_seed" if manifest.seed else "a class index, fg_target"),
        ("biases", describe.promotion_text(manifest)),
        *describe.runtime_rows(manifest),
        ("preprocess", describe.preprocessing_text(manifest)),
        ("labels", describe.labels_text(manifest)),
        ("made by", f"fg-onnx {manifest.tool_version}, gradients: {manifest.gradients}"),
        ("source", f"sha256 {manifest.source_sha256}"),
    ]


def _verdict(found: Inspection) -> str:
    if found.manifest is not None:
        return strong("instrumented already")
    return strong("cannot be instrumented" if found.unsupported else "can be instrumented")


def _print_sites(sites: Sequence[Site]) -> None:
    table(
        ("site", "kind", "operator", "shape", "in the map"),
        [
            (s.name, s.kind, s.op, describe.shape_text(s.shape), describe.grid_text(s))
            for s in sites
        ],
    )


def _print_unsupported(rows: Sequence[Unsupported]) -> None:
    table(
        ("operator", "node", "reason"),
        [(row.op or "-", row.node or "-", row.reason) for row in rows],
    )
