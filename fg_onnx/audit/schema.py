"""The published JSON Schemas of what an audit reads and writes."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from fg_onnx.audit.document import SCHEMA_VERSION


def document_schema() -> dict[str, Any]:
    """Of ``audit.json``, as JSON Schema 2020-12; the file is ``schemas/audit-VERSION.json``."""
    name = f"audit-{SCHEMA_VERSION}.json"
    file = resources.files("fg_onnx.audit").joinpath("schemas", name)
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
