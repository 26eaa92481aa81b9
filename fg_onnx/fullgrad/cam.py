"""Grad-CAM in graph operators: which layer it looks at, and its map.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", ICCV 2017.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.errors import UnsupportedModelError
from fg_onnx.fullgrad.adjoint import Adjoint, Pullback
from fg_onnx.fullgrad.aggregate import channels_first, on_grid
from fg_onnx.fullgrad.psi import Channels, contract
from fg_onnx.fullgrad.resizing import resized
from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.grid.layout import Layout
from fg_onnx.grid.layouts import Layouts
from fg_onnx.vjps.table import RULES

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "DeformConv"})
_IN_PLACE = frozenset({"kept", "joined", "permuted", "product"})  # of a rule's `axes`
_NORMALISING = frozenset({"BatchNormalization", "LRN"})


def choose_layer(
    primals: Sequence[Primal], layouts: Layouts, name: str | None
) -> tuple[Primal, Layout]:
    """The step whose result Grad-CAM looks at, and that one's layout.

    Args:
        primals: the active steps, in topological order.
        layouts: of their tensors.
        name: of a node or tensor; None: the last convolution whose result has more than one
            position, and of what follows it at the same positions (BatchNormalization, activation,
            a Linear over channels, a residual sum) the last.

    Raises:
        UnsupportedModelError: ``no-such-layer``.
    """
    fitting = [p for p in primals if _has_grid(p, layouts)]
    if name is not None:
        for p in fitting:
            if name in (p.name, p.y.name, *(node.name for node in p.nodes)):
                return p, _layout(p, layouts)
    else:
        last = next((p for p in reversed(fitting) if p.op_type in _CONVOLUTIONS), None)
        if last is not None:
            last = _followed(last, fitting, layouts)
            return last, _layout(last, layouts)
    known = ", ".join(p.y.name for p in fitting[-5:])
    wanted = "no convolution" if name is None else f"no layer `{name}`"
    raise UnsupportedModelError(
        "no-such-layer",
        f"Grad-CAM needs a layer on a spatial grid, and the model has {wanted} with one between "
        "input and output",
        f"the last such tensors: {known}" if known else "take another method",
    )


def _has_grid(p: Primal, layouts: Layouts) -> bool:
    layout = layouts.of(p.y)
    if layout is None or not layout.is_mappable(p.shape(p.y)):
        return False
    return any(size != 1 for size in layout.grid(p.shape(p.y)))


def _followed(last: Primal, fitting: Sequence[Primal], layouts: Layouts) -> Primal:
    size = _layout(last, layouts).grid(last.shape(last.y))
    for p in fitting[fitting.index(last) + 1 :]:
        reads = any(u is not None and u.name == last.y.name for u in p.inputs)
        stays = RULES[p.op_type].axes in _IN_PLACE or p.op_type in _NORMALISING
        if reads and stays and _layout(p, layouts).grid(p.shape(p.y)) == size:
            last = p
    return last


def _layout(p: Primal, layouts: Layouts) -> Layout:
    layout = layouts.of(p.y)
    assert layout is not None  # of all that fit
    return layout


def layer_pullback(adjoint: Adjoint, p: Primal) -> Pullback:
    """What the adjoint did at a step.

    Raises:
        UnsupportedModelError: no cotangent reached it.
    """
    found = adjoint.pullbacks.get(p.y.name)
    if found is None or found.cts[0] is None:
        raise p.refusal("no gradient reaches it, so that Grad-CAM has nothing to weigh it by")
    return found


def class_map(
    op: Emitter, pullback: Pullback, layout: Layout, x: gs.Tensor, input_layout: Layout
) -> gs.Tensor:
    """[N, 1, *grid]: ``relu(sum_c mean_hw(ct_c) y_c)``, resized to the input's grid."""
    p, ct = pullback.primal, pullback.cts[0]
    assert ct is not None
    shape = p.shape(p.y)
    size, count = layout.grid(shape), layout.channels(shape)
    assert count is not None  # of a layer on a grid
    values = channels_first(op, p.y, shape, layout)
    grid = list(range(2, 2 + len(size)))
    weights = op.ReduceMean(channels_first(op, ct, shape, layout), axes=grid, keepdims=0)
    channels = Channels(op.Reshape(values, [0, 0, -1]), None, count)
    total = contract(op, channels, channels.values, op.Unsqueeze(weights, axes=[1])).total
    positive = on_grid(op, op.Relu(total), 1, values, size)
    if size == input_layout.grid(x.shape):
        return positive
    return resized(op, op.cast(positive, np.float32), size, x, input_layout, "half_pixel")
