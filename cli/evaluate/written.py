"""What an experiment leaves: curves as JSON, CSV, PNG and SVG, and a table on stdout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fg_onnx.errors import RuntimeMissingError, printable
from fg_onnx.files import replacing

from ..console import counted, note, say, say_json, table, to_json

if TYPE_CHECKING:
    from fg_onnx.evaluate.curves import Curve, Panel, Results

_ALL_COLUMNS = 8  # up to so many points the table shows each
_SOME_COLUMNS = 6  # of more, which are to fit a terminal


def write_results(results: Results, folder: Path, *, as_json: bool) -> None:
    """Write all files, the document last, and say what was found.

    Without matplotlib there are no pictures, and a line says so.

    Raises:
        OutputError: the folder cannot be written.
    """
    from fg_onnx.evaluate.plots import SUFFIXES, draw  # noqa: PLC0415

    stem = folder / results.experiment
    document = stem.with_name(f"{stem.name}.json")
    pictures = [each for end in SUFFIXES for each in folder.glob(f"{stem.name}-*{end}")]
    for old in (document, *map(stem.with_suffix, SUFFIXES), *pictures):
        with suppress(FileNotFoundError, NotADirectoryError):
            old.unlink()
    texts = {".csv": results.summary_csv(), f".{results.unit}s.csv": results.values_csv()}
    written = []
    for suffix, text in texts.items():
        written.append(_write(stem.with_name(stem.name + suffix), text))
    try:
        written += draw(results, stem)
    except RuntimeMissingError as error:
        note(f"no pictures: {error.message}\nhint: {error.hint}")
    written.append(_write(document, to_json(results.to_dict()) + "\n"))
    if as_json:
        say_json(results.to_dict())
        return
    for panel in results.panels:
        _print(panel)
        say()
    names = ", ".join(printable(path.name) for path in written)
    say(f"{counted(len(results.rows), results.unit)}; in {printable(str(folder))}: {names}")


def _write(path: Path, text: str) -> Path:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
    return path


def _print(panel: Panel) -> None:
    """Means and standard errors at some of the points."""
    count = len(panel.points)
    columns = count if count <= _ALL_COLUMNS else _SOME_COLUMNS
    shown = sorted({round(i * (count - 1) / max(columns - 1, 1)) for i in range(columns)})
    say(f"{panel.title}: {panel.quantity}, by {panel.axis}")
    heads = [_text(panel.points[at]) for at in shown]
    table(["method", *heads], [[curve.method, *_cells(curve, shown)] for curve in panel.curves])


def _text(point: float | str) -> str:
    return point if isinstance(point, str) else f"{point:g}"


def _cells(curve: Curve, shown: Sequence[int]) -> list[str]:
    cells = []
    for at in shown:
        mean, error = float(curve.mean[at]), float(curve.standard_error[at])
        if math.isnan(mean):
            cells.append("-")
        else:
            cells.append(
                _number(mean) if math.isnan(error) else f"{_number(mean)} ±{_number(error)}"
            )
    return cells


def _number(value: float) -> str:
    """Three decimals, or as many digits where these would show nothing."""
    fixed = f"{value:.3f}"
    return f"{value:.3g}" if value and not float(fixed) else fixed
