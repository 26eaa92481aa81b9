"""What a table has to say of where and how it was made."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import fg_onnx

_ROOT = Path(__file__).parents[1]


def about(module: str, packages: Sequence[str] = ()) -> dict[str, str]:
    """Machine, date, command, and the versions of those packages that are installed."""
    found = {
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "fg-onnx": f"{fg_onnx.__version__}{_commit()}",
        "date": time.strftime("%Y-%m-%d"),
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
    }
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def processor() -> str:
    """Its name and how many there are, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    widest = next((name for name in ("avx512f", "avx2") if name in flags), "")
    parts = [f"{os.cpu_count()} x {names[0] if names else platform.processor()}", widest]
    return ", ".join(part for part in parts if part)


def _commit() -> str:
    """` (commit, changed)`, "" outside a clone."""
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty=, changed"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f" ({done.stdout.strip()})"
