"""A Markdown summary, for the description of a pull request or a comment on one."""

from __future__ import annotations

import math

from fg_onnx.audit.report.markdown import SYMBOLS, checks, code, findings, plain, table
from fg_onnx.audit.report.numbers import count, counted, number, percent
from fg_onnx.audit.report.words import KINDS, VERDICTS, of_class, summary
from fg_onnx.comparison.document import Comparison, LayerPair
from fg_onnx.comparison.report import words

_LAYERS = 8
_CLASSES = 10


def text(document: Comparison) -> str:
    """The verdict and the findings, then how alike the models are."""
    parts = [
        _head(document),
        findings(document),
        checks(document),
        _measures(document),
        _ledger(document),
        _classes(document),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(document: Comparison) -> str:
    a, b = words.names(document)
    looked = counted(document.images, "image")
    if document.broken:
        looked += f", {count(document.broken)} unreadable"
    right = ""
    if document.a.accuracy is not None:
        right = (
            f" Of those with a label A predicts {percent(document.a.accuracy)} right, and B "
            f"{percent(document.b.accuracy)}."
        )
    return (
        f"## {SYMBOLS[document.verdict]} {VERDICTS[document.verdict]}: fg-onnx compare of "
        f"{code(a)} and {code(b)}\n\n"
        f"{summary(document).capitalize()}. {looked}, {percent(document.agreement)} predicted "
        f"alike.{right} {words.matched(document)}. sha256 {code(document.a.model.sha256[:16])} and "
        f"{code(document.b.model.sha256[:16])}."
    )


def _measures(document: Comparison) -> str:
    if not document.measures:
        return ""
    by_name = {each.name: each for each in document.measures}
    return table(
        ("measure", "mean", "median", "worst 5 %"),
        "lrrr",
        (
            (
                title,
                number(by_name[name].distribution.mean),
                number(by_name[name].distribution.median),
                number(by_name[name].worst),
            )
            for name, title in words.TITLES.items()
            if name in by_name
        ),
    )


def _drift(layer: LayerPair) -> float:
    return -math.inf if layer.drift is None else layer.drift


def _ledger(document: Comparison) -> str:
    if not document.layers:
        return ""
    kinds = ", ".join(
        f"{name} {percent(document.a.shares.get(kind))} and {percent(document.b.shares.get(kind))}"
        for kind, name in KINDS.items()
    )
    largest = sorted(document.layers, key=lambda layer: -_drift(layer))[:_LAYERS]
    rows = table(
        ("layer", "kind", "share in A", "share in B", "drift"),
        "llrrr",
        (
            (
                code(layer.name),
                KINDS.get(layer.kind, plain(layer.kind)),
                percent(layer.share_a),
                percent(layer.share_b),
                number(layer.drift),
            )
            for layer in largest
        ),
    )
    return (
        f"**What drives the scores** in A and B: {kinds}.\n\n"
        f"<details><summary>The {counted(len(largest), 'layer')} of {count(len(document.layers))} "
        f"with the largest drift</summary>\n\n{rows}\n\n</details>"
    )


def _classes(document: Comparison) -> str:
    if not document.classes:
        return ""
    listed = sorted(document.classes, key=lambda row: row.agreement)[:_CLASSES]
    rows = table(
        ("class", "images", "predicted alike", "B's most frequent other", "rank correlation"),
        "lrrlr",
        (
            (
                plain(of_class(row.index, row.label)),
                count(row.images),
                percent(row.agreement),
                plain(of_class(row.other, row.other_label)),
                number(row.spearman),
            )
            for row in listed
        ),
    )
    of = f"{counted(len(listed), 'class', 'classes')} of {count(len(document.classes))}"
    return f"<details><summary>{of}, the least alike first</summary>\n\n{rows}\n\n</details>"
