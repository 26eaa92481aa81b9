"""The files of a report, and their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from fg_onnx.audit.places import Place
from fg_onnx.audit.report.writing import write_forms
from fg_onnx.comparison.document import Comparison
from fg_onnx.comparison.report import junit, markdown, page

STEM = "compare"
_FORMS: Mapping[str, Callable[[Comparison], str]] = MappingProxyType(
    {"html": page.text, "md": markdown.text, "xml": junit.text}
)
FILES = tuple(f"{STEM}.{suffix}" for suffix in _FORMS)


def write_reports(document: Comparison, folder: str | Path | Place) -> list[Path | str]:
    """Writes ``compare.html``, ``compare.md`` and ``compare.xml``.

    ``compare.json`` is left to the caller: it is written last, for its presence says that all is.

    Args:
        document: what the comparison found.
        folder: made if it is not there; files of these names are replaced.

    Returns:
        The paths or URLs, in that order.

    Raises:
        OutputError: ``not-writable``.
    """
    return write_forms(document, folder, STEM, _FORMS)
