"""The report of an audit as one HTML file."""

from __future__ import annotations

from fg_onnx.audit.document import SCHEMA_VERSION, Document
from fg_onnx.audit.report import gallery, measured, model, overview
from fg_onnx.audit.report.markup import Html, element
from fg_onnx.audit.report.shell import asset, shell
from fg_onnx.audit.report.text import basename


def text(document: Document) -> str:
    """The whole page."""
    sections = {
        "findings": ("Findings", overview.findings(document)),
        "model": ("Model", model.card(document)),
        "ledger": ("Ledger", measured.ledger(document)),
        "distributions": ("Distributions", measured.distributions(document)),
        "classes": ("Classes", measured.classes(document)),
        "gallery": ("Gallery", gallery.section(document)),
    }
    return shell(
        overview.title(document),
        overview.header(document),
        sections,
        _footer(document),
        style=asset("base.css") + asset("page.css"),
        script=asset("gallery.js") + asset("viewer.js"),
    )


def _footer(document: Document) -> Html:
    return element(
        "footer",
        element(
            "p",
            f"Written by fg-onnx {document.tool_version} for {basename(document.model.path)}. "
            f"The same as JSON (schema {SCHEMA_VERSION}), Markdown and JUnit XML lies beside this "
            "file as audit.json, audit.md and audit.xml.",
        ),
    )
