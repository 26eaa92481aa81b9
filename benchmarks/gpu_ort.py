"""The half of `benchmarks.gpu` that runs ONNX Runtime, in a process of its own."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable

import numpy as np
import onnxruntime as ort

import fg_onnx
from benchmarks.placement import placement_of
from benchmarks.prepared import Prepared
from benchmarks.timing import Cell, Limits, add_arguments, limits_of, said, say, say_cell
from fg_onnx import binding
from fg_onnx.devices import device_of, open_on

FORWARD, MAP = METHODS = ("ort forward", "ort map")


def measure(
    files: Prepared, precision: str, batches: list[int], device: str, limits: Limits
) -> None:
    """Both methods at all batches, ascending, and where the nodes ran."""
    for method in METHODS:
        try:
            runner = _forward if method == FORWARD else _map
            run = runner(files, precision, device)
        except Exception as error:  # noqa: BLE001  # one row, not the table
            for batch in batches:
                say_cell(Cell(files.name, precision, batch, method, error=said(error)))
            continue
        for batch in batches:
            say_cell(run(Cell(files.name, precision, batch, method), limits))
        del run
    if time.monotonic() > limits.deadline or precision == "tf32":
        return
    feeds = {"image": files.images(1, precision)}
    try:
        found = placement_of(files.instrumented(precision), feeds, device)
    except Exception as error:  # noqa: BLE001
        say("placement", model=files.name, precision=precision, error=said(error))
    else:
        say("placement", model=files.name, precision=precision, **vars(found))


def _forward(files: Prepared, precision: str, device: str) -> Callable[[Cell, Limits], Cell]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = open_on(device, str(files.source(precision)), options, tf32=precision == "tf32")
    memory = device_of(session).memory
    names = [session.get_outputs()[0].name]

    def run(cell: Cell, limits: Limits) -> Cell:
        array = binding.put(files.images(cell.batch, precision), memory)
        feeds = {session.get_inputs()[0].name: array}
        return limits.measured(
            cell, lambda: binding.run(session, feeds, names, left=names, memory=memory)
        )

    return run


def _map(files: Prepared, precision: str, device: str) -> Callable[[Cell, Limits], Cell]:
    session = fg_onnx.Session(
        files.instrumented(precision), device=device, tf32=precision == "tf32"
    )
    expected = np.load(files.maps)

    def run(cell: Cell, limits: Limits) -> Cell:
        array = session.put(files.images(cell.batch, precision))
        done = limits.measured(cell, lambda: session.explain_on_device(array, outputs=["saliency"]))
        if done.error:
            return done
        found = session.explain(array, outputs=["saliency"])
        maps = found.saliency[: len(expected)]
        wanted = expected[: len(maps)]
        scale = np.abs(wanted).max(axis=(1, 2), keepdims=True)
        return dataclasses.replace(
            done,
            residual=float(found.residual.max()),
            difference=float((np.abs(maps - wanted) / scale).max()),
        )

    return run


def main() -> None:
    """Measure one model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    given = parser.parse_args()
    say("versions", onnxruntime=ort.__version__, cuda=getattr(ort, "cuda_version", None))
    limits = limits_of(given)
    for precision in given.precisions:
        measure(Prepared(given.folder, given.model), precision, given.batches, given.device, limits)


if __name__ == "__main__":
    main()
