"""What a FullGrad map costs on a GPU: ONNX Runtime's forward pass and map against torch.

    python -m benchmarks.gpu --prepare FOLDER          # on the CPU, once; minutes
    python -m benchmarks.gpu --prepared FOLDER -o OUT  # on the GPU

The second writes OUT/gpu.json and OUT/gpu.md, after every model anew. ONNX Runtime and torch run in
processes of their own, one pair for each model; what fails there is a cell that says so. Images lie
on the device beforehand and maps stay there; a run ends when the device is done. Medians after a
warm-up.

Where there is no CUDA device it runs reduced: one light net, one image, on the CPU. That tests this
code and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.about import about
from benchmarks.gpu_table import (
    FORWARD,
    FULLGRAD,
    MAP,
    TORCH_FORWARD,
    TORCH_GRADIENT,
    Found,
)
from benchmarks.prepared import COMPARED, MODELS, PRECISIONS, prepare
from benchmarks.timing import Cell, gpu_memory, nvidia_smi
from fg_onnx.devices import Device, cuda_devices, parse_device

BATCHES = (1, 8, 64)
REDUCED = {"models": ["mobilenet_v2"], "batches": [1], "precisions": ["fp32"], "repeats": 1}
HALVES = {
    "benchmarks.gpu_ort": (FORWARD, MAP),
    "benchmarks.gpu_torch": (TORCH_FORWARD, TORCH_GRADIENT, FULLGRAD),
}
_ORT_SHARE = 0.55  # of a model's time; the authors' algorithm is most of torch's
_GRACE = 20.0  # seconds beyond its time, until a process is ended: a run cannot be interrupted


def main() -> None:
    """Prepare, measure, or both."""
    given = _arguments()
    device = _device(given.device)
    if given.prepare is not None:
        prepare(given.prepare, tuple(given.models), max(given.batches), COMPARED)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.prepared or Path(temporary)
        compared = 1 if given.reduced else COMPARED
        prepare(folder, tuple(given.models), max(given.batches), compared)
        found = Found(_about(device, given))
        end = time.monotonic() + given.budget
        for number, model in enumerate(given.models):
            share = (end - time.monotonic()) / (len(given.models) - number)
            for half, methods in HALVES.items():
                seconds = share * (_ORT_SHARE if MAP in methods else 1 - _ORT_SHARE)
                _measure(half, model, folder, device, given, max(seconds, 0.0), found)
            found.write(given.out)
            print(f"{model} done, written to {given.out}", file=sys.stderr, flush=True)
    print(found.markdown())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prepare", type=Path, metavar="FOLDER", help="make models, and stop")
    parser.add_argument("--prepared", type=Path, metavar="FOLDER", help="where they were made")
    parser.add_argument("-o", "--out", type=Path, default=Path("gpu-benchmark"))
    parser.add_argument("--models", nargs="+", choices=MODELS)
    parser.add_argument("--batches", nargs="+", type=int)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda[:N] or tensorrt[:N]")
    parser.add_argument("--repeats", type=int, help="of each run after its warm-up")
    parser.add_argument("--budget", type=float, default=450.0, help="seconds for all measuring")
    parser.add_argument("--reduced", action="store_true", help="test this code, measure nothing")
    given = parser.parse_args()
    given.reduced |= given.prepare is None and not _device(given.device).is_gpu
    full = {"models": MODELS, "batches": BATCHES, "precisions": PRECISIONS, "repeats": 20}
    for name, value in (REDUCED if given.reduced else full).items():
        if getattr(given, name) is None:
            setattr(given, name, list(value) if isinstance(value, tuple) else value)
    given.batches.sort()
    return given


def _device(spec: str) -> Device:
    """What is measured; whether ONNX Runtime brings it up, its own process finds out."""
    found = parse_device(spec)
    if found is None:
        found = Device("cuda") if cuda_devices() else Device("cpu")
    return found


def _measure(
    half: str,
    model: str,
    folder: Path,
    device: Device,
    given: argparse.Namespace,
    seconds: float,
    found: Found,
) -> None:
    """One library on one model; what the process does not tell of is a cell with the reason."""
    on = str(device)
    if half == "benchmarks.gpu_torch" and device.is_gpu:
        on = f"cuda:{device.index}"
    command = [sys.executable, "-m", half, str(folder), model, "--device", on]
    command += ["--precisions", *given.precisions, "--batches", *map(str, given.batches)]
    command += ["--repeats", str(given.repeats), "--seconds", str(seconds)]
    baseline = gpu_memory(device.index) if device.is_gpu else None
    if baseline is not None:
        command += ["--baseline-mib", str(baseline)]
    lines, reason = _run(command, seconds + _GRACE)
    if reason:
        found.failures.append(f"{model}, {half}: {reason}")
    told: dict[Any, Cell] = {}
    for line in lines:
        kind = line.pop("kind")
        if kind == "cell":
            cell = Cell(**line)
            told[cell.key] = cell
        elif kind == "placement":
            found.placements.append(line)
        else:
            found.about.update(line)
    for precision in given.precisions:
        for batch in given.batches:
            for method in HALVES[half]:
                key = (model, precision, batch, method)
                found.cells.append(told.get(key) or Cell(*key, error=reason or "not told of"))


def _run(command: list[str], seconds: float) -> tuple[list[dict[str, Any]], str]:
    """The lines that a process wrote, and why there are no more, "" where it came to its end."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            done = subprocess.run(command, stdout=out, stderr=err, timeout=seconds, check=False)
            reason = f"the process ended with {done.returncode}" if done.returncode else ""
        except subprocess.TimeoutExpired:
            reason = "not run: out of time"
        for file in (out, err):
            file.seek(0)
        complaints = err.read().strip().splitlines()
        if complaints and reason.startswith("the process"):
            reason += f": {complaints[-1][:200]}"
        lines = []
        for line in out.read().splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue  # libraries print too
        return [line for line in lines if isinstance(line, dict) and "kind" in line], reason


def _about(device: Device, given: argparse.Namespace) -> dict[str, Any]:
    """Machine, driver, versions and command; the processes add theirs."""
    gpu = nvidia_smi("name,driver_version,memory.total", device.index) if device.is_gpu else None
    return {
        "what": "reduced: a test of the benchmark's own code, no measurement"
        if given.reduced
        else "images 224x224, medians",
        "device": str(device),
        "GPU, driver, MiB": gpu or "none",
        **about("benchmarks.gpu"),
        "repeats": given.repeats,
    }


if __name__ == "__main__":
    main()
