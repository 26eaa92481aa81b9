"""Pieces that several sections are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fg_onnx.audit.report.markup import NEWLINE, Html, element, join


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: in its head.
        kind: the class of its cells: ``number`` is set flush right.
    """

    title: str
    kind: str = ""


def section(key: str, title: str, note: str | None, *body: Html | None) -> Html:
    """A part of the page that the navigation leads to."""
    heading = element("h2", title, id=f"{key}-title")
    text = None if note is None else element("p", note, class_="lead")
    return element(
        "section", heading, text, *body, id=key, aria_labelledby=f"{key}-title", tabindex=-1
    )


def facts(values: Mapping[str, str | Html | None], kind: str) -> Html:
    """A list of terms and what they are; None is left out."""
    pairs = (
        element("div", element("dt", term), element("dd", value))
        for term, value in values.items()
        if value is not None
    )
    return element("dl", join(pairs), class_=f"facts {kind}")


def table(
    caption: str, columns: Sequence[Column], rows: Iterable[Sequence[str | Html]], kind: str
) -> Html:
    """A table whose first column heads its rows, in a frame that scrolls when it is long."""
    head = element(
        "tr",
        join(
            element("th", column.title, scope="col", class_=column.kind or None)
            for column in columns
        ),
    )
    body = (
        element(
            "tr",
            element("th", cells[0], scope="row"),
            *(
                element("td", cell, class_=column.kind or None)
                for column, cell in zip(columns[1:], cells[1:], strict=True)
            ),
        )
        for cells in rows
    )
    written = element(
        "table",
        element("caption", caption),
        element("thead", head),
        element("tbody", join(body, NEWLINE)),
        class_=kind,
    )
    # scrolled by the keyboard too, so it takes the focus and has a name
    return element("div", written, class_="frame", role="region", aria_label=caption, tabindex=0)
