"""``fg-onnx ops``: the operator table, straight from the rules."""

# onnx is slow to import, and --help is not to wait for it
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import Annotated, NamedTuple

import typer

from .console import say, say_json, table
from .options import JsonOption

SCHEMA_VERSION = 1


class Answer(NamedTuple):
    """A row: ``answer`` is rule, body, zero or refused; ``detail`` is its formula or reason."""

    op: str
    answer: str
    detail: str


def ops(
    json_: JsonOption = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table of the README.")
    ] = False,
) -> None:
    """List the operators: by rule or function body, of zero derivative, refused and why."""
    answers = all_answers()
    if json_:
        say_json({"schema_version": SCHEMA_VERSION, "operators": list(map(_entry, answers))})
    elif markdown:
        say(to_markdown(answers))
    else:
        table(("operator", "answer", "formula or reason"), answers)


def all_answers() -> list[Answer]:
    """The whole table: rules, bodies, zeros, refusals, each in alphabetical order."""
    from fg_onnx.vjps import REFUSED, RULES, ZERO, expanded

    return [
        *(Answer(op, "rule", RULES[op].summary) for op in sorted(RULES)),
        *(
            Answer(op, "body", "it has no rule but a function body, which is expanded")
            for op in expanded()
        ),
        *(Answer(op, "zero", ZERO[op]) for op in sorted(ZERO)),
        *(Answer(op, "refused", REFUSED[op]) for op in sorted(REFUSED)),
    ]


def _entry(answer: Answer) -> dict[str, str]:
    name = "formula" if answer.answer == "rule" else "reason"
    return {"op": answer.op, "answer": answer.answer, name: answer.detail}


def to_markdown(answers: list[Answer]) -> str:
    """A row for every rule; the operators without one by their reason."""
    lines = ["| operator | rule |", "|---|---|"]
    lines += [f"| {a.op} | {_cell(a.detail)} |" for a in answers if a.answer == "rule"]
    lines += ["", "| answer | operators | reason |", "|---|---|---|"]
    for answer in ("body", "zero", "refused"):
        reasons: dict[str, list[str]] = {}
        for row in answers:
            if row.answer == answer:
                reasons.setdefault(row.detail, []).append(row.op)
        lines += [f"| {answer} | {', '.join(ops)} | {_cell(why)} |" for why, ops in reasons.items()]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")
