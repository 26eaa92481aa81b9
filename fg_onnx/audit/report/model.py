"""The model card: which model it was, and how it was audited."""

from __future__ import annotations

import json

from fg_onnx.audit.document import Document
from fg_onnx.audit.report import words
from fg_onnx.audit.report.layout import Column, facts, section, table
from fg_onnx.audit.report.markup import NEWLINE, Html, element, join
from fg_onnx.audit.report.numbers import count, counted, number


def card(document: Document) -> Html:
    """What the file is, its operators, its sites, and the settings."""
    model, settings = document.model, document.settings
    return section(
        "model",
        "Model",
        None,
        facts(
            {
                "File": _name(model.path),
                "SHA-256": _code(model.sha256),
                "Opset": f"{model.opset}, IR version {model.ir_version}",
                "Producer": _name(model.producer) if model.producer else None,
                "Explained input": _code(model.input),
                "Explained output": _code(model.output),
                "Classes": None if model.classes is None else count(model.classes),
                "Map": _code(model.psi),
                "Device": _name(settings.device),
                "Tolerance": number(settings.tolerance),
                "Labels": None if settings.labels is None else _name(settings.labels),
                "Boxes": None if settings.boxes is None else _name(settings.boxes),
                "Seed": str(settings.seed),
            },
            "about",
        ),
        element("h3", "Operators"),
        _operators(document),
        element(
            "details",
            element("summary", counted(len(model.sites), "site")),
            _sites(document),
        ),
        _policy(document),
    )


def _operators(document: Document) -> Html:
    often = sorted(document.model.operators.items(), key=lambda item: (-item[1], item[0]))
    items = (
        element("li", element("bdi", name), " ", element("span", count(times)))
        for name, times in often
    )
    return element("ul", join(items), class_="operators")


def _sites(document: Document) -> Html:
    columns = (Column("Site"), Column("Kind"), Column("Operator"), Column("In the map"))
    rows = (
        (
            _name(site.name),
            words.KINDS.get(site.kind, site.kind),
            _name(site.op),
            "yes" if site.spatial else "no",
        )
        for site in document.model.sites
    )
    return table("Sites of the decomposition", columns, rows, "sites")


def _policy(document: Document) -> Html | None:
    if not document.settings.policy:
        return None
    lines = json.dumps(document.settings.policy, indent=2, default=str).splitlines()
    text = join(lines, NEWLINE)  # each escaped, so that newlines stay newlines
    return element("details", element("summary", "Policy"), element("pre", element("code", text)))


def _name(name: str) -> Html:
    return element("bdi", name)


def _code(name: str) -> Html:
    return element("code", element("bdi", name))
