"""Runs timed on one device, one line of JSON for each."""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from fg_onnx.devices import cuda_uuid

WARM_UP = 2
FEWEST = 3


@dataclass(frozen=True)
class Cell:
    """One way to run one model.

    Attributes:
        model: by name.
        precision: fp32, fp16 or tf32.
        batch: images at once.
        method: what was run.
        ms: the median for the whole batch, None where it did not run.
        memory_mib: of the GPU, beyond what was taken before the process began; None without one.
        residual: of completeness, the worst of the batch; None where there is none.
        difference: from the CPU's float32 map, the worst relative to a map's maximum, or None.
        error: why it did not run, else "".
    """

    model: str
    precision: str
    batch: int
    method: str
    ms: float | None = None
    memory_mib: int | None = None
    residual: float | None = None
    difference: float | None = None
    error: str = ""

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What tells it from others."""
        return self.model, self.precision, self.batch, self.method

    @property
    def images_per_second(self) -> float | None:
        """Images a second."""
        return None if self.ms is None else 1e3 * self.batch / self.ms


@dataclass(frozen=True)
class Limits:
    """How long to measure.

    Attributes:
        repeats: of each run, after the warm-up.
        deadline: on `time.monotonic`, after which nothing is begun.
        baseline_mib: of GPU memory that was taken before, None without a GPU.
        gpu: its index among CUDA's devices.
    """

    repeats: int
    deadline: float
    baseline_mib: int | None
    gpu: int = 0

    def measured(self, cell: Cell, run: Callable[[], object]) -> Cell:
        """The cell with its time; ``run`` returns when the device is done."""
        if time.monotonic() > self.deadline:
            return Cell(*cell.key, error="not run: out of time")
        try:
            for _ in range(WARM_UP):
                run()
            times: list[float] = []
            while len(times) < self.repeats:
                start = time.perf_counter()
                run()
                times.append((time.perf_counter() - start) * 1e3)
                if len(times) >= FEWEST and time.monotonic() > self.deadline:
                    break
        except Exception as error:  # noqa: BLE001  # one cell, not the table
            return Cell(*cell.key, error=said(error))
        used = gpu_memory(self.gpu) if self.baseline_mib is not None else None
        memory = None if used is None else used - (self.baseline_mib or 0)
        return Cell(*cell.key, ms=statistics.median(times), memory_mib=memory)


def said(error: Exception) -> str:
    """An error in one short line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:200]


def gpu_memory(index: int) -> int | None:
    """MiB in use on a CUDA device, by all processes; None where there is none to ask."""
    found = nvidia_smi("memory.used", index)
    return int(found) if found is not None and found.isdigit() else None


def nvidia_smi(query: str, index: int) -> str | None:
    """What ``nvidia-smi`` says of a CUDA device, None where either is not there."""
    gpu = cuda_uuid(index)
    if gpu is None or shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits", "-i", gpu]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def say(kind: str, **values: object) -> None:
    """One line for the process that began this one."""
    print(json.dumps({"kind": kind, **values}), flush=True)


def say_cell(cell: Cell) -> None:
    """A cell likewise."""
    say("cell", **asdict(cell))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the process that began this one says to both halves."""
    parser.add_argument("folder", type=Path)
    parser.add_argument("model")
    parser.add_argument("--device", required=True)
    parser.add_argument("--precisions", nargs="+", required=True)
    parser.add_argument("--batches", nargs="+", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--baseline-mib", type=int)


def limits_of(given: argparse.Namespace) -> Limits:
    """The limits that were given."""
    index = int(given.device.rpartition(":")[2]) if ":" in given.device else 0
    return Limits(given.repeats, time.monotonic() + given.seconds, given.baseline_mib, index)
