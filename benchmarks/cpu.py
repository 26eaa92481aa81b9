"""What a FullGrad map costs on the CPU, in units of the plain forward pass.

    python -m benchmarks.cpu vgg16_bn resnet50 mobilenet_v2

Both models run in one process on the same image, in alternating blocks of runs after a warm-up of
each block, so that each keeps its own caches; medians over all runs of all blocks. `frozen` is the
model instrumented with --freeze-biases.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

import fg_onnx
from sample_models import exports

DEFAULT_MODELS = ("vgg16_bn", "resnet50", "resnet18", "mobilenet_v2", "squeezenet1_1")
THREADS = 2
BLOCKS = 6
RUNS = 8
WARM_UP = 2


@dataclass(frozen=True)
class Row:
    """One model's medians, in milliseconds (and seconds to instrument)."""

    model: str
    forward: float
    promoted: float
    frozen: float
    instrument: float

    def markdown(self) -> str:
        return (
            f"| {self.model} | {self.forward:.1f} | {self.promoted:.1f} "
            f"| {self.promoted / self.forward:.2f} | {self.frozen:.1f} "
            f"| {self.frozen / self.forward:.2f} | {self.instrument:.2f} |"
        )


HEADER = """\
| model | forward, ms | instrumented, ms | ratio | frozen biases, ms | ratio | to instrument, s |
|---|---|---|---|---|---|---|"""


def medians(runs: Sequence[Callable[[], object]]) -> list[float]:
    """Median milliseconds of each, run in alternating blocks."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(BLOCKS):
        for run, found in zip(runs, times, strict=True):
            for _ in range(WARM_UP):
                run()
            for _ in range(RUNS):
                start = time.perf_counter()
                run()
                found.append((time.perf_counter() - start) * 1e3)
    return [statistics.median(found) for found in times]


def measure(name: str, folder: Path) -> Row:
    """Export, instrument and time one architecture."""
    source = folder / f"{name}.onnx"
    exports.export(name, source)
    image = exports.random_images(1).numpy()
    start = time.perf_counter()
    promoted = fg_onnx.instrument(source)
    seconds = time.perf_counter() - start
    frozen = fg_onnx.instrument(source, freeze_biases=True)
    runs = [_runner(source, image)]
    for label, instrumented in (("promoted", promoted), ("frozen", frozen)):
        runs.append(_runner(instrumented.save(folder / f"{name}.{label}.onnx"), image))
    found = Row(name, *medians(runs), seconds)
    for path in folder.glob(f"{name}*"):
        path.unlink()
    return found


def _runner(path: Path, image: np.ndarray) -> Callable[[], object]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {session.get_inputs()[0].name: image}
    return lambda: session.run(None, feeds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=DEFAULT_MODELS, help="torchvision names")
    names = parser.parse_args().models
    print(
        f"One image 224x224, {THREADS} threads, {BLOCKS} blocks of {RUNS} runs, medians. "
        f"{platform.machine()}, Python {platform.python_version()}, "
        f"onnxruntime {ort.__version__}, fg-onnx {fg_onnx.__version__}.\n"
    )
    print(HEADER)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            print(measure(name, Path(folder)).markdown(), flush=True)


if __name__ == "__main__":
    main()
