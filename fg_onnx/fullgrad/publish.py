"""The outputs of an instrumented model, by the names of the contract (DESIGN, section 3)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs

from fg_onnx import manifest
from fg_onnx.fullgrad import aggregate
from fg_onnx.fullgrad.psi import Psi
from fg_onnx.fullgrad.seeding import Seeding
from fg_onnx.fullgrad.sites import BoundSite
from fg_onnx.fullgrad.terms import Term
from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import is_float
from fg_onnx.grid.layout import Layout
from fg_onnx.manifest import Dim, Emit


@dataclass(frozen=True, eq=False)
class Explained:
    """What was differentiated: the input with its grid, the scalar, and the gradient.

    ``dtype`` is the type of the model's own input; ``x`` may be a wider view of it.
    """

    x: gs.Tensor
    dtype: np.dtype[Any]
    layout: Layout | None
    seeding: Seeding
    gradient: gs.Tensor


def publish(
    op: Emitter,
    explained: Explained,
    sites: Sequence[BoundSite],
    terms: Mapping[str, Term],
    psi: Psi,
    emit: Collection[Emit],
) -> None:
    """Add what was asked for to the graph's outputs, in the order of the contract."""
    x = explained.x
    batch = x.shape[0]
    op.begin("contributions")
    input_term = Term(op.Mul(explained.gradient, x), tuple(x.shape))
    add_output(op, explained.seeding.score, manifest.SCORE, [batch])
    totals: dict[str, gs.Tensor] = {}
    if "contributions" in emit:
        named = {"": input_term, **{bound.site.name: terms[bound.site.name] for bound in sites}}
        totals = aggregate.totals(op, x, named)
        table = aggregate.contributions(op, list(totals.values()))
        add_output(op, table, manifest.CONTRIBUTIONS, [batch, len(totals)])
    groups = []
    if "saliency" in emit or "layer-maps" in emit:
        op.begin("psi")
        layers = {}
        for bound in sites:
            if bound.layout is not None:
                op.at(bound.site.name)
                name = bound.site.name
                layers[name] = aggregate.layer_of(
                    op, psi, terms[name], bound.layout, totals.get(name)
                )
        op.begin("map")
        groups = aggregate.group_layers(op, layers)
    if "saliency" in emit:
        assert explained.layout is not None
        op.begin("psi")
        whole = aggregate.layer_of(op, psi, input_term, explained.layout, totals.get(""))
        op.begin("map")
        parts = [*aggregate.group_layers(op, {"input": whole}), *groups]
        total = aggregate.saliency(op, psi, parts, x, explained.layout)
        add_output(op, total, manifest.SALIENCY, [batch, 1, *explained.layout.grid(x.shape)])
    if "input-gradient" in emit:
        add_output(op, explained.gradient, manifest.INPUT_GRADIENT, x.shape, explained.dtype)
    if "layer-maps" in emit:
        maps = aggregate.layer_maps(op, groups)
        for bound in sites:
            if bound.site.name in maps:
                found, group = maps[bound.site.name]
                add_output(op, found, manifest.LAYER_MAP + bound.site.name, [batch, 1, *group.size])
    if "bias-gradients" in emit:
        op.begin("contributions")
        for bound in sites:
            op.at(bound.site.name)
            product = terms[bound.site.name].product(op)
            own = bound.primal.y
            dtype = own.dtype if is_float(own) else product.dtype
            add_output(
                op, product, manifest.BIAS_GRADIENT + bound.site.name, bound.site.shape, dtype
            )
    if explained.seeding.index is not None:
        add_output(op, explained.seeding.index, manifest.EXPLAINED, [batch], np.int64)


def add_output(
    op: Emitter,
    tensor: gs.Tensor,
    name: str,
    shape: Sequence[Dim],
    dtype: npt.DTypeLike = np.float32,
) -> None:
    """Add a tensor to the graph's outputs, by a name of the contract."""
    tensor = op.cast(tensor, dtype)
    result = gs.Variable(name, tensor.dtype, list(shape))
    op.graph.nodes.append(gs.Node("Identity", name, {}, [tensor], [result]))
    op.graph.outputs.append(result)
