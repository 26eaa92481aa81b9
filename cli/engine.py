"""``fg-onnx engine``: the environment of the other engine for gradients."""

# fg_onnx.ort_training.environment is not needed for --help
# ruff: noqa: PLC0415

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from .console import CHECK_FAILED, fields, note, reported, say_json
from .options import JsonOption

if TYPE_CHECKING:
    from fg_onnx.ort_training.environment import Status


class Name(StrEnum):
    """The engines that are installed apart."""

    ort_training = "ort-training"


NameArgument = Annotated[Name, typer.Argument(metavar="ENGINE", help="ort-training.")]

engine = typer.Typer(
    name="engine",
    no_args_is_help=True,
    help="Install the engine for `instrument --gradients ort-training`, or see what there is.",
)


@engine.command()
@reported
def install(
    name: NameArgument = Name.ort_training,
    python: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            show_default=False,
            help="A Python from 3.8 to 3.12 to create the environment with. Default: this one, or "
            "one that is found.",
        ),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Create an environment for ENGINE in the cache, anew if there is one."""
    from fg_onnx.ort_training import environment

    del name  # there is but one
    note(f"installing {environment.PACKAGE} into `{environment.folder()}`")
    _show(environment.install(python), json_)


@engine.command()
@reported
def status(name: NameArgument = Name.ort_training, json_: JsonOption = False) -> None:
    """Show whether ENGINE can be used. Exit code 1 if it cannot."""
    from fg_onnx.ort_training import environment

    del name  # there is but one
    found = environment.status()
    _show(found, json_)
    if not found.ready:
        note(f"hint: run `{environment.INSTALL_COMMAND}`")
        raise typer.Exit(CHECK_FAILED)


def _show(found: Status, as_json: bool) -> None:
    if as_json:
        say_json(
            {
                "schema_version": 1,
                "engine": Name.ort_training.value,
                "ready": found.ready,
                "version": found.version,
                "python": found.python,
                "folder": str(found.folder),
                "trouble": found.trouble or None,
            }
        )
        return
    state = "ready" if found.ready else found.trouble or "not installed"
    rows = [("engine", Name.ort_training.value), ("state", state)]
    if found.ready:
        rows += [("version", str(found.version)), ("python", str(found.python))]
    fields([*rows, ("folder", str(found.folder))])
