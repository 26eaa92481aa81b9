"""Matrix products."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.table import IMPLICIT, Cotangents, Offset, vjp


def _gemm_offset(p: Primal) -> tuple[Offset, ...]:
    constant = p.input(2) is not None and not p.wants(2)
    bias = [Offset("bias", operand=2, scale=p.attrs["beta"])] if constant else []
    product = [IMPLICIT] if p.wants(0) == p.wants(1) else []  # of two actives, or two constants
    return (*bias, *product)


def _gemm_term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
    """The product: itself where it is constant, less twice itself where both factors are active."""
    term = op.Mul(ct, _product(op, p))
    return op.Neg(term) if p.wants(0) else term


def _product(op: Emitter, p: Primal) -> gs.Tensor:
    if p.input(2) is None:
        return p.y
    return op.Sub(p.y, op.Mul(p.inputs[2], p.attrs["beta"]))


@vjp("Gemm", offset=_gemm_offset, term=_gemm_term, axes="new")
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


def _transposed(op: Emitter, tensor: gs.Tensor, rank: int) -> gs.Tensor:
    return op.Transpose(tensor, perm=[*range(rank - 2), rank - 1, rank - 2])


@vjp(
    "MatMul",
    offset=lambda p: IMPLICIT if all(p.active) else None,
    term=lambda op, p, ct, _: op.Neg(op.Mul(ct, p.y)),  # of two active factors, y - 2y
    axes="product",
)
def matmul(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """y = A B, stacks of matrices: ct B^T and A^T ct, summed where A or B was broadcast."""
    a, b = p.inputs
    shape_a, shape_b = p.shape(a), p.shape(b)
    batch = p.shape(p.y)[: max(len(shape_a), len(shape_b), 2) - 2]
    # A vector is a row in the place of A, a column in the place of B.
    if len(shape_a) == 1:
        ct, a, shape_a = (
            op.Unsqueeze(ct, axes=[len(batch)]),
            op.Unsqueeze(a, axes=[0]),
            [1, *shape_a],
        )
    if len(shape_b) == 1:
        ct, b, shape_b = op.Unsqueeze(ct, axes=[-1]), op.Unsqueeze(b, axes=[1]), [*shape_b, 1]
    cts: list[gs.Tensor | None] = [None, None]
    if p.wants(0):
        full = op.MatMul(ct, _transposed(op, b, len(shape_b)))
        cts[0] = op.sum_to(full, [*batch, *shape_a[-2:]], p.operand(0))
    if p.wants(1):
        full, shape = op.MatMul(_transposed(op, a, len(shape_a)), ct), [*batch, *shape_b[-2:]]
        if len(p.shape(p.operand(1))) == 1:
            full, shape = op.Squeeze(full, axes=[-1]), shape[:-1]
        cts[1] = op.sum_to(full, shape, p.operand(1))
    return cts
