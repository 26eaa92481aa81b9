"""The explained scalar and the cotangent it starts from.

``f(x) = sum_k seed_k y_k``: one-hot at a class index by default, or any cotangent that is fed.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from fg_onnx import manifest
from fg_onnx.emit import Emitter
from fg_onnx.errors import UnsupportedModelError

_TARGETS_DIM = "fg_targets"  # 1 or N: either one target for all images, or one for each


def by_target(op: Emitter, y: gs.Tensor) -> tuple[gs.Tensor, gs.Tensor]:
    """Add the input ``fg_target``; the score [N] and the one-hot cotangent in the shape of y.

    Raises:
        UnsupportedModelError: the number of scores per image is not known.
    """
    target = gs.Constant(manifest.TARGET, np.array([manifest.PREDICTED], dtype=np.int64))
    op.graph.inputs.append(target)
    rows = op.Flatten(y, axis=1)
    predicted = op.ArgMax(rows, axis=1, keepdims=0)
    index = op.Where(op.Less(target, 0), predicted, target)
    column = op.Unsqueeze(index, axes=[1])
    score = op.Reshape(op.GatherElements(rows, column, axis=1), [-1])
    # Relu(1 - |k - index|) is one-hot, exactly, in operators that every device has.
    classes = op.constant(np.arange(_scores(y))[None, :], y.dtype)
    distance = op.Abs(op.Sub(classes, op.mask(column, y)))
    seed = op.Relu(op.Sub(1.0, distance))
    return score, seed if len(y.shape) == len(classes.shape) else op.reshape_like(seed, y)


def by_cotangent(op: Emitter, y: gs.Tensor) -> tuple[gs.Tensor, gs.Tensor]:
    """Add the input ``fg_seed`` in the shape of y; the score [N] and the seed itself."""
    seed = gs.Variable(manifest.SEED, y.dtype, y.shape)
    op.graph.inputs.append(seed)
    rows = op.Flatten(op.Mul(seed, y), axis=1)
    return op.ReduceSum(rows, axes=[1], keepdims=0), seed


def loosen_target(proto: onnx.ModelProto) -> None:
    """Declare ``fg_target`` of free length, although its default has one entry."""
    for value in proto.graph.input:
        if value.name == manifest.TARGET:
            value.type.tensor_type.shape.dim[0].dim_param = _TARGETS_DIM


def _scores(y: gs.Tensor) -> int:
    dims = y.shape[1:]
    if not all(isinstance(dim, int) for dim in dims):
        raise UnsupportedModelError(
            "unknown-classes",
            f"the number of scores per image in `{y.name}` is not known: {y.shape}",
            "explain it through --seed",
        )
    return int(np.prod(dims, dtype=np.int64))
