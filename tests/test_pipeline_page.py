"""docs/pipeline.md: its workflow is run, step by step, as a shell would."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import onnx
import pytest
import yaml
from commands import FASHION, FASHION_VGG
from onnx import numpy_helper
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "pipeline.md").read_text(encoding="utf-8")
(WORKFLOW,) = (
    found
    for found in map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL))
    if "jobs" in found
)
STEPS = [step for step in WORKFLOW["jobs"]["audit"]["steps"] if "run" in step]


@pytest.fixture
def repository(tmp_path):
    """What the page says that the repository holds."""
    shutil.copy(FASHION_VGG, tmp_path / "model.onnx")
    for name in ("preprocess.yaml", "labels.txt"):
        shutil.copy(FASHION / name, tmp_path)
    holdout = tmp_path / "holdout"
    holdout.mkdir()
    lines = ["image,label"]
    names = (FASHION / "labels.txt").read_text().splitlines()
    words = {re.sub("[^a-z]+", "-", name.casefold()): name for name in names}
    for path in sorted(FASHION.glob("*.png")):
        shutil.copy(path, holdout)
        lines.append(f"{path.name},{words[path.stem.rsplit('_', 1)[0]]}")
    (tmp_path / "truths.csv").write_text("\n".join(lines))
    (tmp_path / "policy.yaml").write_text("accuracy: {least: 0.9}\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", tmp_path]
    for command in (
        ["init", "--quiet", "--initial-branch", "main"],
        ["add", "model.onnx"],
        ["commit", "--quiet", "--message", "Deploy"],
        ["remote", "add", "origin", tmp_path / ".git"],
    ):
        subprocess.run([*git, *command], check=True)
    return tmp_path


def run(repository):
    """The job: the names of the steps that were run, and of the one that failed."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(repository / "summary.md"),
    }
    ran, failed = [], None
    for step in STEPS:
        if step["name"] == "Install" or (failed and step.get("if") != "always()"):
            continue
        ran.append(step["name"])
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            cwd=repository,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode and failed is None:
            failed = step["name"]
            assert done.returncode == 1, done.stderr
    return ran, failed


def test_a_sound_model_goes_through(repository):
    ran, failed = run(repository)
    assert failed is None
    assert ran == [step["name"] for step in STEPS if step["name"] != "Install"]
    assert json.loads((repository / "audit" / "audit.json").read_text())["accuracy"] == 1
    assert (repository / "summary.md").read_text().startswith("#")
    uploaded = [step["with"] for step in WORKFLOW["jobs"]["audit"]["steps"] if "with" in step][-1]
    for name in uploaded["path"].split():
        assert (repository / name / f"{name}.html").is_file()


def test_a_worse_model_is_stopped_with_its_report(repository):
    model = onnx.load(repository / "model.onnx")
    for tensor in model.graph.initializer:  # two classes change places
        if tensor.name.startswith("classifier."):
            values = numpy_helper.to_array(tensor)[[1, 0, *range(2, 10)]]
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, repository / "model.onnx")
    ran, failed = run(repository)
    assert failed == "Audit"
    assert ran[-2:] == ["Compare", "Summarise"]
    summary = (repository / "summary.md").read_text()
    assert "accuracy" in summary
    assert "agreement" in summary


def test_what_is_installed_is_published():
    (install,) = (step["run"] for step in STEPS if step["name"] == "Install")
    wanted = Requirement(install.removeprefix("pip install ").strip('"'))
    assert wanted.name == "fg-onnx"
    # not of what is installed, whose metadata may be those of an earlier state
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert wanted.extras <= set(project["optional-dependencies"])
    assert {"cpu", "audit"} <= wanted.extras
