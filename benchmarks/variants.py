"""The files of one net, made in a process that ends before anything is measured.

    python -m benchmarks.variants NET FOLDER METHOD... --batches 1 16

Says as one line of JSON how long each took to make, how large it is, and what could not be made.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import fg_onnx
from benchmarks.methods import BARE, FORWARD, INSTRUMENTED, ONNX_AD, ORT_TRAINING, RISE
from benchmarks.timing import said


@dataclass(frozen=True)
class Files:
    """Where they lie.

    Attributes:
        folder: of one net.
    """

    folder: Path

    def model(self, method: str, batch: int = 0) -> Path:
        """What ONNX Runtime loads for a method."""
        if method == BARE:
            method = INSTRUMENTED
        # onnx-ad derives static shapes only
        return self.folder / f"{method}{f'-{batch}' if method == ONNX_AD else ''}.onnx"

    @property
    def all_images(self) -> Path:
        """Of the largest batch."""
        return self.folder / "images.npy"

    def images(self, count: int) -> np.ndarray:
        """The first of them."""
        return np.load(self.all_images)[:count]


def make(net: str, files: Files, methods: list[str], batches: list[int]) -> dict[str, Any]:
    """Export, and make from the exported file what each method runs."""
    source = files.model(FORWARD)
    if is_file(net):
        shutil.copyfile(net, source)
        images = _noise(onnx.load(source), max(batches))
    else:
        from benchmarks import nets

        nets.export(net, source)
        images = nets.images(max(batches)).numpy()
    np.save(files.all_images, images)
    told: dict[str, Any] = {"seconds": {}, "bytes": {FORWARD: source.stat().st_size}, "errors": {}}
    for method in methods:
        if method not in _MAKERS:
            continue
        try:
            began = time.perf_counter()
            _MAKERS[method](source, files, batches)
            told["seconds"][method] = time.perf_counter() - began
            path = files.model(method)
            if path.exists():
                told["bytes"][method] = path.stat().st_size
        except Exception as error:  # noqa: BLE001  # one column, not the table
            told["errors"][method] = said(error)
    return told


def is_file(net: str) -> bool:
    """Whether a net is somebody's `.onnx`, of which torch knows nothing."""
    return net.endswith(".onnx")


def _instrumented(method: str, **options: Any) -> Callable[[Path, Files, list[int]], None]:
    def instrument(source: Path, files: Files, _batches: list[int]) -> None:
        fg_onnx.instrument(source, **options).save(files.model(method))

    return instrument


def _onnx_ad(source: Path, files: Files, batches: list[int]) -> None:
    import onnx_ad

    for batch in batches:
        model = onnx.load(source)
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = batch
        del model.graph.value_info[:]
        # one seed for each output, [*shape, 1]
        onnx.save(onnx_ad.reverse(model, layout="onnx"), files.model(ONNX_AD, batch))


_MAKERS: dict[str, Callable[[Path, Files, list[int]], None]] = {
    INSTRUMENTED: _instrumented(INSTRUMENTED),
    RISE: _instrumented(RISE, emit=("probability",)),
    ORT_TRAINING: _instrumented(ORT_TRAINING, gradients="ort-training"),
    ONNX_AD: _onnx_ad,
}


def _noise(model: onnx.ModelProto, count: int) -> np.ndarray:
    held = {weight.name for weight in model.graph.initializer}
    (image,) = (value for value in model.graph.input if value.name not in held)
    shape = [dim.dim_value for dim in image.type.tensor_type.shape.dim]
    return np.random.default_rng(1).standard_normal((count, *shape[1:]), np.float32)


def main() -> None:
    """Make them and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("net")
    parser.add_argument("folder", type=Path)
    parser.add_argument("methods", nargs="+")
    parser.add_argument("--batches", nargs="+", type=int, required=True)
    given = parser.parse_args()
    print(json.dumps(make(given.net, Files(given.folder), given.methods, given.batches)))


if __name__ == "__main__":
    main()
