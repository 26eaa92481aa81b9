"""How every torch model here is exported: quietly, to one file, with a dynamic batch."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from fg_onnx.files import replacing

Exporter = Literal["torchscript", "dynamo"]

OPSET: dict[Exporter, int] = {"torchscript": 17, "dynamo": 18}


def export_module(
    module: nn.Module,
    path: str | Path,
    example: torch.Tensor,
    exporter: Exporter = "torchscript",
    **options: object,
) -> None:
    """Export `module` quietly to the one file `path`: `image` in, `logits` out, dynamic batch.

    `example` has a batch of at least 2: torch.export takes a dimension of size 1 for fixed.
    `options` go to `torch.onnx.export` as they are.
    """
    if exporter == "dynamo":
        batch = {0: torch.export.Dim("N")}
        how = {"dynamo": True, "external_data": False, "dynamic_shapes": (batch,)}
    else:
        how = {"dynamo": False, "dynamic_axes": {"image": {0: "N"}, "logits": {0: "N"}}}
    with replacing(path) as temporary, _quiet():
        torch.onnx.export(
            module,
            (example,),
            str(temporary),
            input_names=["image"],
            output_names=["logits"],
            opset_version=OPSET[exporter],
            **(how | options),
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters: they warn, log and print, and none of it is about the caller."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    sink = io.StringIO()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
