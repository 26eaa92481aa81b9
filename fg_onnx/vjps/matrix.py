"""Matrix products."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from fg_onnx.emit import Emitter
from fg_onnx.primal import Primal
from fg_onnx.vjps.table import IMPLICIT, Cotangents, Offset, vjp


def _gemm_offset(p: Primal) -> Offset | None:
    if p.wants(0) == p.wants(1):  # a product of two actives, or of two constants
        return IMPLICIT
    if p.input(2) is None or p.wants(2):
        return None
    return Offset("bias", operand=2, scale=p.attrs["beta"])


@vjp("Gemm", offset=_gemm_offset, axes="new")
def gemm(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """y = alpha A B + beta C: alpha ct B^T, alpha A^T ct, beta ct."""
    a, b = p.inputs[:2]
    alpha, ta, tb = p.attrs["alpha"], int(p.attrs["transA"] != 0), int(p.attrs["transB"] != 0)
    cts: list[gs.Tensor | None] = [None, None, None]
    if p.wants(0):
        cts[0] = (
            op.Gemm(b, ct, alpha=alpha, transA=tb, transB=1)
            if ta
            else op.Gemm(ct, b, alpha=alpha, transB=1 - tb)
        )
    if p.wants(1):
        cts[1] = (
            op.Gemm(ct, a, alpha=alpha, transA=1, transB=ta)
            if tb
            else op.Gemm(a, ct, alpha=alpha, transA=1 - ta)
        )
    if p.wants(2):
        scaled = ct if p.attrs["beta"] == 1.0 else op.Mul(ct, p.attrs["beta"])
        cts[2] = op.sum_to(scaled, p.shape(p.y), p.inputs[2])
    return cts


def _transposed(op: Emitter, p: Primal, tensor: gs.Tensor) -> gs.Tensor:
    rank = len(p.shape(tensor))
    return op.Transpose(tensor, perm=[*range(rank - 2), rank - 1, rank - 2])


@vjp("MatMul", offset=lambda p: IMPLICIT if all(p.active) else None, axes="product")
def matmul(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """y = A B, stacks of matrices: ct B^T and A^T ct, summed where A or B was broadcast."""
    a, b = p.inputs
    rank_a, rank_b = len(p.shape(a)), len(p.shape(b))
    if min(rank_a, rank_b) < 2:
        raise p.refusal("an operand is a vector")
    batch = p.shape(p.y)[:-2]
    cts: list[gs.Tensor | None] = [None, None]
    if p.wants(0):
        full = op.MatMul(ct, _transposed(op, p, b))
        cts[0] = op.sum_to(full, [*batch, *p.shape(a)[-2:]], a)
    if p.wants(1):
        full = op.MatMul(_transposed(op, p, a), ct)
        cts[1] = op.sum_to(full, [*batch, *p.shape(b)[-2:]], b)
    return cts
