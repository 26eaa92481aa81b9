"""Which of two methods is the better one, image by image, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from fg_onnx.evaluate.curves import Curve, Panel

Better = Literal["lower", "higher"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Comparison:
    """A method against another, on the same images.

    Attributes:
        rival: the other's name.
        difference: the mean over the images of the first method's curve minus the other's, each
            averaged over the points, which all count alike.
        standard_error: of it.
        margin: half of the 95 % interval of Student's t.
        better: which sign is in the first method's favour.
    """

    rival: str
    difference: float
    standard_error: float
    margin: float
    better: Better

    @property
    def outcome(self) -> Literal["better", "worse", "no difference"]:
        """What can be said with that confidence."""
        if not abs(self.difference) > self.margin:
            return "no difference"
        return "better" if (self.difference < 0) == (self.better == "lower") else "worse"


def compare(panel: Panel, method: str, rivals: Sequence[str], better: Better) -> list[Comparison]:
    """A method against others, over the rows in which both are defined.

    Raises:
        ValueError: fewer than two such rows, of which there is no error.
    """
    means = {curve.method: row_means(curve) for curve in panel.curves}
    found = []
    for rival in rivals:
        apart = means[method] - means[rival]
        apart = apart[np.isfinite(apart)]
        if len(apart) < 2:
            raise ValueError(f"{method} and {rival} have {len(apart)} rows in common")
        error = float(apart.std(ddof=1) / np.sqrt(len(apart)))
        margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(apart) - 1)) * error
        found.append(Comparison(rival, float(apart.mean()), error, margin, better))
    return found


def row_means(curve: Curve) -> npt.NDArray[np.float64]:
    """Each row's mean over the points at which it is defined, [rows]; NaN where it nowhere is."""
    defined = np.isfinite(curve.values)
    counts = defined.sum(axis=1)
    total = np.where(defined, curve.values, 0).sum(axis=1)
    return np.divide(total, counts, out=np.full(len(total), np.nan), where=counts > 0)


def verdict(found: Sequence[Comparison]) -> str:
    """Whether a claim that the method beats all of the others holds, and where it does not."""
    by = {
        outcome: [each.rival for each in found if each.outcome == outcome]
        for outcome in ("better", "no difference", "worse")
    }
    if not by["better"]:
        head = "**Does not agree**"
    elif len(by["better"]) == len(found):
        return f"**Agrees**: better than {_named(by['better'])}."
    else:
        head = "**Agrees in part**"
    parts = [
        f"{said} {_named(by[outcome])}"
        for outcome, said in (
            ("better", "better than"),
            ("no difference", "no difference that these images show from"),
            ("worse", "worse than"),
        )
        if by[outcome]
    ]
    return f"{head}: {'; '.join(parts)}."


def _named(methods: Sequence[str]) -> str:
    return ", ".join(f"`{method}`" for method in methods)
