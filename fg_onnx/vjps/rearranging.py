"""Operators between channels and space."""

from __future__ import annotations

import math

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.axiswise import size_of, vector
from fg_onnx.vjps.table import Cotangents, vjp


@vjp("DepthToSpace", axes="channels-first")
def depth_to_space(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct, space put back into depth."""
    b = p.attrs["blocksize"]
    channels = p.sizes(p.x, [1])[0] // b**2
    height, width = (size_of(op, p, p.x, axis) for axis in (2, 3))
    blocks = op.Reshape(ct, vector(op, -1, channels, height, b, width, b))
    perm = [0, 3, 5, 1, 2, 4] if p.attrs["mode"] == "DCR" else [0, 1, 3, 5, 2, 4]
    return (op.reshape_like(op.Transpose(blocks, perm=perm), p.x),)


@vjp("SpaceToDepth", axes="channels-first")
def space_to_depth(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct, depth put back into space."""
    mode = p.attrs.get("mode", "DCR")  # an attribute since opset 28
    return (op.DepthToSpace(ct, blocksize=p.attrs["blocksize"], mode=mode),)


@vjp("Col2Im", axes="new")
def col_to_im(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """The blocks of ct side by side, as im2col: a convolution with one-hot kernels."""
    block = p.integers(2) or []
    many = math.prod(block)
    channels = p.sizes(p.x, [1])[0] // many
    taps = np.eye(many, dtype=p.x.dtype).reshape(many, 1, *block)
    columns = op.Conv(
        ct,
        op.constant(np.tile(taps, (channels, *[1] * (1 + len(block))))),
        dilations=p.attrs.get("dilations") or [1] * len(block),
        group=channels,
        kernel_shape=block,
        pads=p.attrs.get("pads") or [0] * (2 * len(block)),
        strides=p.attrs.get("strides") or [1] * len(block),
    )
    return op.reshape_like(columns, p.x), None, None


@vjp("MaxUnpool", axes="channels-first")
def max_unpool(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct at the indices."""
    if p.input(2) is not None:
        raise p.refusal("runtimes disagree on what its indices mean for a given output_shape")
    return op.Gather(op.Reshape(ct, [-1]), p.inputs[1], axis=0), None
