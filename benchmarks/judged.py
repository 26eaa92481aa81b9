"""What was aimed at, and whether the figures hold it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.methods import AUTHORS, FORWARD, INSTRUMENTED, TORCH_GRADIENT
from benchmarks.results import Section

NETS = (
    "vgg16_bn",
    "resnet18",
    "resnet50",
    "densenet121",
    "mobilenet_v2",
    "efficientnet_lite0",
    "squeezenet1_1",
    "mobilenet_v3_small",
    "convnext_tiny",
)
LIMITS = {
    "vgg16_bn": 2.3,
    "resnet50": 2.6,
    "resnet18": 2.6,
    "densenet121": 3.5,
    "mobilenet_v2": 7.0,
    "efficientnet_lite0": 7.0,
}
"""Of the instrumented model's time over the plain forward's, net by net."""
MEMORY_BATCH = 16


@dataclass(frozen=True)
class Judgement:
    """One aim.

    Attributes:
        text: of the aim.
        ratios: net by net, of all that were measured.
        limits: of the nets that it was set for, at most or at least.
        least: whether a limit is the least that is right.
        mean: the limit of the geometric mean, None where only single nets count.
    """

    text: str
    ratios: Mapping[str, float]
    limits: Mapping[str, float]
    least: bool = False
    mean: float | None = None

    @property
    def counted(self) -> dict[str, float]:
        """The ratios of the nets that the aim was set for."""
        return {net: ratio for net, ratio in self.ratios.items() if net in self.limits}

    @property
    def missed(self) -> list[str]:
        """The nets that are beyond their limit."""
        return [net for net, ratio in self.counted.items() if self._beyond(ratio, self.limits[net])]

    @property
    def geometric_mean(self) -> float | None:
        """Of their ratios."""
        return statistics.geometric_mean(self.counted.values()) if self.counted else None

    @property
    def verdict(self) -> str:
        """What is to be said of it; an aim for nets that were not measured does not hold yet."""
        found = self.geometric_mean
        beyond = self.mean is not None and found is not None and self._beyond(found, self.mean)
        if self.missed or beyond:
            return "does not hold"
        absent = [net for net in self.limits if net not in self.ratios]
        return f"not measured for {', '.join(absent)}" if absent else "holds"

    def _beyond(self, ratio: float, limit: float) -> bool:
        return ratio < limit if self.least else ratio > limit


def judgements(sections: Iterable[Section], nets: Sequence[str] = NETS) -> list[Judgement]:
    """All aims, batch by batch, for the nets that they were set for."""
    batches: dict[int, dict[str, Section]] = {}
    for section in sections:
        batches.setdefault(section.batch, {})[section.net] = section
    found = []
    for batch, held in sorted(batches.items()):
        said = f"batch {batch}: "
        found += [
            Judgement(
                f"{said}instrumented / (torch forward + input gradient), each <= 1, "
                "geometric mean <= 0.75",
                _ratios(held, lambda section: section.time_ratio(INSTRUMENTED, TORCH_GRADIENT)),
                dict.fromkeys(nets, 1.0),
                mean=0.75,
            ),
            Judgement(
                f"{said}instrumented / ORT forward, each <= its limit",
                _ratios(held, lambda section: section.time_ratio(INSTRUMENTED, FORWARD)),
                {net: limit for net, limit in LIMITS.items() if net in nets},
            ),
            Judgement(
                f"{said}authors' algorithm / instrumented, each >= 5, geometric mean >= 15",
                _ratios(held, lambda section: section.time_ratio(AUTHORS, INSTRUMENTED)),
                dict.fromkeys(nets, 5.0),
                least=True,
                mean=15.0,
            ),
        ]
        if batch >= MEMORY_BATCH:
            found.append(
                Judgement(
                    f"{said}peak memory of instrumented / ORT forward, each <= 2.5",
                    _ratios(held, lambda section: section.memory_ratio(INSTRUMENTED)),
                    dict.fromkeys(nets, 2.5),
                )
            )
    every = {net: section for held in batches.values() for net, section in held.items()}
    sizes = _ratios(every, lambda section: section.size_ratio(INSTRUMENTED))
    text = "instrumented file / source file, each <= 1.1"
    return [*found, Judgement(text, sizes, dict.fromkeys(nets, 1.1))]


def _ratios(
    sections: Mapping[str, Section], ratio: Callable[[Section], float | None]
) -> dict[str, float]:
    found = {net: ratio(section) for net, section in sections.items()}
    return {net: value for net, value in found.items() if value is not None}
