"""`fg-onnx compare`: files, exit codes, streams, refusals."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from commands import CLASSIFIER, fg, fg_process, write_image, write_model

from fg_onnx.audit import auditing
from fg_onnx.audit.places import LocalPlace
from fg_onnx.comparison import comparing

TINY = "size: [8, 8]\nfit: stretch\n"


@pytest.fixture
def compare(tmp_path):
    """Runs `compare` on a tiny net and some pictures."""
    for number in range(4):
        write_image(tmp_path / "images" / f"{number}.png", number)
    (tmp_path / "steps.yaml").write_text(TINY)
    a = write_model(tmp_path / "a.onnx")

    def run(*options, a=a, b=a, images=tmp_path / "images"):
        return fg("compare", a, b, images, "-o", tmp_path / "out", *options)

    return run


@pytest.fixture
def steps(tmp_path):
    return ["--preprocess", tmp_path / "steps.yaml"]


def test_streams_and_json(compare, steps, tmp_path):
    found = compare(*steps)
    assert found.code == 0, found.err
    lines = found.out.splitlines()
    assert lines[0].split() == ["measure", "mean", "median", "worst", "5", "%"]
    assert lines[-1].startswith("pass: 4 images, 0 broken, 100.0% predicted alike, 0 findings;")
    assert "4 images compared in" in found.err
    again = compare(*steps, "--json")
    assert again.err == ""
    assert (tmp_path / "out" / "compare.json").read_text() == again.out
    assert json.loads(again.out)["schema_version"] == 1


def test_a_finding_fails(compare, steps, tmp_path):
    (tmp_path / "images" / "b\nroken.png").write_bytes(b"no")
    found = compare(*steps)
    assert found.code == 1
    assert found.out.startswith("fail: 1 image could not be read or run")
    assert "\nfail: 5 images, 1 broken" in found.out
    policy = tmp_path / "policy.yaml"
    policy.write_text("broken: {most: 0.2}\n")
    assert compare(*steps, "--policy", policy).code == 0
    document = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert document["settings"]["policy"] == {"broken": {"most": 0.2}}


def test_each_model_has_a_preprocessing_of_its_own(compare, tmp_path):
    (tmp_path / "b.yaml").write_text(TINY + "scale: 0.5\n")
    (tmp_path / "steps.yaml").write_text(TINY)
    a, b = tmp_path / "steps.yaml", tmp_path / "b.yaml"
    found = compare("--preprocess-a", a, "--preprocess-b", b, "--json")
    assert json.loads(found.out)["measures"][0]["distribution"]["mean"] > 0.1
    assert compare("--preprocess", a, "--preprocess-b", b, "--json").out == found.out
    assert "--preprocess" in compare("--preprocess-a", a).err


def test_other_classes(compare, steps, tmp_path):
    weights = {"w": np.ones((5, 3, 3, 3), "f"), "b": np.ones(5, "f")}
    b = write_model(tmp_path / "b.onnx", CLASSIFIER.replace("N,4]", "N,5]"), weights)
    found = compare(*steps, b=b)
    assert found.code == 2
    assert "has 4 classes" in found.err
    assert "hint: compare models of the same classes" in found.err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--labels", "none.csv"], "cannot read the labels"),
        (["--policy", "none.yaml"], "cannot be read"),
        (["--classes", "none.txt"], "cannot read the labels"),
        (["--output-b", "none"], "no float tensor `none`"),
        (["--input-a", "none"], "no image input `none`"),
        (["--psi", "none"], "none"),
        (["--device", "none"], "none"),
    ],
)
def test_what_cannot_be_done(compare, steps, tmp_path, options, reason):
    found = compare(*steps, *options)
    assert found.code == 2
    assert reason in found.err
    assert "hint: " in found.err
    assert found.out == ""
    assert not (tmp_path / "out").exists()


def test_no_model_no_images_no_folder(compare, steps, tmp_path):
    assert compare(*steps, b=tmp_path / "none.onnx").code == 2
    assert compare(*steps, images=tmp_path / "none").code == 2
    assert compare(*steps, "--least-agreement", 2).code == 2
    (tmp_path / "out").write_text("in the way")
    found = compare(*steps)
    assert (found.code, "cannot write" in found.err) == (2, True)


def test_without_pyarrow(compare, steps, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    found = compare(*steps)
    assert found.code == 2
    assert 'pip install "fg-onnx[audit]"' in found.err
    assert not (tmp_path / "out").exists()


def test_names_that_files_chose(compare, steps, tmp_path):
    write_image(tmp_path / "images" / "<script>\x1b[1m.png", 9)
    found = compare(*steps, "--most-score", 0, "--least-spearman", 1)
    assert "\x1b" not in found.out
    page = (tmp_path / "out" / "compare.html").read_text()
    assert page.count("<script>") == 1


def test_help_is_quick_and_complete():
    found = fg_process("compare", "--help", COLUMNS="100")
    assert found.code == 0
    for option in ("--preprocess-a", "--preprocess-b", "--least-agreement", "--policy", "--shown"):
        assert option in found.out


def test_an_earlier_verdict_does_not_outlive_a_comparison_that_cannot_be_done(
    compare, steps, tmp_path
):
    assert compare(*steps).code == 0
    held = {path.name for path in (tmp_path / "out").iterdir()}
    assert held == {*comparing.WRITTEN, "pairs"}
    (tmp_path / "broken.png").write_bytes(b"no")
    assert compare(*steps, images=tmp_path / "broken.png").code == 2
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"pairs"}


def test_an_audit_in_the_same_folder_is_left_alone(compare, steps, tmp_path):
    out = tmp_path / "out"

    def audit():
        options = [*steps, "--sample", 0, "-o", out]
        return fg("audit", tmp_path / "a.onnx", tmp_path / "images", *options)

    assert "4 images measured" in audit().err
    held = {name: (out / name).read_bytes() for name in auditing.WRITTEN}
    assert "4 images compared" in compare(*steps).err
    assert {name: (out / name).read_bytes() for name in auditing.WRITTEN} == held
    # neither has to measure again
    assert "measured" not in audit().err
    assert "compared" not in compare(*steps).err
    with LocalPlace(out).claimed():
        refused = compare(*steps)
    assert refused.code == 2
    assert "another audit or comparison is at work" in refused.err
