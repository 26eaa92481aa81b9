"""Equations of one, two and three operands."""

from __future__ import annotations

from ..harness import NEWEST, Case, Live, Operand
from .making import exact, live, weight


def _einsum(equation: str, *operands: Operand, note: str = "", **settings: object) -> Case:
    found = exact if sum(isinstance(o, Live) for o in operands) < 3 else None
    assert found is not None
    name = equation.replace("->", "=").replace(",", "+").replace(" ", "") + note
    return found("Einsum", *operands, note=name, equation=equation, **settings)


EINSUM = [
    _einsum("ij->ji", live(2, 3)),
    _einsum("ij->i", live(2, 3)),
    _einsum("ij->", live(2, 3)),
    _einsum("bji", live(2, 3, 4)),
    _einsum("ij,jk->ik", live(2, 3), weight(3, 4)),
    _einsum("ij,jk->ik", live(2, 3), live(3, 4), note="-both"),
    _einsum("ij,jk", live(2, 3), live(3, 4), opset=NEWEST),
    _einsum("i,i->", live(3), live(3)),
    _einsum("i,j->ij", live(3), live(4)),
    _einsum("ij,ij->ij", live(2, 3), live(2, 3)),
    _einsum("ij,k->i", live(2, 3), live(4)),
    _einsum("bhid,bhjd->bhij", live(2, 3, 4, 5), live(2, 3, 6, 5)),
    _einsum("bchw,cd->bdhw", Live((2, 3, 4, 5), dims=("N", 3, "H", "W")), weight(3, 4)),
    _einsum("nkctv,kvw->nctw", live(2, 3, 2, 4, 5), weight(3, 5, 5)),
    _einsum("...ij,...jk->...ik", live(2, 3, 4), live(2, 4, 5)),
    _einsum("...ij,jk->...ik", live(2, 2, 3, 4), live(4, 5)),
    _einsum("...ij,...jk", live(2, 3, 4), live(2, 4, 5)),
    _einsum("...,...", live(2, 3), live(2, 3)),
    _einsum("i...,...->i...", live(2, 3, 4), live(3, 4)),
    _einsum("... i j -> ... j i", live(2, 3, 4)),
    _einsum("...ij->...i", live(2, 3, 4)),
    _einsum("...ij,...jk->...ik", live(1, 3, 4), live(2, 4, 5), note="-broadcast"),
    _einsum("ij,jk,kl->il", live(2, 3), weight(3, 4), live(4, 2)),
    _einsum("Ab,bC->AC", live(2, 3), weight(3, 4)),
]
