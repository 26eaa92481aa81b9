"""The rows as a page of Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from tests.corpus.row import EXCEPTIONS, USUAL, Bounds, Row

_HEAD = f"""\
# The corpus

Written by `make corpus`; not to be edited. Architectures of torchvision and timm with random
weights, exported by torch with a dynamic batch (`torchscript`: opset 17, `dynamo`: opset 18),
instrumented as they are by default, and run by ONNX Runtime on the CPU. `size` is that of the
images, `nodes` those of the exported and of the instrumented graph, `sites` the places where
something is added to the signal, each with a bias-gradient of its own, `seconds` what instrumenting
took; the four columns between them are relative errors. The `verdict` is green where

- `outputs`: the original outputs are unchanged to {USUAL.outputs:.0e} of their largest, in a batch
  of three images (where ONNX Runtime's optimisations alone move them further: those of the source
  without them; an exception is named below the table);
- `residual`: of completeness, at most {USUAL.residual:.0e} for each of three images;
- `gradient`: of the input, is PyTorch's autograd in float64 and in the same linear region, to
  {USUAL.gradient:.0e} of its largest;
- `differences`: finite differences in float32 along the image and five random promoted biases are
  the gradients to {USUAL.differences:.0e} (where a central difference is not, the slope of the line
  through 64 values along a quarter of its step decides, for fewer kinks lie within; steps below
  6e-05 are kept);
- the map is finite and not constant.
"""
_COLUMNS = (
    "architecture", "exporter", "size", "nodes", "sites", "outputs", "residual", "gradient",
    "differences", "seconds", "verdict",
)  # fmt: skip


def page(rows: Sequence[Row], versions: str) -> str:
    """The whole of ``docs/corpus.md``."""
    green = sum(row.verdict == "green" for row in rows)
    models = len({row.model for row in rows})
    summary = f"{green} of {len(rows)} exports of {models} architectures are green. {versions}"
    return "\n".join([_HEAD, summary, "", table(rows), *_exceptions(rows)]) + "\n"


def table(rows: Sequence[Row]) -> str:
    """One line for each row."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * len(_COLUMNS)]
    return "\n".join([*lines, *(line(row) for row in rows)])


def line(row: Row) -> str:
    """A row of the table."""
    nodes = f"{_number(row.nodes)} → {_number(row.instrumented)}"
    errors = (row.outputs, row.residual, row.gradient, row.differences)
    cells = [
        row.model,
        row.exporter,
        row.side,
        "" if row.nodes is None else nodes,
        _number(row.sites),
        *("" if error is None else f"{error:.1e}" for error in errors),
        "" if row.instrument_s is None else f"{row.instrument_s:.1f}",
        row.verdict.replace("|", "\\|") + ("¹" if row.model in EXCEPTIONS else ""),
    ]
    return "| " + " | ".join(cells) + " |"


def _exceptions(rows: Sequence[Row]) -> list[str]:
    models = {row.model for row in rows}
    found = [
        f"- {name}{_bent(bounds)}: {bounds.because}{_measured(rows, name)}"
        for name, bounds in EXCEPTIONS.items()
        if name in models
    ]
    return ["", "¹ Exceptions:", "", *found] if found else []


def _bent(bounds: Bounds) -> str:
    """The bounds that are not the usual, in parentheses."""
    changed = [
        f"`{field.name}` {getattr(bounds, field.name):.0e}"
        for field in fields(bounds)
        if field.name != "because" and getattr(bounds, field.name) != getattr(USUAL, field.name)
    ]
    return f" ({', '.join(changed)})"


def _measured(rows: Sequence[Row], name: str) -> str:
    """What the rows of an architecture measured of the source's own rounding."""
    found = [
        f"{row.rounding:.1e} ({row.exporter})"
        for row in rows
        if row.model == name and row.rounding is not None
    ]
    if not found:
        return ""
    return (
        f" The exported model's own distance from float64 in this run: {', '.join(found)}; its "
        "`outputs` may be no more than twice that."
    )


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
