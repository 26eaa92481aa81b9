"""docs/methods.md lists the methods, what each needs and its options."""

from __future__ import annotations

from pathlib import Path

import pytest

from fg_onnx.methods import METHODS
from fg_onnx.methods.baselines import BASELINES

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| `")]


def cells(row):
    """The cells of a row; a `\\|` is part of one."""
    parts = row.replace("\\|", "\0").strip("|").split("|")
    return [part.replace("\0", "|").strip() for part in parts]


def words(cell):
    return [word.strip(" `") for word in cell.split(",") if word.strip()]


def test_the_methods_are_in_order():
    assert [cells(row)[0].strip("`") for row in ROWS] == list(METHODS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: cells(row)[0])
def test_needs_and_options(row):
    name, _, needs, options, _ = cells(row)
    method = METHODS[name.strip("`")]
    assert words(needs) == list(method.emit)
    assert set(words(options)) == set(method.options())


def test_the_baselines():
    (line,) = (part for part in PAGE.split("\n\n") if part.startswith("**Baselines**"))
    assert [name for name in BASELINES if f"`{name}`" not in line] == []
