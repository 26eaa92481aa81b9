"""Find the sites, and promote their biases and shifts to graph inputs (DESIGN, sections 2, 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx import manifest
from fg_onnx.graph.primal import Primal
from fg_onnx.grid.layout import Layout
from fg_onnx.grid.layouts import Layouts
from fg_onnx.manifest import Site
from fg_onnx.vjps.table import RULES, Offset


@dataclass(frozen=True, eq=False)
class BoundSite:
    """A site together with the step and the offset it stands for, and its grid if it has one."""

    site: Site
    primal: Primal
    offset: Offset
    layout: Layout | None


def find_sites(
    primals: Sequence[Primal], layouts: Layouts, *, freeze: bool
) -> tuple[BoundSite, ...]:
    """All sites in topological order; ``promoted_input`` is set where promotion is possible."""
    names: set[str] = set()
    counts: dict[str, int] = {}
    found = []
    for p in primals:
        with p.consistent():
            offsets = RULES[p.op_type].offsets(p)
        for offset in offsets:
            beside = len(offsets) > 1 and offset.kind == "implicit"
            name = _unique(f"{p.name}/{offset.kind}" if beside else p.name, names, counts)
            found.append(_bound(p, offset, name, layouts, freeze=freeze))
    return tuple(found)


def _bound(p: Primal, offset: Offset, name: str, layouts: Layouts, *, freeze: bool) -> BoundSite:
    layout = _grid(p, offset, layouts)
    site = Site(
        name=name,
        kind=offset.kind,
        op=p.op_type,
        node=p.nodes[-1].name,
        tensor=p.y.name,
        promoted_input=None if freeze or not _promotable(p, offset) else manifest.BIAS + name,
        shape=tuple(p.y.shape or ()),
        channel_axis=layout.channel if layout else None,
        spatial_axes=layout.spatial if layout else None,
        grid=layout.tokens.grid if layout and layout.tokens else None,
        grid_start=layout.tokens.start if layout and layout.tokens else 0,
        unfolded=layout.unfolded if layout else None,
    )
    return BoundSite(site, p, offset, layout)


def promote_biases(graph: gs.Graph, sites: Sequence[BoundSite]) -> tuple[BoundSite, ...]:
    """Make every promotable offset a graph input whose default is the trained value.

    A constant that several nodes share is promoted once for each: sites are told apart by
    identity. Changes the graph; returns the sites with their steps brought up to date.
    """
    steps = {
        id(bound.primal): _promote(graph, bound) for bound in sites if bound.site.promoted_input
    }
    return tuple(
        replace(bound, primal=steps.get(id(bound.primal), bound.primal)) for bound in sites
    )


def _promote(graph: gs.Graph, bound: BoundSite) -> Primal:
    p, offset = bound.primal, bound.offset
    assert offset.operand is not None
    if offset.normalise is not None:
        with p.consistent():
            offset.normalise(p)
    node = p.nodes[-1]
    default = np.asarray(node.inputs[offset.operand].values)
    bias = gs.Constant(bound.site.promoted_input, default)
    node.inputs[offset.operand] = bias
    graph.inputs.append(bias)
    return replace(p, inputs=tuple(t if t.name else None for t in node.inputs))


def _grid(p: Primal, offset: Offset, layouts: Layouts) -> Layout | None:
    """Where the site's bias-gradient lies, None where it has no map of its own.

    An implicit offset has one only where its parts have the same shape, or the rule a form for it.
    """
    layout = layouts.of(p.y)
    if layout is None or not layout.is_mappable(p.shape(p.y)):
        return None
    if offset.kind == "implicit" and RULES[p.op_type].term is None:
        operands = zip(p.inputs, p.active, strict=True)
        if any(active and p.shape(u) != p.shape(p.y) for u, active in operands):
            return None
    return layout


def _promotable(p: Primal, offset: Offset) -> bool:
    if offset.operand is None or not isinstance(p.inputs[offset.operand], gs.Constant):
        return False
    if offset.normalise is None:
        return True
    return all(isinstance(operand, gs.Constant) for operand in p.inputs[1:])


def _unique(name: str, taken: set[str], counts: dict[str, int]) -> str:
    """A name that no site has yet; ``counts`` says how often a name was wanted."""
    stem = name.strip("/") or "site"
    candidate = stem
    while candidate in taken:
        counts[stem] = counts.get(stem, 1) + 1
        candidate = f"{stem}_{counts[stem]}"
    taken.add(candidate)
    return candidate
