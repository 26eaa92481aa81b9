"""RoiAlign by averages: each region sampled on a grid of its own, between the pixels.

Sampling is an interpolation along each axis, so for every region ``y = A x B^T``; the matrices
are made at run time from the region.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.axiswise import positions, size_of, vector
from fg_onnx.vjps.table import Cotangents, refuse, vjp

refuse("which pixel of a region was the largest its output does not tell", "MaxRoiPool")


@vjp("RoiAlign", axes="channels-first")
def roi_align(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """A^T ct B for every region, added up by image."""
    if p.attrs["mode"] != "avg":
        raise p.refusal("mode `max` has no rule")
    if not p.attrs["sampling_ratio"]:
        raise p.refusal("with a sampling_ratio of 0 the size of a region decides its samples")
    if p.wants(1):
        raise p.refusal("its regions depend on the explained input")
    height, width = p.sizes(p.x, [2, 3])
    (channels,) = p.sizes(p.x, [1])
    rows = _samples(op, p, 1, p.attrs["output_height"], height)
    columns = _samples(op, p, 0, p.attrs["output_width"], width)
    of_regions = op.MatMul(op.Transpose(rows, perm=[0, 1, 3, 2]), op.MatMul(ct, columns))
    images = op.Unsqueeze(positions(op, size_of(op, p, p.x, 0)), axes=[1])
    owners = op.Cast(p.operand(2), to=onnx.TensorProto.FLOAT)
    owned = op.mask(op.Less(op.Abs(op.Sub(images, owners)), 0.5), ct)
    added = op.MatMul(owned, op.Reshape(of_regions, [-1, channels * height * width]))
    return op.Reshape(added, vector(op, -1, channels, height, width)), None, None


def _samples(op: Emitter, p: Primal, first: int, bins: int, size: int) -> gs.Tensor:
    """The interpolation along an axis [R, 1, bins, size], averaged over the samples of each bin.

    ``first`` is the column of the regions that holds their beginning; the end lies two on.
    """
    half = 0.5 if p.attrs["coordinate_transformation_mode"] == "half_pixel" else 0.0
    regions, count = op.cast(p.operand(1), p.x.dtype), int(p.attrs["sampling_ratio"])
    start, end = (
        op.Sub(op.Mul(op.Slice(regions, [i], [i + 1], [1]), p.attrs["spatial_scale"]), half)
        for i in (first, first + 2)
    )
    extent = op.Sub(end, start)
    if not half:
        extent = op.Clip(extent, 1.0)
    parts = (np.arange(bins * count) + 0.5) / (bins * count)
    at = op.Add(start, op.Mul(extent, op.constant(parts, p.x.dtype)))  # [R, bins * count]
    reached = op.Mul(
        op.mask(op.GreaterOrEqual(at, -1.0), at), op.mask(op.LessOrEqual(at, float(size)), at)
    )
    held = op.Unsqueeze(op.Clip(at, 0.0, size - 1.0), axes=[2])
    away = op.Abs(op.Sub(held, op.constant(np.arange(size), p.x.dtype)))
    weights = op.Mul(op.Relu(op.Sub(1.0, away)), op.Unsqueeze(reached, axes=[2]))
    apart = op.Reshape(weights, [-1, bins, count, size])
    return op.Unsqueeze(op.ReduceMean(apart, axes=[2], keepdims=0), axes=[1])
