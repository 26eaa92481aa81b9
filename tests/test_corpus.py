"""The corpus runner: its verdicts, that it survives what it checks, and two architectures."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import asdict, replace

import numpy as np
import onnx
import pytest
from conftest import torch_exports

from fg_onnx import instrument
from fg_onnx.manifest import BIAS_GRADIENT
from sample_models import tiny
from sample_models.architectures import CORPUS
from tests.corpus import __main__ as runner
from tests.corpus import check, row, table
from tests.corpus.row import USUAL, Bounds, Row
from tests.differences import averaged_derivative, finest_derivative

GREEN = Row(
    "net", "dynamo", "224x224", 49, 560, 21, 1e-7, 1e-7, 1e-7, 1e-3, True, 0.2, 9.0, 800.0
)  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FG_ONNX_CACHE", str(tmp_path / "cache"))


def test_the_corpus_is_the_one_asked_for():
    names = [architecture.name for architecture in CORPUS]
    assert len(names) == len(set(names)) == 45
    assert len(runner.tasks_of([], None)) == 90


def test_a_row_within_all_bounds_is_green():
    assert GREEN.verdict == "green"
    assert GREEN.failures == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"outputs": 2e-5},
        {"residual": 2e-5},
        {"residual": float("nan")},
        {"gradient": 2e-4},
        {"gradient": None},
        {"differences": 0.1},
        {"map_varies": False},
        {"map_varies": None},
        {"trouble": "it has no VJP rule", "refused": True},
    ],
)
def test_a_row_outside_any_bound_is_not(wrong):
    assert replace(GREEN, **wrong).failures
    assert replace(GREEN, **wrong).verdict != "green"


def test_a_file_needs_no_comparison_with_torch():
    assert replace(GREEN, exporter="file", gradient=None).verdict == "green"


def test_exceptions_hold_by_name_and_are_printed(monkeypatch):
    monkeypatch.setattr(row, "EXCEPTIONS", {"net": Bounds(gradient=1e-3, because="a reason")})
    monkeypatch.setattr(table, "EXCEPTIONS", row.EXCEPTIONS)
    bent = replace(GREEN, gradient=5e-4)
    assert bent.verdict == "green"
    assert replace(bent, model="other").failures
    assert "net (`gradient` 1e-03): a reason" in table.page([bent], "")


@pytest.mark.parametrize("rounding", [None, 1e-6, 1.1e-5, float("nan")])
def test_an_exception_for_outputs_counts_only_as_far_as_rounding_bears_it_out(
    rounding, monkeypatch
):
    monkeypatch.setattr(row, "EXCEPTIONS", {"net": Bounds(outputs=3e-5, because="a reason")})
    monkeypatch.setattr(table, "EXCEPTIONS", row.EXCEPTIONS)
    bent = replace(GREEN, outputs=2.5e-5, rounding=1.3e-5)
    assert bent.verdict == "green"
    assert "net (`outputs` 3e-05): a reason The exported" in table.page([bent], "")
    assert "1.3e-05 (dynamo)" in table.page([bent], "")
    assert replace(bent, rounding=rounding).verdict == "outputs 2.5e-05"
    assert replace(bent, outputs=3.5e-5, rounding=1e-3).verdict == "outputs 3.5e-05"
    assert replace(bent, model="other").verdict == "outputs 2.5e-05"


def test_the_exceptions_are_of_the_corpus_and_say_why():
    assert set(row.EXCEPTIONS) <= {architecture.name for architecture in CORPUS}
    assert all(bounds.because for bounds in row.EXCEPTIONS.values())


def test_only_the_refusal_that_is_right_is_taken(monkeypatch):
    monkeypatch.setattr(row, "REFUSALS", {("net", "dynamo"): "no VJP rule"})
    refused = replace(GREEN, trouble="`X` at `y`: it has no VJP rule", refused=True)
    assert refused.verdict == "refused: `X` at `y`: it has no VJP rule"
    assert refused.failures == []
    assert replace(refused, trouble="another").failures
    assert replace(refused, refused=False).failures
    assert replace(refused, exporter="torchscript").failures


def test_the_page_has_a_line_for_every_row():
    page = table.page([GREEN, replace(GREEN, exporter="torchscript", gradient=1.0)], "v")
    assert "1 of 2 exports of 1 architectures are green. v" in page
    assert "| net | dynamo | 224x224 | 49 → 560 | 21 |" in page
    assert page.count("\n| ") == 3


# --- what is checked ------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "residual.onnx"
    onnx.save(tiny.all_models()["residual"], path)
    return path


def test_a_file_of_one_s_own(model, capsys):
    assert runner.main([str(model)]) == 0
    assert f"| {model} | file | 16x16 |" in capsys.readouterr().out


def test_a_wrong_gradient_shows(model, monkeypatch):
    assert check.check(str(model), "file").verdict == "green"
    _alter(monkeypatch, "gradients.onnx", lambda _, found: found * np.float32(0.9))
    assert "differences 1.1e-01" in check.check(str(model), "file").verdict


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_a_wrong_gradient_of_one_site_shows(model, monkeypatch, factor):
    def change(name, found):
        return found * np.float32(factor) if name == one_site else found

    every = [site.name for site in instrument(model).manifest.sites if site.promoted_input]
    one_site = BIAS_GRADIENT + every[0]
    monkeypatch.setattr(check, "BIASES", len(every))
    assert check.check(str(model), "file").verdict == "green"
    _alter(monkeypatch, "gradients.onnx", change)
    found = check.check(str(model), "file")
    assert found.differences == pytest.approx(abs(1 / factor - 1), abs=1e-2)
    assert found.failures


def test_a_kink_within_the_step_does_not_decide_and_a_wrong_gradient_does():
    """A small derivative of a large score, bent where the step that rounding allows is too long."""

    def score(t):
        bend = -0.12 * max(t - 2.0**-11, 0.0)
        return np.float32([3.26 + 0.0956 * (t + bend)])

    def error(derivative, gradient=0.0956):
        return abs(derivative / gradient - 1)

    assert error(finest_derivative(score)) > USUAL.differences
    assert error(averaged_derivative(score)) < 5e-3
    for factor in (0.95, 1.05):
        assert error(averaged_derivative(score), factor * 0.0956) > USUAL.differences


@pytest.mark.parametrize(("slope", "span"), [(5.0, 2.0**-15), (0.1, 2.0**-12)])
def test_only_a_long_step_is_shortened(slope, span):
    """Scores too near one another round alike, and a large derivative needs no shorter step."""
    met = []

    def score(t):
        met.append(abs(t))
        return np.float32([3.26 + slope * t])

    assert averaged_derivative(score) == pytest.approx(slope, rel=5e-3)
    assert max(met[-64:]) == span


def test_other_outputs_show(model, monkeypatch):
    _alter(monkeypatch, model.name, lambda _, found: found + np.float32(0.01))
    assert "outputs" in check.check(str(model), "file").verdict


def _alter(monkeypatch, file, change):
    """Change the float results of one of the models that a check runs."""
    right = check._run

    def wrong(path, feeds, wanted, **options):
        found = right(path, feeds, wanted, **options)
        if path.name != file:
            return found
        return {k: change(k, v) if v.dtype == np.float32 else v for k, v in found.items()}

    monkeypatch.setattr(check, "_run", wrong)


def test_a_refused_file_is_a_row(tmp_path, capsys):
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17, "own": 1]> g (float[1,1,4,4] x) '
        "=> (float[1,1,4,4] y) { y = own.Thing (x) }"
    )
    path = tmp_path / "own.onnx"
    onnx.save(proto, path)
    assert runner.main([str(path)]) == 1
    assert "custom domain" in capsys.readouterr().out


# --- that it survives -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "trouble"),
    [
        ("import os; os.abort()", "exit status -6"),
        ("import time; time.sleep(60)", "it takes more than 0 s"),
        ("raise SystemExit('nothing left')", "exit status 1: nothing left"),
    ],
)
def test_a_crash_or_a_hang_is_a_row(monkeypatch, program, trouble):
    monkeypatch.setattr(runner, "command_of", lambda _: [sys.executable, "-c", program])
    found = runner.run_one(("resnet18", "dynamo"), timeout=0.4 if "sleep" in program else 60)
    assert trouble in found.verdict


def test_a_stopped_run_goes_on(monkeypatch, capsys):
    ran = []

    def command(task):
        ran.append(task)
        document = json.dumps(asdict(replace(GREEN, model=task[0], exporter=task[1])))
        return [sys.executable, "-c", f"print({document!r})"]

    monkeypatch.setattr(runner, "command_of", command)
    monkeypatch.setattr(runner, "export_key", lambda name: name)
    assert runner.main(["resnet18", "--exporter", "dynamo"]) == 0
    assert runner.main(["resnet18"]) == 0
    assert ran == [("resnet18", "dynamo"), ("resnet18", "torchscript")]
    assert runner.main(["resnet18", "--fresh"]) == 0
    assert len(ran) == 4


def test_a_file_that_is_not_there_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as stop:
        runner.main(["nowhere.onnx"])
    assert stop.value.code == 2
    assert "there is no file nowhere.onnx" in capsys.readouterr().err


# --- two architectures ----------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "exporter"), [("lcnet_035", "dynamo"), ("mobilenetv3_small_050", "torchscript")]
)
def test_two_small_architectures(name, exporter):
    torch_exports()
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    found = runner.run_one((name, exporter), timeout=300)
    assert found.verdict == "green"
