"""What runs under onnxruntime-training, in an environment and a process of its own.

    python worker.py JOBS

JOBS is a JSON file, a list of jobs. ``{"do": "build", "model", "out", "y", "xs"}`` writes the model
with the gradients of tensor ``y`` by the tensors ``xs``, which start from an input ``<y>_grad``
that is not declared. ``{"do": "run", "model", "feeds", "out"}`` writes all outputs of a model;
feeds and outputs are .npz files with the names under ``names`` and the arrays under ``a0``, ``a1``,
... What went wrong with a job is written to ``<out>.error``.

It is executed by its path under any Python from 3.8 on, and imports nothing of fg_onnx.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi._pybind_state import GradientGraphBuilder


def build(model: str, out: str, y: str, xs: list[str]) -> None:
    """Derive the gradient graph."""
    builder = GradientGraphBuilder(Path(model).read_bytes(), {y}, set(xs), "")
    builder.build()
    Path(out).write_bytes(builder.get_model())


def run(model: str, feeds: str, out: str) -> None:
    """Run a model with this runtime's kernels."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    with np.load(feeds) as given:
        fed = {str(name): given[f"a{i}"] for i, name in enumerate(given["names"])}
    names = [value.name for value in session.get_outputs()]
    arrays = {f"a{i}": array for i, array in enumerate(session.run(names, fed))}
    np.savez(out, names=np.array(names), **arrays)


def main(jobs: str) -> None:
    """Do all jobs, whatever becomes of each."""
    for job in json.loads(Path(jobs).read_text(encoding="utf-8")):
        try:
            (build if job.pop("do") == "build" else run)(**job)
        except Exception as error:  # noqa: BLE001  of classes that only this runtime knows
            Path(job["out"] + ".error").write_text(str(error), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
