"""Models that take integer images and turn them into floats themselves.

An integer has no gradient. The first float tensor behind it holds the same pixels as numbers, and
it is what such a model is differentiated by: the gradient, the input term and completeness are
those of that tensor, while the model is still fed its integers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.errors import UnsupportedModelError
from fg_onnx.graph.primal import is_float, node_name
from fg_onnx.graph.working import read_by
from fg_onnx.grid.layout import Layout
from fg_onnx.vjps import ZERO

_RANK = 4
_MAKES_FLOATS = frozenset({"Cast", "CastLike", "DequantizeLinear"})


def is_pixels(tensor: gs.Tensor) -> bool:
    """Whether a graph input holds integer images."""
    if tensor.dtype is None or tensor.shape is None:
        return False
    return np.issubdtype(tensor.dtype, np.integer) and len(tensor.shape) == _RANK


def first_floats(graph: gs.Graph, pixels: gs.Tensor) -> gs.Tensor:
    """The float tensor that an integer image becomes, and through which all else sees it.

    Raises:
        UnsupportedModelError: there is none or more than one, or it is no image.
    """
    made = list(_floats_of(graph, pixels))
    results = [result for _, result in made]
    if len(results) != 1:
        listed = ", ".join(f"`{tensor.name}`" for tensor in results) or "none"
        raise _refused(pixels, f"it becomes floats in {len(results)} places: {listed}")
    ((node, x),) = made
    if node.op not in _MAKES_FLOATS:
        raise _refused(pixels, f"`{node.op}` at `{node_name(node)}` does not keep its pixels")
    if x.shape is None or len(x.shape) != _RANK or x.shape[0] != pixels.shape[0]:
        raise _refused(pixels, f"its floats `{x.name}` of shape {x.shape} are no batch of images")
    return x


def _floats_of(graph: gs.Graph, pixels: gs.Tensor) -> Iterator[tuple[gs.Node, gs.Tensor]]:
    """The nodes that make floats of what depends on the pixels, if an output needs them."""
    needed = {tensor.name for tensor in graph.outputs}
    for node in reversed(graph.nodes):
        if any(tensor.name in needed for tensor in node.outputs):
            needed.update(read_by(node))
    reached = {pixels.name}
    for node in graph.nodes:
        if node.op in ZERO or reached.isdisjoint(read_by(node)):
            continue
        for result in node.outputs:
            if not is_float(result):
                reached.add(result.name)
            elif result.name in needed:
                yield node, result


def layout_of_pixels(x: gs.Tensor, layout: Layout | None) -> Layout | None:
    """The layout of the graph input that ``x`` is made from, by the layout of ``x``."""
    while layout is not None and x.inputs:
        (node,) = x.inputs
        if node.op == "Transpose":
            perm = node.attrs["perm"]
            layout = Layout(perm[layout.channel], tuple(perm[axis] for axis in layout.spatial))
        x = node.inputs[0]
        if x.shape is None or len(x.shape) != _RANK:
            return None
    return layout


def _refused(pixels: gs.Tensor, reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        "integer-input",
        f"the input `{pixels.name}` is {pixels.dtype}, and has no gradient: {reason}",
        "export the model with its preprocessing outside, so that it takes float images",
    )
