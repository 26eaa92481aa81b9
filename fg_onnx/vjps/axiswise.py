"""Linear maps along one axis, their matrices made by the operator itself.

Resizing, padding and cropping work on every axis in turn. The matrix of such a map is what the
operator makes of the unit vectors; so the adjoint takes exactly the entries that the runtime's own
kernel took, whatever its rounding. Where the size is static the runtime folds the matrix at load.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal

Size: TypeAlias = "int | gs.Tensor"
"""A number, or an int64 tensor [1] at run time."""


def size_of(op: Emitter, p: Primal, tensor: gs.Tensor, axis: int) -> Size:
    """The size along an axis."""
    shape = p.shape(tensor)
    size, axis = shape[axis], axis % len(shape)
    return size if isinstance(size, int) else op.Slice(op.Shape(tensor), [axis], [axis + 1], [0])


def vector(op: Emitter, *entries: Size) -> gs.Tensor:
    """Sizes side by side as int64: a constant where all are numbers."""
    if all(isinstance(entry, int) for entry in entries):
        return op.constant(entries, np.int64)
    parts = [op.constant([e], np.int64) if isinstance(e, int) else e for e in entries]
    return op.Concat(*parts, axis=0) if len(parts) > 1 else parts[0]


def require_size(p: Primal, axis: int, made: int) -> None:
    """Refuse a node of whose result another size is held than the runtime makes.

    Raises:
        UnsupportedModelError: the sizes differ.
    """
    held = p.shape(p.y)[axis]
    if isinstance(held, int) and held != made:
        raise p.refusal(
            f"ONNX's shape inference gives its axis {axis} the size {held}, ONNX Runtime {made}"
        )


def is_zero(size: Size) -> bool:
    """Whether a size is known to be 0."""
    return isinstance(size, int) and size == 0


def plus(op: Emitter, a: Size, b: Size) -> Size:
    """The sum of two sizes."""
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return op.Add(vector(op, a), vector(op, b))


def times(op: Emitter, a: Size, factor: int) -> Size:
    """A multiple of a size."""
    return a * factor if isinstance(a, int) else op.Mul(a, factor)


def positions(op: Emitter, count: Size) -> gs.Tensor:
    """0, 1, ... up to a count, in float32."""
    if isinstance(count, int):
        return op.constant(np.arange(count), np.float32)
    ones = op.Expand(op.constant([1.0], np.float32), count)
    return op.Sub(op.CumSum(ones, op.constant(0, np.int64)), 1.0)


def unit_vectors(op: Emitter, count: Size, like: gs.Tensor) -> gs.Tensor:
    """The identity matrix in the type of ``like``."""
    index = positions(op, count)
    apart = op.Sub(op.Unsqueeze(index, axes=[1]), op.Unsqueeze(index, axes=[0]))
    return op.mask(op.Less(op.Abs(apart), 0.5), like)


def pull_along(op: Emitter, ct: gs.Tensor, matrix: gs.Tensor, axis: int, rank: int) -> gs.Tensor:
    """The adjoint of a map along an axis; row i of ``matrix`` is what it makes of unit vector i."""
    if axis == rank - 1:
        return op.MatMul(ct, op.Transpose(matrix, perm=[1, 0]))
    if axis == rank - 2:
        return op.MatMul(matrix, ct)
    swapped = list(range(rank))
    swapped[axis], swapped[rank - 2] = rank - 2, axis
    return op.Transpose(op.MatMul(matrix, op.Transpose(ct, perm=swapped)), perm=swapped)


def pad_along(
    op: Emitter,
    tensor: gs.Tensor,
    axis: int,
    rank: int,
    before: Size,
    after: Size,
    value: float = 0.0,
) -> gs.Tensor:
    """A tensor with a border at both ends of an axis; a border of less than 0 is cut off."""
    if is_zero(before) and is_zero(after):
        return tensor
    pads: list[Size] = [0] * (2 * rank)
    pads[axis], pads[rank + axis] = before, after
    return op.Pad(tensor, vector(op, *pads), op.constant(value, tensor.dtype), mode="constant")
