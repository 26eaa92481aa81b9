"""Concatenations that go on where an earlier one ended.

A dense block joins all that came before again and again. Differentiated as it is written, the
k-th tensor gets a cotangent from each of the later joins, and all of these are added one by one.
Where a join is taken to begin with the result of the one before, what the two pass on is added at
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_graphsurgeon as gs

from fg_onnx.graph.primal import Primal


def nested(primals: Sequence[Primal]) -> list[Primal]:
    """The same steps, a Concat with an earlier one's operands in the front with its result there.

    Nothing is computed otherwise in the forward part: its nodes are left alone.
    """
    made: dict[tuple[int, tuple[str, ...]], gs.Tensor] = {}
    lengths = set[int]()  # of which there are few, however many joins there are
    found = []
    for p in primals:
        if p.op_type == "Concat" and all(p.active):
            axis, names = p.attrs["axis"], tuple(u.name for u in p.inputs if u is not None)
            fronts = (n for n in lengths if n < len(names) and (axis, names[:n]) in made)
            front = max(fronts, default=0)
            made.setdefault((axis, names), p.y)
            lengths.add(len(names))
            if front > 1:
                inputs = (made[axis, names[:front]], *p.inputs[front:])
                p = replace(p, inputs=inputs, active=(True,) * len(inputs))
        found.append(p)
    return found
