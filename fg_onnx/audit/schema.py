"""The published JSON Schema of what an audit writes."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any


def document_schema() -> dict[str, Any]:
    """Of ``audit.json``, as JSON Schema 2020-12; its version is that of the document."""
    file = resources.files("fg_onnx.audit").joinpath("document.schema.json")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
