"""The experiments as they are listed, run, kept and written down."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from commands import FASHION_VGG, fg

from fg_onnx.cli.method import parse_method
from fg_onnx.evaluate.curves import Curve, Panel, Results
from fg_onnx.evaluate.randomization import SCORE
from fg_onnx.methods.interface import make_method
from reproduction import claims, running
from reproduction.experiments import Experiment, command_of, experiments
from reproduction.inputs import Inputs, Subject
from reproduction.page import Page
from reproduction.running import Finding, pictures, run
from reproduction.sizes import FULL, SMALL

PAGE = Path(__file__).parents[2] / "docs" / "reproduction.md"


def inputs(folder):
    subjects = [
        Subject(f"title of {name}", Path(f"{name}.onnx"), "unit")
        for name in ("fashion", "digits", "squeezenet", "efficientnet")
    ]
    places = [folder / name for name in ("a.npy", "b.npy", "c.npz", "d.npy", "photographs")]
    return Inputs(*subjects, *places, shown={}, folder=folder)


def methods_of(experiment):
    return experiment.arguments[experiment.arguments.index("--methods") + 1].split(",")


@pytest.mark.parametrize("size", [SMALL, FULL])
def test_every_experiment_has_a_name_and_a_command_of_its_own(tmp_path, size):
    found = experiments(inputs(tmp_path), size)
    assert len({each.name for each in found}) == len(found)
    assert len({each.arguments for each in found}) == len(found)


def test_every_command_is_taken(tmp_path):
    """Up to the model, which is not there: options and methods are the command line's own."""
    for experiment in experiments(inputs(tmp_path), SMALL):
        outcome = fg("evaluate", experiment.kind, *experiment.arguments)
        assert outcome.err.startswith("error: cannot read `")
        for text in methods_of(experiment):
            name, options = parse_method(text, 0)
            make_method(name, options)


@pytest.fixture
def small(tmp_path):
    images = tmp_path / "images.npy"
    np.save(images, np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32))
    arguments = (str(FASHION_VGG), str(images), "--methods", "fullgrad,random")
    return Experiment("e", "perturbation", "title", (*arguments, "--preprocess", "unit"))


def test_a_command_runs_once(small, tmp_path, monkeypatch):
    """And again when an input has changed."""
    first = run(small, tmp_path / "out")
    names = [curve.method for curve in first.results.panels[0].curves]
    assert names == ["fullgrad", "random"]
    assert list(pictures(first, tmp_path / "out")) == ["e.png"]
    commands = []
    real = running.subprocess.run

    def counted(command, **options):
        commands.append(command)
        return real(command, **options)

    monkeypatch.setattr(running.subprocess, "run", counted)
    again = run(small, tmp_path / "out")
    assert not commands
    assert again.seconds == first.seconds
    np.save(small.arguments[1], np.zeros((2, 1, 28, 28), dtype=np.float32))
    changed = run(small, tmp_path / "out")
    assert len(commands) == 1
    assert len(changed.results.rows) == 2


def test_the_command_shows_no_folder(small):
    assert command_of(small) == (
        "fg-onnx evaluate perturbation fashion_vgg.onnx images.npy "
        "--methods fullgrad,random --preprocess unit"
    )


def results(kind, methods, panels):
    draws = np.random.default_rng(len(methods))
    made = []
    for title, quantity, points in panels:
        whose = [SCORE] if title == "biases" and "score" in quantity else methods
        curves = tuple(Curve(each, draws.random((5, len(points)))) for each in whose)
        made.append(Panel(title, "axis", quantity, points, curves))
    return Results(kind, "model", {}, tuple("abcde"), tuple(made))


@pytest.fixture
def findings(tmp_path):
    """Made-up numbers in the form of every experiment."""
    score = "|change of the score| / |score|"
    panels = {
        "perturbation": [("t", score, (1.0, 50.0))],
        "flipping": [("8 to 3", "change of the log-odds", (1.0, 2.0)), ("8 to 3", "share", (1.0,))],
        "roar": [("mean", "accuracy", (0.0, 50.0))],
        "randomization": [
            ("cascading", "rank correlation", ("b", "a")),
            ("biases", "|change of the map| / |map|", (1e-6, 1.0)),
            ("biases", score, (1e-6, 1.0)),
        ],
    }
    found = {}
    for each in experiments(inputs(tmp_path), SMALL):
        made = results(each.kind, methods_of(each), panels[each.kind])
        found[each.name] = Finding(each, made, 1.0)
    return found


def test_the_page_answers_every_claim(findings):
    page = Page()
    claims.write(page, findings, SMALL)
    text = page.write(19, 60.0)
    summary = text.split("| claim | outcome |")[1].split("\n\n")[0].splitlines()[2:]
    outcomes = re.findall(r"\*\*(?:Agrees|Agrees in part|Does not agree)\*\*", text)
    assert len(outcomes) == 2 * len(summary)  # in the table at the top, and in its place
    assert len(summary) >= 15
    shown = set(re.findall(r"reproduction/([a-z0-9-]+)\.png", text))
    assert {f"least-{net}" for net in claims.NETS} < shown
    for finding in findings.values():
        assert finding.experiment.title in text


def test_the_verdict_follows_the_numbers(findings):
    """FullGrad made best in one experiment agrees there, and made worst does not."""
    finding = findings["least-fashion"]
    (panel,) = finding.results.panels
    for level, head in ((-100.0, "**Agrees**"), (100.0, "**Does not agree**")):
        for curve in panel.curves:
            if curve.method == "fullgrad":
                curve.values[:] = level
        page = Page()
        claims.write(page, findings, SMALL)
        row = f"| FullGrad moves the score least: {finding.experiment.title} | {head}"
        assert row in page.write(19, 60.0)


def test_a_map_that_stays_is_counted(findings):
    """Example 2 agrees only where the methods by input-gradients keep more maps than FullGrad."""
    panel = findings["random-fashion"].results.panels[1]
    for curve in panel.curves:
        curve.values[:, 0] = [0, 0, 0, 1, 1] if curve.method in claims.BLIND else [0, 1, 1, 1, 1]
    page = Page()
    claims.write(page, findings, SMALL)
    assert "60% (`input-gradient`)" in page.write(19, 60.0)
    assert "20% (`fullgrad`)" in page.write(19, 60.0)


def test_where_input_gradients_change_more_is_said(findings):
    panel = findings["random-fashion"].results.panels[1]
    for curve in panel.curves:
        curve.values[:] = [[0.0, 0.5]] if curve.method == "input-gradient" else [[0.1, 0.2]]
    page = Page()
    claims.write(page, findings, SMALL)
    assert "From 1 on the map of `input-gradient` changes more" in page.write(19, 60.0)


def test_the_page_in_the_repository_is_whole(findings):
    """Its pictures are there, and every claim that the program writes has its row in it."""
    text = PAGE.read_text()
    page = Page()
    claims.write(page, findings, SMALL)
    rows = re.findall(r"^\| (.+?): title of ", page.write(19, 60.0), flags=re.MULTILINE)
    assert len(rows) >= 15
    for says in rows:
        assert f"\n| {says}: " in text
    for target in re.findall(r"\]\((images/[^)]+)\)", text):
        assert (PAGE.parent / target).is_file(), target
