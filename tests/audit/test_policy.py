"""A policy: its schema, its defaults, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from fg_onnx.audit.findings import CHECKS
from fg_onnx.audit.policy import Policy, read_policy, schema
from fg_onnx.audit.settings import faults
from fg_onnx.errors import InputError

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def policy(tmp_path):
    def read(text):
        (tmp_path / "policy.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_policy(tmp_path / "policy.yaml")

    return read


def test_every_check_is_in_the_schema_and_the_other_way_round():
    assert list(schema()["properties"]) == list(CHECKS)


def test_the_defaults_follow_the_schema():
    checks = Policy().checks
    assert list(faults(checks, schema())) == []
    assert checks["residual"] == {"severity": "fail"}
    assert checks["broken"] == {"most": 0, "severity": "fail"}
    assert "accuracy" not in checks
    assert "model" not in checks


def test_what_is_given_overrides_and_false_turns_off(policy):
    found = policy(
        "# a comment\n"
        "residual: {most: 1e-3}\n"
        "border: off\n"
        "accuracy:\n  least: 0.9\n  severity: warning\n"
        "model:\n  forbidden: [Loop, If]\n"
    )
    assert found.given["residual"] == {"most": 1e-3}
    checks = found.checks
    assert checks["residual"] == {"most": 1e-3, "severity": "fail"}
    assert "border" not in checks
    assert checks["accuracy"] == {"least": 0.9, "labelled": 0, "severity": "warning"}
    assert checks["model"] == {"forbidden": ["Loop", "If"], "severity": "fail"}
    assert checks["dead"]["images"] == 0.99


def test_an_empty_file_is_the_default(policy):
    assert policy("# nothing\n").checks == Policy().checks


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (
            "residul: {most: 1}\n",
            1,
            "`residul`: there is no such key; the known ones are: residual",
        ),
        ("residual:\n  most: -1\n", 2, "`residual.most`: -1 is less than the minimum of 0"),
        ("broken:\n\n  most: 1.5\n", 3, "`broken.most`: 1.5 is greater than the maximum of 1"),
        ("broken:\n  most: some\n", 2, "`broken.most`: it is `'some'`, and a number is wanted"),
        ("broken:\n  most: true\n", 2, "a number is wanted"),
        ("broken:\n  most:\n", 2, "it is nothing, and a number is wanted"),
        ("broken: yes\n", 1, "`broken`: it is `True`, and a mapping of keys is wanted"),
        ("dead: {most: 0.5}\n", 1, "a whole number is wanted"),
        ("broken:\n  severity: bad\n", 2, "'bad' is not one of ['fail', 'warning', 'note']"),
        ("shares:\n  input:\n    leat: 0.1\n", 3, "`shares.input.leat`: there is no such key"),
        ("model:\n  sha256:\n  - abc\n", 3, "`model.sha256.0`: 'abc' does not match"),
        ("accuracy: {}\n", 1, "`accuracy`: `least` is missing, and without it nothing is checked"),
        ("pointing: {severity: note}\n", 1, "`pointing`: `least` is missing"),
        ("model: {operators: []}\n", 1, "[] should be non-empty"),
        ("- residual\n", 1, "`all of it`"),
        ("broken: {most: 0}\nbroken: {most: 1}\n", 2, "each stands once"),
        ("broken: {most: .nan}\n", 1, "`'.nan'` is not a finite number"),
        ("dead: {}\nbrocken: {}\nborder: 1\n", 2, "`brocken`"),
    ],
)
def test_a_fault_is_named_by_line_and_key(policy, text, line, reason):
    with pytest.raises(InputError) as caught:
        policy(text)
    assert caught.value.code == "bad-policy"
    assert f", line {line}" in caught.value.message
    assert reason in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "dead: &a {}\nbroken: *a\n",
        "[" * 300,
        "[" * 100_000,
        "x" * (2**20 + 1),
        "x: " + "[" * 30 + "]" * 30,
        "é".encode("latin-1"),
    ],
    ids=["cut short", "alias", "cut short and deep", "endlessly deep", "long", "deep", "no text"],
)
def test_what_is_no_policy_at_all(policy, text):
    with pytest.raises(InputError) as caught:
        policy(text)
    assert caught.value.code == "bad-policy"


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="it cannot be read"):
        read_policy(tmp_path / "none.yaml")
