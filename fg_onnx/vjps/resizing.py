"""Resize: an interpolation along every axis in turn, ``y = A_h x A_w^T``."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.axiswise import pull_along, require_size, size_of, unit_vectors, vector
from fg_onnx.vjps.table import Cotangents, Offset, vjp

_ROI, _SCALES, _SIZES = 1, 2, 3
_OWN = ("axes", "keep_aspect_ratio_policy", "extrapolation_value")


def _given(p: Primal, index: int) -> gs.Tensor | None:
    """An optional operand; an empty one is none."""
    operand = p.input(index)
    return None if isinstance(operand, gs.Constant) and operand.values.size == 0 else operand


def _axes(p: Primal) -> list[int]:
    """The axes that are resized, in the order of the scales or sizes."""
    rank = len(p.shape(p.x))
    return [axis % rank for axis in p.attrs.get("axes") or range(rank)]


def _crops(p: Primal) -> bool:
    return bool(p.attrs["coordinate_transformation_mode"] == "tf_crop_and_resize")


def _outside(op: Emitter, p: Primal) -> gs.Tensor:
    """The extrapolation value where it was taken: what is made of zeros."""
    return op.Resize(op.Mul(p.x, 0.0), *p.inputs[1:], **p.nodes[-1].attrs)


def _extrapolation(p: Primal) -> Offset | None:
    if not _crops(p) or p.attrs["extrapolation_value"] == 0.0:
        return None
    return Offset("bias", value=_outside)


@vjp("Resize", offset=_extrapolation)
def resize(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """A^T ct along every resized axis, A the interpolation; nearest by a whole factor: sums."""
    rank = len(p.shape(p.x))
    scales = _scales(p)
    if _repeats(p, scales):
        factors = [int(scale or 1) for scale in scales[2:]]
        (channels,) = p.sizes(p.x, [1])
        ones = op.constant(np.ones((channels, 1, *factors), dtype=p.x.dtype))
        ct_x = op.Conv(ct, ones, group=channels, kernel_shape=factors, strides=factors)
    else:
        ct_x = ct
        for index, axis in enumerate(_axes(p)):
            if scales[axis] != 1.0 or _crops(p):
                matrix = _interpolation(op, p, index, axis, scales)
                ct_x = pull_along(op, ct_x, matrix, axis, rank)
    return ct_x, *[None] * (len(p.inputs) - 1)


def _scales(p: Primal) -> list[float | None]:
    """The scale of every axis, None where it is not known."""
    found: list[float | None] = [1.0] * len(p.shape(p.x))
    policy = p.attrs.get("keep_aspect_ratio_policy", "stretch")
    given = _given(p, _SCALES)
    for index, axis in enumerate(_axes(p)):
        if given is not None:
            found[axis] = (
                _checked(p, axis, given.values[index]) if isinstance(given, gs.Constant) else None
            )
        else:
            before, after = p.shape(p.x)[axis], p.shape(p.y)[axis]
            if isinstance(before, int) and isinstance(after, int):
                found[axis] = float(np.float32(after / before))
            else:
                found[axis] = 1.0 if before is not None and before == after else None
    return found if policy == "stretch" else _in_proportion(p, policy, found)


def _checked(p: Primal, axis: int, scale: np.float32) -> float:
    """A scale, for which the runtime rounds the size down in float32."""
    size = p.shape(p.x)[axis]
    if isinstance(size, int):
        require_size(p, axis, int(np.floor(np.float32(size) * scale)))
    return float(scale)


def _in_proportion(p: Primal, policy: str, found: list[float | None]) -> list[float | None]:
    """One scale for all axes: that of the tightest or of the loosest."""
    sizes, axes = p.integers(_SIZES), _axes(p)
    if sizes is None:
        raise p.refusal(f"keep_aspect_ratio_policy `{policy}` is for sizes, and it has scales")
    ratios = np.divide(sizes, p.sizes(p.x, axes), dtype=np.float32)
    scale = ratios.min() if policy == "not_larger" else ratios.max()
    # The sizes are rounded here, where a plain scale rounds them down.
    if [int(np.floor(scale * n)) for n in p.sizes(p.x, axes)] != p.sizes(p.y, axes):
        raise p.refusal(f"`{policy}` rounds its sizes up, for which there is no rule")
    return [scale if axis in axes else one for axis, one in enumerate(found)]


def _repeats(p: Primal, scales: list[float | None]) -> bool:
    """Whether every pixel of an [N, C, ...] array becomes a block of equal pixels.

    With a whole factor s, output j = s i + r comes from i. Asymmetric coordinates are i + r / s,
    to be rounded down; half-pixel ones i + (r + 1/2) / s - 1/2, which lie nearest to i.
    """
    rank = len(scales)
    if p.attrs["mode"] != "nearest" or not 3 <= rank <= 5 or not isinstance(p.x.shape[1], int):
        return False
    if scales[:2] != [1.0, 1.0] or any(s is None or s < 1 or s % 1 for s in scales):
        return False
    if p.attrs["coordinate_transformation_mode"] == "asymmetric":
        return bool(p.attrs["nearest_mode"] == "floor")
    half_pixel = p.attrs["coordinate_transformation_mode"] in ("half_pixel", "half_pixel_symmetric")
    return half_pixel and p.attrs["nearest_mode"].startswith("round_prefer")


def _interpolation(
    op: Emitter, p: Primal, index: int, axis: int, scales: list[float | None]
) -> gs.Tensor:
    """The interpolation along an axis: every unit vector, as [n, 1, n, 1], resized likewise."""
    count = size_of(op, p, p.x, axis)
    units = op.Reshape(unit_vectors(op, count, p.x), vector(op, count, 1, count, 1))
    given = _given(p, _SCALES)
    width = 1
    operands: list[gs.Tensor | None]
    if given is not None:
        width = 2 if _alone_a_copy(p, axis, scales) else 1
        operands = [_framed(op, _entry(op, given, index), 1, width)]
    elif p.attrs.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        operands = [op.constant([1.0, 1.0, scales[axis], 1.0], np.float32)]
    else:
        operands = [None, vector(op, count, 1, _entry(op, p.operand(_SIZES), index), 1)]
    attrs = {name: value for name, value in p.nodes[-1].attrs.items() if name not in _OWN}
    resized = op.Resize(units, _region(op, p, index), *operands, **attrs)
    if width > 1:
        resized = op.Slice(resized, [0], [1], [3])
    return op.Reshape(resized, vector(op, count, -1))


def _alone_a_copy(p: Primal, axis: int, scales: list[float | None]) -> bool:
    """Whether the runtime interpolates along an axis, but may not where it is the only one.

    It copies where no axis changes its size, even if a scale of, say, 1.125 leaves 4 as it is.
    """
    others = [
        scale != 1.0 and (not isinstance(before, int) or before != after)
        for i, (scale, before, after) in enumerate(
            zip(scales, p.shape(p.x), p.shape(p.y), strict=True)
        )
        if i != axis
    ]
    scale = scales[axis]
    return any(others) and (scale is None or 1.0 < scale < 2.0)


def _entry(op: Emitter, operand: gs.Tensor, index: int) -> gs.Tensor:
    """One entry, as [1]."""
    if isinstance(operand, gs.Constant):
        return op.constant(operand.values[index : index + 1])
    return op.Slice(operand, [index], [index + 1], [0])


def _framed(op: Emitter, entry: gs.Tensor, before: float, after: float) -> gs.Tensor:
    """An entry for the third of four axes, among those for the others."""
    first, last = op.constant([before], entry.dtype), op.constant([after], entry.dtype)
    return op.Concat(first, first, entry, last, axis=0)


def _region(op: Emitter, p: Primal, index: int) -> gs.Tensor | None:
    """The region of interest along an axis, whole along the others."""
    region = _given(p, _ROI)
    if region is None or not _crops(p):
        return None
    start, end = (_entry(op, region, at) for at in (index, len(_axes(p)) + index))
    return op.Concat(_framed(op, start, 0, 0), _framed(op, end, 1, 1), axis=0)
