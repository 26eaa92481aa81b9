"""The report of a comparison as one HTML file."""

from __future__ import annotations

from fg_onnx.audit.report import overview
from fg_onnx.audit.report.markup import Html, element
from fg_onnx.audit.report.shell import asset, shell
from fg_onnx.comparison.document import SCHEMA_VERSION, Comparison
from fg_onnx.comparison.report import gallery, head, measured, words


def text(document: Comparison) -> str:
    """The whole page."""
    sections = {
        "findings": ("Findings", overview.findings(document)),
        "models": ("Models", head.models(document)),
        "measures": ("Measures", measured.measures(document)),
        "ledger": ("Ledger", measured.ledger(document)),
        "classes": ("Classes", measured.classes(document)),
        "gallery": ("Gallery", gallery.section(document)),
    }
    return shell(
        head.title(document),
        head.header(document),
        sections,
        _footer(document),
        style=asset("base.css")
        + asset("page.css")
        + asset("compare.css", "fg_onnx.comparison.report"),
        script=asset("gallery.js") + asset("viewer.js"),
    )


def _footer(document: Comparison) -> Html:
    a, b = words.names(document)
    return element(
        "footer",
        element(
            "p",
            f"Written by fg-onnx {document.tool_version} for {a} and {b}. The same as JSON (schema "
            f"{SCHEMA_VERSION}), Markdown and JUnit XML lies beside this file as compare.json, "
            "compare.md and compare.xml.",
        ),
    )
