"""Curves and comparisons as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fg_onnx.evaluate.curves import Curve, Panel
from reproduction.comparing import Comparison, row_means

_MOST_COLUMNS = 5


def table_of(panel: Panel, comparisons: Sequence[Comparison] = ()) -> str:
    """A row a method: means and standard errors at some points and over all, and a comparison."""
    count = len(panel.points)
    at = sorted({round(i * (count - 1) / (_MOST_COLUMNS - 1)) for i in range(_MOST_COLUMNS)})
    by = {each.rival: each for each in comparisons}
    heads = ["method", *(_point(panel.points[i]) for i in at), "over all points"]
    if by:
        heads.append("against it")
    rows = []
    for curve in panel.curves:
        cells = [_value(curve, i) for i in at]
        row = [f"`{curve.method}`", *cells, _overall(curve)]
        if by:
            row.append(difference_of(by[curve.method]) if curve.method in by else "")
        rows.append(row)
    return markdown(heads, rows)


def difference_of(found: Comparison) -> str:
    """``difference ± standard error: outcome``."""
    return f"{found.difference:+.3f} ± {found.standard_error:.3f}: {found.outcome}"


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _point(point: float | str) -> str:
    return f"`{point}`" if isinstance(point, str) else f"{point:g}"


def _value(curve: Curve, at: int) -> str:
    return _with_error(float(curve.mean[at]), float(curve.standard_error[at]))


def _overall(curve: Curve) -> str:
    means = row_means(curve)
    means = means[np.isfinite(means)]
    error = means.std(ddof=1) / np.sqrt(len(means)) if len(means) > 1 else np.nan
    return _with_error(float(means.mean()), float(error))


def _with_error(mean: float, error: float) -> str:
    if np.isnan(mean):
        return "-"
    return f"{mean:.3f}" if np.isnan(error) else f"{mean:.3f} ± {error:.3f}"
