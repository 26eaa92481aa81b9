"""What can go wrong, said in one line: the thing, the reason, and the next step.

Every error that a user can cause is an `FgOnnxError`. `exit_code` is what the command line
returns for it: 2, "it could not be done". A check that does not hold is no error but a result,
and exits 1.
"""

from __future__ import annotations

_MOST_CHARACTERS = 2000  # of a message; a file may hold names of any length


class FgOnnxError(Exception):
    """Something could not be done.

    Attributes:
        code: a stable machine-readable word, e.g. ``"not-onnx"``.
        message: one line naming the thing and the reason.
        hint: the next step for the user, or ``""``.
        exit_code: what the command line exits with.
    """

    exit_code = 2

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        message = printable(message)
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = printable(hint)

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class ModelError(FgOnnxError):
    """A model file cannot be read, is broken, or does not check."""


class UnsupportedModelError(FgOnnxError):
    """A sound model that cannot be instrumented.

    Attributes:
        op: the operator that stands in the way, ``""`` where it is not one.
        node: that operator's node.
        reason: what is wrong with it; the message where it is not an operator.
    """

    def __init__(
        self, code: str, message: str, hint: str = "", *, op: str = "", node: str = ""
    ) -> None:
        super().__init__(code, message, hint)
        self.op = op
        self.node = node
        self.reason = self.message.removeprefix(printable(f"`{op}` at `{node}`: "))


class InputError(FgOnnxError):
    """An image, array, target or preprocessing that does not fit."""


class OutputError(FgOnnxError):
    """A result that cannot be written where it was asked for."""


class RuntimeMissingError(FgOnnxError):
    """No ONNX Runtime is installed, or it lacks what was asked of it."""


class EngineError(FgOnnxError):
    """An engine that derives gradients or audits elsewhere is missing, fails, crashes or hangs."""


def printable(text: str) -> str:
    """One line that a terminal shows and does not obey: what cannot be printed is escaped.

    Files choose the names that messages hold, and how long they are.
    """
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[: _MOST_CHARACTERS // 2]} ... {text[-_MOST_CHARACTERS // 4 :]}"
    if not text.isprintable():
        text = " ".join(text.split())
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def first_line(error: Exception) -> str:
    """The first line of another library's message, or the error's class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
