"""Operators that pick values by index, or put them there: each is the adjoint of another.

Indices that are constants become a constant matrix of zeros and ones. Where indices are known only
at run time the adjoint has to add into them, for which ONNX has ScatterElements and ScatterND.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.table import Cotangents, Offset, vjp

_LARGEST_MATRIX = 2**20  # entries; beyond it, adding into indices takes less memory


def _zeros(op: Emitter, like: gs.Tensor) -> gs.Tensor:
    return op.Expand(op.constant(0.0, like.dtype), op.shape(like))


# --- along one axis ------------------------------------------------------------------------------


@vjp("Gather", axes="new")
def gather(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct added up at the indices it was gathered from."""
    indices = p.operand(1)
    rank, count = len(p.shape(p.x)), len(p.shape(indices))
    axis = p.attrs["axis"] % rank
    if count == 0:
        ct = op.Unsqueeze(ct, axes=[axis])
    elif count > 1:
        ct = op.regroup(ct, rank - 1 + count, axis, count, [-1])
    if isinstance(indices, gs.Constant):
        return _put(op, p, ct, axis, np.asarray(indices.values).reshape(-1)), None
    return _put_at_run_time(op, p, ct, axis, op.Reshape(indices, [-1])), None


def _put(op: Emitter, p: Primal, ct: gs.Tensor, axis: int, indices: np.ndarray) -> gs.Tensor:
    """An array like x, ``ct[.., k, ..]`` added at ``indices[k]`` along an axis."""
    (size,) = p.sizes(p.x, [axis])
    if indices.size * size > _LARGEST_MATRIX:
        return _put_at_run_time(op, p, ct, axis, op.constant(indices, np.int64))
    rank = len(p.shape(p.x))
    chosen = np.eye(size, dtype=p.x.dtype)[indices]
    if axis == rank - 2:
        return op.MatMul(op.constant(chosen.T), ct)
    last = [*(i for i in range(rank) if i != axis), axis]
    there = op.MatMul(op.Transpose(ct, perm=last), op.constant(chosen))
    return op.Transpose(there, perm=[int(i) for i in np.argsort(last)])


def _put_at_run_time(
    op: Emitter, p: Primal, ct: gs.Tensor, axis: int, indices: gs.Tensor
) -> gs.Tensor:
    rank = len(p.shape(p.x))
    along = op.Reshape(indices, [-1 if i == axis else 1 for i in range(rank)])
    everywhere = op.Expand(along, op.Shape(ct))
    return op.ScatterElements(_zeros(op, p.x), everywhere, ct, axis=axis, reduction="add")


@vjp("Compress", axes="new")
def compress(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct at the positions that were kept, 0 elsewhere; for a constant condition."""
    condition = p.inputs[1]
    if not isinstance(condition, gs.Constant):
        raise p.refusal("its condition is computed at run time, and so is the size of its output")
    kept = np.flatnonzero(condition.values)
    rank, axis = len(p.shape(p.x)), p.attrs.get("axis")
    if axis is not None:
        return _put(op, p, ct, axis % rank, kept), None
    size = int(np.prod(p.sizes(p.x, range(rank))))
    there = op.ScatterElements(
        op.constant(np.zeros(size, p.x.dtype)), op.constant(kept, np.int64), ct, axis=0
    )
    return op.reshape_like(there, p.x), None


@vjp("TopK", axes="new")
def top_k(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct at the indices that were chosen, 0 elsewhere."""
    indices = p.outputs[1]
    if indices is None:
        raise p.refusal("its indices are left out")
    return op.ScatterElements(_zeros(op, p.x), indices, ct, axis=p.attrs["axis"]), None


# --- anywhere ------------------------------------------------------------------------------------


@vjp("GatherElements", axes="new")
def gather_elements(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct added up at the indices it was gathered from."""
    there = op.ScatterElements(
        _zeros(op, p.x), p.inputs[1], ct, axis=p.attrs["axis"], reduction="add"
    )
    return there, None


@vjp("GatherND", axes="new")
def gather_nd(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct added up at the indices it was gathered from."""
    indices, batch = p.operand(1), p.attrs["batch_dims"]
    rank = len(p.shape(indices))
    if batch:
        # ScatterND knows no batch: its axes become indices, counted up along each of them.
        ones = op.Expand(op.constant([1]), op.Shape(op.Slice(indices, [0], [1], [rank - 1])))
        places = [
            op.CumSum(ones, op.constant(axis, np.int64), exclusive=1) for axis in range(batch)
        ]
        indices = op.Concat(*places, indices, axis=-1)
    return op.ScatterND(_zeros(op, p.x), indices, ct, reduction="add"), None


@dataclass(frozen=True)
class _Indexing:
    """Scatter and Gather of one kind: by elements along an axis, or by whole indices."""

    by_elements: bool
    axis: int

    def scatter(
        self,
        op: Emitter,
        data: gs.Tensor,
        indices: gs.Tensor,
        updates: gs.Tensor,
        reduction: str = "none",
    ) -> gs.Tensor:
        if self.by_elements:
            return op.ScatterElements(data, indices, updates, axis=self.axis, reduction=reduction)
        return op.ScatterND(data, indices, updates, reduction=reduction)

    def gather(self, op: Emitter, data: gs.Tensor, indices: gs.Tensor) -> gs.Tensor:
        if self.by_elements:
            return op.GatherElements(data, indices, axis=self.axis)
        return op.GatherND(data, indices)


def _indexing(p: Primal) -> _Indexing:
    return _Indexing(p.op_type == "ScatterElements", p.attrs.get("axis", 0))


def _scatter_offset(p: Primal) -> Offset | None:
    constant = [p.operand(index) for index in (0, 2) if not p.wants(index)]
    if p.attrs["reduction"] == "mul" or all(
        isinstance(u, gs.Constant) and not np.any(u.values) for u in constant
    ):
        return None
    return Offset("bias", value=_constant_part)


def _constant_part(op: Emitter, p: Primal) -> gs.Tensor:
    """What of the result comes from the operand that carries no cotangent."""
    reduction = p.attrs["reduction"]
    data, indices, updates = p.inputs
    if reduction in ("max", "min"):
        shares = _extreme_shares(op, p)
        if p.wants(0):
            won = op.Mul(shares[1], updates)
            return _indexing(p).scatter(op, _zeros(op, data), indices, won, "add")
        return op.Mul(shares[0], data)
    kept = _zeros(op, data) if p.wants(0) else data
    put = _zeros(op, updates) if p.wants(2) else updates
    return _indexing(p).scatter(op, kept, indices, put, reduction)


def _extreme_shares(op: Emitter, p: Primal) -> tuple[gs.Tensor, gs.Tensor]:
    """1 where data, and where updates win; 1/n where n of them tie."""
    compare = op.GreaterOrEqual if p.attrs["reduction"] == "max" else op.LessOrEqual
    data, indices, updates = p.inputs
    how = _indexing(p)
    kept = op.mask(compare(data, p.y), p.y)
    put = op.mask(compare(updates, how.gather(op, p.y, indices)), p.y)
    count = how.scatter(op, kept, indices, put, "add")
    return op.Div(kept, count), op.Div(put, how.gather(op, count, indices))


@vjp("ScatterElements", "ScatterND", offset=_scatter_offset)
def scatter(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """ct where data was kept, and at the indices for what was put there; ties share."""
    _, indices, updates = p.inputs
    how, reduction = _indexing(p), p.attrs["reduction"]
    if reduction == "mul":
        if p.wants(2):
            raise p.refusal("what it multiplies by depends on the explained input")
        return how.scatter(op, ct, indices, updates, "mul"), None, None
    there = how.gather(op, ct, indices) if p.wants(2) else None
    if reduction in ("max", "min"):
        kept, put = _extreme_shares(op, p)
        return op.Mul(ct, kept), None, None if there is None else op.Mul(there, put)
    if reduction == "add":
        return ct, None, there
    return how.scatter(op, ct, indices, _zeros(op, updates)), None, there
