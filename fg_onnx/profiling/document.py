"""A profile: every kernel with what it is for, and sums of them; as a JSON document too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fg_onnx._version import __version__
from fg_onnx.profiling.origins import PARTS, Origin, Part
from fg_onnx.profiling.recording import Kernel

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Row:
    """A kernel and its origin."""

    kernel: Kernel
    origin: Origin


@dataclass(frozen=True)
class Line:
    """Kernels that have something in common.

    Attributes:
        key: what they have in common: some of part, site and operator.
        seconds: of all of them.
        share: of all kernels of the model.
        kernels: how many.
    """

    key: tuple[str, ...]
    seconds: float
    share: float
    kernels: int

    @property
    def milliseconds(self) -> float:
        """The same in thousandths."""
        return 1e3 * self.seconds


@dataclass(frozen=True)
class Profile:
    """What a run of a model takes, and what takes it.

    Attributes:
        model: its path.
        what: ``instrumented``, or ``forward`` where it computes no explanation.
        device: that it ran on.
        threads: within an operator on the CPU; 0: the runtime's choice.
        batch: the first dimension of what it was fed, None where that is no tensor of a batch.
        runs: that medians are over.
        runtime: the version of ONNX Runtime.
        profiled: seconds of a run under the profiler.
        busy: the share of it in which kernels ran.
        alone: seconds of a run without it.
        rows: in the order in which they ran.
    """

    model: str
    what: str
    device: str
    threads: int
    batch: int | None
    runs: int
    runtime: str
    profiled: float
    busy: float
    alone: float
    rows: tuple[Row, ...]

    @property
    def seconds(self) -> float:
        """Of all kernels."""
        return sum(row.kernel.seconds for row in self.rows)

    @property
    def parts(self) -> list[Line]:
        """By part, in the order of `PARTS`; those without a kernel are left out."""
        found = {line.key[0]: line for line in self.grouped(lambda at: (at.part,))}
        return [found[part] for part in PARTS if part in found]

    @property
    def operators(self) -> list[Line]:
        """By part and operator, the dearest first."""
        return self.grouped(lambda at: (at.part, at.operator))

    @property
    def lines(self) -> list[Line]:
        """By part, site and operator, the dearest first."""
        return self.grouped(lambda at: (at.part, place(at), at.operator))

    def grouped(self, key: Callable[[Origin], tuple[str, ...]]) -> list[Line]:
        """All kernels, by what ``key`` gives of their origins; the dearest first."""
        found: dict[tuple[str, ...], list[float]] = {}
        for row in self.rows:
            found.setdefault(key(row.origin), []).append(row.kernel.seconds)
        lines = [_line(each, seconds, self.seconds) for each, seconds in found.items()]
        return sorted(lines, key=lambda line: -line.seconds)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document, with its ``schema_version`` first; times are milliseconds."""
        return {
            "schema_version": SCHEMA_VERSION,
            "tool_version": __version__,
            "model": self.model,
            "what": self.what,
            "device": self.device,
            "threads": self.threads or None,
            "batch": self.batch,
            "runs": self.runs,
            "onnxruntime": self.runtime,
            "run_ms": 1e3 * self.alone,
            "profiled_run_ms": 1e3 * self.profiled,
            "kernels_ms": 1e3 * self.seconds,
            "busy": self.busy,
            "parts": _listed(self.parts, ("part",)),
            "operators": _listed(self.operators, ("part", "operator")),
            "lines": _listed(self.lines, ("part", "site", "operator")),
            "kernels": [
                {
                    "name": row.kernel.name,
                    "operator": row.origin.operator,
                    "part": row.origin.part,
                    "stage": row.origin.stage or None,
                    "site": row.origin.site or None,
                    "provider": row.kernel.provider,
                    "shape": row.kernel.shape,
                    "ms": 1e3 * row.kernel.seconds,
                }
                for row in self.rows
            ],
        }


def place(origin: Origin) -> str:
    """The site, with the stage where it is another than the part's name: ``conv1 psi``."""
    named: tuple[Part | str, ...] = (origin.part, "")
    stage = "" if origin.stage in named else origin.stage
    return " ".join(filter(None, (origin.site or "–", stage)))


def _line(key: tuple[str, ...], seconds: Iterable[float], whole: float) -> Line:
    each = list(seconds)
    total = sum(each)
    return Line(key, total, total / whole if whole else 0.0, len(each))


def _listed(lines: Iterable[Line], names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {
            **dict(zip(names, line.key, strict=True)),
            "ms": line.milliseconds,
            "share": line.share,
            "kernels": line.kernels,
        }
        for line in lines
    ]
