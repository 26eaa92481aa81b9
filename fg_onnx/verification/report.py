"""What a verification found: one record for each check, and a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

Outcome = Literal["passed", "failed", "not applicable", "not run"]
Verdict = Literal["passed", "failed", "undecided"]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: stable, such as ``outputs``.
        outcome: ``not applicable`` where the model does not hold what would be checked;
            ``not run`` where it does, and it could not be checked.
        detail: what was compared and what was found; or why it was not.
        figure: the largest deviation, None where the check has none.
        tolerance: that the figure may not exceed.
    """

    name: str
    outcome: Outcome
    detail: str
    figure: float | None = None
    tolerance: float | None = None


@dataclass(frozen=True)
class ImageResult:
    """Completeness of one image, for its predicted class (or the cotangent that was drawn).

    Attributes:
        image: its name.
        target: the explained score's index, None under a cotangent.
        score: f(x).
        total: of the contributions, None where the model emits none.
        residual: how far the two are apart, of the magnitudes that are added up.
        holds: whether that is within the tolerance of `completeness`.
    """

    image: str
    target: int | None
    score: float
    total: float | None
    residual: float | None
    holds: bool | None


@dataclass(frozen=True)
class Verification:
    """All checks of an instrumented model against its source.

    Attributes:
        model: the instrumented model, as it was given.
        against: the source model.
        images: how many images the checks saw.
        drawn: whether they were noise.
        checks: in the order in which they ran.
        per_image: in the order in which the images were given; empty where nothing was run.
    """

    model: str
    against: str
    images: int
    drawn: bool
    checks: tuple[Check, ...]
    per_image: tuple[ImageResult, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """``failed`` if any check did; ``undecided`` if none did and one could not be run."""
        outcomes = {check.outcome for check in self.checks}
        if "failed" in outcomes:
            return "failed"
        return "undecided" if "not run" in outcomes else "passed"

    def check(self, name: str) -> Check:
        """The check of a name.

        Raises:
            KeyError: there is none.
        """
        found = {check.name: check for check in self.checks}
        return found[name]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return {"schema_version": SCHEMA_VERSION, "verdict": self.verdict, **asdict(self)}


def measured(name: str, figure: float, tolerance: float, detail: str) -> Check:
    """A check that a figure decides; not a number fails."""
    held = figure <= tolerance
    return Check(name, "passed" if held else "failed", detail, float(figure), tolerance)


def largest(figures: Iterable[float]) -> float:
    """Of figures that are not negative; not a number if any is none, which `max` may pass by."""
    return float(np.max(list(figures), initial=0.0))


def worst_gap(gaps: Mapping[str, float]) -> tuple[float, str]:
    """The largest, or one that is no number, and whose it is; 0 of none."""
    pairs = ((gap, name) for name, gap in gaps.items())
    return max(pairs, key=lambda pair: np.inf if np.isnan(pair[0]) else pair[0], default=(0.0, ""))


def worst_of(checks: Sequence[Check]) -> Check:
    """The check that speaks for several of one name, of different images."""
    order: Sequence[Outcome] = ("failed", "not run", "passed", "not applicable")
    return min(
        checks,
        key=lambda check: (
            order.index(check.outcome),
            -(np.inf if check.figure is None or np.isnan(check.figure) else check.figure),
        ),
    )
