"""All images in one Parquet file, for people: what was measured, and what followed from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.audit.measures import KINDS, shares
from fg_onnx.audit.places import Place
from fg_onnx.audit.records import Measured, Records, require_parquet
from fg_onnx.audit.summary import Summary
from fg_onnx.audit.truths import UNKNOWN

IMAGES = "images.parquet"

_KEPT = ("residual", "contributions", "concentration", "centre_row", "centre_column", "border")
_GIVEN = ("inside", "pointing")

Array = npt.NDArray[Any]


def write_table(
    place: Place,
    records: Records[Measured],
    summary: Summary,
    outliers: Array,
    names: Sequence[str] | None,
) -> None:
    """Write a row for every image, part by part; broken ones have a reason and no numbers.

    Raises:
        OutputError: the place cannot be written.
    """
    pa = require_parquet()
    kinds = summary.kinds
    with place.write(IMAGES) as file:
        writer = None
        for part, table in enumerate(records.tables()):
            own = slice(records.numbers(part).start, records.numbers(part).stop)
            found = _columns(pa, table, kinds, summary, own, outliers, names)
            writer = writer or pa.parquet.ParquetWriter(file, found.schema)
            writer.write_table(found)
        if writer is not None:
            writer.close()


def _columns(
    pa: Any,
    table: Any,
    kinds: Sequence[str],
    summary: Summary,
    own: slice,
    outliers: Array,
    names: Sequence[str] | None,
) -> Any:
    targets = table["target"].to_pylist()
    labels = [
        names[at] if names is not None and at is not None and at < len(names) else None
        for at in targets
    ]
    truths: list[int | None] = [None] * len(targets)
    if summary.truths is not None:
        truths = [None if at == UNKNOWN else int(at) for at in summary.truths[own]]
    contributions = table["contributions"].to_pylist()
    split = [shares(np.array(row), kinds) if row is not None else {} for row in contributions]
    apart = [float(each) if np.isfinite(each) else None for each in outliers[own]]
    columns = {
        "name": table["name"],
        "broken": table["broken"],
        "target": table["target"],
        "label": pa.array(labels, pa.string()),
        "truth": pa.array(truths, pa.int64()),
        "score": table["score"],
        **{f"share_{k}": pa.array([row.get(k) for row in split], pa.float64()) for k in KINDS},
        **{name: table[name] for name in (*_KEPT, *_GIVEN)},
        "outlier": pa.array(apart, pa.float64()),
    }
    return pa.table(columns)
