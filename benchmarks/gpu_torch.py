"""The half of `benchmarks.gpu` that runs torch, in a process of its own."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import nn

from benchmarks import torch_runs
from benchmarks.prepared import Prepared
from benchmarks.timing import Cell, Limits, add_arguments, limits_of, said, say, say_cell
from sample_models import exports

FORWARD, GRADIENT, FULLGRAD = METHODS = ("torch forward", "torch gradient", "torch FullGrad")
RUNS = {
    FORWARD: torch_runs.forward,
    GRADIENT: torch_runs.gradient,
    FULLGRAD: torch_runs.fullgrad,
}


def measure(
    files: Prepared,
    module: nn.Module,
    precision: str,
    batches: list[int],
    device: torch.device,
    limits: Limits,
) -> None:
    """All methods at all batches; the one that needs most memory last."""
    rounds = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = rounds
    torch.backends.cudnn.benchmark = True  # as ONNX Runtime searches for the best algorithm
    module = module.to(device, torch.float16 if precision == "fp16" else torch.float32)
    for method, call in RUNS.items():
        for batch in batches:
            cell = Cell(files.name, precision, batch, method)
            try:
                images = torch.from_numpy(files.images(batch, precision)).to(device)
            except Exception as error:  # noqa: BLE001  # one cell, not the table
                say_cell(Cell(*cell.key, error=said(error)))
            else:
                say_cell(limits.measured(cell, _waited_for(call, module, images)))
                del images
            if device.type == "cuda":
                torch.cuda.empty_cache()


def _waited_for(
    call: Callable[[nn.Module, torch.Tensor], object], module: nn.Module, images: torch.Tensor
) -> Callable[[], object]:
    def run() -> object:
        found = call(module, images)
        if images.is_cuda:
            torch.cuda.synchronize(images.device)
        return found

    return run


def main() -> None:
    """Measure one model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    given = parser.parse_args()
    say("versions", torch=torch.__version__, cudnn=torch.backends.cudnn.version())
    limits = limits_of(given)
    files = Prepared(given.folder, given.model)
    module = exports.build(given.model).requires_grad_(False)
    device = torch.device(given.device)
    # float16 last: the module is converted in place, and would not come back the same
    for precision in sorted(given.precisions, key="fp16".__eq__):
        measure(files, module, precision, given.batches, device, limits)


if __name__ == "__main__":
    main()
