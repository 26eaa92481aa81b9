"""docs/compare.md does what it says: code and commands run, every key and column is listed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq
from commands import fg

from fg_onnx.comparison.measures import MEASURES
from fg_onnx.comparison.policy import Policy, read_policy, schema

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def section(title):
    return PAGE[PAGE.index(f"## {title}") :].split("\n## ")[0]


def test_the_commands_run_and_leave_what_is_listed(tmp_path, monkeypatch):
    (tmp_path / "sample_models").symlink_to(ROOT / "sample_models")
    monkeypatch.chdir(tmp_path)
    Path("truths.csv").write_text("bag_18,8\nsneaker_9.png,7\n")
    (policy,) = blocks("yaml")
    Path("policy.yaml").write_text(policy)
    (code,) = blocks("python")
    exec(code, {})
    (commands,) = blocks("sh")
    for line in commands.strip().splitlines():
        program, *arguments = shlex.split(line)
        assert program == "fg-onnx"
        found = fg(*arguments)
        assert found.code == 0, (line, found.out, found.err)
    listed = re.findall(r"^\| `([^`]+)`", section("Files"), flags=re.MULTILINE)
    assert {path.name for path in Path("compare").iterdir()} == {n.strip("/") for n in listed}
    columns = pq.read_schema("compare/pairs.parquet").names
    assert [name for name in columns if f"`{name}`" not in PAGE] == []


def test_every_measure_is_defined():
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([01]) \|$", PAGE, flags=re.MULTILINE)
    assert dict(rows) == {name: "1" if high == "high" else "0" for name, high in MEASURES.items()}


def test_every_check_and_key_with_its_default():
    checks, on = schema()["properties"], Policy().checks
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*)", section("Policy"), flags=re.MULTILINE))
    assert list(rows) == list(checks)
    for name, about in checks.items():
        keys, is_on, _ = rows[name].split(" | ", 2) if rows[name][0] == "`" else ("", *rows[
            name].split("| ", 1)[1].split(" | ", 1))  # fmt: skip
        assert is_on == ("on" if name in on else "off")
        known = about["anyOf"][1]["properties"]
        assert known["severity"]["default"] == "fail"
        assert set(re.findall(r"`(\w+)`", keys)) == set(known) - {"severity"}
        for key, each in known.items():
            if key != "severity" and "default" in each:
                assert f"`{key}` {each['default']}" in keys


def test_every_option_is_known():
    help_ = fg("compare", "--help").out
    for option in set(re.findall(r"`(--[a-z-]+)", PAGE)):
        assert option in help_


def test_the_example_is_a_policy(tmp_path):
    (text,) = blocks("yaml")
    (tmp_path / "policy.yaml").write_text(text)
    checks = read_policy(tmp_path / "policy.yaml").checks
    assert "shift" not in checks
    assert checks["spearman"] == {"least": 0.95, "least_worst": 0.7, "severity": "fail"}
    assert checks["score"] == {"most_worst": 0.1, "severity": "warning"}
