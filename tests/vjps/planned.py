"""The adjoint of a model as instrumenting makes it: function bodies expanded, narrow floats read.

Instrumenting wants an image and a row of scores for it; this takes any two tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from fg_onnx.errors import UnsupportedModelError
from fg_onnx.fullgrad.adjoint import append_adjoint
from fg_onnx.fullgrad.sites import find_sites
from fg_onnx.fullgrad.terms import site_term
from fg_onnx.graph import working
from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.graph.views import Views
from fg_onnx.grid.layouts import Layouts
from fg_onnx.source import model
from fg_onnx.steps import find_steps

from .harness import Arrays, publish


def plan_adjoint(
    proto: onnx.ModelProto, x: str, y: str, steps: Callable[..., Sequence[Primal]] = list
) -> onnx.ModelProto:
    """The model with its adjoint from tensor ``y`` to input ``x``, of what ``steps`` makes of them.

    Its new input is ``ct``; its new outputs are ``pulled``, and ``term/<i>`` for every site.

    Raises:
        UnsupportedModelError: a node stands in the way, or there is no way.
    """
    graph = working.to_graph(proto)
    tensors = graph.tensors()
    primals, unsupported = find_steps(graph, proto, tensors[x], tensors[y])
    for row in unsupported:
        message = f"`{row.op}` at `{row.node}`: {row.reason}"
        raise UnsupportedModelError("unsupported", message, op=row.op, node=row.node)
    sites = find_sites(primals, Layouts(primals, tensors[x]), freeze=True)
    ct = gs.Variable("ct", tensors[y].dtype, tensors[y].shape)
    graph.inputs.append(ct)
    op = Emitter(graph, model.opset_of(proto))
    views = Views(op, primals)
    ct_y = views.of(ct)
    adjoint = append_adjoint(op, steps(primals), tensors[x], tensors[y], ct_y, views.primal)
    count = len(graph.outputs)
    assert adjoint.input_gradient is not None
    publish(graph, adjoint.input_gradient, "pulled")
    for index, site in enumerate(sites):
        if site.site.tensor not in adjoint.pullbacks:
            continue
        term = site_term(op, site, adjoint.pullbacks[site.site.tensor])
        publish(graph, term.product(op), f"term/{index}")
    working.drop_unused(graph)
    return working.to_proto(graph, proto, count)


def attributed(out: Arrays, x: np.ndarray) -> float:
    """The input term and the totals of all sites: what should be ``<ct, y>``."""
    total = float((out["pulled"] * x).sum())
    return total + sum(float(out[name].sum()) for name in out if name.startswith("term/"))
