"""An image of the gallery: its picture, what was predicted, its numbers, and its layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fg_onnx.audit.document import Document, Finding, ImageRow
from fg_onnx.audit.report import charts, layout, words
from fg_onnx.audit.report.markup import Html, element, join, picture
from fg_onnx.audit.report.numbers import number, percent


class Cards:
    """The cards of all images that have a row."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._folder = words.folder(document)
        self._named: dict[str, list[int]] = {}
        for place, finding in enumerate(document.findings):
            for name in finding.images:
                self._named.setdefault(name, []).append(place)

    def card(self, place: int) -> Html:
        """Of the row at that place."""
        row = self._document.rows[place]
        findings = self._named.get(row.name, [])
        name = row.name.removeprefix(self._folder)
        key = f"image-{place}"
        return element(
            "li",
            element(
                "article",
                _pictures(row, name),
                element(
                    "div",
                    element("h3", element("bdi", name), id=f"{key}-title", title=row.name),
                    self._said(row),
                    marks([self._document.findings[each] for each in findings]),
                    _numbers(row),
                    class_="text",
                ),
                _layers(row),
                aria_labelledby=f"{key}-title",
            ),
            id=key,
            tabindex=-1,
            class_="card",
            data_name=row.name,
            data_class=row.target,
            data_outlier=sortable(row.outlier),
            data_residual=_residual(row),
            data_score=sortable(row.score),
            data_findings=" ".join(map(str, findings)) or None,
        )

    def _said(self, row: ImageRow) -> Html:
        """What was predicted, and whether it is right; or why nothing was."""
        if row.broken is not None:
            return element("p", row.broken, class_="said broken")
        label = element("bdi", words.of_class(row.target, row.label), class_="label")
        judged = None
        if row.truth is not None and row.truth == row.target:
            judged = element("span", "right", class_="right")
        elif row.truth is not None:
            truth = words.of_class(row.truth, row.truth_label)
            judged = element("span", "labelled ", element("bdi", truth), class_="wrong")
        return element("p", label, judged, class_="said")


def sortable(value: float | None) -> str | None:
    """A number with all its digits."""
    return None if value is None else repr(value)


def _residual(row: ImageRow) -> str | None:
    """What is not finite is the worst, and not unknown as that of what could not be read."""
    if row.broken is None and (row.residual is None or not math.isfinite(row.residual)):
        return "Infinity"
    return sortable(row.residual)


def _pictures(row: ImageRow, name: str) -> Html:
    below = picture(row.picture, f"{name}, as the model saw it", class_="picture", loading="lazy")
    above = picture(row.overlay, f"Map of {name}", class_="overlay", loading="lazy")
    if below is None and above is None:
        why = "unreadable" if row.broken is not None else "no picture"
        return element("div", element("p", why), class_="pair without")
    enlarge = element("button", "⤢", type="button", class_="enlarge", aria_label=f"Enlarge {name}")
    return element("div", element("div", below, above, class_="pair"), enlarge, class_="shot")


def marks(findings: Sequence[Finding]) -> Html | None:
    """The checks of an image's findings, None without."""
    if not findings:
        return None
    marks = (element("li", finding.check, class_=finding.severity) for finding in findings)
    return element("ul", join(marks), class_="marks", aria_label="Findings")


def _numbers(row: ImageRow) -> Html | None:
    if row.broken is not None:
        return None
    numbers = layout.facts(
        {
            "Score": number(row.score),
            "Residual": number(row.residual),
            "Outlier": number(row.outlier),
            "Concentration": number(row.concentration),
            "Border": percent(row.border),
            "Inside": None if row.inside is None else percent(row.inside),
            "Pointing": None if row.pointing is None else "hit" if row.pointing else "miss",
        },
        "small",
    )
    shares = {kind: row.shares.get(kind, 0.0) for kind in words.KINDS}
    return join([charts.stack(shares, "thin"), numbers])


def _layers(row: ImageRow) -> Html | None:
    drawn = [
        element("li", shown, element("span", element("bdi", name), title=name))
        for name, uri in row.layers
        if (shown := picture(uri, f"Map of layer {name}", loading="lazy")) is not None
    ]
    if not drawn:
        return None
    return element("ol", join(drawn), class_="strip", aria_label="Layers, from input to output")
