"""The explained scalar and the cotangent it starts from.

``f(x) = sum_k seed_k y_k``: one-hot at a class index by default, or any cotangent that is fed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from fg_onnx import manifest
from fg_onnx.emit import Emitter, is_static
from fg_onnx.errors import UnsupportedModelError
from fg_onnx.views import Views

_TARGETS_DIM = "fg_targets"  # 1 or N: either one target for all images, or one for each


@dataclass(frozen=True, eq=False)
class Seeding:
    """What is explained.

    Attributes:
        score: [N], the explained scalar.
        cotangent: in the shape of the explained tensor.
        index: int64 [N], the index that is explained; None under a free cotangent.
    """

    score: gs.Tensor
    cotangent: gs.Tensor
    index: gs.Tensor | None


def by_target(op: Emitter, views: Views, y: gs.Tensor) -> Seeding:
    """Add the input ``fg_target`` and start from a one-hot cotangent.

    Raises:
        UnsupportedModelError: the number of scores per image is not known.
    """
    target = gs.Constant(manifest.TARGET, np.array([manifest.PREDICTED], dtype=np.int64))
    op.graph.inputs.append(target)
    y = views.of(y)
    rows = op.Flatten(y, axis=1)
    predicted = op.ArgMax(rows, axis=1, keepdims=0)
    index = op.Where(op.Less(target, 0), predicted, target)
    column = op.Unsqueeze(index, axes=[1])
    score = op.Reshape(op.GatherElements(rows, column, axis=1), [-1])
    # Relu(1 - |k - index|) is one-hot, exactly, in operators that every device has.
    count = scores_per_image(y)
    if count is None:
        raise UnsupportedModelError(
            "unknown-classes",
            f"the number of scores per image in `{y.name}` is not known: {y.shape}",
            "explain it through --seed",
        )
    most = _most_scores(y.dtype)
    if count > most:
        raise UnsupportedModelError(
            "too-many-classes",
            f"`{y.name}` has {count} scores per image, and {np.dtype(y.dtype)} tells {most} apart",
            "explain it through --seed",
        )
    classes = op.constant(np.arange(count)[None, :], y.dtype)
    distance = op.Abs(op.Sub(classes, op.mask(column, y)))
    seed = op.Relu(op.Sub(1.0, distance))
    ct = seed if len(y.shape) == len(classes.shape) else op.reshape_like(seed, y)
    return Seeding(score, ct, op.Reshape(index, [-1]))


def by_cotangent(op: Emitter, views: Views, y: gs.Tensor) -> Seeding:
    """Add the input ``fg_seed`` in the shape and type of y and start from it."""
    seed = gs.Variable(manifest.SEED, y.dtype, y.shape)
    op.graph.inputs.append(seed)
    ct = views.of(seed)
    rows = op.Flatten(op.Mul(ct, views.of(y)), axis=1)
    return Seeding(op.ReduceSum(rows, axes=[1], keepdims=0), ct, None)


def _most_scores(dtype: np.dtype[Any]) -> int:
    """How many whole numbers from 0 on a float can tell apart."""
    return int(2.0 / np.finfo(dtype).eps)


def loosen_target(proto: onnx.ModelProto) -> None:
    """Declare ``fg_target`` of free length, although its default has one entry."""
    for value in proto.graph.input:
        if value.name == manifest.TARGET:
            value.type.tensor_type.shape.dim[0].dim_param = _TARGETS_DIM


def scores_per_image(y: gs.Tensor) -> int | None:
    """How many scores an image has in ``y``, None where that is not known."""
    if y.shape is None or not is_static(y.shape[1:]):
        return None
    return math.prod(int(dim) for dim in y.shape[1:])
