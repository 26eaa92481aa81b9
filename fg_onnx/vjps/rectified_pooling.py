"""ReLU as a part of the MaxPool behind it: MaxPool(max(x, 0)) = max(MaxPool(x), 0).

What comes back to a maximum passes the ReLU if the maximum is above 0, so that the ReLU needs no
mask of its own values, which are more. The cotangents are the same.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from fg_onnx.graph.primal import Primal


def joined(primals: Sequence[Primal], kept: Collection[str]) -> list[Primal]:
    """The steps, every ReLU and the MaxPool behind it as one where no other step goes back to it.

    Such a MaxPool has two operands: the ReLU's result, which it pools, and the ReLU's own operand,
    to which the cotangent goes.

    Args:
        primals: in topological order.
        kept: names of tensors whose own cotangents are of use.
    """
    rectified = {p.y.name: p for p in primals if p.op_type == "Relu" and p.y.name not in kept}
    readers: dict[str, list[Primal]] = {}
    for p in primals:
        for operand, active in zip(p.inputs, p.active, strict=True):
            if active and operand is not None:
                readers.setdefault(operand.name, []).append(p)
    pools = {
        id(found[0]): relu
        for name, relu in rectified.items()
        if len(found := readers.get(name, [])) == 1 and found[0].op_type == "MaxPool"
    }
    absorbed = {id(relu) for relu in pools.values()}
    return [
        _joined(pools[id(p)], p) if id(p) in pools else p for p in primals if id(p) not in absorbed
    ]


def _joined(relu: Primal, pool: Primal) -> Primal:
    operands = (pool.x, relu.x)
    nodes = (*relu.nodes, *pool.nodes)
    return replace(pool, inputs=operands, active=(False, True), nodes=nodes)
