"""What `python -m benchmarks` found, as one JSON document that grows net by net."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.methods import FORWARD, METHODS
from fg_onnx.files import replacing

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Cell:
    """One method on one net at one batch.

    Attributes:
        blocks: milliseconds of each run, turn by turn; nothing where this one sat out.
        share: how much of the work those runs did.
        peak_mib: the most memory held, beyond what imports take.
        elsewhere: how many processors others had while this was at work; ticks are coarse, so that
            it may be negative.
        error: why it did not run, else "".
    """

    blocks: tuple[tuple[float, ...], ...] = ()
    share: float = 1.0
    peak_mib: float | None = None
    elsewhere: float = 0.0
    error: str = ""

    @property
    def ms(self) -> float | None:
        """The median of all runs, for the whole of the work; None where it did not run."""
        runs = self._runs()
        return statistics.median(runs) if runs else None

    @property
    def quartiles(self) -> tuple[float, float] | None:
        """Between which half of the runs lie; None of fewer than two."""
        runs = self._runs()
        if len(runs) < 2:
            return None
        first, _, third = statistics.quantiles(runs, n=4, method="inclusive")
        return first, third

    def _runs(self) -> list[float]:
        return [run / self.share for block in self.blocks for run in block]


@dataclass(frozen=True)
class Section:
    """One net at one batch: what was measured side by side.

    Attributes:
        net: by name.
        batch: images at once.
        about: machine, versions, command.
        cells: by method.
        sizes: of the files, in bytes, by method.
        seconds: that it took to make them.
    """

    net: str
    batch: int
    about: Mapping[str, Any]
    cells: Mapping[str, Cell]
    sizes: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def time_ratio(self, above: str, below: str) -> float | None:
        """How much longer one method takes; None where either did not run.

        The median over all turns of the ratio within the turn: a machine that is slower for a while
        is so for both. Peers had turns of their own; for them it is the ratio of the medians.
        """
        first, second = (self.cells.get(name, Cell()) for name in (above, below))
        if METHODS[above].optional or METHODS[below].optional:
            return _ratio(first.ms, second.ms)
        within = [
            statistics.median(one) / first.share / (statistics.median(other) / second.share)
            for one, other in zip(first.blocks, second.blocks, strict=False)
            if one and other
        ]
        return statistics.median(within) if within else None

    def memory_ratio(self, above: str, below: str = FORWARD) -> float | None:
        """Of the most memory held."""
        return _ratio(*(self.cells.get(name, Cell()).peak_mib for name in (above, below)))

    @property
    def disturbance(self) -> float | None:
        """How many processors others had, on the average of all methods; None if none ran."""
        rates = [cell.elsewhere for cell in self.cells.values() if not cell.error]
        return max(0.0, statistics.fmean(rates)) if rates else None

    def size_ratio(self, above: str, below: str = FORWARD) -> float | None:
        """Of the files."""
        return _ratio(self.sizes.get(above), self.sizes.get(below))


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above and below else None


def merged(old: Iterable[Section], new: Iterable[Section]) -> list[Section]:
    """Each net at each batch once; the new ones count, in the place of the old ones."""
    found = {(section.net, section.batch): section for section in old}
    return list((found | {(section.net, section.batch): section for section in new}).values())


def read(path: Path) -> list[Section]:
    """The sections of a document; ValueError where it is none of these."""
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or document.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"{path} was not written by this version of `python -m benchmarks`")
    return [_section(held) for held in document["sections"]]


def write(path: Path, sections: Iterable[Section]) -> None:
    """The document, with medians and quartiles beside the runs."""
    held = []
    for section in sections:
        cells = {
            name: {**asdict(cell), "median_ms": cell.ms, "quartiles_ms": cell.quartiles}
            for name, cell in section.cells.items()
        }
        held.append({**asdict(section), "cells": cells})
    lines = ",\n".join(map(json.dumps, held))  # a line each, for whoever compares two versions
    text = f'{{"schema_version": {SCHEMA_VERSION}, "sections": [\n{lines}\n]}}\n'
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _section(held: Mapping[str, Any]) -> Section:
    cells = {
        name: Cell(
            tuple(map(tuple, cell["blocks"])),
            cell["share"],
            cell["peak_mib"],
            cell["elsewhere"],
            cell["error"],
        )
        for name, cell in held["cells"].items()
    }
    return Section(**{**held, "cells": cells})
