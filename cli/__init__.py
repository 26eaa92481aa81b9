"""The command line, ``fg-onnx``: one file a command; nothing slow is imported before it is needed.

A command's function holds its options and its way through; what it shares with others is in
`console` (streams, errors, exit codes) and `describe` (models in words).
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from fg_onnx._version import __version__

from .audit import audit
from .check import check
from .compare import compare
from .console import end_orderly, reported, say
from .engine import engine
from .evaluate import evaluate
from .explain import explain
from .inspect import inspect
from .instrument import instrument
from .ops import ops
from .profile import profile
from .verify import verify
from .view import view

app = typer.Typer(
    name="fg-onnx",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _command in (instrument, explain, view, inspect, check, verify, audit, compare, profile, ops):
    app.command()(reported(_command))
app.add_typer(engine)
app.add_typer(evaluate)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"fg-onnx {__version__}")
        raise typer.Exit


@app.callback()
def _about(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Full-gradients and FullGrad maps of exported CNNs, computed inside the ONNX graph.

    Exit codes: 0 done and every check held, 1 a check did not hold, 2 it could not be done.
    """


def main() -> None:
    """Run ``fg-onnx`` with the arguments of this process."""
    for stream in (sys.stdout, sys.stderr):
        # a file name or label that the terminal cannot show is no reason to fail
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Before NumPy and OpenCV are loaded. Their threads would spin on all cores for work that is too
    # small for that, and take them from the model that runs meanwhile.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    end_orderly()
    app(prog_name="fg-onnx")
