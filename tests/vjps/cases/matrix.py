"""Products of matrices."""

from __future__ import annotations

from ..harness import NEWEST, Case, Live
from .making import exact, live, weight


def _gemms() -> list[Case]:
    """Both transpositions with A, B, or both active; C in every shape that broadcasts."""
    found = []
    for ta in (0, 1):
        for tb in (0, 1):
            a, b = ((3, 2), (2, 3))[1 - ta], ((3, 4), (4, 3))[tb]
            attrs = {"transA": ta, "transB": tb, "alpha": 0.75, "beta": -0.5}
            note = f"transA{ta}-transB{tb}"
            found += [
                exact("Gemm", live(*a), weight(*b), weight(4), note=f"{note}-A", **attrs),
                exact("Gemm", weight(*a), live(*b), weight(4), note=f"{note}-B", **attrs),
                exact("Gemm", live(*a), live(*b), note=f"{note}-A-B", **attrs),
            ]
    shapes = {"number": (), "row": (4,), "column": (2, 1), "single": (1, 1), "full": (2, 4)}
    for note, shape in shapes.items():
        found += [
            exact("Gemm", live(2, 3), weight(3, 4), weight(*shape), note=f"constant-C-{note}"),
            exact("Gemm", live(2, 3), weight(3, 4), live(*shape), note=f"live-C-{note}", beta=0.25),
        ]
    return found


MATRIX = [
    *_gemms(),
    exact("Gemm", live(2, 3), weight(4, 3), note="no-C", transB=1, opset=NEWEST),
    exact("Gemm", live(2, 3), live(3, 4), weight(4), note="A-B-and-constant-C"),
    exact("Gemm", live(2, 3), live(3, 4), live(4), note="all-live"),
    exact("Gemm", weight(2, 3), weight(3, 4), live(4), note="C-alone"),
    exact("Gemm", Live((2, 3), dims=("N", 3)), weight(4, 3), weight(4), note="N", transB=1),
    exact("MatMul", live(2, 3), weight(3, 4), note="constant-B"),
    exact("MatMul", weight(2, 3), live(3, 4), note="constant-A"),
    exact("MatMul", live(2, 3), live(3, 4), note="both"),
    exact("MatMul", live(2, 3, 4), weight(4, 5), note="stack-and-matrix"),
    exact("MatMul", live(2, 3, 4), live(4, 5), note="stack-and-live-matrix"),
    exact("MatMul", live(3, 4), live(2, 4, 5), note="matrix-and-stack"),
    exact(
        "MatMul",
        live(2, 1, 3, 4),
        live(5, 4, 2),
        note="both-broadcast",
        opset=NEWEST,
    ),
    exact("MatMul", live(2, 3, 4), live(2, 4, 5), note="stacks"),
    exact("MatMul", live(4), weight(4, 3), note="row"),
    exact("MatMul", live(2, 4), weight(4), note="column"),
    exact("MatMul", live(4), live(4), note="vectors"),
    exact("MatMul", live(2, 3, 4), live(4), note="stack-and-column"),
    exact("MatMul", live(4), live(2, 4, 3), note="row-and-stack", opset=NEWEST),
    exact("MatMul", live(1, 3, 4), live(2, 4, 5), note="stack-of-one"),
    exact(
        "MatMul",
        Live((2, 3, 4), dims=("N", 3, 4)),
        Live((2, 4, 3), dims=("N", 4, 3)),
        note="symbolic-batch",
    ),
]
