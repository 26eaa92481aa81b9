"""HTML and SVG that is escaped unless it was made here.

A plain string is text, whatever it holds. Only `element` and `join` make `Html`, and they escape
what is none: there is no way to write a name from a model into a page unescaped.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from fg_onnx.audit.report.text import visible

_VOID = frozenset({"br", "hr", "img", "input", "line", "link", "meta", "path", "rect"})
_PICTURE = re.compile(r"data:image/(?:png|jpeg|webp|gif|avif);base64,[A-Za-z0-9+/]+={0,2}")


class Html(str):
    """Markup, to be taken as it is."""

    __slots__ = ()


Child = str | None
Value = str | int | float | bool | None

NOTHING = Html("")
NEWLINE = Html("\n")


def escaped(text: str) -> Html:
    """Text, as it is written between tags and in quoted attributes; markup stays what it is."""
    return text if isinstance(text, Html) else Html(html.escape(visible(text), quote=True))


def join(parts: Iterable[Child], between: Html = NOTHING) -> Html:
    """One after the other; None is left out."""
    return Html(between.join(escaped(part) for part in parts if part is not None))


def element(tag: str, *children: Child, **attributes: Value) -> Html:
    """An element.

    Args:
        tag: its name.
        children: text, which is escaped, and `Html`; None is left out.
        attributes: ``aria_label`` is written ``aria-label`` and ``class_`` ``class``. True is an
            attribute without a value; False and None leave it out.
    """
    written = "".join(
        f" {_name(name)}" if value is True else f' {_name(name)}="{_value(value)}"'
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in _VOID:
        return Html(f"<{tag}{written}>" if tag not in _OF_SVG else f"<{tag}{written}/>")
    return Html(f"<{tag}{written}>{join(children)}</{tag}>")


_OF_SVG = frozenset({"line", "path", "rect"})


def _name(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


def _value(value: Value) -> str:
    if isinstance(value, str):
        return escaped(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def is_picture(uri: str | None) -> bool:
    """Whether it is a picture within the page, and nothing that a browser would fetch or run."""
    return uri is not None and _PICTURE.fullmatch(uri) is not None


def picture(uri: str | None, alt: str, **attributes: Value) -> Html | None:
    """An ``img`` of a data URI; None of anything else."""
    if uri is None or not is_picture(uri):
        return None
    # not through `escaped`, which would shorten it: its characters have been looked at
    return element("img", alt=alt, src=Html(uri), **attributes)
