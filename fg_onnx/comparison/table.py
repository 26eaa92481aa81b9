"""All images in one Parquet file, for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fg_onnx.audit.records import Records, require_parquet
from fg_onnx.audit.truths import UNKNOWN
from fg_onnx.comparison.running import Compared
from fg_onnx.comparison.summary import Summary
from fg_onnx.files import replacing

IMAGES = "pairs.parquet"


def write_table(
    folder: Path, records: Records[Compared], summary: Summary, names: Sequence[str] | None
) -> Path:
    """Write a row for every image, part by part; broken ones have a reason and no numbers.

    Raises:
        OutputError: the folder cannot be written.
    """
    pa = require_parquet()
    path = folder / IMAGES
    with replacing(path) as temporary, temporary.open("wb") as file:
        writer = None
        for part, table in enumerate(records.tables()):
            own = slice(records.numbers(part).start, records.numbers(part).stop)
            found = pa.table(_columns(pa, table, summary, own, names))
            writer = writer or pa.parquet.ParquetWriter(file, found.schema)
            writer.write_table(found)
        if writer is not None:
            writer.close()
    return path


def _columns(
    pa: Any, table: Any, summary: Summary, own: slice, names: Sequence[str] | None
) -> dict[str, Any]:
    truths: list[int | None] = [None] * table.num_rows
    if summary.truths is not None:
        truths = [None if at == UNKNOWN else int(at) for at in summary.truths[own]]
    beside = {
        "target": ("label", pa.array(_labels(table["target"], names), pa.string())),
        "target_b": ("label_b", pa.array(_labels(table["target_b"], names), pa.string())),
        "broken": ("truth", pa.array(truths, pa.int64())),
    }
    found = {}
    for field in dataclasses.fields(Compared)[1:]:  # not the number
        found[field.name] = table[field.name]
        if field.name in beside:
            name, column = beside[field.name]
            found[name] = column
    return found


def _labels(column: Any, names: Sequence[str] | None) -> list[str | None]:
    return [
        names[at] if names is not None and at is not None and at < len(names) else None
        for at in column.to_pylist()
    ]
