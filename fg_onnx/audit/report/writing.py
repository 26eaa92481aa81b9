"""The files of a report, and their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from fg_onnx.audit.document import Document
from fg_onnx.audit.report import junit, markdown, page
from fg_onnx.files import replacing

STEM = "audit"

T = TypeVar("T")


def write_reports(document: Document, folder: Path) -> list[Path]:
    """Writes ``audit.html``, ``audit.md`` and ``audit.xml``.

    ``audit.json`` is left to the caller: it is written last, for its presence says that all is.

    Args:
        document: what the audit found.
        folder: made if it is not there; files of these names are replaced.

    Returns:
        The paths, in that order.

    Raises:
        OutputError: ``not-writable``.
    """
    forms = {"html": page.text, "md": markdown.text, "xml": junit.text}
    return write_forms(document, Path(folder) / STEM, forms)


def write_forms(document: T, stem: Path, forms: Mapping[str, Callable[[T], str]]) -> list[Path]:
    """Writes a document in several forms, by their suffixes, and returns the paths.

    Raises:
        OutputError: ``not-writable``.
    """
    written = []
    for suffix, text in forms.items():
        path = stem.with_name(f"{stem.name}.{suffix}")
        with replacing(path) as temporary:
            temporary.write_bytes(text(document).encode())
        written.append(path)
    return written
