"""`fg-onnx check`, and the hook that runs it before a commit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from commands import FASHION_VGG, WEIGHTS, fg, write_model

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "pipeline.md").read_text(encoding="utf-8")
OPEN_SIZE = """g (float[N,3,H,W] x) => (float[N,4] logits) {
    c = Conv (x, w, b)
    r = Relu (c)
    p = GlobalAveragePool (r)
    logits = Flatten (p)
}"""
UNKNOWN = """g (float[N,3,8,8] x) => (float[N,4] logits) {
    c = Conv (x, w, b)
    d = Det (c)
    p = GlobalAveragePool (c)
    e = Flatten (p)
    logits = Mul (d, e)
}"""


def test_plain_and_instrumented_models_pass(tmp_path):
    plain = shutil.copy(FASHION_VGG, tmp_path / "vgg.onnx")
    made = tmp_path / "vgg.fg.onnx"
    assert fg("instrument", plain).code == 0
    found = fg("check", plain, made)
    assert (found.code, found.err) == (0, "")
    assert found.out == "".join(
        f"{path}: passed: 8 checks on 6 images of noise\n" for path in (plain, made)
    )


def test_a_source_that_changed_since_fails(tmp_path):
    plain = write_model(tmp_path / "net.onnx")
    assert fg("instrument", plain).code == 0
    changed = {**WEIGHTS, "b": WEIGHTS["b"] * np.float32(1.01)}
    write_model(plain, weights=changed)
    found = fg("check", "--json", tmp_path / "net.fg.onnx", plain)
    assert found.code == 1
    document = json.loads(found.out)
    assert document["schema_version"] == 1
    made, source = document["models"].values()
    failed = {each["name"] for each in made["checks"] if each["outcome"] == "failed"}
    assert failed >= {"source-hash", "defaults", "outputs"}
    assert source["verdict"] == "passed"
    assert "  defaults: failed: " in fg("check", tmp_path / "net.fg.onnx").out


def test_a_source_alone_brings_what_was_made_of_it(tmp_path):
    """As where a commit changes the source and forgets the instrumented model."""
    plain = write_model(tmp_path / "net.onnx")
    made = tmp_path / "net.fg.onnx"
    assert fg("instrument", plain).code == 0
    assert list(json.loads(fg("check", "--json", plain).out)["models"]) == [str(plain), str(made)]
    write_model(plain, weights={**WEIGHTS, "b": WEIGHTS["b"] * np.float32(1.01)})
    found = fg("check", plain)
    assert found.code == 1
    assert f"{made}: failed: " in found.out


def test_sizes_that_are_left_open_are_drawn(tmp_path):
    found = fg("check", write_model(tmp_path / "net.onnx", OPEN_SIZE))
    assert found.code == 0, found.out
    assert "on 2 images of noise" in found.out


def test_what_cannot_be_checked_is_told_and_the_rest_is(tmp_path):
    refused = write_model(tmp_path / "det.onnx", UNKNOWN)
    pointer = tmp_path / "pointer.onnx"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    alone = tmp_path / "alone.fg.onnx"
    good = write_model(tmp_path / "net.onnx")
    assert fg("instrument", good, "-o", alone).code == 0
    found = fg("check", refused, pointer, alone, tmp_path / "none.onnx", good)
    assert found.code == 2
    lines = [line for line in found.out.splitlines() if not line.startswith("  ")]
    assert [line.removeprefix(f"{tmp_path}/").split(": ")[:2] for line in lines] == [
        ["det.onnx", "error"],
        ["pointer.onnx", "error"],
        ["alone.fg.onnx", "error"],
        ["none.onnx", "error"],
        ["net.onnx", "passed"],
    ]
    assert "Det" in lines[0]
    assert "git lfs pull" in found.out
    assert "does not lie beside it" in lines[2]
    document = json.loads(fg("check", "--json", refused, good).out)
    codes = [each.get("error") for each in document["models"].values()]
    assert codes == ["unsupported-operator", None]


def test_the_hook_runs_what_the_page_says():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    (block, *_) = [part.split("```")[0] for part in PAGE.split("```yaml\n")[1:]]
    (repo,) = yaml.safe_load(block)["repos"]
    assert repo["hooks"] == [{"id": hook["id"]}]
    assert hook["entry"].split() == ["fg-onnx", "check"]


@pytest.mark.network
def test_the_hook_stops_a_commit(tmp_path):
    """A real pre-commit, which installs the working tree as the hook's repository, once."""
    home = {"PRE_COMMIT_HOME": str(tmp_path / "home"), "PIP_NO_COMPILE": "1"}

    def run(place, *command):
        return subprocess.run(
            command, cwd=place, capture_output=True, text=True, check=False, env=os.environ | home
        )

    def git(place, *words):
        return run(place, "git", "-c", "user.name=a", "-c", "user.email=a@b", *words)

    hook = copied(tmp_path / "hook")
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "hook"]):
        assert git(hook, *words).returncode == 0
    revision = git(hook, "rev-parse", "HEAD").stdout.strip()

    place = tmp_path / "models"
    good = write_model(place / "net.onnx")
    used = {"repo": str(hook), "rev": revision, "hooks": [{"id": "fg-onnx-check"}]}
    (place / ".pre-commit-config.yaml").write_text(yaml.safe_dump({"repos": [used]}))
    assert git(place, "init", "--quiet").returncode == 0
    assert run(place, sys.executable, "-m", "pre_commit", "install").returncode == 0

    def commit():
        assert git(place, "add", ".").returncode == 0
        done = git(place, "commit", "--message", "a model")
        return done.returncode, done.stdout + done.stderr

    code, said = commit()
    assert code == 0, said
    assert "Passed" in said
    good.write_bytes(good.read_bytes()[:-100])
    code, said = commit()
    assert code == 1
    assert "net.onnx: error" in said


def copied(place):
    """The working tree, without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.split("\0")[:-1]:
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name)
    return place
