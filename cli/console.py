"""The two streams and the exit codes: data on stdout, the rest on stderr, errors in one place.

Exit codes: 0 done and every check held; 1 a check did not hold; 2 it could not be done;
130 interrupted; 141 the reader of stdout went away; 143 terminated. (128 + the signal, as shells
have it.)
"""

from __future__ import annotations

import functools
import json
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import typer

from fg_onnx.errors import FgOnnxError, printable

DEBUG = "FG_ONNX_DEBUG"
CHECK_FAILED = 1
IMPOSSIBLE = 2
INTERRUPTED = 130
NOBODY_READS = 141
TERMINATED = 143

P = ParamSpec("P")


class TerminatedError(BaseException):
    """The process was asked to end; as with an interrupt, what was begun is put in order."""


def end_orderly() -> None:
    """Let SIGTERM unwind the process, not cut it off."""

    def terminate(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise TerminatedError

    signal.signal(signal.SIGTERM, terminate)


def reported(command: Callable[P, None]) -> Callable[P, None]:
    """The command, with every error as one line of what and one of what next, and an exit code."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except FgOnnxError as error:
            raise _failed(error.message, error.hint, error.exit_code) from error
        except KeyboardInterrupt as error:
            note("interrupted")
            raise typer.Exit(INTERRUPTED) from error
        except TerminatedError as error:
            note("terminated")
            raise typer.Exit(TERMINATED) from error
        except BrokenPipeError as error:
            # what is still buffered would be reported at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(NOBODY_READS) from error
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise _failed(
                f"unforeseen: {message}",
                f"set {DEBUG}=1 to see where, and report it; this is a fault of fg-onnx",
                IMPOSSIBLE,
            ) from error

    return wrapped


def _failed(message: str, hint: str, code: int) -> typer.Exit:
    if os.environ.get(DEBUG, "") not in ("", "0"):
        note(traceback.format_exc().rstrip())
    note(f"{_styled('error:', sys.stderr, fg='red', bold=True)} {printable(message)}")
    if hint:
        note(f"{_styled('hint:', sys.stderr, fg='cyan')} {printable(hint)}")
    return typer.Exit(code)


# --- streams ------------------------------------------------------------------------------------


def say(text: str = "") -> None:
    """A line of data, on stdout."""
    typer.echo(text)


def note(text: str) -> None:
    """A line about what is going on, on stderr."""
    typer.echo(text, err=True)


def say_json(document: dict[str, Any]) -> None:
    """A document, on stdout."""
    say(to_json(document))


def to_json(document: dict[str, Any]) -> str:
    """Valid JSON, in ASCII; a number that is not finite becomes null."""
    return json.dumps(_finite(document), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


# --- looks --------------------------------------------------------------------------------------


def strong(text: str) -> str:
    """Bold, where stdout is a terminal that shows it."""
    return _styled(text, sys.stdout, bold=True)


def faint(text: str) -> str:
    """Dim, where stdout is a terminal that shows it."""
    return _styled(text, sys.stdout, dim=True)


class Styled(str):
    """Text with codes for the terminal that are fg-onnx's own, and not a file's."""

    __slots__ = ()


def _styled(text: str, stream: Any, **style: Any) -> str:
    text = printable(text)
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain else Styled(typer.style(text, **style))


def _shown(text: str) -> str:
    return text if isinstance(text, Styled) else printable(text)


def fields(rows: Sequence[tuple[str, str]]) -> None:
    """Lines of a name and its value, the values below each other.

    What files hold cannot break a line here or in `table`, nor tell the terminal anything.
    """
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        say(f"{faint(name.ljust(width))}  {_shown(value)}".rstrip())


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell, two spaces apart."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()

    say(strong(line(head)))
    for row in rows:
        say(line(row))


def counted(count: int, noun: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def in_units(size: int) -> str:
    """A number of bytes for people: ``4.9 MB``."""
    if size < 1000:
        return f"{size} B"
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
