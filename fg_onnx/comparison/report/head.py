"""The head of the page, and the two models side by side."""

from __future__ import annotations

from collections.abc import Callable

from fg_onnx.audit.document import ModelCard
from fg_onnx.audit.report import model as cards
from fg_onnx.audit.report.layout import Column, facts, section, table
from fg_onnx.audit.report.markup import Html, element, join
from fg_onnx.audit.report.model import code_of, name_of
from fg_onnx.audit.report.numbers import NONE, count, counted, number, percent
from fg_onnx.audit.report.overview import verdict
from fg_onnx.audit.report.words import VERDICTS
from fg_onnx.comparison.document import Comparison, Side
from fg_onnx.comparison.report import words

_KEY = ("spearman", "shift", "score")


def title(document: Comparison) -> str:
    """Of the page."""
    a, b = words.names(document)
    return f"{VERDICTS[document.verdict]}: {a} and {b} compared"


def header(document: Comparison) -> Html:
    """What was compared, the verdict, and the numbers that matter most."""
    a, b = words.names(document)
    means = {each.name: each.distribution.mean for each in document.measures}
    return element(
        "header",
        element("p", "fg-onnx compare", class_="eyebrow"),
        element(
            "h1",
            element("span", _letter("a"), element("bdi", a), class_="side"),
            element("span", " and ", class_="and"),
            element("span", _letter("b"), element("bdi", b), class_="side"),
        ),
        verdict(document),
        facts(
            {
                "Images": count(document.images),
                "Unreadable": count(document.broken),
                "Predicted alike": percent(document.agreement),
                **{words.TITLES[name]: number(means.get(name)) for name in _KEY},
            },
            "key",
        ),
    )


def _letter(side: str) -> Html:
    return element("span", side.upper(), " ", class_=f"letter {side}")


def models(document: Comparison) -> Html:
    """What either file is, its operators and its sites, and the settings."""
    settings = document.settings
    rows = [
        (name, *cells)
        for name, cells in _rows(document.a, document.b).items()
        if cells != (NONE, NONE)
    ]
    columns = (Column("What"), Column("A"), Column("B"))
    return section(
        "models",
        "Models",
        f"In both the class is explained that A predicts. {words.matched(document)}.",
        table("The models side by side", columns, rows, "sides"),
        facts(
            {
                "Map": code_of(settings.psi),
                "Device": name_of(settings.device),
                "Labels": None if settings.labels is None else name_of(settings.labels),
                "Seed": str(settings.seed),
            },
            "inline",
        ),
        _operators(document.a.model, document.b.model),
        *(_sites(side, letter) for letter, side in (("A", document.a), ("B", document.b))),
        cards.policy(settings.policy),
    )


def _rows(a: Side, b: Side) -> dict[str, tuple[str, str]]:
    def pair(of: Callable[[Side], str]) -> tuple[str, str]:
        return of(a), of(b)

    return {
        "File": pair(lambda side: name_of(side.model.path)),
        "SHA-256": pair(lambda side: code_of(side.model.sha256)),
        "Opset": pair(lambda side: f"{side.model.opset}, IR version {side.model.ir_version}"),
        "Producer": pair(lambda side: name_of(side.model.producer or NONE)),
        "Explained input": pair(lambda side: code_of(side.model.input)),
        "Explained output": pair(lambda side: code_of(side.model.output)),
        "Classes": pair(lambda side: _counted(side.model.classes)),
        "Sites": pair(lambda side: count(len(side.model.sites))),
        "Tolerance": pair(lambda side: number(side.tolerance)),
        "Predicted right": pair(lambda side: percent(side.accuracy)),
    }


def _counted(value: int | None) -> str:
    return NONE if value is None else count(value)


def _operators(a: ModelCard, b: ModelCard) -> Html:
    """How many nodes of each operator, those that differ first."""
    times = {
        name: (a.operators.get(name, 0), b.operators.get(name, 0))
        for name in (*a.operators, *b.operators)
    }
    often = sorted(times.items(), key=lambda item: (item[1][0] == item[1][1], -max(item[1])))
    apart = sum(of_a != of_b for of_a, of_b in times.values())
    said = "the same in both" if not apart else f"{count(apart)} differ"
    return element(
        "details",
        element("summary", f"{counted(len(times), 'operator')}, {said}"),
        table(
            "Operators of the models",
            (Column("Operator"), Column("A", "number"), Column("B", "number")),
            ((name_of(name), count(of_a), count(of_b)) for name, (of_a, of_b) in often),
            "operators-of",
        ),
        open=apart > 0,
    )


def _sites(side: Side, letter: str) -> Html:
    sites = side.model.sites
    return element(
        "details",
        element("summary", join([f"{letter}: ", counted(len(sites), "site")])),
        cards.sites(side.model, f"Sites of the decomposition of {letter}"),
    )
