"""Pools in ceil mode of which ONNX's shape inference makes one window too many.

A window that would begin in the padding after the array is left out by every kernel; before opset
22 shape inference counts it all the same. A runtime that infers shapes so does not load what is
built on the true ones. Such a pool is written without ceil mode, its last padding such that just
the true windows fit: they see the same positions as before.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

_POOLS = frozenset({"MaxPool", "AveragePool", "LpPool"})


def write_out_ceil_modes(graph: gs.Graph) -> bool:
    """Rewrite the pools whose inferred size is not the true one; whether there were any.

    Changes the graph.
    """
    changed = False
    for node in graph.nodes:
        if node.op in _POOLS and not node.domain and node.attrs.get("ceil_mode", 0):
            pads = _settled(node)
            if pads is not None:
                node.attrs.update(ceil_mode=0, pads=pads)
                changed = True
    return changed


def _settled(node: gs.Node) -> list[int] | None:
    """The padding for which the pool needs no ceil mode; None where it may stay, or has to."""
    kernel = node.attrs["kernel_shape"]
    rank = len(kernel)
    x, y = node.inputs[0].shape, node.outputs[0].shape
    if x is None or y is None or node.attrs.get("auto_pad", "NOTSET") != "NOTSET":
        return None
    pads = list(node.attrs.get("pads") or [0] * (2 * rank))
    given = list(pads)
    too_many = False
    for axis, (k, size, held) in enumerate(zip(kernel, x[2:], y[2:], strict=True)):
        if not isinstance(size, int):
            return None
        stride = (node.attrs.get("strides") or [1] * rank)[axis]
        span = (node.attrs.get("dilations") or [1] * rank)[axis] * (k - 1) + 1
        begin = pads[axis]
        count = -(-(size + begin + pads[rank + axis] - span) // stride) + 1
        if (count - 1) * stride >= size + begin:
            count -= 1
        pads[rank + axis] = max(stride * (count - 1) + span - size - begin, 0)
        too_many = too_many or held != count
    counts_more = node.attrs.get("count_include_pad", 0) and any(
        new > old for new, old in zip(pads, given, strict=True)
    )
    return pads if too_many and not counts_more else None
