"""The explained scalar and the cotangent it starts from.

``f(x) = sum_k seed_k y_k``: one-hot at a class index by default, or any cotangent that is fed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from fg_onnx import manifest
from fg_onnx.errors import UnsupportedModelError
from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.views import Views
from fg_onnx.manifest import Dim

_TARGETS_DIM = "fg_targets"  # 1 or N: either one target for all images, or one for each
_MOST_AT_ONCE = 4096  # scores; a larger one-hot is the product of two


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


def by_target(op: Emitter, views: Views, x: gs.Tensor, y: gs.Tensor) -> Seeding:
    """Add the input ``fg_target`` and start from a one-hot cotangent.

    Raises:
        UnsupportedModelError: the number of scores per image is not known.
    """
    target = gs.Constant(manifest.TARGET, np.array([manifest.PREDICTED], dtype=np.int64))
    op.graph.inputs.append(target)
    y = views.of(y)
    rows = _rows(op, x, y, y)
    predicted = op.ArgMax(rows, axis=1, keepdims=0)
    index = op.Where(op.Less(target, 0), predicted, target)
    column = op.Unsqueeze(index, axes=[1])
    score = op.Reshape(op.GatherElements(rows, column, axis=1), [-1])
    count = scores_per_image(x, y)
    if count is None:
        raise UnsupportedModelError(
            "unknown-classes",
            f"the number of scores per image in `{y.name}` is not known: {y.shape}",
            "explain it through --seed",
        )
    seed = _one_hot(op, column, count, y)
    ct = seed if len(y.shape) == 2 and not _is_alone(x, y) else op.reshape_like(seed, y)
    return Seeding(score, ct, op.Reshape(index, [-1]))


def _one_hot(op: Emitter, column: gs.Tensor, count: int, like: gs.Tensor) -> gs.Tensor:
    """[N, count], in operators that every device has; the indices are [N, 1].

    ``Relu(1 - |k - index|)`` is one-hot, exactly. Dense outputs have too many scores to list: there
    the index counts rows of a square and places in a row, and the two are multiplied.
    """
    if count <= _MOST_AT_ONCE:
        places = op.constant(np.arange(count)[None, :], like.dtype)
        return op.Relu(op.Sub(1.0, op.Abs(op.Sub(places, op.mask(column, like)))))
    side = math.isqrt(count - 1) + 1
    row = op.Div(column, side)
    place = op.Sub(column, op.Mul(row, side))
    down, across = (_one_hot(op, part, side, like) for part in (row, place))
    square = op.Mul(op.Unsqueeze(down, axes=[2]), op.Unsqueeze(across, axes=[1]))
    return op.Slice(op.Flatten(square, axis=1), [0], [count], [1])


def _rows(op: Emitter, x: gs.Tensor, y: gs.Tensor, values: gs.Tensor) -> gs.Tensor:
    """Values in the shape of y as [N, scores]."""
    return op.Reshape(values, [1, -1]) if _is_alone(x, y) else op.Flatten(values, axis=1)


def _is_alone(x: gs.Tensor, y: gs.Tensor) -> bool:
    """Whether y is all of one image's scores, without a dimension for the batch."""
    return x.shape[0] == 1 and (not y.shape or (isinstance(y.shape[0], int) and y.shape[0] != 1))


def by_cotangent(op: Emitter, views: Views, x: gs.Tensor, y: gs.Tensor) -> Seeding:
    """Add the input ``fg_seed`` in the shape and type of y and start from it."""
    seed = gs.Variable(manifest.SEED, y.dtype, y.shape)
    op.graph.inputs.append(seed)
    ct = views.of(seed)
    rows = _rows(op, x, y, op.Mul(ct, views.of(y)))
    return Seeding(op.ReduceSum(rows, axes=[1], keepdims=0), ct, None)


def probability(
    op: Emitter, x: gs.Tensor, y: gs.Tensor, seeding: Seeding, class_axis: int | None
) -> gs.Tensor:
    """[N]: the softmax of y's scores over the classes at the target, or the sigmoid of one score.

    Args:
        op: writes it.
        x: the explained input.
        y: the explained tensor.
        seeding: by a target.
        class_axis: of one image's scores; None: there is a single one.
    """
    assert seeding.index is not None
    if class_axis is None or score_shape(x, y)[class_axis] == 1:
        return op.Sigmoid(seeding.score)
    soft = op.Softmax(y, axis=class_axis - len(score_shape(x, y)))
    column = op.Unsqueeze(seeding.index, axes=[1])
    return op.Reshape(op.GatherElements(_rows(op, x, y, soft), column, axis=1), [-1])


def loosen_target(proto: onnx.ModelProto) -> None:
    """Declare ``fg_target`` of free length, although its default has one entry."""
    for value in proto.graph.input:
        if value.name == manifest.TARGET:
            value.type.tensor_type.shape.dim[0].dim_param = _TARGETS_DIM


def scores_per_image(x: gs.Tensor, y: gs.Tensor) -> int | None:
    """How many scores an image of ``x`` has in ``y``, None where that is not known."""
    dims = score_shape(x, y)
    static = [dim for dim in dims if isinstance(dim, int)]
    return math.prod(static) if len(static) == len(dims) else None


def score_shape(x: gs.Tensor, y: gs.Tensor) -> tuple[Dim, ...]:
    """The shape of one image's scores in ``y``."""
    return tuple(y.shape if _is_alone(x, y) else y.shape[1:])
