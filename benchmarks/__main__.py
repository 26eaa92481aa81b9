"""What a FullGrad map costs on the CPU, beside torch and other ways to explain.

    python -m benchmarks --models resnet50 --batches 1 16 --json found.json
    python -m benchmarks --tables --json found.json --markdown docs/benchmark.md
    python -m benchmarks --models mine.onnx --compare before.json

A net is one of the list, any of torchvision or timm, or an `.onnx`, for which the columns of torch
stay empty. What is measured goes into the JSON net by net, so that a run may be cut into several;
one net at one batch is always measured side by side.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import results, tables
from benchmarks.about import about, processor
from benchmarks.judged import NETS
from benchmarks.methods import GRAD_CAM, METHODS, ONNX_AD, ORT_TRAINING, PEERS
from benchmarks.results import Cell, Section
from benchmarks.turns import Effort, alternate
from benchmarks.variants import is_file
from fg_onnx.ort_training import environment

_PACKAGES = ("onnxruntime", "torch", "torchvision", "timm", "numpy", "onnx", "grad-cam", "onnx-ad")
_MODULES = {GRAD_CAM: "pytorch_grad_cam", ONNX_AD: "onnx_ad"}


def main() -> None:
    """Measure, write, print."""
    given = _arguments()
    found: list[Section] = []
    if given.json is not None and given.json.exists():
        found = results.read(given.json)
    for net in () if given.tables else given.models:
        measured = _measure(net, given)
        found = results.merged(found, measured)
        if given.json is not None:
            results.write(given.json, found)
        _say(f"{net}: done")
    if not found:
        sys.exit("nothing measured: --tables needs a --json that is there")
    page = tables.page(found)
    if given.markdown is not None:
        given.markdown.write_text(page, encoding="utf-8")
    print(page)
    if given.compare is not None:
        print(f"## Against {given.compare}\n")
        print(tables.compared(found, results.read(given.compare)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", default=NETS, metavar="NET")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=8, help="of each method, in turn")
    parser.add_argument("--runs", type=int, default=6, help="in each block")
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="for one method at one batch; 3 runs at least"
    )
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=PEERS,
        help="optional ones; all that are installed by default, none after a bare --peers",
    )
    parser.add_argument("--json", type=Path, help="where the figures are kept, net by net")
    parser.add_argument("--markdown", type=Path, help="where the page is written")
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="what was measured then")
    parser.add_argument("--tables", action="store_true", help="measure nothing: show the JSON")
    return parser.parse_args()


def _measure(net: str, given: argparse.Namespace) -> list[Section]:
    """One net at all batches: first what the aims are set for, then the peers."""
    peers = PEERS if given.peers is None else given.peers
    absent = {name: "not installed" for name in peers if not _installed(name)}
    asked = [
        name
        for name, method in METHODS.items()
        if (not method.optional or name in peers)
        and not (method.library == "torch" and is_file(net))
    ]
    here = [name for name in asked if name not in absent]
    effort = Effort(given.blocks, given.runs, given.seconds)
    with tempfile.TemporaryDirectory() as folder:
        _say(f"{net}: making its files")
        made = _made(net, folder, here, given.batches)
        errors = absent | made["errors"]
        cells: dict[int, dict[str, Cell]] = {
            batch: {name: Cell(error=errors[name]) for name in asked if name in errors}
            for batch in given.batches
        }
        # Two groups, for the processes of all would not fit into memory side by side.
        for optional in (False, True):
            group = [n for n in here if n not in errors and METHODS[n].optional is optional]
            if group:
                _say(f"{net}: {', '.join(group)}")
            found = alternate(net, folder, group, given.batches, effort, given.threads)
            for batch, measured in found.items():
                cells[batch] |= measured
    where = {"processor": processor(), "threads": str(given.threads)}
    where |= about("benchmarks", _PACKAGES)
    name = Path(net).stem if is_file(net) else net
    return [
        Section(name, batch, where, cells[batch], made["bytes"], made["seconds"])
        for batch in given.batches
    ]


def _made(net: str, folder: str, methods: list[str], batches: list[int]) -> dict[str, dict]:
    command = [sys.executable, "-m", "benchmarks.variants", net, folder, *methods]
    command += ["--batches", *map(str, batches)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{net} could not be prepared")
    found: dict[str, dict] = json.loads(done.stdout.splitlines()[-1])
    return found


def _say(line: str) -> None:
    print(f"{time.strftime('%X')} {line}", file=sys.stderr, flush=True)


def _installed(peer: str) -> bool:
    if peer == ORT_TRAINING:
        return environment.status().ready
    return peer not in _MODULES or importlib.util.find_spec(_MODULES[peer]) is not None


if __name__ == "__main__":
    main()
