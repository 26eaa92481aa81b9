"""What is installed is what is here: an editable installation would not notice what is left out."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
SOURCES = {"fg_onnx": ROOT / "fg_onnx", "fg_onnx.cli": ROOT / "cli"}


def _files():
    """Every file that is to be installed: its package, and its path there."""
    for name, folder in SOURCES.items():
        for path in sorted(folder.rglob("*")):
            if path.is_dir() or "__pycache__" in path.parts:
                continue
            held = path.parent
            while not (held / "__init__.py").exists():
                held = held.parent
            package = ".".join((name, *held.relative_to(folder).parts))
            yield package, path.relative_to(held)


def test_every_package_is_installed():
    assert sorted({package for package, _ in _files()}) == sorted(SETUP["packages"])


def test_every_file_that_is_no_module_is_installed():
    left_out = [
        f"{package}: {path}"
        for package, path in _files()
        if path.suffix != ".py"
        and not any(path.match(glob) for glob in SETUP["package-data"].get(package, ()))
    ]
    assert left_out == []
