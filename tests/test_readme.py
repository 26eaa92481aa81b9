"""The README does what it says: its commands run, its tables are those of the code."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def _section(name: str) -> str:
    found = re.search(rf"<!-- {name}\b.*?-->\n(.*?)<!-- /{name} -->", README, flags=re.DOTALL)
    assert found is not None
    return found.group(1).strip()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder that has the repository's samples beside it, as a clone has."""
    (tmp_path / "sample_models").symlink_to(ROOT / "sample_models")
    return tmp_path


def _run(command: list[str], place: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=False
    )


def test_the_python_example_prints_a_small_residual(place: Path) -> None:
    (example,) = _blocks("python")
    done = _run([sys.executable, "-c", example], place)
    assert done.returncode == 0, done.stderr
    residual = float(done.stdout.split()[-1])
    # float32 sums of a few thousand terms: the issue's own bound.
    assert 0 <= residual <= 1e-5


def test_the_python_example_has_ten_lines_or_fewer() -> None:
    (example,) = _blocks("python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 10


def test_every_command_runs(place: Path) -> None:
    lines = "".join(_blocks("sh")).strip().splitlines()
    assert len(lines) >= 5
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "fg-onnx"
        done = _run([sys.executable, "-m", "fg_onnx.cli", *arguments], place)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert (place / "explanations" / "explanations.json").is_file()


def test_the_operator_table_is_that_of_the_code(place: Path) -> None:
    done = _run([sys.executable, "-m", "fg_onnx.cli", "ops", "--markdown"], place)
    assert _section("ops") == done.stdout.strip(), "run `fg-onnx ops --markdown` into the README"


def test_every_picture_is_there() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(pictures) >= 2
    for picture in pictures:
        assert (ROOT / picture).is_file()


def test_the_sections_stand_in_the_promised_order() -> None:
    wanted = ["Install", "Command line", "Operators", "Limits", "How it is checked", "Benchmarks"]
    positions = [README.index(f"\n## {title}\n") for title in [*wanted, "Citation"]]
    assert positions == sorted(positions)
    assert README.index("docs/images/fullgrad.png") < README.index("```python") < positions[0]
