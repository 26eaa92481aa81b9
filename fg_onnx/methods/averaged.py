"""The map of a decomposition that was averaged outside the graph.

psi and Eq. 2 are written once, in graph operators; here they are a graph of their own, that takes
the terms as its inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs

from fg_onnx.fullgrad import aggregate
from fg_onnx.fullgrad.psi import STYLES
from fg_onnx.fullgrad.terms import Term
from fg_onnx.graph.emit import Emitter
from fg_onnx.grid.layout import Layout, Tokens
from fg_onnx.manifest import Site
from fg_onnx.methods.task import Task
from fg_onnx.runtime import run_once
from fg_onnx.source.model import LOWEST_IR, LOWEST_OPSET

Array = npt.NDArray[Any]

_INPUT = "input"


def averaged_map(
    task: Task, input_term: Array, sites: Sequence[Site], terms: Mapping[str, Array], psi: str
) -> Array:
    """The FullGrad map [*grid] of one image.

    Args:
        task: the image is one of its.
        input_term: gradient times image, in the image's shape [...].
        sites: those that take part in the map.
        terms: the bias-gradient of each by the site's name, in its shape without the batch.
        psi: the style.
    """
    graph = gs.Graph(opset=LOWEST_OPSET)
    op = Emitter(graph, LOWEST_OPSET)
    style, layout = STYLES[psi], Layout(task.channel, task.spatial)
    fed = {f"term_{index}": terms[site.name] for index, site in enumerate(sites)}
    x = _input(graph, _INPUT, input_term)
    whole = aggregate.layer_of(op, style, Term(x, tuple(x.shape)), layout)
    layers = {}
    for name, site in zip(fed, sites, strict=True):
        values = _input(graph, name, fed[name])
        layers[name] = aggregate.layer_of(op, style, Term(values, tuple(values.shape)), _on(site))
    parts = [*aggregate.group_layers(op, {_INPUT: whole}), *aggregate.group_layers(op, layers)]
    found = aggregate.saliency(op, style, parts, x, layout)
    found.shape = None
    graph.outputs.append(found)
    model = gs.export_onnx(graph)
    model.ir_version = LOWEST_IR
    feeds = {_INPUT: input_term, **fed}
    (total,) = run_once(model, {k: v[None].astype(np.float32) for k, v in feeds.items()})
    return np.asarray(total[0, 0])


def _input(graph: gs.Graph, name: str, values: Array) -> gs.Variable:
    found = gs.Variable(name, np.dtype(np.float32), (1, *values.shape))
    graph.inputs.append(found)
    return found


def _on(site: Site) -> Layout:
    """Where the site's tensor has its grid."""
    assert site.channel_axis is not None
    assert site.spatial_axes is not None
    tokens = None if site.grid is None else Tokens(site.grid, site.grid_start)
    return Layout(site.channel_axis, site.spatial_axes, tokens, site.unfolded)
