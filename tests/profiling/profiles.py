"""Profiles that were not measured, to be drawn."""

from __future__ import annotations

from fg_onnx.profiling.document import Profile, Row
from fg_onnx.profiling.origins import Origin
from fg_onnx.profiling.recording import Kernel

HOSTILE = "<script>alert('1')</script>\x1b[31m"
CPU = "CPUExecutionProvider"


def row(part: str, site: str, operator: str, milliseconds: float, stage: str = "") -> Row:
    kernel = Kernel(f"{part}{site}{operator}", operator, CPU, milliseconds / 1e3)
    return Row(kernel, Origin(part, stage or part, site, operator))  # type: ignore[arg-type]


def usual(*rows: Row, model: str = "models/net.onnx") -> Profile:
    """Two parts, and a kernel that took no time."""
    rows = rows or (
        row("forward", "conv1", "Conv", 3.0),
        row("forward", "conv1", "Relu", 0.0),
        row("adjoint", "conv1", "Conv", 4.0),
        row("adjoint", "conv1", "Conv", 1.0),
        row("aggregation", "conv1", "Abs", 1.5, "psi"),
        row("aggregation", "", "Resize", 0.5, "map"),
    )
    return Profile(model, "instrumented", "cpu", 2, 1, 20, "1.31.1", 12.5e-3, 0.8, 11e-3, rows)
