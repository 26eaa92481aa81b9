"""The files of a report, and their names."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from fg_onnx.audit.document import Document
from fg_onnx.audit.report import junit, markdown, page
from fg_onnx.files import replacing

STEM = "audit"


def write_reports(document: Document, folder: Path) -> list[Path]:
    """Writes ``audit.html``, ``audit.md``, ``audit.xml`` and, last, ``audit.json``.

    Args:
        document: what the audit found.
        folder: made if it is not there; files of these names are replaced.

    Returns:
        The paths, in that order.

    Raises:
        OutputError: ``not-writable``.
    """
    written = []
    for suffix, text in (
        (".html", page.text),
        (".md", markdown.text),
        (".xml", junit.text),
        (".json", json_text),
    ):
        path = Path(folder) / f"{STEM}{suffix}"
        with replacing(path) as temporary:
            temporary.write_bytes(text(document).encode())
        written.append(path)
    return written


def json_text(document: Document) -> str:
    """The document as its JSON Schema describes it; what is no number is null."""
    return json.dumps(_finite(document.to_dict()), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
