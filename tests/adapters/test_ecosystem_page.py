"""docs/ecosystem.md: its examples run, and what it says was tried was."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

import test_pair_saliency  # noqa: E402
import test_quantus  # noqa: E402

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ecosystem.md").read_text(encoding="utf-8")

BEFORE = """
import importlib.util, sys
hidden, find = {"torch", "captum"}, importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name in hidden else find(name, *more)
import fg_onnx.cli, fg_onnx.methods, fg_onnx.evaluate.randomization
assert not {"quantus", "saliency", "fg_onnx.adapters"} & {*sys.modules}
"""
AFTER = """
assert not hidden & {*sys.modules}
"""


@pytest.mark.parametrize("number", [0, 1])
def test_an_example_runs_without_torch(number, tmp_path):
    examples = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(examples) == 2
    (tmp_path / "sample_models").symlink_to(ROOT / "sample_models")
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + examples[number] + AFTER],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "nan" not in done.stdout


def tried(part):
    """The names in the rows that say that a thing is as on the net in torch."""
    rows = [row.split("|") for row in part.splitlines() if "| as on the net in torch" in row]
    return {name.strip() for row in rows for name in row[1].split(",") if " but " not in name}


def test_the_tables_hold_what_was_tried():
    quantus, pair = PAGE.split("## PAIR-saliency")
    named = {"Completeness", "RelativeRepresentationStability"}
    assert tried(quantus) == {*test_quantus.METRICS, *test_quantus.RANKING} | named
    assert tried(pair) == set(test_pair_saliency.METHODS)
    assert set(test_pair_saliency.METHODS) - set(test_pair_saliency.SMOOTHED) == {
        "XRAI",
        "Occlusion",
    }
