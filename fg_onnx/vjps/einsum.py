"""Einsum: a product of operands, summed over the labels that the result lacks.

It is linear in each operand ``u``, and so ``ct_u`` is the Einsum of ``ct`` and the other operands,
with the labels of ``u`` as those of the result. Labels that nothing but ``u`` has are repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from string import ascii_letters

import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.table import IMPLICIT, Cotangents, Offset, vjp


@dataclass(frozen=True)
class Equation:
    """One letter for every axis of every operand and of the result; no ellipsis."""

    operands: tuple[str, ...]
    result: str


def equation(p: Primal) -> Equation:
    """The equation of a node, its ellipses and an implied result written out."""
    text = p.attrs["equation"].replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if not arrow:
        letters = sorted(set(left) - set(",."))
        right = "..." * ("..." in left) + "".join(x for x in letters if left.count(x) == 1)
    free = (letter for letter in ascii_letters if letter not in text)
    # Every ellipsis stands for the same axes.
    hidden = max(
        len(p.shape(operand)) - len(term.replace("...", ""))
        for term, operand in zip(terms, p.inputs, strict=True)
    )
    axes = "".join(islice(free, hidden))
    return Equation(tuple(term.replace("...", axes) for term in terms), right.replace("...", axes))


def _offset(p: Primal) -> Offset | None:
    return IMPLICIT if sum(p.active) > 1 else None


def _term(op: Emitter, p: Primal, ct: gs.Tensor, _: Cotangents) -> gs.Tensor:
    # Of degree n in n active operands: y - n y.
    return op.Mul(op.Mul(ct, p.y), 1.0 - sum(p.active))


@vjp("Einsum", offset=_offset, term=_term, axes="new")
def einsum(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
    """The Einsum of ct with the other operands, in the labels of the operand."""
    found = equation(p)
    return [_pulled(op, p, ct, found, i) if p.wants(i) else None for i in range(len(p.inputs))]


def _pulled(op: Emitter, p: Primal, ct: gs.Tensor, found: Equation, index: int) -> gs.Tensor:
    own, operand = found.operands[index], p.operand(index)
    if len(set(own)) < len(own):
        raise p.refusal(f"it takes a diagonal of `{operand.name}`")
    others = [i for i in range(len(p.inputs)) if i != index]
    terms = [found.result, *(found.operands[i] for i in others)]
    # Where the operand was broadcast, the others are longer: their sum is taken.
    dims = dict(zip(own, p.shape(operand), strict=True))
    kept = [x for x in own if any(x in term for term in terms)]
    kept = [x for x in kept if dims[x] != 1 or not _is_longer(p, found, x)]
    text = f"{','.join(terms)}->{''.join(kept)}"
    pulled = op.Einsum(ct, *(p.operand(i) for i in others), equation=text)
    missing = [axis for axis, x in enumerate(own) if x not in kept]
    if not missing:
        return pulled
    pulled = op.Unsqueeze(pulled, axes=missing)
    return op.Expand(pulled, op.shape(operand))


def _is_longer(p: Primal, found: Equation, letter: str) -> bool:
    """Whether any operand or the result is longer than 1 along a label."""
    tensors = zip((*found.operands, found.result), (*p.inputs, p.y), strict=True)
    return any(
        letter in term and p.shape(tensor)[term.index(letter)] != 1
        for term, tensor in tensors
        if tensor is not None
    )
