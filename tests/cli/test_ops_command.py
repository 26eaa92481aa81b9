"""`fg-onnx ops`: the table of the code, in three forms."""

from __future__ import annotations

import json

from commands import fg

from fg_onnx.vjps import REFUSED, RULES, ZERO, expanded


def test_every_operator_has_a_line():
    rows = [line.split() for line in fg("ops").out.splitlines()[1:]]
    assert {row[0]: row[1] for row in rows} == {
        **dict.fromkeys(RULES, "rule"),
        **dict.fromkeys(expanded(), "body"),
        **dict.fromkeys(ZERO, "zero"),
        **dict.fromkeys(REFUSED, "refused"),
    }


def test_json():
    document = json.loads(fg("ops", "--json").out)
    assert document["schema_version"] == 1
    entries = {entry["op"]: entry for entry in document["operators"]}
    assert entries["Relu"] == {"op": "Relu", "answer": "rule", "formula": RULES["Relu"].summary}
    assert entries["Shape"]["reason"] == ZERO["Shape"]
    assert entries["NonMaxSuppression"]["answer"] == "refused"
    assert len(entries) == len(RULES) + len(expanded()) + len(ZERO) + len(REFUSED)


def test_markdown_names_every_operator():
    text = fg("ops", "--markdown").out
    assert text.startswith("| operator | rule |\n|---|---|\n")
    for name in (*RULES, *expanded(), *ZERO, *REFUSED):
        assert f" {name} " in text or f" {name}," in text


def test_markdown_rows_have_their_cells():
    for line in fg("ops", "--markdown").out.splitlines():
        assert not line or line.replace("\\|", "").count("|") in (3, 4)
