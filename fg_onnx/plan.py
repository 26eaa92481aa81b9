"""What would be instrumented, and where: the explained input and output, the steps, the sites.

A plan changes nothing; `fg-onnx inspect` shows one, `instrument` carries one out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx
import onnx_graphsurgeon as gs

from fg_onnx import manifest
from fg_onnx.batching.free import free_batch
from fg_onnx.errors import UnsupportedModelError
from fg_onnx.explained import explained_output, fed_input, require_rows
from fg_onnx.fullgrad.sites import BoundSite, find_sites
from fg_onnx.graph import working
from fg_onnx.graph.branches import own_tensors, take_branches
from fg_onnx.graph.primal import Primal, is_float
from fg_onnx.grid.layout import Layout
from fg_onnx.grid.layouts import Layouts
from fg_onnx.grid.pixels import first_floats, layout_of_pixels
from fg_onnx.source import model
from fg_onnx.source.dimensions import name_dimensions
from fg_onnx.source.functions import inline_functions
from fg_onnx.source.results import name_results
from fg_onnx.steps import Unsupported, find_steps, refusal


@dataclass(frozen=True, eq=False)
class Plan:
    """How a model would be instrumented.

    Attributes:
        source: the model as it was given.
        proto: the model without functions and of a sufficient opset.
        graph: a working copy of its graph, function bodies expanded; instrumenting changes it.
        opset: of the graph.
        x: the explained input.
        pixels: the graph input of integers that ``x`` is made from; None: ``x`` is itself fed.
        y: the explained tensor.
        reason: why that tensor.
        ranking: the graph output that ranks the scores as ``y`` does, or None.
        layout: of ``x``, None where it has no spatial grid.
        output_layout: of the explained tensor, None where it has no grid.
        layouts: of all tensors.
        primals: the active steps, in topological order.
        sites: in topological order.
        unsupported: nodes between input and output without a usable rule.
    """

    source: model.Source
    proto: onnx.ModelProto
    graph: gs.Graph
    opset: int
    x: gs.Tensor
    pixels: gs.Tensor | None
    y: gs.Tensor
    reason: str
    ranking: str | None
    layout: Layout | None
    output_layout: Layout | None
    layouts: Layouts
    primals: tuple[Primal, ...]
    sites: tuple[BoundSite, ...]
    unsupported: tuple[Unsupported, ...]

    @property
    def fed(self) -> gs.Tensor:
        """The graph input that images are fed to."""
        return self.x if self.pixels is None else self.pixels

    @property
    def fed_layout(self) -> Layout | None:
        """Its layout, None where it has no spatial grid."""
        return layout_of_pixels(self.x, self.layout)

    def require_support(self) -> None:
        """Fail if any node stands in the way.

        Raises:
            UnsupportedModelError: naming the first node, its reason, and how many more.
        """
        if self.unsupported:
            raise refusal(self.unsupported[0], len(self.unsupported) - 1)


def make_plan(
    source: model.Source,
    *,
    input: str | None = None,
    output: str | None = None,
    opset: int | None = None,
    freeze: bool = False,
    freeze_defaults: bool = False,
    dynamic_batch: bool = False,
) -> Plan:
    """Choose what to explain, and find the sites.

    Args:
        source: the model.
        input: the explained input by name; None: the float image input.
        output: the explained tensor by name; None: the logits of the first output that fits.
        opset: raise the model to this opset.
        freeze: leave biases as they are.
        freeze_defaults: take initializers that are listed as inputs for constants.
        dynamic_batch: make a fixed batch symbolic.

    Raises:
        ModelError: the model's opset cannot be raised.
        UnsupportedModelError: no input or output fits, or the model is instrumented already.
    """
    if manifest.find(source.proto) is not None:
        raise UnsupportedModelError(
            "already-instrumented",
            f"`{source.name}` is instrumented already",
            "give the source model; `fg-onnx explain` takes either",
        )
    proto = model.normalise(_settled(source), opset, freeze_defaults=freeze_defaults)
    _require_free_names(proto)
    if dynamic_batch:
        proto = free_batch(proto, source.name)
    graph = working.to_graph(proto)
    version = model.opset_of(proto)
    fed = fed_input(graph, input, frozenset(model.defaults_of(proto)))
    x = fed if is_float(fed) else first_floats(graph, fed)
    y, reason, ranking = explained_output(graph, x, output, version)
    require_rows(x, y)
    primals, unsupported = find_steps(graph, proto, x, y)
    layouts = Layouts(primals, x)
    sites = find_sites(primals, layouts, freeze=freeze)
    return Plan(
        source, proto, graph, version, x, None if fed is x else fed, y, reason, ranking,
        layouts.of(x), layouts.of(y), layouts, tuple(primals), sites, tuple(unsupported),
    )  # fmt: skip


def _settled(source: model.Source) -> model.Source:
    """The model without functions and known branches, its open dimensions and results named."""
    inlined = name_results(name_dimensions(inline_functions(source)))
    return replace(source, proto=take_branches(inlined))


def _require_free_names(proto: onnx.ModelProto) -> None:
    names = [*own_tensors(proto.graph), *(value.name for value in proto.graph.input)]
    names += [node.name for node in proto.graph.node]
    taken = next((name for name in names if manifest.is_reserved(name)), None)
    if taken is not None:
        raise UnsupportedModelError(
            "reserved-name",
            f"`{taken}` in the model has a name that an instrumented model gives itself",
            "rename it; names that do not begin with `fg_` are free",
        )
