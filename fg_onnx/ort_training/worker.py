"""What runs under onnxruntime-training, in an environment and a process of its own.

    python worker.py build MODEL OUT SPEC    the gradient graph of MODEL into OUT
    python worker.py run MODEL FEEDS OUT     what the training runtime's own kernels make of it

SPEC is a JSON file: ``y`` is the tensor that is differentiated, ``xs`` those by which. FEEDS and
OUT of ``run`` are .npz files, their entries named by position, with the names under ``names``.

It is executed by path under any Python from 3.8 on, and imports nothing of fg_onnx.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi._pybind_state import GradientGraphBuilder


def build(model: str, out: str, spec: str) -> None:
    """Write the model with its gradient graph; a seed ``<y>_grad`` is read and not declared."""
    wanted = json.loads(Path(spec).read_text(encoding="utf-8"))
    builder = GradientGraphBuilder(Path(model).read_bytes(), {wanted["y"]}, set(wanted["xs"]), "")
    builder.build()
    Path(out).write_bytes(builder.get_model())


def run(model: str, feeds: str, out: str) -> None:
    """Write all outputs of a model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    with np.load(feeds) as given:
        fed = {str(name): given[f"a{i}"] for i, name in enumerate(given["names"])}
    names = [value.name for value in session.get_outputs()]
    arrays = {f"a{i}": array for i, array in enumerate(session.run(names, fed))}
    np.savez(out, names=np.array(names), **arrays)


if __name__ == "__main__":
    {"build": build, "run": run}[sys.argv[1]](*sys.argv[2:])
