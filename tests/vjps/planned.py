"""The adjoint of a model as instrumenting makes it: planned, function bodies expanded, walked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from fg_onnx import model, working
from fg_onnx.adjoint import append_adjoint
from fg_onnx.emit import Emitter
from fg_onnx.plan import make_plan
from fg_onnx.terms import site_term

from .harness import Arrays, evaluate, publish


@dataclass(frozen=True, eq=False)
class Planned:
    """A model with its adjoint: input ``ct``; outputs ``pulled``, ``term/<i>`` and ``minus/<i>``.

    Attributes:
        proto: the model; its own inputs and outputs come first.
        x: the explained input by name.
        operators: of the steps, in topological order.
    """

    proto: onnx.ModelProto
    x: str
    operators: tuple[str, ...]

    def run(self, feeds: Arrays, ct: np.ndarray) -> Arrays:
        """All outputs, by the reference evaluator."""
        return evaluate(self.proto, {**feeds, "ct": ct})

    def completeness(self, out: Arrays, feeds: Arrays) -> float:
        """``<J^T ct, x>`` and the totals of all sites: what should be ``<ct, y>``."""
        total = float((out["pulled"] * feeds[self.x]).sum())
        for name, array in out.items():
            if name.startswith(("term/", "minus/")):
                total += float(array.sum()) * (1 if name.startswith("term/") else -1)
        return total


def plan_adjoint(proto: onnx.ModelProto, x: str, y: str) -> Planned:
    """The adjoint from tensor ``y`` to input ``x``.

    Raises:
        UnsupportedModelError: it cannot be instrumented.
    """
    plan = make_plan(model.Source(proto, "", "the model"), input=x, output=y, freeze=True)
    plan.require_support()
    ct = gs.Variable("ct", plan.y.dtype, plan.y.shape)
    plan.graph.inputs.append(ct)
    op = Emitter(plan.graph, plan.opset)
    adjoint = append_adjoint(op, plan.primals, plan.x, plan.y, ct)
    assert adjoint.input_gradient is not None, "no cotangent reaches the input"
    count = len(plan.graph.outputs)
    publish(plan.graph, adjoint.input_gradient, "pulled")
    for index, site in enumerate(plan.sites):
        if site.site.tensor not in adjoint.pullbacks:
            continue
        term = site_term(op, site, adjoint.pullbacks[site.site.tensor])
        publish(plan.graph, term.product(op), f"term/{index}")
        for part, (minus, _) in enumerate(term.minus):
            publish(plan.graph, minus, f"minus/{index}/{part}")
    working.drop_unused(plan.graph)
    operators = tuple(p.op_type for p in plan.primals)
    return Planned(working.to_proto(plan.graph, plan.proto, count), x, operators)
