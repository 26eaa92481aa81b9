"""How much memory a command holds at most."""

from __future__ import annotations

import os
import subprocess
import sys


def peak_of(*arguments: object) -> int:
    """The peak of `fg-onnx` in bytes, as a process of its own.

    Python's tracemalloc would tell it more finely, but in CPython 3.11 its end races with the
    threads of native libraries, and crashes (python/cpython#128679).
    """
    command = [sys.executable, "-m", "fg_onnx.cli", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in (0, 1)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
