"""Check that exported CNNs of many architectures are instrumented rightly.

    python -m tests.corpus                        all of sample_models.architectures.CORPUS
    python -m tests.corpus resnet18 resnet26d     these, of torchvision or timm
    python -m tests.corpus my/model.onnx          one's own, without a comparison with torch

Without a model named, the table goes to docs/corpus.md; else it is only printed. Exports (about
8 GB of them) and finished rows are kept in the cache, the folder FG_ONNX_CACHE, else
~/.cache/fg-onnx, and taken from there while nothing that they depend on has changed: a run that was
stopped goes on. The exit code is 1 if any row is not green (or refused, as it should be).
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import onnx
import onnxruntime as ort

import fg_onnx
from sample_models import fetch
from sample_models.architectures import CORPUS
from tests.corpus import table
from tests.corpus.exported import digest, export_key, last_line
from tests.corpus.row import Row

EXPORTERS = ("torchscript", "dynamo")
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "corpus.md"
CHECKS = "2"  # to be raised where a check of tests.corpus.check asks for more than it did
Task = tuple[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is named on the command line; return the exit code."""
    options = _options(arguments)
    tasks = tasks_of(options.models, options.exporter)
    kept = {} if options.fresh else finished()
    rows: dict[Task, Row] = {}
    missing = []
    for task in tasks:
        row = kept.get((*task, key_of(*task)))
        if row is None or (options.retry and row.failures):
            missing.append(task)
        else:
            rows[task] = row
    run = functools.partial(run_one, timeout=options.timeout)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for task, row in zip(missing, pool.map(run, missing), strict=True):
            rows[task] = row
            print(table.line(row), file=sys.stderr, flush=True)
    found = [rows[task] for task in tasks]
    if options.models or options.exporter:
        print(table.table(found))
    else:
        PAGE.write_text(table.page(found, versions()))
    red = [row for row in found if row.failures]
    print(f"{len(found) - len(red)} of {len(found)} hold", file=sys.stderr)
    for row in red:
        print(f"{row.model} {row.exporter}: {row.verdict}", file=sys.stderr)
    return 1 if red else 0


def tasks_of(models: Sequence[str], exporter: str | None) -> list[Task]:
    """What to run: a file once, an architecture through both exporters or the one given."""
    through = (exporter,) if exporter else EXPORTERS
    names = models or [architecture.name for architecture in CORPUS]
    tasks: list[Task] = []
    for name in names:
        if _is_file(name):
            tasks.append((str(Path(name).resolve()), "file"))
        else:
            tasks += [(name, each) for each in through]
    return tasks


def command_of(task: Task) -> list[str]:
    """The command that prints the row of one model."""
    return [sys.executable, "-m", "tests.corpus.check", *task]


def run_one(task: Task, timeout: float) -> Row:
    """Check one model in a process of its own; the row is kept in the cache."""
    model, exporter = task
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    try:
        done = subprocess.run(
            command_of(task),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            cwd=ROOT,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        row = Row(model, exporter, trouble=f"it takes more than {timeout:.0f} s")
    else:
        if done.returncode:
            reason = f"exit status {done.returncode}: {last_line(done.stderr)}"
            row = Row(model, exporter, trouble=reason)
        else:
            row = Row(**json.loads(last_line(done.stdout)))
    keep(row)
    return row


# --- rows in the cache ----------------------------------------------------------------------------


def finished() -> dict[tuple[str, str, str], Row]:
    """The rows in the cache, the latest of each model, exporter and key."""
    if not _rows_file().is_file():
        return {}
    found = {}
    for text in _rows_file().read_text().splitlines():
        document = json.loads(text)
        key = document.pop("key")
        row = Row(**document)
        found[row.model, row.exporter, key] = row
    return found


def keep(row: Row) -> None:
    """Append a row to the cache."""
    document = {"key": key_of(row.model, row.exporter), **asdict(row)}
    with _rows_file().open("a") as file:
        file.write(json.dumps(document) + "\n")


def _rows_file() -> Path:
    return fetch.cache_dir() / "corpus.jsonl"


@functools.cache
def key_of(model: str, exporter: str) -> str:
    """Changes with whatever a row depends on: the model, this package, what is checked."""
    if exporter == "file":
        source = hashlib.sha256(Path(model).read_bytes()).hexdigest()
    else:
        source = export_key(model)
    return digest(source, _code(), ort.__version__, onnx.__version__)


@functools.cache
def _code() -> str:
    files = sorted((ROOT / "fg_onnx").rglob("*.py"))
    return digest(CHECKS, *(path.read_text() for path in files))


def _is_file(name: str) -> bool:
    return name.endswith(".onnx")


def versions() -> str:
    """What the rows were made with."""
    libraries = ("onnx", "onnxruntime", "torch", "torchvision", "timm")
    found = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in libraries)
    return f"fg-onnx {fg_onnx.__version__}, {found}, {platform.machine()}."


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.corpus",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--exporter", choices=EXPORTERS, help="one of the two; default: both")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time (each up to 4 GB)")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for one model")
    parser.add_argument("--fresh", action="store_true", help="take no row from the cache")
    parser.add_argument("--retry", action="store_true", help="take no failed row from the cache")
    found = parser.parse_args(arguments)
    for name in found.models:
        if _is_file(name) and not Path(name).is_file():
            parser.error(f"there is no file {name}")
    return found


if __name__ == "__main__":
    sys.exit(main())
