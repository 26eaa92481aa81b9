"""Maps at the size of the input: linear interpolation along every axis, in graph operators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter, is_static
from fg_onnx.grid.layout import Layout
from fg_onnx.manifest import Dim

# For a larger map the products of the CPU take longer than its Resize, which has one thread for
# each channel: measured from 7 to 512 positions along an axis, towards 224 to 1024.
_MOST_BY_MATRICES = 112


def resized(
    op: Emitter,
    tensor: gs.Tensor,
    size: Sequence[Dim],
    x: gs.Tensor,
    layout: Layout,
    coordinates: str,
) -> gs.Tensor:
    """[N, 1, *size], float32, at the size of the input ``x``, linear along every axis.

    A number that is none makes more than its neighbours so, where products are taken.
    ``coordinates`` is the ``coordinate_transformation_mode`` of ONNX's Resize,
    https://onnx.ai/onnx/operators/onnx__Resize.html.
    """
    dims = [*size, *layout.grid(x.shape)]
    known = [dim for dim in dims if isinstance(dim, int)]
    if len(known) == len(dims) == 4 and max(known[:2]) <= _MOST_BY_MATRICES:
        return _by_matrices(op, tensor, known, coordinates)
    return _by_resize(op, tensor, x, layout, coordinates)


def _by_matrices(
    op: Emitter, tensor: gs.Tensor, sizes: Sequence[int], coordinates: str
) -> gs.Tensor:
    """A product for each axis, by what Resize makes of the identity: runtimes fold that."""
    height, width, high, wide = sizes
    rows = _identity_resized(op, height, [high, height], coordinates)
    columns = _identity_resized(op, width, [width, wide], coordinates)
    return op.MatMul(op.MatMul(rows, tensor), columns)


def _identity_resized(op: Emitter, count: int, shape: Sequence[int], coordinates: str) -> gs.Tensor:
    """The matrix of an interpolation, of ``shape``."""
    identity = op.constant(np.eye(count, dtype=np.float32)[None, None])
    sizes = op.constant([1, 1, *shape], np.int64)
    return op.Reshape(_linear(op, identity, sizes, coordinates), list(shape))


def _by_resize(
    op: Emitter, tensor: gs.Tensor, x: gs.Tensor, layout: Layout, coordinates: str
) -> gs.Tensor:
    """Of any rank, and of sizes that are known at run time alone."""
    dims = op.shape(x)
    batch = op.Slice(dims, [0], [1], [0])
    size = layout.grid(x.shape)
    # Along one axis alone not every device resizes: a height of 1 makes two of it.
    flat = len(size) == 1
    ones = [1, 1] if flat else [1]
    if is_static(size):
        sizes = op.Concat(batch, op.constant([*ones, *size]), axis=0)
    else:
        grid = op.Gather(dims, op.constant(list(layout.spatial)), axis=0)
        sizes = op.Concat(batch, op.constant(ones), grid, axis=0)
    found = _linear(op, op.Unsqueeze(tensor, axes=[2]) if flat else tensor, sizes, coordinates)
    return op.Squeeze(found, axes=[2]) if flat else found


def _linear(op: Emitter, tensor: gs.Tensor, sizes: gs.Tensor, coordinates: str) -> gs.Tensor:
    return op.Resize(
        tensor, None, None, sizes, mode="linear", coordinate_transformation_mode=coordinates
    )
