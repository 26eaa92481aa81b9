"""`fg-onnx audit`: files, exit codes, streams, refusals."""

from __future__ import annotations

import json
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import FASHION, FASHION_VGG, everything_in, fg, fg_process, write_image, write_model

from fg_onnx.audit import auditing
from fg_onnx.audit.document import Document

STEPS = FASHION / "preprocess.yaml"
LABELS = FASHION / "labels.txt"
PLAIN = ["--preprocess", STEPS, "--sample", 0]


@pytest.fixture
def audit(tmp_path):
    """Runs `audit` on the Fashion-MNIST samples."""

    def run(*options, model=FASHION_VGG, images=FASHION, out="out"):
        return fg("audit", model, images, "-o", tmp_path / out, *options)

    return run


@pytest.fixture
def truths(tmp_path):
    """The labels that the samples' names hold."""
    words = LABELS.read_text().splitlines()
    names = {word.casefold().replace("/", "-").replace(" ", "-"): word for word in words}
    lines = [f"{path.name},{names[path.stem.rsplit('_', 1)[0]]}" for path in FASHION.glob("*.png")]
    (tmp_path / "truths.csv").write_text("image,label\n" + "\n".join(lines))
    return tmp_path / "truths.csv"


def test_what_is_written_and_said(tmp_path, audit, truths):
    found = audit(*PLAIN, "--classes", LABELS, "--labels", truths, "--json")
    assert found.code == 0, found.err
    document = json.loads(found.out)
    assert (tmp_path / "out" / "audit.json").read_text() == found.out
    read = Document.from_dict(document)
    assert (read.verdict, read.images, read.broken, read.accuracy) == ("pass", 10, 0, 1)
    assert {row.label for row in read.rows} == set(LABELS.read_text().splitlines())
    assert all(row.picture and row.overlay and len(row.layers) == 6 for row in read.rows)
    assert all(each.mean_map for each in read.classes)
    assert read.settings.labels == str(truths)
    rows = pq.read_table(tmp_path / "out" / "images.parquet").to_pylist()
    assert [row["name"] for row in rows] == sorted(str(path) for path in FASHION.glob("*.png"))
    assert [row["label"] for row in rows] == [
        LABELS.read_text().splitlines()[r["truth"]] for r in rows
    ]
    assert all(len(row["contributions"]) == 10 for row in rows)


def test_a_finding_fails(tmp_path, audit):
    policy = tmp_path / "policy.yaml"
    policy.write_text("border: {most: 0.0, severity: fail}\n")
    found = audit(*PLAIN, "--policy", policy)
    assert found.code == 1
    assert found.out.startswith("fail: The mean share on the border is")
    assert "\nfail: 10 images, 0 broken" in found.out
    document = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert document["verdict"] == "fail"
    assert document["settings"]["policy"] == {"border": {"most": 0, "severity": "fail"}}


def test_streams(audit):
    found = audit(*PLAIN)
    assert found.code == 0
    assert "10 images measured in" in found.err
    assert "10 images" in found.out.splitlines()[-1]
    again = audit(*PLAIN)
    assert (again.out, again.err) == (found.out, "")


def test_an_instrumented_model_brings_its_own(tmp_path, audit):
    made = tmp_path / "vgg.fg.onnx"
    options = ["--preprocess", STEPS, "--labels", LABELS, "--emit"]
    options.append("saliency,contributions,layer-maps")
    assert fg("instrument", FASHION_VGG, "-o", made, *options).code == 0
    found = audit("--sample", 0, "--shown", 1, "--json", model=made)
    assert found.code == 0, found.err
    (row,) = json.loads(found.out)["rows"]
    assert row["label"] in LABELS.read_text()
    assert len(row["layers"]) == 6
    assert audit("--psi", "abs", model=made).code == 2


def test_names_that_files_chose(tmp_path, audit):
    image = write_image(tmp_path / "images" / "<script>\x1b[1m.png")
    (tmp_path / "images" / "b\nroken.png").write_bytes(b"no")
    model = write_model(tmp_path / "net.onnx")
    options = ["--preprocess", tmp_path / "steps.yaml", "--sample", 0]
    (tmp_path / "steps.yaml").write_text("size: [8, 8]\nfit: stretch\n")
    found = audit(*options, model=model, images=tmp_path / "images")
    assert found.code == 1
    assert "\x1b" not in found.out
    names = {
        row["name"] for row in json.loads((tmp_path / "out" / "audit.json").read_text())["rows"]
    }
    assert names == {str(image)}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--labels", "none.csv"], "cannot read the labels"),
        (["--boxes", "none.csv"], "cannot read the boxes"),
        (["--policy", "none.yaml"], "the policy `none.yaml`: it cannot be read"),
        (["--classes", "none.txt"], "cannot read the labels"),
        (["--output", "none"], "no float tensor `none`"),
        (["--psi", "none"], "none"),
        (["--device", "none"], "none"),
    ],
)
def test_what_cannot_be_done(tmp_path, audit, options, reason):
    found = audit(*PLAIN, *options)
    assert found.code == 2
    assert reason in found.err
    assert "hint: " in found.err
    assert found.out == ""
    assert not (tmp_path / "out").exists()


def test_no_preprocessing_no_images_no_model(tmp_path, audit):
    assert "--preprocess" in audit().err
    assert audit(*PLAIN, images=tmp_path).code == 2
    assert audit(*PLAIN, model=tmp_path / "none.onnx").code == 2
    several = write_model(
        tmp_path / "two.onnx",
        "g (float[N,3,8,8] x, float[N,3,8,8] z) => (float[N,4] logits) {"
        " s = Add (x, z) c = Conv (s, w, b) p = GlobalAveragePool (c) logits = Flatten (p) }",
    )
    found = audit(*PLAIN, model=several)
    assert (found.code, "more than `x`: z" in found.err) == (2, True)


def test_a_preprocessing_that_fits_no_image(tmp_path, audit):
    model = write_model(tmp_path / "net.onnx")
    found = audit("--preprocess", "imagenet", model=model)
    assert found.code == 2
    assert "the model takes 8 x 8 pixels" in found.err


def test_a_folder_that_cannot_be_written(tmp_path, audit):
    (tmp_path / "out").write_text("in the way")
    found = audit(*PLAIN)
    assert found.code == 2
    assert "cannot write" in found.err
    assert "-o" in found.err


def test_without_pyarrow(tmp_path, audit, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    found = audit(*PLAIN)
    assert found.code == 2
    assert 'pip install "fg-onnx[audit]"' in found.err
    assert not (tmp_path / "out").exists()


def test_arrays(tmp_path, audit):
    model = write_model(tmp_path / "net.onnx")
    images = np.random.default_rng(0).normal(size=(7, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    found = audit("--json", model=model, images=tmp_path / "images.npy")
    assert found.code in (0, 1), found.err
    document = json.loads(found.out)
    assert document["images"] == 7
    assert {row["picture"] for row in document["rows"]} == {None}
    assert all(row["overlay"] for row in document["rows"])


def test_the_same_command_gives_the_same_bytes(tmp_path, audit):
    for out in ("one", "two"):
        assert audit("--preprocess", STEPS, "--sample", 2, out=out).code == 0
    assert everything_in(tmp_path / "one") == everything_in(tmp_path / "two")


def test_help_is_quick_and_complete():
    found = fg_process("audit", "--help", COLUMNS="100")
    assert found.code == 0
    for option in ("--labels", "--boxes", "--policy", "--classes", "--sample", "--shown"):
        assert option in found.out


@pytest.mark.parametrize("fault", ["images", "model"])
def test_an_earlier_verdict_does_not_outlive_an_audit_that_cannot_be_done(tmp_path, audit, fault):
    assert audit(*PLAIN).code == 0
    held = {path.name for path in (tmp_path / "out").iterdir()}
    assert held == {*auditing.WRITTEN, "parts"}
    (tmp_path / "broken.png").write_bytes(b"no")
    other = {"images": tmp_path / "broken.png"} if fault == "images" else {"model": STEPS}
    assert audit(*PLAIN, **other).code == 2
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"parts"}


def test_pictures_have_a_cap(audit):
    refused = audit(*PLAIN, "--shown", 1001)
    assert refused.code == 2
    assert "1000" in refused.err


def test_runs_side_by_side_write_the_same_bytes(tmp_path, audit, monkeypatch):
    monkeypatch.setattr("fg_onnx.cores.available_cores", lambda: 3)
    audit(*PLAIN, out="aside")
    monkeypatch.setattr("fg_onnx.cores.available_cores", lambda: 1)
    audit(*PLAIN, "--batch", 1, "--threads", 1, out="alone")
    aside, alone = everything_in(tmp_path / "aside"), everything_in(tmp_path / "alone")
    assert aside == alone


@pytest.mark.parametrize(
    "options", [("--batch", "0"), ("--batch", "some"), ("--threads", "0"), ("--threads", "-2")]
)
def test_a_pace_that_is_none(tmp_path, audit, options):
    found = audit(*PLAIN, *options)
    assert found.code == 2
    assert options[0] in found.err
    assert not (tmp_path / "out").exists()
