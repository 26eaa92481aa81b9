"""A cotangent with zeros between its entries, so that a strided window goes back by a plain Conv.

Depthwise, the runtimes' ConvTranspose is slow: 1.2 ms of the CPU for 96 channels from 56x56 to
112x112, where repeating, masking and a Conv take 0.4 together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter, is_static
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.windows import Window


def stretched(
    op: Emitter, p: Primal, ct: gs.Tensor, w: Window
) -> tuple[gs.Tensor, list[int]] | None:
    """ct with zeros behind each entry, as many as a stride leaves out, and a Conv's pads for it.

    None where that cannot be done: it is for two axes of known sizes in float32, since Resize has
    no kernel for float64 on the CPU, and few devices have it for other ranks.
    """
    known = is_static(p.shape(p.x)[2:]) and is_static(p.shape(p.y)[2:])
    if w.pads is None or w.rank != 2 or p.x.dtype != np.float32 or not known:
        return None
    sizes, counts = p.sizes(p.x, [2, 3]), p.sizes(p.y, [2, 3])
    before = [span - 1 - pad for span, pad in zip(w.spans, w.pads, strict=False)]
    after = [
        size - stride * count + pad
        for size, stride, count, pad in zip(sizes, w.strides, counts, w.pads, strict=False)
    ]
    if min(before + after) < 0:
        return None
    kept = np.zeros([n * stride for n, stride in zip(counts, w.strides, strict=True)], np.float32)
    kept[:: w.strides[0], :: w.strides[1]] = 1
    return op.Mul(repeated(op, ct, w.strides), op.constant(kept)), before + after


def repeated(op: Emitter, tensor: gs.Tensor, times: Sequence[int]) -> gs.Tensor:
    """Every entry of [N, C, *grid] so many times along each axis of the grid."""
    return op.Resize(
        tensor,
        None,
        op.constant([1, 1, *times], np.float32),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
