"""What `benchmarks.gpu` found: one document, as JSON and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.prepared import MODELS
from benchmarks.timing import Cell
from fg_onnx.files import replacing

SCHEMA_VERSION = 1
FORWARD, MAP = "ort forward", "ort map"
TORCH_FORWARD, TORCH_GRADIENT, FULLGRAD = "torch forward", "torch gradient", "torch FullGrad"
DENSE = ("vgg16_bn", "resnet50", "densenet121")  # bound by arithmetic, not by memory traffic

_HEAD = (
    "| batch | ORT forward | map | map / forward | torch forward | torch forward + input gradient "
    "| authors' FullGrad | FullGrad / map | residual | difference | GPU memory, MiB: ORT forward, "
    "map, torch FullGrad |\n|" + "---|" * 11
)


@dataclass
class Found:
    """All of one run.

    Attributes:
        about: machine, versions, command.
        cells: in the order in which they were measured.
        placements: of the nodes of instrumented models.
        failures: of whole processes.
    """

    about: dict[str, Any]
    cells: list[Cell] = field(default_factory=list)
    placements: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """``gpu.json`` and ``gpu.md``."""
        with replacing(folder / "gpu.json") as path:
            path.write_text(json.dumps(self.document(), indent=1) + "\n", encoding="utf-8")
        with replacing(folder / "gpu.md") as path:
            path.write_text(self.markdown(), encoding="utf-8")

    def document(self) -> dict[str, Any]:
        """The JSON document."""
        return {
            "schema_version": SCHEMA_VERSION,
            "about": self.about,
            "cells": [
                {**asdict(cell), "images_per_second": cell.images_per_second} for cell in self.cells
            ],
            "placements": self.placements,
            "targets": targets(self.cells),
            "failures": self.failures,
        }

    def markdown(self) -> str:
        """The tables of the page."""
        parts = ["# ONNX Runtime and torch on one GPU\n", *_about(self.about), ""]
        parts += ["## Targets\n", *(f"- {line}" for line in targets(self.cells).values()), ""]
        parts += [
            "## Images a second\n",
            "Ratios are of times. Residual: of completeness, the worst image. Difference: of the "
            "map from the CPU's float32 map, the worst position, relative to the map's maximum.\n",
        ]
        for model in _distinct(cell.model for cell in self.cells):
            for precision in _distinct(c.precision for c in self.cells if c.model == model):
                rows = [c for c in self.cells if (c.model, c.precision) == (model, precision)]
                parts += [f"### {model}, {precision}\n", _HEAD, *_rows(rows), ""]
                parts += [_placement(p) for p in self.placements if _is(p, model, precision)]
        failed = [cell for cell in self.cells if cell.error]
        if failed or self.failures:
            parts += ["\n## What did not run\n", *(f"- {line}" for line in self.failures)]
            parts += [f"- {', '.join(map(str, cell.key))}: {cell.error}" for cell in failed]
        return "\n".join(parts).rstrip() + "\n"


def targets(cells: Sequence[Cell]) -> dict[str, str]:
    """What was aimed at for float32 at batch 64 on a data-centre GPU, and what came of it.

    Met by all nets, or not met: one that was not measured may be the one that misses.
    """
    ms = {cell.key: cell.ms for cell in cells}

    def judged(text: str, above: str, below: str, holds: Any, among: Sequence[str]) -> str:
        ratios = {}
        for model in among:
            a, b = (ms.get((model, "fp32", 64, method)) for method in (above, below))
            if a and b:
                ratios[model] = a / b
        if not ratios:
            return f"{text}: not measured"
        said = ", ".join(f"{model} {ratio:.2f}" for model, ratio in ratios.items())
        missing = ", ".join(model for model in among if model not in ratios)
        if not all(map(holds, ratios.values())):
            return f"{text}: missed ({said}){f', not measured for {missing}' if missing else ''}"
        return f"{text}: {f'not measured for {missing}' if missing else 'met'} ({said})"

    return {
        "map_over_forward": judged(
            "map / forward <= 3, dense nets", MAP, FORWARD, lambda ratio: ratio <= 3, DENSE
        ),
        "authors_over_map": judged(
            "authors' FullGrad / map >= 10", FULLGRAD, MAP, lambda ratio: ratio >= 10, MODELS
        ),
        "torch_gradient_over_map": judged(
            "torch forward + input gradient / map >= 1",
            TORCH_GRADIENT,
            MAP,
            lambda ratio: ratio >= 1,
            MODELS,
        ),
    }


def _about(about: Mapping[str, Any]) -> list[str]:
    return [f"- {name}: {value}" for name, value in about.items()]


def _rows(cells: Sequence[Cell]) -> list[str]:
    rows = []
    for batch in _distinct(cell.batch for cell in cells):
        of = {cell.method: cell for cell in cells if cell.batch == batch}
        explained = of.get(MAP)
        speeds = {method: _number(cell.images_per_second, ".1f") for method, cell in of.items()}
        memory = [of.get(method) for method in (FORWARD, MAP, FULLGRAD)]
        rows.append(
            [
                str(batch),
                speeds.get(FORWARD, "-"),
                speeds.get(MAP, "-"),
                _ratio(of, MAP, FORWARD),
                speeds.get(TORCH_FORWARD, "-"),
                speeds.get(TORCH_GRADIENT, "-"),
                speeds.get(FULLGRAD, "-"),
                _ratio(of, FULLGRAD, MAP),
                _number(explained and explained.residual, ".1e"),
                _number(explained and explained.difference, ".1e"),
                ", ".join(_number(cell and cell.memory_mib, "d") for cell in memory),
            ]
        )
    return [f"| {' | '.join(row)} |" for row in rows]


def _ratio(of: Mapping[str, Cell], above: str, below: str) -> str:
    a, b = (of[name].ms if name in of else None for name in (above, below))
    return f"{a / b:.2f}" if a and b else "-"


def _number(value: float | None, how: str) -> str:
    return "-" if value is None else format(value, how)


def _is(placement: Mapping[str, Any], model: str, precision: str) -> bool:
    return (placement["model"], placement["precision"]) == (model, precision)


def _placement(placement: Mapping[str, Any]) -> str:
    if "error" in placement:
        return f"Nodes not counted: {placement['error']}\n"
    nodes = ", ".join(f"{count} on {name}" for name, count in placement["nodes"].items())
    floats = sum(placement["floats_on_cpu"].values())
    return (
        f"Nodes of the instrumented model: {nodes}; of those on the CPU, {floats} touch floats; "
        f"{placement['copies']} Memcpy.\n"
    )


def _distinct(values: Any) -> list[Any]:
    return list(dict.fromkeys(values))
