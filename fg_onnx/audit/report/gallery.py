"""The gallery: pictures with the map laid over them, to be filtered, sorted and paged through."""

from __future__ import annotations

import math
from collections import Counter

from fg_onnx.audit.document import Document, ImageRow
from fg_onnx.audit.report import charts, layout, words
from fg_onnx.audit.report.markup import NEWLINE, Html, element, join, picture
from fg_onnx.audit.report.numbers import number, percent

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
    rows = document.rows
    named: dict[str, list[int]] = {}
    for place, finding in enumerate(document.findings):
        for name in finding.images:
            named.setdefault(name, []).append(place)
    folder = words.folder(document)
    order = sorted(range(len(rows)), key=lambda place: -_known(rows[place].outlier))
    cards = (_card(document, place, named.get(rows[place].name, []), folder) for place in order)
    return layout.section(
        "gallery",
        "Gallery",
        words.shown(document),
        _controls(document),
        element("ol", join(cards, NEWLINE), class_="cards", id="cards"),
        _pages(),
        _viewer(),
    )


def _known(value: float | None) -> float:
    return -math.inf if value is None or math.isnan(value) else value


# --- controls -----------------------------------------------------------------------------------


def _controls(document: Document) -> Html:
    """They do nothing without the script, and are not shown without it."""
    often = Counter((row.target, row.label) for row in document.rows if row.target is not None)
    classes = {"": "All"} | {
        str(index): f"{words.of_class(index, label)} ({times})"
        for (index, label), times in often.most_common()
    }
    findings = {"": "Any or none"} | {
        str(place): finding.title
        for place, finding in enumerate(document.findings)
        if finding.images
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
        _choice("of-class", "Class", classes),
        _choice("of-finding", "Finding", findings) if len(findings) > 1 else None,
        _choice("sort", "Sort by", _SORTS),
        _choice("size", "A page", {str(size): str(size) for size in _SIZES}, str(_SIZE)),
        element("p", class_="count", id="count", role="status"),
        class_="controls",
        id="controls",
        aria_label="Gallery",
    )


def _choice(key: str, label: str, values: dict[str, str], chosen: str = "") -> Html:
    options = (
        element("option", text, value=value, selected=value == chosen)
        for value, text in values.items()
    )
    return element("label", element("span", label), element("select", join(options), id=key))


def _pages() -> Html:
    return element(
        "nav",
        element("button", "Previous", type="button", id="previous"),
        element("span", id="page"),
        element("button", "Next", type="button", id="next"),
        class_="pages",
        aria_label="Pages of the gallery",
    )


def _viewer() -> Html:
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


# --- a card -------------------------------------------------------------------------------------


def _card(document: Document, place: int, findings: list[int], folder: str) -> Html:
    row = document.rows[place]
    name = row.name.removeprefix(folder)
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
                _marks(document, findings),
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
        data_outlier=row.outlier,
        data_residual=row.residual,
        data_score=row.score,
        data_findings=" ".join(map(str, findings)) or None,
    )


def _pictures(row: ImageRow, name: str) -> Html:
    below = picture(row.picture, f"{name}, as the model saw it", class_="picture", loading="lazy")
    above = picture(row.overlay, f"Map of {name}", class_="overlay", loading="lazy")
    if below is None and above is None:
        why = "unreadable" if row.broken is not None else "no picture"
        return element("div", element("p", why), class_="pair without")
    enlarge = element("button", "⤢", type="button", class_="enlarge", aria_label=f"Enlarge {name}")
    return element("div", element("div", below, above, class_="pair"), enlarge, class_="shot")


def _said(row: ImageRow) -> Html:
    if row.broken is not None:
        return element("p", row.broken, class_="said broken")
    label = element("bdi", words.of_class(row.target, row.label), class_="label")
    if row.truth is None:
        return element("p", label, class_="said")
    if row.truth == row.target:
        return element("p", label, element("span", "right", class_="right"), class_="said")
    wrong = element("span", f"labelled class {row.truth}", class_="wrong")
    return element("p", label, wrong, class_="said")


def _marks(document: Document, findings: list[int]) -> Html | None:
    if not findings:
        return None
    marks = (
        element("li", document.findings[place].check, class_=document.findings[place].severity)
        for place in findings
    )
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
