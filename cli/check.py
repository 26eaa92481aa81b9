"""``fg-onnx check``: what a commit hook asks of model files."""

# onnx is slow to import, and --help is not to wait for it
# ruff: noqa: PLC0415

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fg_onnx.errors import FgOnnxError, printable

from .console import CHECK_FAILED, IMPOSSIBLE, counted, say, say_json, strong
from .options import JsonOption

if TYPE_CHECKING:
    from fg_onnx.verification.report import Verification

SCHEMA_VERSION = 1


def check(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL", show_default=False, help=".onnx files.")
    ],
    json_: JsonOption = False,
) -> None:
    """Check that every MODEL can be explained, and is the source of what explains it.

    A plain model is instrumented in memory; an instrumented one, NAME.fg.onnx, is held against the
    NAME.onnx beside it, also where that alone is given. Outputs and completeness are checked on
    noise, gradients by `fg-onnx verify`. Exit code 1 if a check does not hold, else 2 if a model
    cannot be checked.
    """
    from fg_onnx.audit import checking

    found: dict[str, Any] = {}
    outcomes = set()
    for path in checking.with_instrumented(models):
        try:
            verification = checking.check(path)
        except FgOnnxError as error:
            outcomes.add("error")
            found[str(path)] = {"error": error.code, "message": error.message, "hint": error.hint}
            if not json_:
                say(f"{printable(str(path))}: {strong('error')}: {printable(error.message)}")
                say(f"  hint: {printable(error.hint)}")
            continue
        outcomes.add(verification.verdict)
        found[str(path)] = verification.to_dict()
        if not json_:
            _print(path, verification)
    if json_:
        say_json({"schema_version": SCHEMA_VERSION, "models": found})
    if "failed" in outcomes:
        raise typer.Exit(CHECK_FAILED)
    if outcomes - {"passed"}:
        raise typer.Exit(IMPOSSIBLE)


def _print(path: Path, found: Verification) -> None:
    applied = [each for each in found.checks if each.outcome != "not applicable"]
    say(
        f"{printable(str(path))}: {strong(found.verdict)}: {counted(len(applied), 'check')} "
        f"on {counted(found.images, 'image')} of noise"
    )
    for each in applied:
        if each.outcome != "passed":
            say(f"  {each.name}: {each.outcome}: {printable(each.detail)}")
