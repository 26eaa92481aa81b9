"""Activations that exporters write as several nodes, recognised as the one operator they are.

``x * sigmoid(x)`` differentiated piece by piece has the right gradients, but its offset falls
apart into those of a Sigmoid and a Mul. As one step it has the paper's ``sigma(u) - sigma'(u) u``.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs

from fg_onnx.primal import Primal

# The gate g in y = x g(x), and the operator that y then is.
_GATES = {"Sigmoid": "Swish", "HardSigmoid": "HardSwish"}


def recognise(primals: Sequence[Primal]) -> list[Primal]:
    """The same steps with every composite activation as one."""
    producers = {p.y.name: p for p in primals}
    merged: dict[int, Primal] = {}
    absorbed: set[int] = set()
    for p in primals:
        gate = _gate(p, producers)
        if gate is not None:
            merged[id(p)] = _gated(p, gate)
            absorbed.add(id(gate))
    return [merged.get(id(p), p) for p in primals if id(p) not in absorbed]


def _gate(p: Primal, producers: dict[str, Primal]) -> Primal | None:
    """The step that computes g(x) of a product x g(x) which alone reads it."""
    if p.op_type != "Mul" or not all(p.active):
        return None
    a, b = p.operand(0), p.operand(1)
    for x, g in ((a, b), (b, a)):
        gate = producers.get(g.name)
        if (
            gate is not None
            and gate.op_type in _GATES
            and gate.x is x
            and _only_reader(g, p.nodes[-1])
            and _is_swish_gate(gate)
        ):
            return gate
    return None


def _only_reader(tensor: gs.Tensor, node: gs.Node) -> bool:
    return all(reader is node for reader in tensor.outputs)


def _is_swish_gate(gate: Primal) -> bool:
    if gate.op_type == "Sigmoid":
        return True
    return bool(abs(gate.attrs["alpha"] - 1.0 / 6.0) < 1e-6 and gate.attrs["beta"] == 0.5)


def _gated(product: Primal, gate: Primal) -> Primal:
    return Primal(
        op_type=_GATES[gate.op_type],
        name=product.name,
        inputs=(gate.x,),
        outputs=product.outputs,
        attrs={},
        active=(True,),
        nodes=(*gate.nodes, *product.nodes),
    )
