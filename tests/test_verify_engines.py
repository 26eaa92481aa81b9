"""``fg-onnx verify MODEL --against SOURCE`` with the other engine."""

from __future__ import annotations

import json

import numpy as np
import pytest
from commands import fg, write_model
from conftest import engine_is_ready

from fg_onnx.verification import engines

pytestmark = pytest.mark.engine

REFUSED = """g (float[N,3,8,8] x) => (float[N,4] logits) {
    c = Conv (x, w, b)
    r = HardSwish (c)
    p = GlobalAveragePool (r)
    logits = Flatten (p)
}"""
TWO = """g (float[2,3,8,8] x) => (float[2,4] other, float[2,4] logits) {
    c = Conv (x, w, b)
    r = Relu (c)
    p = GlobalAveragePool (r)
    logits = Flatten (p)
    other = Tanh (logits)
}"""


@pytest.fixture(autouse=True)
def _ready():
    engine_is_ready()


def instrumented(tmp_path, *options, **text):
    source = write_model(tmp_path / "net.onnx", **text)
    model = tmp_path / "net.fg.onnx"
    assert fg("instrument", source, "-o", model, *options).code == 0
    return model, source


def verified(*arguments):
    """The exit code, and the check of the engines."""
    found = fg("verify", *arguments, "--json")
    checks = {check["name"]: check for check in json.loads(found.out)["checks"]}
    return found.code, checks.get("engines")


def test_the_engines_are_compared_where_both_are_there(tmp_path):
    model, source = instrumented(tmp_path)
    code, check = verified(model, "--against", source)
    assert (code, check["outcome"]) == (0, "passed")
    assert check["figure"] <= check["tolerance"] == 1e-5
    assert verified(model, "--against", source, "--engines")[0] == 0
    assert verified(model, "--against", source, "--no-engines") == (0, None)


def test_engines_that_disagree_fail(tmp_path):
    model, source = instrumented(tmp_path)
    code, check = verified(model, "--against", source, "--tolerance", "1e-30")
    assert (code, check["outcome"]) == (1, "failed")


def test_what_the_engine_does_not_take_counts_where_it_was_asked_for(tmp_path):
    model, source = instrumented(tmp_path, text=REFUSED)
    code, check = verified(model, "--against", source)
    assert (code, check["outcome"]) == (0, "not applicable")
    assert "HardSwish" in check["detail"]
    code, check = verified(model, "--against", source, "--engines")
    assert (code, check["outcome"]) == (2, "not run")


def test_what_is_explained_is_what_the_manifest_says(tmp_path, monkeypatch):
    """Of a model whose batch is fixed to 2, and whose first output is not explained."""
    model, source = instrumented(tmp_path, "--output", "logits", text=TWO)
    seen = {}
    compare = engines.compare_engines
    monkeypatch.setattr(
        engines, "compare_engines",
        lambda *given, **named: seen.update(named, array=given[1]) or compare(*given, **named),
    )  # fmt: skip
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).random((4, 3, 8, 8), np.float32))
    code, check = verified(model, "--against", source, "--array", tmp_path / "rows.npy")
    assert (code, check["outcome"]) == (0, "passed")
    assert (seen["input"], seen["output"]) == ("x", "logits")
    assert len(seen["array"]) == 2
