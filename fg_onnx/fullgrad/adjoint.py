"""The reverse walk: from the cotangent of the explained output to those of all active tensors.

This file knows no operator by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.table import RULES, Cotangents, Rule


@dataclass(frozen=True, eq=False)
class Pullback:
    """What one step did: the cotangents of its results, and those it passed to its operands.

    ``primal`` is the step as the rule saw it.
    """

    primal: Primal
    cts: tuple[gs.Tensor | None, ...]
    passed: Cotangents


@dataclass(frozen=True, eq=False)
class Adjoint:
    """The adjoint of a graph.

    Attributes:
        pullbacks: by name of the step's first result.
        input_gradient: the cotangent of the explained input, None where nothing reached it.
    """

    pullbacks: dict[str, Pullback]
    input_gradient: gs.Tensor | None


def append_adjoint(
    op: Emitter,
    primals: Sequence[Primal],
    x: gs.Tensor,
    y: gs.Tensor,
    ct_y: gs.Tensor,
    seen: Callable[[Primal], Primal] = lambda p: p,
    rules: Mapping[str, Rule] = RULES,
) -> Adjoint:
    """Emit the adjoint of all steps between ``x`` and ``y``, whose cotangent is ``ct_y``.

    ``seen`` gives a step as its rule is to read it (see `fg_onnx.graph.views`). With other
    ``rules`` than the table's it is not the adjoint, but what some methods put in its place.

    Raises:
        UnsupportedModelError: a rule cannot take its node.
    """
    arrived: dict[str, list[gs.Tensor]] = {y.name: [ct_y]}
    pullbacks = {}
    for p in reversed(primals):
        op.at(p.name)
        cts = tuple(_collect(op, arrived, result) for result in p.outputs)
        if all(ct is None for ct in cts):
            continue
        rule = rules[p.op_type]
        known = len(cts) if rule.outputs is None else rule.outputs
        for result, ct in zip(p.outputs[known:], cts[known:], strict=True):
            if result is not None and ct is not None:  # else it would be taken for 0
                raise p.refusal(f"its rule knows no derivative of its result `{result.name}`")
        with p.consistent():
            viewed = seen(p)
            passed = rule.vjp(op, viewed, *cts[:known])
            assert len(passed) >= len(p.inputs), f"{p.op_type} passes {len(passed)} cotangents"
        for operand, active, ct in zip(p.inputs, p.active, passed, strict=False):
            if not active or operand is None:
                continue
            if ct is None:
                raise p.refusal(f"its rule knows no derivative by its operand `{operand.name}`")
            arrived.setdefault(operand.name, []).append(ct)
        pullbacks[p.y.name] = Pullback(viewed, cts, passed)
    return Adjoint(pullbacks, _collect(op, arrived, x))


def _collect(
    op: Emitter, arrived: dict[str, list[gs.Tensor]], tensor: gs.Tensor | None
) -> gs.Tensor | None:
    if tensor is None:
        return None
    terms: Iterable[gs.Tensor] = arrived.get(tensor.name, ())
    return op.total(list(terms)) if terms else None
