"""The head of the page, and the findings."""

from __future__ import annotations

from fg_onnx.audit.document import Check, Document, Finding
from fg_onnx.audit.report import words
from fg_onnx.audit.report.layout import Column, facts, section, table
from fg_onnx.audit.report.markup import Html, element, join
from fg_onnx.audit.report.numbers import count, counted, number, percent
from fg_onnx.audit.report.text import basename
from fg_onnx.audit.report.words import Reported

_LISTED = 12

# told apart by their forms, not by their colours alone
_SIGNS = {
    "fail": "M5 5l10 10M15 5L5 15",
    "warning": "M10 4v8M10 15.5v.5",
    "note": "M10 4.500v.5M10 8v8",
    "pass": "M4 10.500l4 4 8-9",
}


def title(document: Document) -> str:
    """Of the page."""
    return f"{words.VERDICTS[document.verdict]}: audit of {basename(document.model.path)}"


def header(document: Document) -> Html:
    """What was audited, the verdict, and the numbers that matter most."""
    return element(
        "header",
        element("p", "fg-onnx audit", class_="eyebrow"),
        element("h1", element("bdi", basename(document.model.path))),
        verdict(document),
        facts(
            {
                "Images": count(document.images),
                "Unreadable": count(document.broken),
                "Predicted right": None
                if document.accuracy is None
                else percent(document.accuracy),
                "Largest residual": _largest_residual(document),
                "Input's share": percent(words.by_kind(document)["input"]),
                "Sites": count(len(document.model.sites)),
            },
            "key",
        ),
    )


def _largest_residual(document: Document) -> str | None:
    """Of all images that could be run; distributions are of finite numbers alone."""
    residual = document.distributions.get("residual")
    finite = 0 if residual is None else residual.count
    if finite < document.images - document.broken:
        return "not finite"
    return None if residual is None else number(residual.most)


def verdict(document: Reported) -> Html:
    """The verdict, and how much was found."""
    return element(
        "p",
        _sign(document.verdict),
        element("strong", words.VERDICTS[document.verdict]),
        element("span", words.summary(document)),
        class_=f"verdict {document.verdict}",
    )


def findings(document: Reported) -> Html:
    """Every finding, those that fail first."""
    places = {row.name: f"image-{place}" for place, row in enumerate(document.rows)}
    folder = words.folder(document)
    if not document.findings:
        body = element("p", "Every check held, and there is nothing to note.", class_="empty")
    else:
        cards = (_finding(finding, places, folder) for finding in document.findings)
        body = element("ol", join(cards), class_="findings")
    return section("findings", "Findings", None, body, _checks(document))


def _checks(document: Reported) -> Html | None:
    """Every check, whatever became of it."""
    if not document.checks:
        return None
    columns = (
        Column("Check"),
        Column("Outcome"),
        Column("Measured", "number"),
        Column("Limit", "number"),
    )
    rows = (
        (
            join([element("code", check.name), element("small", check.what)]),
            _outcome(check),
            number(check.measured),
            words.limit(check),
        )
        for check in document.checks
    )
    said = words.outcomes(document)
    return join([element("h3", said), table(said, columns, rows, "checks")])


def _outcome(check: Check) -> Html:
    signs = {"passed": "pass", "failed": check.severity, "not made": "none"}
    kind = signs[check.outcome]
    sign = _sign(kind) if kind in _SIGNS else None
    told = element("span", sign, words.outcome(check), class_=f"outcome {kind}")
    return join([told, element("small", check.reason) if check.reason is not None else None])


def _finding(finding: Finding, places: dict[str, str], folder: str) -> Html:
    severity = finding.severity
    return element(
        "li",
        element(
            "p",
            element("span", _sign(severity), words.SEVERITIES[severity], class_="chip"),
            element("code", finding.check),
            class_="kind",
        ),
        element("h3", finding.title),
        element("p", finding.text),
        _compared(finding),
        _images(finding, places, folder),
        class_=f"finding {severity}",
    )


def _compared(finding: Finding) -> Html | None:
    if finding.measured is None and finding.limit is None:
        return None
    values = {"Measured": finding.measured, "Limit": finding.limit}
    return facts({name: None if v is None else number(v) for name, v in values.items()}, "inline")


def _images(finding: Finding, places: dict[str, str], folder: str) -> Html | None:
    if not finding.images:
        return None
    items = [_image(name, places.get(name), folder) for name in finding.images]
    first = element("ul", join(items[:_LISTED]), class_="names", aria_label="Images, worst first")
    if len(items) <= _LISTED:
        return first
    rest = element("ul", join(items[_LISTED:]), class_="names")
    more = f"{counted(len(items) - _LISTED, 'more image')}"
    return join([first, element("details", element("summary", more), rest)])


def _image(name: str, place: str | None, folder: str) -> Html:
    shown = element("bdi", name.removeprefix(folder))
    if place is None:
        return element("li", element("span", shown, title=name))
    return element("li", element("a", shown, href=f"#{place}", title=name))


def _sign(name: str) -> Html:
    return element(
        "svg",
        element("path", d=_SIGNS[name]),
        class_="sign",
        viewBox="0 0 20 20",
        aria_hidden="true",
    )
