"""The report as one HTML file, which fetches nothing and runs nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

from fg_onnx.audit.document import SCHEMA_VERSION, Document
from fg_onnx.audit.report import gallery, measured, model, overview
from fg_onnx.audit.report.markup import NEWLINE, Html, element, escaped, join
from fg_onnx.audit.report.text import basename

_SLOT = re.compile(r"\{\{(\w+)\}\}")


def text(document: Document) -> str:
    """The whole page."""
    style, script = _asset("page.css"), _asset("gallery.js") + _asset("viewer.js")
    sections = [
        overview.findings(document),
        model.card(document),
        measured.ledger(document),
        measured.distributions(document),
        measured.classes(document),
        gallery.section(document),
    ]
    slots = {
        "policy": escaped(_policy(style, script)),
        "title": escaped(overview.title(document)),
        "style": style,
        "script": script,
        "header": overview.header(document),
        "navigation": _navigation(),
        "sections": join(sections, NEWLINE),
        "footer": _footer(document),
    }
    return _SLOT.sub(lambda slot: slots[slot[1]], _asset("page.html"))


def _asset(name: str) -> str:
    found = resources.files("fg_onnx.audit.report").joinpath("assets", name)
    return found.read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """What the page may load and run: its own style and script by their hashes, data URIs.

    So even markup that came through unescaped would neither run nor reach the network.
    """
    return (
        "default-src 'none'; img-src data:; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _navigation() -> Html:
    places = {
        "findings": "Findings",
        "model": "Model",
        "ledger": "Ledger",
        "distributions": "Distributions",
        "classes": "Classes",
        "gallery": "Gallery",
    }
    links = (element("li", element("a", name, href=f"#{key}")) for key, name in places.items())
    return element("nav", element("ul", join(links)), aria_label="Sections")


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
