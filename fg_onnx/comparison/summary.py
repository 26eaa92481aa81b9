"""What all images say together: read from the records, part by part.

Of an image a few numbers are held at once; its contributions are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.audit.document import Distribution
from fg_onnx.audit.measures import KINDS
from fg_onnx.audit.records import Records
from fg_onnx.audit.summary import BINS, histogram
from fg_onnx.audit.truths import UNKNOWN
from fg_onnx.comparison.document import LayerPair
from fg_onnx.comparison.measures import MEASURES
from fg_onnx.comparison.pair import Pair
from fg_onnx.comparison.running import Compared
from fg_onnx.manifest import Manifest

Array = npt.NDArray[Any]

WORST = 5
"""The percentage of the images at whose edge the worst value is taken."""

_RANGES: Mapping[str, tuple[float, float]] = {
    "score": (0, 1),
    "output": (0, 1),
    "spearman": (-1, 1),
    "ssim": (-1, 1),
    "top": (0, 1),
}


@dataclass(frozen=True, eq=False)
class Ledger:
    """What every term contributes in one model, means over the images.

    Attributes:
        share: [1 + S], of ``|c| / sum |c|``.
        mean: [1 + S], of ``c``.
    """

    share: Array
    mean: Array


class Summary:
    """All numbers of a comparison.

    Args:
        records: complete.
        pair: the models.
        truths: the class of every image, -1 where that is not known; None without labels.
    """

    def __init__(self, records: Records[Compared], pair: Pair, truths: Array | None) -> None:
        self._records = records
        self._pair = pair
        self._columns: dict[str, Array] = {}
        self.truths = truths

    def column(self, name: str) -> Array:
        """A column of numbers of every image, NaN where there is none."""
        if name not in self._columns:
            self._columns[name] = self._records.column(name)
        return self._columns[name]

    def _classes(self, name: str) -> Array:
        return np.nan_to_num(self.column(name), nan=UNKNOWN).astype(np.int64)

    @cached_property
    def targets(self) -> tuple[Array, Array]:
        """The classes that A and B predict, -1 of images that are broken."""
        return self._classes("target"), self._classes("target_b")

    @property
    def sound(self) -> Array:
        """Whether each image could be read and run."""
        return np.asarray(self.targets[0] != UNKNOWN)

    @property
    def same(self) -> Array:
        """Whether both models predict the same class."""
        return np.asarray(self.sound & (self.targets[0] == self.targets[1]))

    @property
    def agreement(self) -> float:
        """The share of the sound images of which both predict the same class."""
        return int(self.same.sum()) / int(self.sound.sum())

    @cached_property
    def labelled(self) -> Array:
        """Whether each image could be read and has a label."""
        return self.sound & (self.truths != UNKNOWN if self.truths is not None else False)

    def right(self, side: int) -> Array:
        """Whether A (0) or B (1) predicts each image to be what its label says."""
        return np.asarray(self.labelled & (self.targets[side] == self.truths))

    def accuracy(self, side: int) -> float | None:
        """Of those with a label; None without any."""
        count = int(self.labelled.sum())
        return int(self.right(side).sum()) / count if count else None

    # --- maps -------------------------------------------------------------------------------------

    @property
    def lone(self) -> Array:
        """Whether one model has a map of the image that tells pixels apart, and the other none."""
        return np.asarray(self.column("map_a") + self.column("map_b") == 1)

    @property
    def mapless(self) -> Array:
        """Whether neither has."""
        return np.asarray(self.column("map_a") + self.column("map_b") == 0)

    # --- measures ---------------------------------------------------------------------------------

    def values(self, name: str) -> Array:
        """A measure, larger where the models differ more; NaN of images that have none."""
        values = self.column(name)
        return -values if MEASURES[name] == "high" else values

    def worst(self, name: str) -> float | None:
        """The value that one image in twenty is at or beyond, linear between images."""
        values = self.values(name)
        known = values[np.isfinite(values)]
        if not len(known):
            return None
        found = float(np.percentile(known, 100 - WORST))
        return -found if MEASURES[name] == "high" else found

    def distribution(self, name: str) -> Distribution:
        """Of a measure that an image has."""
        values = self.column(name)
        low, high = _RANGES.get(name, (0, 0))
        finite = values[np.isfinite(values)]
        low, high = min(low, finite.min(initial=0)), max(high, finite.max(initial=0))
        return histogram(values, np.linspace(low, high if high > low else low + 1, BINS + 1))

    @property
    def measured(self) -> list[str]:
        """The measures that any image has."""
        return [name for name in MEASURES if np.isfinite(self.column(name)).any()]

    # --- contributions ----------------------------------------------------------------------------

    @cached_property
    def ledgers(self) -> tuple[Ledger, Ledger]:
        """Of A and B."""
        return self._ledger("contributions_a"), self._ledger("contributions_b")

    def _ledger(self, column: str) -> Ledger:
        shares: Any = 0.0
        sums: Any = 0.0
        counted = finite = 0
        for _, values in self._records.arrays(column):
            if not len(values):
                continue
            total = np.abs(values).sum(axis=1)
            sound, has = np.isfinite(total), np.isfinite(total) & (total > 0)
            finite += int(sound.sum())
            counted += int(has.sum())
            sums = sums + values[sound].sum(axis=0)
            shares = shares + (np.abs(values[has]) / total[has, None]).sum(axis=0)
        return Ledger(np.asarray(shares) / max(counted, 1), np.asarray(sums) / max(finite, 1))

    @cached_property
    def _drifts(self) -> Array:
        """Of every matched term, the mean of its difference over A's sum of magnitudes."""
        columns = self._pair.matches
        sums, counted = np.zeros(len(columns)), 0
        both = zip(
            self._records.arrays("contributions_a"),
            self._records.arrays("contributions_b"),
            strict=True,
        )
        for (_, a), (_, b) in both:
            if not len(a):
                continue
            total = np.abs(a).sum(axis=1)
            apart = np.abs(b[:, columns[:, 1]] - a[:, columns[:, 0]])
            has = np.isfinite(total) & (total > 0) & np.isfinite(apart).all(axis=1)
            counted += int(has.sum())
            sums += (apart[has] / total[has, None]).sum(axis=0)
        return sums / counted if counted else np.full(len(columns), np.nan)

    def layers(self) -> tuple[LayerPair, ...]:
        """A's terms, from input to output, then those that only B has."""
        a, b = self._terms
        ledger_a, ledger_b = self.ledgers
        in_b = {int(one): (int(other), at) for at, (one, other) in enumerate(self._pair.matches)}
        found = []
        for one, (name, kind) in enumerate(a):
            other, at = in_b.get(one, (None, None))
            found.append(
                LayerPair(
                    name=name,
                    kind=kind,
                    share_a=float(ledger_a.share[one]),
                    share_b=None if other is None else float(ledger_b.share[other]),
                    mean_a=float(ledger_a.mean[one]),
                    mean_b=None if other is None else float(ledger_b.mean[other]),
                    drift=None if at is None else _known(float(self._drifts[at])),
                )
            )
        matched = {other for other, _ in in_b.values()}
        for other, (name, kind) in enumerate(b):
            if other not in matched:
                share, mean = float(ledger_b.share[other]), float(ledger_b.mean[other])
                found.append(LayerPair(name, kind, None, share, None, mean, None))
        return tuple(found)

    @property
    def _terms(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        of_a, of_b = (_terms(each.session.manifest) for each in (self._pair.a, self._pair.b))
        return of_a, of_b

    def kind_shares(self, side: int) -> Mapping[str, float]:
        """The mean share of every kind of term in A (0) or B (1)."""
        terms, ledger = self._terms[side], self.ledgers[side]
        kinds = np.array([kind for _, kind in terms])
        return {kind: float(ledger.share[kinds == kind].sum()) for kind in KINDS}

    @property
    def covered(self) -> float | None:
        """The mean share of the matched terms in A's sum of magnitudes."""
        return _known(float(self.ledgers[0].share[self._pair.matches[:, 0]].sum()))

    # --- classes ----------------------------------------------------------------------------------

    def by_class(self) -> list[tuple[int, Array]]:
        """The classes that A predicts, most images first, and whether each image is of them."""
        counts = np.bincount(self.targets[0][self.sound])
        order = sorted(np.flatnonzero(counts), key=lambda target: (-counts[target], target))
        return [(int(target), self.targets[0] == target) for target in order]

    def worst_images(self, name: str, most: int) -> Sequence[int]:
        """The numbers of the images with the worst values of a measure, worst first."""
        values = self.values(name)
        numbers = np.flatnonzero(np.isfinite(values))
        return [int(at) for at in numbers[np.argsort(-values[numbers], kind="stable")][:most]]


def _terms(held: Manifest) -> list[tuple[str, str]]:
    return [("input", "input"), *((site.name, site.kind) for site in held.sites)]


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
