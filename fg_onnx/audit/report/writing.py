"""The files of a report, and their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from fg_onnx.audit.document import Document
from fg_onnx.audit.places import Place, place_of
from fg_onnx.audit.report import junit, markdown, page

STEM = "audit"
_FORMS: Mapping[str, Callable[[Document], str]] = MappingProxyType(
    {"html": page.text, "md": markdown.text, "xml": junit.text}
)
FILES = tuple(f"{STEM}.{suffix}" for suffix in _FORMS)

T = TypeVar("T")


def write_reports(document: Document, folder: str | Path | Place) -> list[Path | str]:
    """Writes ``audit.html``, ``audit.md`` and ``audit.xml``.

    ``audit.json`` is left to the caller: it is written last, for its presence says that all is.

    Args:
        document: what the audit found.
        folder: a path or a URL, made if it is not there; files of these names are replaced.

    Returns:
        The paths or URLs, in that order.

    Raises:
        OutputError: ``not-writable``.
    """
    return write_forms(document, folder, STEM, _FORMS)


def write_forms(
    document: T,
    folder: str | Path | Place,
    stem: str,
    forms: Mapping[str, Callable[[T], str]],
) -> list[Path | str]:
    """Writes a document in several forms, by their suffixes, and returns the paths or URLs.

    Raises:
        OutputError: ``not-writable``.
    """
    place = place_of(folder)
    written = []
    for suffix, text in forms.items():
        name = f"{stem}.{suffix}"
        with place.write(name) as file:
            file.write(text(document).encode())
        written.append(place.at(name))
    return written
