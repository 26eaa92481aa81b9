"""The model card: which model it was, and how it was audited."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fg_onnx.audit.document import Document, ModelCard
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
                "File": name_of(model.path),
                "SHA-256": code_of(model.sha256),
                "Opset": f"{model.opset}, IR version {model.ir_version}",
                "Producer": name_of(model.producer) if model.producer else None,
                "Explained input": code_of(model.input),
                "Explained output": code_of(model.output),
                "Classes": None if model.classes is None else count(model.classes),
                "Map": code_of(model.psi),
                "Device": name_of(settings.device),
                "Tolerance": number(settings.tolerance),
                "Labels": None if settings.labels is None else name_of(settings.labels),
                "Boxes": None if settings.boxes is None else name_of(settings.boxes),
                "Seed": str(settings.seed),
            },
            "about",
        ),
        element("h3", "Operators"),
        operators(model.operators),
        element(
            "details",
            element("summary", counted(len(model.sites), "site")),
            sites(model),
        ),
        policy(settings.policy),
    )


def operators(nodes: Mapping[str, int]) -> Html:
    """How many nodes of each operator, the most frequent first."""
    often = sorted(nodes.items(), key=lambda item: (-item[1], item[0]))
    items = (
        element("li", element("bdi", name), " ", element("span", count(times)))
        for name, times in often
    )
    return element("ul", join(items), class_="operators")


def sites(model: ModelCard, caption: str = "Sites of the decomposition") -> Html:
    """A table of the sites."""
    columns = (Column("Site"), Column("Kind"), Column("Operator"), Column("In the map"))
    rows = (
        (
            name_of(site.name),
            words.KINDS.get(site.kind, site.kind),
            name_of(site.op),
            "yes" if site.spatial else "no",
        )
        for site in model.sites
    )
    return table(caption, columns, rows, "sites")


def policy(given: Mapping[str, Any]) -> Html | None:
    """What was given of a policy, None of an empty one."""
    if not given:
        return None
    lines = json.dumps(given, indent=2, default=str).splitlines()
    text = join(lines, NEWLINE)  # each escaped, so that newlines stay newlines
    return element("details", element("summary", "Policy"), element("pre", element("code", text)))


def name_of(name: str) -> Html:
    """A name, in its own direction of writing."""
    return element("bdi", name)


def code_of(name: str) -> Html:
    """A name, in the type of code."""
    return element("code", element("bdi", name))
