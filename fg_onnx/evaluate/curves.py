"""What an experiment found, as data: curves with standard errors, to JSON and CSV and back."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from fg_onnx._version import __version__
from fg_onnx.errors import InputError

SCHEMA_VERSION = 1

Array = npt.NDArray[np.float64]
Unit = Literal["image", "seed"]

UNITS: tuple[Unit, ...] = get_args(Unit)


@dataclass(frozen=True, eq=False)
class Curve:
    """What was measured of one method.

    Attributes:
        method: its name.
        values: float64 [rows, points]; NaN where the measure is not defined.
    """

    method: str
    values: Array

    @cached_property
    def counts(self) -> Array:
        """How many rows have a value, [points]."""
        return np.asarray(np.isfinite(self.values).sum(axis=0))

    @cached_property
    def mean(self) -> Array:
        """Over those images, [points]; NaN where there is none."""
        total = np.where(np.isfinite(self.values), self.values, 0).sum(axis=0)
        return _ratio(total, self.counts)

    @cached_property
    def standard_error(self) -> Array:
        """Of the mean, ``s / sqrt(n)`` with ``s`` the sample's, [points]; NaN of fewer than two."""
        apart = np.where(np.isfinite(self.values), self.values - self.mean, 0)
        return np.sqrt(_ratio((apart**2).sum(axis=0), (self.counts - 1) * self.counts))


@dataclass(frozen=True, eq=False)
class Panel:
    """Curves over the same points.

    Attributes:
        title: how it was measured.
        axis: what the points are.
        quantity: what was measured at each.
        points: numbers, or names.
        curves: one for each method.
    """

    title: str
    axis: str
    quantity: str
    points: tuple[float | str, ...]
    curves: tuple[Curve, ...]


@dataclass(frozen=True, eq=False)
class Results:
    """All of an experiment.

    Attributes:
        experiment: its name, which its files bear.
        model: that was judged.
        settings: what it was done with; JSON values.
        rows: the name of each that was measured again and again, in the curves' order.
        panels: what was measured.
        unit: what a row is of: ``image``, or ``seed``. The documents bear the word.
    """

    experiment: str
    model: str
    settings: Mapping[str, Any]
    rows: tuple[str, ...]
    panels: tuple[Panel, ...]
    unit: Unit = "image"

    def to_dict(self) -> dict[str, Any]:
        """The JSON document, with its ``schema_version`` first."""
        return {
            "schema_version": SCHEMA_VERSION,
            "tool_version": __version__,
            "experiment": self.experiment,
            "model": self.model,
            "settings": dict(self.settings),
            "rows": self.unit,
            f"{self.unit}s": list(self.rows),
            "panels": [
                {
                    "title": panel.title,
                    "axis": panel.axis,
                    "quantity": panel.quantity,
                    "points": list(panel.points),
                    "curves": [
                        {
                            "method": curve.method,
                            "mean": curve.mean.tolist(),
                            "standard_error": curve.standard_error.tolist(),
                            f"{self.unit}s": curve.counts.tolist(),
                            "values": curve.values.tolist(),
                        }
                        for curve in panel.curves
                    ],
                }
                for panel in self.panels
            ],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Results:
        """Inverse of `to_dict`; null is NaN.

        Raises:
            InputError: ``not-results``.
        """
        try:
            if document["schema_version"] != SCHEMA_VERSION:
                raise _no_results(f"schema_version is {document['schema_version']!r}")
            unit = document["rows"]
            if unit not in UNITS:
                raise _no_results(f"rows is {unit!r}")
            found = cls(
                experiment=document["experiment"],
                model=document["model"],
                settings=document["settings"],
                rows=tuple(document[f"{unit}s"]),
                panels=tuple(_panel(panel) for panel in document["panels"]),
                unit=unit,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _no_results(f"{type(error).__name__}: {error}") from error
        for panel in found.panels:
            wanted = (len(found.rows), len(panel.points))
            for curve in panel.curves:
                if curve.values.shape != wanted:
                    raise _no_results(f"values of {curve.method!r} are not {list(wanted)}")
        return found

    def summary_csv(self) -> str:
        """A row for every panel, method and point: mean, standard error, and of how many rows."""
        rows = [
            (panel.title, panel.quantity, curve.method, point, mean, error, count)
            for panel in self.panels
            for curve in panel.curves
            for point, mean, error, count in zip(
                panel.points,
                curve.mean.tolist(),
                curve.standard_error.tolist(),
                curve.counts.tolist(),
                strict=True,
            )
        ]
        counted = f"{self.unit}s"
        return _csv(
            ("panel", "quantity", "method", "point", "mean", "standard_error", counted), rows
        )

    def values_csv(self) -> str:
        """A row for every panel, method, point and image or seed."""
        rows = [
            (panel.title, panel.quantity, curve.method, point, row, value)
            for panel in self.panels
            for curve in panel.curves
            for row, values in zip(self.rows, curve.values.tolist(), strict=True)
            for point, value in zip(panel.points, values, strict=True)
        ]
        return _csv(("panel", "quantity", "method", "point", self.unit, "value"), rows)


def _panel(document: Mapping[str, Any]) -> Panel:
    return Panel(
        title=document["title"],
        axis=document["axis"],
        quantity=document["quantity"],
        points=tuple(document["points"]),
        curves=tuple(
            Curve(curve["method"], np.array(curve["values"], dtype=np.float64))
            for curve in document["curves"]
        ),
    )


def _no_results(reason: str) -> InputError:
    return InputError(
        "not-results",
        f"the document holds no results of an experiment: {reason}",
        "give what `fg-onnx evaluate` has written",
    )


def _ratio(above: Array, below: Array) -> Array:
    return np.asarray(np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0))


def _undefined(cell: Any) -> bool:
    return isinstance(cell, float) and not math.isfinite(cell)


def _csv(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Comma-separated, as RFC 4180; what is not defined is left empty."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(head)
    for row in rows:
        writer.writerow(["" if _undefined(cell) else cell for cell in row])
    return text.getvalue()
