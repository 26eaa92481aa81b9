"""Outputs of the methods that full-gradients are compared with, where they need the graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from fg_onnx import manifest
from fg_onnx.fullgrad import aggregate
from fg_onnx.fullgrad.adjoint import Adjoint, append_adjoint
from fg_onnx.fullgrad.cam import class_map, layer_pullback
from fg_onnx.fullgrad.psi import Psi
from fg_onnx.fullgrad.publish import Explained, add_output
from fg_onnx.fullgrad.seeding import probability
from fg_onnx.fullgrad.sites import BoundSite
from fg_onnx.fullgrad.terms import Term
from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.grid.layout import Layout
from fg_onnx.manifest import Emit
from fg_onnx.vjps.rectifiers import VARIANTS, rules_of


@dataclass(frozen=True, eq=False)
class Differentiated:
    """The graph behind the outputs.

    Attributes:
        x: the explained input, y: the explained tensor, as the source has them.
        primals: the active steps.
        seen: gives a step as its rule is to read it.
        adjoint: the true one.
        cam: the step that Grad-CAM looks at and its layout, None where it is not asked for.
        scores: the explained tensor as the rules see it.
        class_axis: of it, along which the classes lie; None for a single number.
    """

    x: gs.Tensor
    y: gs.Tensor
    primals: Sequence[Primal]
    seen: Callable[[Primal], Primal]
    adjoint: Adjoint
    cam: tuple[Primal, Layout] | None
    scores: gs.Tensor
    class_axis: int | None


def publish_comparisons(
    op: Emitter,
    explained: Explained,
    graph: Differentiated,
    sites: Sequence[BoundSite],
    psi: Psi,
    emit: Collection[Emit],
) -> None:
    """Add what was asked for to the graph's outputs.

    Raises:
        UnsupportedModelError: a method is not defined for this model.
    """
    x, layout = explained.x, explained.layout
    batch = x.shape[0]
    if "simple-saliency" in emit:
        assert layout is not None
        total = _simple(op, explained, graph.adjoint, sites, psi, layout)
        add_output(op, total, manifest.SIMPLE_SALIENCY, [batch, 1, *layout.grid(x.shape)])
    if graph.cam is not None:
        assert layout is not None
        p, own = graph.cam
        total = class_map(op, layer_pullback(graph.adjoint, p), own, x, layout)
        add_output(op, total, manifest.GRAD_CAM, [batch, 1, *layout.grid(x.shape)])
    for variant in VARIANTS:
        if variant in emit:
            rules = rules_of(variant, graph.primals)
            walked = append_adjoint(
                op, graph.primals, graph.x, graph.y, explained.seeding.cotangent, graph.seen, rules
            )
            name = manifest.METHOD_EMITS[variant]
            assert walked.input_gradient is not None  # the true adjoint took the same way
            add_output(op, walked.input_gradient, name, x.shape, explained.dtype)
    if "probability" in emit:
        found = probability(op, graph.x, graph.scores, explained.seeding, graph.class_axis)
        add_output(op, found, manifest.PROBABILITY, [batch])


def _simple(
    op: Emitter,
    explained: Explained,
    adjoint: Adjoint,
    sites: Sequence[BoundSite],
    psi: Psi,
    layout: Layout,
) -> gs.Tensor:
    """Eq. 2 with the gradients by the biases in the place of the bias-gradients."""
    x = explained.x
    whole = aggregate.layer_of(op, psi, Term(op.Mul(explained.gradient, x), tuple(x.shape)), layout)
    layers = {}
    for bound in sites:
        if bound.layout is None or bound.site.kind == "implicit":
            continue
        pullback = adjoint.pullbacks[bound.site.tensor]
        ct = pullback.cts[0]
        assert ct is not None
        shape = tuple(pullback.primal.shape(pullback.primal.y))
        layers[bound.site.name] = aggregate.layer_of(op, psi, Term(ct, shape), bound.layout)
    parts = [*aggregate.group_layers(op, {"input": whole}), *aggregate.group_layers(op, layers)]
    return aggregate.saliency(op, psi, parts, x, layout)
