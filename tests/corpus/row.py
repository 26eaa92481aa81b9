"""What is measured of a model, the bounds, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Bounds:
    """What a model has to keep.

    Attributes:
        outputs: the original outputs, relative to the largest: the runtime may fuse other nodes.
            More than the usual counts only as far as the row's `rounding` bears it out.
        residual: of completeness, per image.
        gradient: of the input against torch's, relative to its largest.
        differences: of finite differences along five biases and the input. There is no step
            between float32 rounding and the next kink at which they would be exact.
        because: why other bounds than the usual hold, for an exception.
    """

    outputs: float = 1e-5
    residual: float = 1e-5
    gradient: float = 1e-4
    differences: float = 2e-2
    because: str = ""


USUAL = Bounds()

# By name of the architecture; each is printed under the table.
EXCEPTIONS: Mapping[str, Bounds] = MappingProxyType(
    {
        "nasnetalarge": Bounds(
            outputs=3e-5,
            because="with these weights float32 does not have its outputs to 1e-05. ONNX Runtime "
            "on the exported model, and PyTorch in float32, are 1.4e-05 to 1.8e-05 away from "
            "PyTorch in float64; the instrumented model, 1.6e-05 away from it, is in the midst of "
            "them. Instrumented with frozen biases, where every node is the source's own, it gives "
            "the source's outputs to the last bit (both run without optimisations).",
        )
    }
)

# (architecture, exporter) -> what its refusal has to say, where a refusal is right.
REFUSALS: Mapping[tuple[str, str], str] = MappingProxyType({})


@dataclass(frozen=True)
class Row:
    """One model through one exporter; numbers are None where it did not come to them.

    Attributes:
        model: architecture, or path of a file.
        exporter: ``torchscript``, ``dynamo``, or ``file``.
        side: height and width of the images, as text.
        nodes: of the source model.
        instrumented: nodes of the instrumented model.
        sites: in the manifest.
        outputs: largest deviation of an original output, relative to that output's largest.
        residual: the largest of any image.
        gradient: largest error of the input gradient against torch, relative to its largest.
        differences: largest error of a finite difference.
        map_varies: whether the map is finite and not constant.
        instrument_s: seconds to instrument.
        check_s: seconds in all, the export apart.
        peak_mb: most memory of the checking process.
        trouble: what went wrong before the end, ``""`` if nothing did.
        refused: whether the trouble is a refusal by fg-onnx.
        rounding: how far the source's own logits are from torch's in float64, relative to the
            largest; measured of an architecture whose ``outputs`` exceed the usual bound.
    """

    model: str
    exporter: str
    side: str = ""
    nodes: int | None = None
    instrumented: int | None = None
    sites: int | None = None
    outputs: float | None = None
    residual: float | None = None
    gradient: float | None = None
    differences: float | None = None
    map_varies: bool | None = None
    instrument_s: float | None = None
    check_s: float | None = None
    peak_mb: float | None = None
    trouble: str = ""
    refused: bool = False
    rounding: float | None = None

    @property
    def failures(self) -> list[str]:
        """What does not hold; empty for a green row."""
        if self.trouble:
            wanted = REFUSALS.get((self.model, self.exporter))
            right = self.refused and wanted is not None and wanted in self.trouble
            return [] if right else [self.trouble]
        bounds = EXCEPTIONS.get(self.model, USUAL)
        measured: dict[str, Any] = {
            "outputs": self.outputs,
            "residual": self.residual,
            "differences": self.differences,
        }
        if self.exporter != "file":
            measured["gradient"] = self.gradient
        # Two results that are each so far from the truth are at most twice as far from each other.
        borne_out = max(USUAL.outputs, 2 * (self.rounding or 0.0))
        bounds = replace(bounds, outputs=min(bounds.outputs, borne_out))
        found = [
            f"{name} {value if value is None else format(value, '.1e')}"
            for name, value in measured.items()
            if value is None or not value <= getattr(bounds, name) or math.isnan(value)
        ]
        return found if self.map_varies else [*found, "the map is constant or not finite"]

    @property
    def verdict(self) -> str:
        """``green``, ``refused``, or what failed."""
        if self.failures:
            return "; ".join(self.failures)
        return f"refused: {self.trouble}" if self.trouble else "green"
