"""What is said where an audit cannot be kept."""

from __future__ import annotations

from pathlib import Path

from fg_onnx.errors import OutputError

CHOOSE = "choose another place with -o"


def not_writable(where: Path | str, error: Exception) -> OutputError:
    """A file that cannot be written."""
    return OutputError("not-writable", f"cannot write `{where}`: {_reason(error)}", CHOOSE)


def not_removable(where: Path | str, error: Exception) -> OutputError:
    """A file that cannot be taken away."""
    return OutputError(
        "not-writable", f"cannot remove `{where}`: {_reason(error)}", f"remove it, or {CHOOSE}"
    )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
