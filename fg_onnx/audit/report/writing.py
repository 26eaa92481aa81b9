"""The files of a report, and their names."""

from __future__ import annotations

from pathlib import Path

from fg_onnx.audit.document import Document
from fg_onnx.audit.report import junit, markdown, page
from fg_onnx.files import replacing

STEM = "audit"


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
    written = []
    forms = {"html": page.text, "md": markdown.text, "xml": junit.text}
    for suffix, text in forms.items():
        path = Path(folder) / f"{STEM}.{suffix}"
        with replacing(path) as temporary:
            temporary.write_bytes(text(document).encode())
        written.append(path)
    return written
