"""A Markdown summary, for the description of a pull request or a comment on one."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fg_onnx.audit.document import Document, Finding
from fg_onnx.audit.report import words
from fg_onnx.audit.report.numbers import column, count, counted, number, percent
from fg_onnx.audit.report.text import basename, visible
from fg_onnx.audit.report.words import Reported

_LAYERS = 8
_CLASSES = 10
_IMAGES = 3
SYMBOLS = {"fail": "❌", "warning": "⚠️", "note": "ℹ️", "pass": "✅"}

# all that Markdown gives a meaning, but for what has one at the start of a line alone
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>()#+!|~&@:$\"'=^%]")
_START = re.compile(r"^(\s*)([-+=.#>]|\d+[.)])")
_ADDRESS = re.compile(r"(?i)(www)\.")


def plain(text: str) -> str:
    """Text that no renderer of Markdown takes for markup, a link, a mention or a reference.

    Special characters become numeric entities, which stand for the character alone; an empty
    comment after ``@`` and ``#`` keeps GitHub from telling the person of that name.
    """
    found = _SPECIAL.sub(_entity, visible(text))
    return _START.sub(_at_start, _ADDRESS.sub(r"\1&#46;", found))


def _entity(match: re.Match[str]) -> str:
    entity = f"&#{ord(match[0])};"
    return f"{entity}<!-- -->" if match[0] in "@#" else entity


def _at_start(match: re.Match[str]) -> str:
    digits, mark = match[2][:-1], match[2][-1]
    return f"{match[1]}{digits}&#{ord(mark)};"


def code(text: str) -> str:
    """The same, in the type of code."""
    return f"<code>{plain(text)}</code>"


def text(document: Document) -> str:
    """The verdict and the findings, then the model and what drives its scores."""
    parts = [
        _head(document),
        findings(document),
        checks(document),
        _ledger(document),
        _classes(document),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(document: Document) -> str:
    model = document.model
    looked = counted(document.images, "image")
    if document.broken:
        looked += f", {count(document.broken)} unreadable"
    if document.accuracy is not None:
        looked += f", {percent(document.accuracy)} of those with a label predicted right"
    verdict = words.VERDICTS[document.verdict]
    return (
        f"## {SYMBOLS[document.verdict]} {verdict}: fg-onnx audit of "
        f"{code(basename(model.path))}\n\n"
        f"{words.summary(document).capitalize()}. {looked}. "
        f"Opset {model.opset}, {counted(sum(model.operators.values()), 'operator')}, "
        f"{counted(len(model.sites), 'site')}, sha256 {code(model.sha256[:16])}."
    )


def findings(document: Reported) -> str:
    """A table, those that fail first; nothing without."""
    if not document.findings:
        return ""
    return table(
        ("", "check", "finding", "measured", "limit", "images"),
        "lllrrl",
        (
            (
                f"{SYMBOLS[finding.severity]} {words.SEVERITIES[finding.severity]}",
                code(finding.check),
                f"**{plain(finding.title)}**<br>{plain(finding.text)}",
                number(finding.measured),
                number(finding.limit),
                _images(finding, words.folder(document)),
            )
            for finding in document.findings
        ),
    )


def checks(document: Reported) -> str:
    """A table of all, folded; nothing without."""
    if not document.checks:
        return ""
    signs = {"passed": SYMBOLS["pass"], "not made": "–"}
    rows = table(
        ("", "check", "what", "measured", "limit"),
        "lllrr",
        (
            (
                f"{signs.get(check.outcome, SYMBOLS[check.severity])} {words.outcome(check)}",
                code(check.name),
                plain(check.what) + (f"<br>{plain(check.reason)}" if check.reason else ""),
                number(check.measured),
                words.limit(check),
            )
            for check in document.checks
        ),
    )
    return f"<details><summary>{words.outcomes(document)}</summary>\n\n{rows}\n\n</details>"


def _images(finding: Finding, folder: str) -> str:
    named = [code(name.removeprefix(folder)) for name in finding.images[:_IMAGES]]
    more = len(finding.images) - len(named)
    return "<br>".join([*named, f"and {count(more)} more"] if more else named)


def _ledger(document: Document) -> str:
    if not document.layers:
        return ""
    kinds = ", ".join(
        f"{words.KINDS.get(kind, kind)} {percent(share)}"
        for kind, share in words.by_kind(document).items()
    )
    largest = sorted(document.layers, key=lambda layer: -layer.share)[:_LAYERS]
    means = column([layer.mean for layer in largest])
    rows = table(
        ("layer", "kind", "share", "mean", "silent"),
        "llrrr",
        (
            (code(layer.name), layer.kind, percent(layer.share), mean, percent(layer.silent))
            for layer, mean in zip(largest, means, strict=True)
        ),
    )
    return (
        f"**What drives the scores**: {kinds}.\n\n"
        f"<details><summary>The {counted(len(largest), 'largest layer', 'largest layers')} of "
        f"{count(len(document.layers))}</summary>\n\n{rows}\n\n</details>"
    )


def _classes(document: Document) -> str:
    if not document.classes:
        return ""
    listed = document.classes[:_CLASSES]
    rows = table(
        ("class", "images", "right", "outliers"),
        "lrrr",
        (
            (
                plain(words.of_class(row.index, row.label)),
                count(row.images),
                percent(row.right),
                number(row.outliers),
            )
            for row in listed
        ),
    )
    summary = f"{counted(len(listed), 'class', 'classes')} of {count(len(document.classes))}"
    return f"<details><summary>{summary}</summary>\n\n{rows}\n\n</details>"


def table(head: tuple[str, ...], sides: str, rows: Iterable[tuple[str, ...]]) -> str:
    """A table; ``sides`` has an ``l`` or ``r`` for every column."""
    rule = ("---:" if side == "r" else "---" for side in sides)
    lines = (" | ".join(cells) for cells in (head, tuple(rule), *rows))
    return "\n".join(f"| {line} |" for line in lines)
