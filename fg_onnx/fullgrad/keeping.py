"""What the adjoint keeps of the forward part: of some values no more than a byte.

The adjoint of a ReLU needs to know where its result is positive, and not the four bytes of each
value. But ONNX Runtime runs a node when another one first needs its result (see
`fg_onnx.graph.ordering`): masks that are read in the adjoint alone would be made there, and the
values be kept until then. So the output that it begins with reads something of all masks first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter, is_static
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.table import RULES


def masks_of(
    op: Emitter, primals: Sequence[Primal], seen: Callable[[Primal], Primal]
) -> dict[str, gs.Tensor]:
    """The masks of all steps that have one, bool, by name of their results, the last step's first.

    ``seen`` gives a step as its rule is to read it.
    """
    found = {}
    for p in reversed(primals):
        mask = RULES[p.op_type].mask
        if mask is None:
            continue
        op.at(p.name)
        with p.consistent():
            viewed = seen(p)
            found[p.y.name] = mask(op, viewed)
            # What stands before all cotangents is left until one is there to be multiplied.
            op.mask(found[p.y.name], viewed.y)
    op.at("")
    return found


def read_first(op: Emitter, masks: Sequence[gs.Tensor], outputs: Sequence[str]) -> None:
    """Let the last one of some outputs that is there, by their names, read of the masks first.

    The Identity that gives it its name becomes a Reshape to the shape it has. Where the batch is
    fixed runtimes fold what is computed of sizes, so that it is left alone. So it is where one of
    its other sizes is not known.
    """
    results = [tensor for tensor in op.graph.outputs if tensor.name in outputs]
    if not masks or not results:
        return
    batch, *rest = results[-1].shape
    if isinstance(batch, int) or not is_static(rest):
        return
    sizes = op.Concat(*(op.Shape(mask) for mask in masks), axis=0)
    nothing = op.Mul(op.Slice(sizes, [0], [1], [0]), 0)
    (node,) = results[-1].inputs
    node.op = "Reshape"
    # 0 keeps the size of an axis.
    node.inputs.append(op.Add(nothing, op.constant([0, *rest], np.int64)))
    op.graph.nodes.remove(node)
    op.graph.nodes.append(node)
