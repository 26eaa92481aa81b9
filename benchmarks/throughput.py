"""Images a second of `fg-onnx explain` and `fg-onnx audit`, beside a bare loop over `session.run`.

    python -m benchmarks.throughput [MODEL ...] [--images 1000] [--side 500] [--folder DIR] [--bare]

On real photographs, again and again, and without MODEL on SqueezeNet 1.1. The longer side of a
photograph has at most so many pixels: 500 is what those of ImageNet have; 0 leaves them as they
are. The bare loop has the model instrumented as the command has it, one image ready in memory, the
runtime's own choice of threads, and each of some batches: the best of them is what the commands are
held to, over as many images. Every figure is of a process of its own, one after the other, and they
take turns. The commands' time runs from the first image to the last file: reading the model is not
in it, decoding, drawing and writing are. Photographs and files lie in the folder, which is in
memory where the system has such a one: what a disk takes is that disk's.

``--bare`` gives the bare loop alone, for every batch and number of threads; with runs side by side.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.photographs import copies

BATCHES = (1, 2, 4, 8, 16)
_TURNS = 5
_MEMORY = Path("/dev/shm")
_FEW = 200  # images by which a batch is chosen


def bare(model: str, batch: int, threads: int, runs: int, images: int) -> float:
    """Images a second of nothing but the runtime; 0 threads are its own choice."""
    import onnxruntime

    import fg_onnx

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    made = fg_onnx.instrument(model, emit=["saliency", "contributions"])
    session = onnxruntime.InferenceSession(made.model.SerializeToString(), options)
    side = 227 if "squeezenet" in model else 224
    image = np.random.default_rng(0).normal(0, 1, (batch, 3, side, side)).astype(np.float32)
    outputs = ["fg_score", "fg_contributions", "fg_saliency"]

    def run(_: int) -> None:
        session.run(outputs, {made.manifest.fed: image})

    for number in range(3):
        run(number)
    count = max(4, images // batch)
    began = time.perf_counter()
    if runs == 1:
        for number in range(count):
            run(number)
    else:
        with ThreadPoolExecutor(runs) as pool:
            list(pool.map(run, range(count)))
    return count * batch / (time.perf_counter() - began)


def explaining(model: str, images: str, preset: str, folder: str) -> float:
    """Of `fg-onnx explain`, between the first image and the last file."""
    from typer.testing import CliRunner

    from fg_onnx.cli import app

    taken = []
    explain = importlib.import_module("fg_onnx.cli.explain")  # the package has the function
    inner = explain._explained  # what lies between the opened model and the document

    def timed(*arguments):
        began = time.perf_counter()
        found = list(inner(*arguments))
        taken.append(len(found) / (time.perf_counter() - began))
        return iter(found)

    explain._explained = timed
    with tempfile.TemporaryDirectory(dir=folder) as out:
        wanted = ["explain", model, images, "--preprocess", preset, "-o", out, "--device", "cpu"]
        done = CliRunner().invoke(app, wanted)
        if done.exit_code:
            raise SystemExit(done.output)
    return taken[0]


def auditing(model: str, images: str, preset: str, folder: str) -> float:
    """Of `fg-onnx audit`, between the first image and the last row."""
    from typer.testing import CliRunner

    from fg_onnx.audit import running
    from fg_onnx.cli import app

    taken = []
    inner = running.run_pending

    def timed(*arguments):
        found = inner(*arguments)
        taken.append(found.images / found.whole)
        return found

    running.run_pending = timed
    with tempfile.TemporaryDirectory(dir=folder) as out, contextlib.redirect_stderr(io.StringIO()):
        wanted = ["audit", model, images, "--preprocess", preset, "-o", out, "--device", "cpu"]
        wanted += ["--sample", "0", "--shown", "0"]
        done = CliRunner().invoke(app, wanted)
        if done.exit_code == 2:
            raise SystemExit(done.output)
    return taken[0]


def apart(*arguments: object) -> float:
    """One figure from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.throughput", "--one", json.dumps(arguments)]
    # as `fg-onnx` sets them
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout.splitlines()[-1])


def table_of_bare(model: str) -> None:
    """Every batch, by threads and runs side by side."""
    print("| batch | 1 thread | 2 threads | 2 runs of 1 thread |\n|---|---|---|---|")
    for batch in BATCHES:
        ways = ((1, 1), (2, 1), (1, 2))
        cells = [apart("bare", model, batch, *each, _FEW) for each in ways]
        print(f"| {batch} | {' | '.join(f'{cell:.1f}' for cell in cells)} |", flush=True)


def compare(model: str, images: int, side: int, where: Path | None) -> None:
    """The two commands beside the best bare loop."""
    preset = "caffe-bgr" if "squeezenet" in model else "imagenet"
    with tempfile.TemporaryDirectory(dir=where) as folder:
        place = str(copies(Path(folder) / "images", images, side))
        loops = {batch: apart("bare", model, batch, 0, 1, _FEW) for batch in BATCHES}
        best = max(loops, key=lambda batch: loops[batch])
        found: dict[str, list[float]] = {"bare": [], "explain": [], "audit": []}
        for _ in range(_TURNS):
            found["bare"].append(apart("bare", model, best, 0, 1, images))
            for name in ("explain", "audit"):
                found[name].append(apart(name, model, place, preset, folder))
    middle = {name: statistics.median(each) for name, each in found.items()}
    print("| what | images/s | of the bare loop | spread |\n|---|---|---|---|")
    for name, each in found.items():
        title = f"a bare loop, batch {best}" if name == "bare" else f"`fg-onnx {name}`"
        share = middle[name] / middle["bare"]
        print(f"| {title} | {middle[name]:.1f} | {share:.0%} | {min(each):.1f}-{max(each):.1f} |")


def main() -> None:
    """The tables of every model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=500)
    parser.add_argument("--folder", type=Path, default=_MEMORY if _MEMORY.is_dir() else None)
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one is not None:
        name, *rest = json.loads(asked.one)
        print({"bare": bare, "explain": explaining, "audit": auditing}[name](*rest))
        return
    if not asked.models:
        from sample_models import squeezenet

        asked.models = [str(squeezenet.write())]
    for model in asked.models:
        print(f"\n{Path(model).name}\n", flush=True)
        if asked.bare:
            table_of_bare(model)
        else:
            compare(model, asked.images, asked.side, asked.folder)


if __name__ == "__main__":
    main()
