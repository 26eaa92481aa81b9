"""The command line under test: run it, and write tiny models for it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import numpy_helper
from typer.testing import CliRunner

from fg_onnx.cli import app

FASHION = Path(__file__).parents[1] / "sample_models" / "fashion"
FASHION_VGG = FASHION.parent / "fashion_vgg.onnx"

WEIGHTS = {
    "w": np.linspace(-1, 1, 4 * 3 * 3 * 3, dtype=np.float32).reshape(4, 3, 3, 3),
    "b": np.array([0.1, -0.2, 0.3, 0.4], dtype=np.float32),
}
CLASSIFIER = """g (float[N,3,8,8] x) => (float[N,4] logits) {
    c = Conv (x, w, b)
    r = Relu (c)
    p = GlobalAveragePool (r)
    logits = Flatten (p)
}"""


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and its two streams."""

    code: int
    out: str
    err: str


def fg(*arguments: object) -> Outcome:
    """`fg-onnx`, in this process."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def fg_process(*arguments: object, cwd: Path | None = None, **environment: str) -> Outcome:
    """`fg-onnx`, as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "fg_onnx.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def write_model(path: Path, text: str = CLASSIFIER, weights=None, imports: str = '"": 17') -> Path:
    """A model in ONNX's text format, with `WEIGHTS` unless others are given."""
    model = onnx.parser.parse_model(f"<ir_version: 8, opset_import: [{imports}]>\n{text}")
    for name, value in (WEIGHTS if weights is None else weights).items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def write_image(path: Path, seed: int = 0, size: tuple[int, int] = (12, 10)) -> Path:
    """A picture of noise, RGB."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def everything_in(folder: Path) -> dict[str, bytes | None]:
    """All files and folders below a folder, with the files' contents."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
