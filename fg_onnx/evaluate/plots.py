"""Curves as pictures."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fg_onnx.errors import RuntimeMissingError
from fg_onnx.evaluate.curves import Curve, Panel, Results
from fg_onnx.files import replacing

SUFFIXES = (".png", ".svg")

# Okabe & Ito's colours, which nearly everyone can tell apart; the first is for the first method.
_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c510a")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_CHANCE = {"color": "#888888", "marker": ".", "linestyle": ":"}  # what is to be beaten
_OTHER = {"color": "#444444", "marker": "o", "linestyle": "-"}  # what is no method
_DECADES = 1000  # from the first point to the last, from which on the axis is logarithmic

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
    """Write the curves as PNG and SVG: panels of one title side by side, of several in several.

    A band is one standard error to each side of the mean.

    Args:
        results: of an experiment.
        stem: of the files, without a suffix; the title is added where there are several.

    Raises:
        RuntimeMissingError: matplotlib is not installed.
        OutputError: a file cannot be written.
    """
    matplotlib = require_plots()
    titles = list(dict.fromkeys(panel.title for panel in results.panels))
    written = []
    with matplotlib.rc_context(_STYLE):
        for title in titles:
            figure = _figure([panel for panel in results.panels if panel.title == title])
            name = f"{stem.name}-{title}" if len(titles) > 1 else stem.name
            for suffix in SUFFIXES:
                path = stem.with_name(name + suffix)
                with replacing(path) as temporary:
                    # a date would make other bytes of the same curves
                    figure.savefig(temporary, metadata={"Date": None} if suffix == ".svg" else None)
                written.append(path)
    return written


def _figure(panels: Sequence[Panel]) -> Any:
    from matplotlib.figure import Figure  # noqa: PLC0415

    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    named = isinstance(panels[0].points[0], str)
    size = (5.0 * columns + 1.8, (4.2 if named else 3.5) * rows)
    figure = Figure(figsize=size, layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    looks = _looks([curve.method for curve in panels[0].curves])
    for place, panel in itertools.zip_longest(places, panels):
        if panel is None:
            place.remove()
        else:
            _draw_panel(place, panel, looks)
    shown: dict[str, Any] = {}  # a curve may be in some panels alone
    for place in places[: len(panels)]:
        handles, names = place.get_legend_handles_labels()
        for name, handle in zip(names, handles, strict=True):
            shown.setdefault(name, handle)
    figure.legend(shown.values(), shown.keys(), loc="outside right upper", frameon=False)
    return figure


def _draw_panel(place: Any, panel: Panel, looks: Mapping[str, dict[str, Any]]) -> None:
    if isinstance(panel.points[0], str):
        at = np.arange(len(panel.points))
        place.set_xticks(at, [str(point) for point in panel.points], rotation=60, ha="right")
        place.tick_params(axis="x", labelsize=7)
    else:
        at = np.array(panel.points, dtype=np.float64)
        if at[0] > 0 and at[-1] >= _DECADES * at[0]:
            place.set_xscale("log")
            _widen(place, panel)
    for curve in panel.curves:
        _draw_curve(place, at, curve, looks.get(curve.method, _OTHER))
    place.set_xlabel(panel.axis)
    place.set_ylabel(panel.quantity)


def _widen(place: Any, panel: Panel) -> None:
    """Values over as many decades on a logarithmic axis, with a place for 0."""
    means = np.concatenate([curve.mean for curve in panel.curves])
    above = means[means > 0]
    if len(above) and above.max() >= _DECADES * above.min():
        place.set_yscale("symlog", linthresh=10.0 ** np.floor(np.log10(above.min())))
        place.set_ylim(bottom=0)


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


def _looks(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of every method; past the last colour the lines are dashed."""
    found = {method: _CHANCE for method in methods if method.partition(":")[0] == "random"}
    others = [method for method in methods if method not in found]
    for rank, method in enumerate(others):
        found[method] = {
            "color": _COLOURS[rank % len(_COLOURS)],
            "marker": _MARKERS[rank % len(_MARKERS)],
            "linestyle": "--" if rank >= len(_COLOURS) else "-",
        }
    return found
