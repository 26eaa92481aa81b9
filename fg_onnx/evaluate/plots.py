"""Curves as pictures."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from fg_onnx.errors import RuntimeMissingError
from fg_onnx.evaluate.curves import Curve, Panel, Results
from fg_onnx.files import replacing

SUFFIXES = (".png", ".svg")

# Okabe & Ito's colours, which nearly everyone can tell apart; the first is for the first method.
_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_CHANCE = "random"  # in gray, as what is to be beaten

_STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 150,
    "font.size": 9,
    "grid.alpha": 0.25,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "fg-onnx",  # the same curves make the same bytes
}


def require_plots() -> Any:
    """The module ``matplotlib``.

    Raises:
        RuntimeMissingError: ``no-matplotlib``.
    """
    try:
        return importlib.import_module("matplotlib")
    except ImportError as error:
        raise RuntimeMissingError(
            "no-matplotlib",
            "matplotlib, which draws the curves, is not installed",
            'pip install "fg-onnx[evaluate]"',
        ) from error


def draw(results: Results, stem: Path) -> list[Path]:
    """Write the curves, all panels side by side, as PNG and SVG.

    A band is one standard error to each side of the mean.

    Args:
        results: of an experiment.
        stem: of the files, without a suffix.

    Raises:
        RuntimeMissingError: matplotlib is not installed.
        OutputError: a file cannot be written.
    """
    matplotlib = require_plots()
    from matplotlib.figure import Figure  # noqa: PLC0415

    written = []
    with matplotlib.rc_context(_STYLE):
        named = any(isinstance(panel.points[0], str) for panel in results.panels)
        count = len(results.panels)
        columns = 2 if count > 1 else 1
        rows = -(-count // columns)
        size = (5.2 * columns + 1.8, (4.2 if named else 3.7) * rows)
        figure = Figure(figsize=size, layout="constrained")
        places = figure.subplots(rows, columns, squeeze=False).ravel()
        for place, panel in itertools.zip_longest(places, results.panels):
            if panel is None:
                place.remove()
            else:
                _draw_panel(place, panel, titled=count > 1)
        handles, names = places[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right upper", frameon=False)
        for suffix in SUFFIXES:
            with replacing(stem.with_name(stem.name + suffix)) as temporary:
                figure.savefig(temporary, metadata={"Date": None} if suffix == ".svg" else None)
            written.append(stem.with_name(stem.name + suffix))
    return written


def _draw_panel(place: Any, panel: Panel, *, titled: bool) -> None:
    named = isinstance(panel.points[0], str)
    at = np.arange(len(panel.points)) if named else np.array(panel.points)
    rank = 0
    for curve in panel.curves:
        look = _chance() if curve.method == _CHANCE else _look(rank)
        rank += curve.method != _CHANCE
        _draw_curve(place, at, curve, look)
    if named:
        place.set_xticks(at, [str(point) for point in panel.points], rotation=60, ha="right")
        place.tick_params(axis="x", labelsize=7)
    place.set_xlabel(panel.axis)
    place.set_ylabel(panel.quantity)
    if titled:
        place.set_title(panel.title, fontsize=10)


def _draw_curve(place: Any, at: Any, curve: Curve, look: dict[str, Any]) -> None:
    place.plot(at, curve.mean, label=curve.method, markersize=3.5, linewidth=1.5, **look)
    error = np.nan_to_num(curve.standard_error)  # of one image there is none
    place.fill_between(
        at,
        curve.mean - error,
        curve.mean + error,
        color=look["color"],
        alpha=0.18,
        linewidth=0,
    )


def _look(rank: int) -> dict[str, Any]:
    """Colour and marker of a method; past the last colour the line is dashed."""
    dashed = rank >= len(_COLOURS)
    return {
        "color": _COLOURS[rank % len(_COLOURS)],
        "marker": _MARKERS[rank % len(_MARKERS)],
        "linestyle": "--" if dashed else "-",
    }


def _chance() -> dict[str, Any]:
    return {"color": "#888888", "marker": ".", "linestyle": ":"}
