"""The gallery: pictures with the map laid over them, to be filtered, sorted and paged through."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from fg_onnx.audit.document import Document, Finding, ImageRow
from fg_onnx.audit.report import layout, words
from fg_onnx.audit.report.cards import Cards
from fg_onnx.audit.report.markup import NEWLINE, Html, element, join

_SIZES = (12, 24, 48, 96)
_SIZE = 24
_SORTS = {
    "outlier": "Outlier, most first",
    "residual": "Residual, largest first",
    "score": "Score, highest first",
    "score-up": "Score, lowest first",
    "name": "Name",
}


def section(document: Document) -> Html:
    """Controls, cards in the order of the first way to sort, and pages."""
    cards = Cards(document)
    places = sorted(range(len(document.rows)), key=lambda place: -_outlier(document.rows[place]))
    return layout.section(
        "gallery",
        "Gallery",
        words.shown(document),
        controls(document.rows, document.findings, _SORTS, "Class"),
        element("ol", join(map(cards.card, places), NEWLINE), class_="cards", id="cards"),
        pages(),
        viewer(),
    )


def _outlier(row: ImageRow) -> float:
    """For sorting: images without one come last."""
    return -math.inf if row.outlier is None or math.isnan(row.outlier) else row.outlier


class Classed(Protocol):
    """An image of a class."""

    @property
    def target(self) -> int | None:
        """The class."""

    @property
    def label(self) -> str | None:
        """Its name."""


def controls(
    rows: Sequence[Classed], listed: Sequence[Finding], sorts: Mapping[str, str], word: str
) -> Html:
    """They do nothing without the script, and are not shown without it.

    Args:
        rows: the images.
        listed: the findings.
        sorts: how images may be sorted: the name of a number that they have in their data, with
            ``-up`` where the smallest is first, or ``name``; and in words.
        word: what a class is of.
    """
    often = Counter((row.target, row.label) for row in rows if row.target is not None)
    classes = {"": "All"} | {
        str(index): f"{words.of_class(index, label)} ({times})"
        for (index, label), times in often.most_common()
    }
    findings = {"": "Any or none"} | {
        str(place): finding.title for place, finding in enumerate(listed) if finding.images
    }
    opacity = element(
        "label",
        element("span", "Overlay ", element("span", "70%", id="opacity-said")),
        element("input", id="opacity", type="range", min=0, max=100, value=70, step=5),
        class_="slider",
    )
    return element(
        "form",
        opacity,
        choice("of-class", word, classes),
        choice("of-finding", "Finding", findings) if len(findings) > 1 else None,
        choice("sort", "Sort by", sorts),
        choice("size", "A page", {str(size): str(size) for size in _SIZES}, str(_SIZE)),
        element("p", class_="count", id="count", role="status"),
        class_="controls",
        id="controls",
        aria_label="Gallery",
    )


def choice(key: str, label: str, values: Mapping[str, str], chosen: str = "") -> Html:
    """A list to choose from."""
    options = (
        element("option", text, value=value, selected=value == chosen)
        for value, text in values.items()
    )
    return element("label", element("span", label), element("select", join(options), id=key))


def pages() -> Html:
    """To turn the pages."""
    return element(
        "nav",
        element("button", "Previous", type="button", id="previous"),
        element("span", id="page"),
        element("button", "Next", type="button", id="next"),
        class_="pages",
        aria_label="Pages of the gallery",
    )


def viewer() -> Html:
    """One image in the whole window; filled, and opened, by the script."""
    slider = element(
        "label",
        element("span", "Overlay"),
        element("input", id="viewer-opacity", type="range", min=0, max=100, step=5),
        class_="slider",
    )
    return element(
        "dialog",
        element("h2", id="viewer-title"),
        element(
            "div",
            slider,
            element("button", "Previous", type="button", id="before"),
            element("button", "Next", type="button", id="after"),
            element("button", "Close", type="button", id="close"),
            class_="tools",
        ),
        element("div", id="viewed"),
        id="viewer",
        aria_labelledby="viewer-title",
    )
