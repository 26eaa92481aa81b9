"""The files of a report, and their names."""

from __future__ import annotations

from pathlib import Path

from fg_onnx.audit.report.writing import write_forms
from fg_onnx.comparison.document import Comparison
from fg_onnx.comparison.report import junit, markdown, page

STEM = "compare"


def write_reports(document: Comparison, folder: Path) -> list[Path | str]:
    """Writes ``compare.html``, ``compare.md`` and ``compare.xml``.

    ``compare.json`` is left to the caller: it is written last, for its presence says that all is.

    Args:
        document: what the comparison found.
        folder: made if it is not there; files of these names are replaced.

    Returns:
        The paths, in that order.

    Raises:
        OutputError: ``not-writable``.
    """
    forms = {"html": page.text, "md": markdown.text, "xml": junit.text}
    return write_forms(document, folder, STEM, forms)
