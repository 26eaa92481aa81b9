"""The published JSON Schema of what a comparison writes."""

from __future__ import annotations

from typing import Any

from fg_onnx.audit.settings import read_schema


def document_schema() -> dict[str, Any]:
    """Of ``compare.json``, as JSON Schema 2020-12; its version is that of the document."""
    return read_schema("document.schema.json", "fg_onnx.comparison")
