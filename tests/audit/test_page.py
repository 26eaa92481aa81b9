"""docs/audit.md does what it says: commands run, every key of a policy is listed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq
from commands import fg

from fg_onnx.audit.measures import KINDS
from fg_onnx.audit.policy import Policy, read_policy, schema

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_commands_run_and_leave_what_is_listed(tmp_path, monkeypatch):
    (tmp_path / "sample_models").symlink_to(ROOT / "sample_models")
    monkeypatch.chdir(tmp_path)
    Path("truths.csv").write_text("bag_18,8\nsneaker_9.png,7\n")
    (policy,) = blocks("yaml")
    Path("policy.yaml").write_text(policy)
    (commands,) = blocks("sh")
    for line in commands.strip().splitlines():
        program, *arguments = shlex.split(line)
        assert program == "fg-onnx"
        found = fg(*arguments)
        assert found.code == 0, found.err
    section = PAGE[PAGE.index("## Files") :]
    listed = re.findall(r"^\| `([^`]+)`", section, flags=re.MULTILINE)
    assert {path.name for path in Path("audit").iterdir()} == {name.strip("/") for name in listed}
    columns = set(pq.read_schema("audit/images.parquet").names)
    assert columns >= {f"share_{kind}" for kind in KINDS}
    assert [name for name in columns if f"`{name}`" not in PAGE] == []


def test_every_check_and_key_with_its_default():
    checks = schema()["properties"]
    on = Policy().checks
    table = PAGE[PAGE.index("## Policy") :]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*)", table, flags=re.MULTILINE))
    assert list(rows)[: len(checks)] == list(checks)
    for name, about in checks.items():
        keys, severity, _ = rows[name].split(" | ")
        known = about["anyOf"][1]["properties"]
        inner = {key for each in known.values() for key in each.get("properties", {})}
        assert set(re.findall(r"`(\w+)`", keys)) == set(known) - {"severity"} | inner
        for key, each in known.items():
            if key == "severity":
                off = "" if name in on else ", off"
                assert severity == each["default"] + off
            elif "default" in each:
                assert f"`{key}` {each['default']}" in keys


def test_the_example_is_a_policy(tmp_path):
    (text,) = blocks("yaml")
    (tmp_path / "policy.yaml").write_text(text)
    checks = read_policy(tmp_path / "policy.yaml").checks
    assert "bias_driven" not in checks
    assert checks["dead"]["severity"] == "fail"
