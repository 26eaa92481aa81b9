"""docs/experiments.md does what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from commands import fg

from fg_onnx.cli.evaluate import evaluate

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")


def test_every_command_runs(tmp_path, monkeypatch):
    (tmp_path / "sample_models").symlink_to(ROOT / "sample_models")
    monkeypatch.chdir(tmp_path)
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in commands.strip().splitlines():
        program, *arguments = shlex.split(line)
        assert program == "fg-onnx"
        outcome = fg(*arguments)
        assert outcome.code == 0, outcome.err
        name, folder = arguments[1], Path(arguments[-1])
        for suffix in (".json", ".csv", ".images.csv"):
            assert (folder / f"{name}{suffix}").is_file()
        assert list(folder.glob("*.png"))


def test_every_experiment_has_its_section():
    names = [command.callback.__name__ for command in evaluate.registered_commands]
    assert len(names) >= 4
    for name in names:
        assert f"`{name}`" in PAGE or f"evaluate {name} " in PAGE
