"""The gallery: both maps over what each model saw, and their difference."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fg_onnx.audit.document import Finding
from fg_onnx.audit.report import gallery, layout
from fg_onnx.audit.report.cards import marks, sortable
from fg_onnx.audit.report.markup import NEWLINE, Html, element, join, picture
from fg_onnx.audit.report.numbers import number
from fg_onnx.audit.report.words import folder, of_class, shown
from fg_onnx.comparison.document import Comparison, PairRow
from fg_onnx.comparison.report import words


def section(document: Comparison) -> Html:
    """Controls, cards in the order of the first way to sort, and pages."""
    sorts = _sorts(document)
    first = next(iter(sorts))
    order = sorted(document.rows, key=lambda row: _rank(row, first))
    places = {row.name: place for place, row in enumerate(document.rows)}
    cards = _Cards(document)
    return layout.section(
        "gallery",
        "Gallery",
        f"{shown(document)} Of the difference, blue is where B's map has less than A's, red where "
        "it has more, and the colour is strong where that is as much as the maps have at most.",
        gallery.controls(document.rows, document.findings, sorts, "A's class"),
        element(
            "ol",
            join((cards.card(row, places[row.name]) for row in order), NEWLINE),
            class_="cards wide",
            id="cards",
        ),
        gallery.pages(),
        gallery.viewer(),
    )


def _sorts(document: Comparison) -> dict[str, str]:
    """The measures, the least alike first, then the name."""
    better = {each.name: each.better for each in document.measures}
    found = {
        f"{name}-up" if better[name] == "high" else name: f"{title}, worst first"
        for name, title in words.TITLES.items()
        if name in better
    }
    return {**found, "name": "Name"}


def _rank(row: PairRow, sort: str) -> tuple[bool, float, str]:
    """For sorting: images without a value come last."""
    value = row.values.get(sort.removesuffix("-up"), math.nan)
    sign = 1 if sort.endswith("-up") else -1
    return math.isnan(value), 0.0 if math.isnan(value) else sign * value, row.name


class _Cards:
    """The cards of all images that have a row."""

    def __init__(self, document: Comparison) -> None:
        self._folder = folder(document)
        self._findings = document.findings
        self._named: dict[str, list[int]] = {}
        for place, finding in enumerate(document.findings):
            for name in finding.images:
                self._named.setdefault(name, []).append(place)

    def card(self, row: PairRow, place: int) -> Html:
        """Of a row, at its place among all."""
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
                    _said(row),
                    marks(self._of(findings)),
                    _numbers(row),
                    class_="text",
                ),
                aria_labelledby=f"{key}-title",
            ),
            id=key,
            tabindex=-1,
            class_="card",
            data_name=row.name,
            data_class=row.target,
            data_findings=" ".join(map(str, findings)) or None,
            **{f"data_{measure}": sortable(value) for measure, value in row.values.items()},
        )

    def _of(self, places: Sequence[int]) -> list[Finding]:
        return [self._findings[place] for place in places]


def _said(row: PairRow) -> Html:
    """What either model predicts, and whether that is right."""
    label = element("bdi", of_class(row.target, row.label), class_="label")
    if row.target_b == row.target:
        other = element("span", "B agrees", class_="right")
    else:
        other = element(
            "span", "B: ", element("bdi", of_class(row.target_b, row.label_b)), class_="wrong"
        )
    truth = None
    if row.truth is not None and row.truth != row.target:
        truth = element("span", "labelled ", element("bdi", of_class(row.truth, row.truth_label)))
    return element("p", label, other, truth, class_="said")


def _pictures(row: PairRow, name: str) -> Html:
    sides = (("A", row.picture_a, row.overlay_a), ("B", row.picture_b, row.overlay_b))
    panels = [
        _panel(
            letter,
            picture(below, f"{name}, as {letter} saw it", class_="picture", loading="lazy"),
            picture(above, f"{letter}'s map of {name}", class_="overlay", loading="lazy"),
        )
        for letter, below, above in sides
    ]
    apart = picture(row.difference, f"Difference of the maps of {name}", loading="lazy")
    panels.append(_panel("B − A", apart))
    known = [panel for panel in panels if panel is not None]
    if not known:
        return element("div", element("p", "no picture"), class_="pair without")
    enlarge = element("button", "⤢", type="button", class_="enlarge", aria_label=f"Enlarge {name}")
    return element("div", join(known), enlarge, class_="shot three")


def _panel(letter: str, *pictures: Html | None) -> Html | None:
    if not any(pictures):
        return None
    return element(
        "figure",
        element("div", *pictures, class_="pair"),
        element("figcaption", letter),
    )


def _numbers(row: PairRow) -> Html:
    values = {
        title: number(row.values[name])
        for name, title in words.TITLES.items()
        if name in row.values
    }
    return layout.facts(
        {"Score in A": number(row.score_a), "Score in B": number(row.score_b), **values}, "small"
    )
