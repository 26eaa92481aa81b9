"""Audits as processes, to be stopped, starved and started again."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from fg_onnx.audit import auditing
from fg_onnx.audit.records import FOLDER

_PARTS_OF_FOUR = (
    "import signal, sys, fg_onnx.audit.auditing as auditing\n"
    # a process in the background of a shell, and all that it starts, does not take Ctrl-C
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "Options = auditing.Options\n"
    "auditing.Options = lambda **given: Options(**given, part=4)\n"
    "from fg_onnx.cli import main; sys.argv[1:1] = ['audit']; main()"
)


def command(model, images, out, *options):
    """An audit of parts of four."""
    chosen = ["--preprocess", "unit", "--sample", "2", "--shown", "3", "-o", out, *options]
    return [sys.executable, "-c", _PARTS_OF_FOUR, *map(str, [model, images, *chosen])]


def run(*arguments, **options):
    """It from beginning to end."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, timeout=120, **options
    )


def run_until(parts, *arguments, **options):
    """It when so many parts are written, and its pipe of stderr."""
    process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True, **options)
    end = time.monotonic() + 120
    while len(parts_of(arguments[2])) < parts and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.001)
    return process


def parts_of(out):
    """The parts that are there."""
    return sorted(path.name for path in out.glob(f"{FOLDER}/0*.parquet"))


def written(out):
    """The bytes of all that an audit leaves for others."""
    return {name: (out / name).read_bytes() for name in auditing.WRITTEN}


def leftovers(out):
    """Files that were begun and not finished."""
    return [name for _, _, names in os.walk(out) for name in names if name.startswith(".")]
