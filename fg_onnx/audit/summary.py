"""What all images say together: read from the records, part by part.

Of an image a few numbers are held at once; its contributions and its map are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.audit.document import Distribution, Layer
from fg_onnx.audit.measures import GRID, KINDS
from fg_onnx.audit.probes import Activation, ends
from fg_onnx.audit.records import Measured, Records
from fg_onnx.audit.truths import UNKNOWN
from fg_onnx.manifest import Manifest

Array = npt.NDArray[Any]

BINS = 24
_LOGARITHMIC = ("residual",)
_SHARES = ("input", "concentration", "border", "inside")
_DECADES = (-12, 0)  # of residuals; what is beyond counts in the outermost bin
_LEAST_SPREAD = 0.005  # of the distances within a class, where nearly all are equal
_TO_DEVIATION = 1.4826  # of a median absolute deviation, if the distances were normal


@dataclass(frozen=True)
class Quiet:
    """How often an activation passes nothing.

    Attributes:
        activation: which.
        dead: the share of the images in which all its values are at the low end.
        saturated: the share of the images in which so many are at either end.
    """

    activation: Activation
    dead: float
    saturated: float


class Summary:
    """All numbers of an audit.

    Args:
        records: complete.
        held: the model's manifest.
        activations: that were counted.
        truths: the class of every image, -1 where that is not known; None without labels.
    """

    def __init__(
        self,
        records: Records[Measured],
        held: Manifest,
        activations: Sequence[Activation],
        truths: Array | None,
    ) -> None:
        self._records = records
        self._held = held
        self._activations = activations
        self.truths = truths

    @property
    def kinds(self) -> list[str]:
        """Of the sites, in the order of the contributions."""
        return [site.kind for site in self._held.sites]

    @cached_property
    def targets(self) -> Array:
        """The explained class of every image, -1 of those that are broken."""
        return np.nan_to_num(self._records.column("target"), nan=UNKNOWN).astype(np.int64)

    @property
    def sound(self) -> Array:
        """Whether each image could be read and run."""
        return np.asarray(self.targets != UNKNOWN)

    @cached_property
    def _columns(self) -> dict[str, Array]:
        return {}

    def column(self, name: str) -> Array:
        """A measure of every image, NaN where there is none."""
        if name == "input":
            return self._of_contributions[0]
        if name not in self._columns:
            self._columns[name] = self._records.column(name)
        return self._columns[name]

    @cached_property
    def labelled(self) -> Array:
        """Whether each image could be read and has a label."""
        return self.sound & (self.truths != UNKNOWN if self.truths is not None else False)

    @property
    def right(self) -> Array:
        """Whether each image is predicted to be what its label says."""
        return np.asarray(self.labelled & (self.targets == self.truths))

    @property
    def accuracy(self) -> float | None:
        """Of those with a label; None without any."""
        count = int(self.labelled.sum())
        return int(self.right.sum()) / count if count else None

    # --- contributions --------------------------------------------------------------------------

    @cached_property
    def _of_contributions(self) -> tuple[Array, Array, Array, Array]:
        """The input's share of every image; and share, mean and silence of every column."""
        width = 1 + len(self._held.sites)
        own = np.full(self._records.images, np.nan)
        shares, sums, silent = np.zeros(width), np.zeros(width), np.zeros(width)
        counted = finite = 0
        for numbers, values in self._records.arrays("contributions"):
            if not len(numbers):
                continue
            magnitude = np.abs(values)
            total = magnitude.sum(axis=1)
            sound = np.isfinite(total)
            finite += int(sound.sum())
            sums += values[sound].sum(axis=0)
            silent += (values[sound] == 0).sum(axis=0)
            has = sound & (total > 0)
            counted += int(has.sum())
            split = magnitude[has] / total[has, None]
            shares += split.sum(axis=0)
            own[numbers[has]] = split[:, 0]
        return own, shares / max(counted, 1), sums / max(finite, 1), silent / max(finite, 1)

    def layers(self) -> tuple[Layer, ...]:
        """The input, then the sites in topological order."""
        _, shares, means, silent = self._of_contributions
        named = [("input", "input"), *((site.name, site.kind) for site in self._held.sites)]
        return tuple(
            Layer(name, kind, float(shares[at]), float(means[at]), float(silent[at]))
            for at, (name, kind) in enumerate(named)
        )

    def kind_shares(self) -> Mapping[str, float]:
        """The mean share of every kind of term."""
        layers = self.layers()
        return {kind: sum(each.share for each in layers if each.kind == kind) for kind in KINDS}

    def quiet(self, values: float) -> list[Quiet]:
        """How often every counted activation is dead, or saturated by so many of its values."""
        columns = ends(self._activations)
        count = len(self._activations)
        dead, saturated = np.zeros(count), np.zeros(count)
        # which columns are of an activation, and which of these say that it is silent
        at_ends = np.array([[own is each for own in self._activations] for each, _ in columns])
        dies = np.array([each.dies and end == "low" for each, end in columns])
        images = 0
        for numbers, rows in self._records.arrays("activity"):
            if not len(numbers):
                continue
            images += len(numbers)
            dead += (rows @ (at_ends & dies[:, None]) >= 1).sum(axis=0)
            saturated += (rows @ at_ends >= values).sum(axis=0)
        return [
            Quiet(activation, float(dead[at]) / images, float(saturated[at]) / images)
            for at, activation in enumerate(self._activations)
            if images
        ]

    # --- classes --------------------------------------------------------------------------------

    @cached_property
    def mean_maps(self) -> dict[int, Array]:
        """The mean coarse map of every predicted class, [GRID, GRID]."""
        sums: dict[int, Array] = {}
        counts: dict[int, int] = {}
        for numbers, maps in self._records.arrays("small"):
            targets = self.targets[numbers]
            for target in map(int, np.unique(targets)):
                own = maps[targets == target]
                sums[target] = sums.get(target, 0) + own.sum(axis=0)
                counts[target] = counts.get(target, 0) + len(own)
        return {k: sums[k].reshape(GRID, GRID) / counts[k] for k in sorted(sums)}

    @cached_property
    def distances(self) -> Array:
        """Of every image's map to the mean of its class: half the sum of differences, 0 to 1."""
        found = np.full(self._records.images, np.nan)
        for numbers, maps in self._records.arrays("small"):
            for number, row in zip(numbers, maps, strict=True):
                mean = self.mean_maps[int(self.targets[number])].ravel()
                found[number] = np.abs(row - mean).sum() / 2
        return found

    def outliers(self, limit: float, least: int) -> Array:
        """How unlike its class's maps each one is: 0 as the median or nearer, 1 at the limit.

        Args:
            limit: in robust standard deviations beyond the median distance.
            least: classes of fewer images have none: NaN.
        """
        found = np.full(len(self.distances), np.nan)
        for target in self.mean_maps:
            own = np.flatnonzero((self.targets == target) & np.isfinite(self.distances))
            if len(own) < least:
                continue
            apart = self.distances[own]
            middle = np.median(apart)
            spread = max(_TO_DEVIATION * float(np.median(np.abs(apart - middle))), _LEAST_SPREAD)
            found[own] = np.maximum(apart - middle, 0) / (limit * spread)
        return found

    def distributions(self, outliers: Array) -> dict[str, Distribution]:
        """Of every measure that any image has."""
        found = {}
        for name in ("residual", "score", *_SHARES):
            values = self.column(name)
            if np.isfinite(values).any():
                found[name] = distribution(values, name)
        if np.isfinite(outliers).any():
            found["outlier"] = distribution(outliers, "outlier")
        return found


def distribution(values: Array, name: str) -> Distribution:
    """A measure over all images."""
    finite = values[np.isfinite(values)]
    logarithmic = name in _LOGARITHMIC
    if logarithmic:
        edges = np.logspace(*_DECADES, BINS + 1)
    elif name in _SHARES:
        edges = np.linspace(0, 1, BINS + 1)
    else:
        low, high = (finite.min(), finite.max()) if len(finite) else (0, 0)
        edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    return histogram(values, edges, logarithmic=logarithmic)


def histogram(values: Array, edges: Array, *, logarithmic: bool = False) -> Distribution:
    """The finite ones of some values; what is beyond the edges counts in the outermost bins."""
    finite = values[np.isfinite(values)]
    counts, _ = np.histogram(np.clip(finite, edges[0], edges[-1]), edges)
    known = len(finite) > 0
    return Distribution(
        count=len(finite),
        mean=float(finite.mean()) if known else None,
        least=float(finite.min()) if known else None,
        median=float(np.median(finite)) if known else None,
        most=float(finite.max()) if known else None,
        edges=tuple(map(float, edges)),
        counts=tuple(map(int, counts)),
        logarithmic=logarithmic,
    )
