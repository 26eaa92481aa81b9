"""JUnit XML: what pipelines show beside the tests."""

from __future__ import annotations

from fg_onnx.audit.report.junit import suite_text
from fg_onnx.comparison.document import Comparison


def text(document: Comparison) -> str:
    """One suite: the verdict, and a case for every check, and one for every note."""
    a, b = document.a.model, document.b.model
    properties = {
        "fg-onnx": document.tool_version,
        "verdict": document.verdict,
        "a": a.path,
        "a.sha256": a.sha256,
        "b": b.path,
        "b.sha256": b.sha256,
        "images": str(document.images),
        "broken": str(document.broken),
        "agreement": f"{document.agreement:.6g}",
        **{
            f"{each.name}.mean": f"{each.distribution.mean:.6g}"
            for each in document.measures
            if each.distribution.mean is not None
        },
    }
    return suite_text(document, "compare", f"{a.path} and {b.path}", properties)
