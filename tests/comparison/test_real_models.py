"""`fg-onnx compare` on the sample model and what conversions and accidents make of it."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import FASHION, FASHION_VGG, everything_in, fg

from comparison import models
from comparison.models import LABELS, STEPS, saved
from fg_onnx import Session, instrument, load_preprocessing, prepare, read_image
from fg_onnx.audit.measures import shares
from fg_onnx.comparison.document import Comparison
from fg_onnx.comparison.report import write_reports
from fg_onnx.evaluate.similarity import rank_correlation


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Models in files, by their names."""
    folder = tmp_path_factory.mktemp("models")
    names = ("int8", "later_opset", "noisy", "turned_classes", "probabilities")
    return {name: saved(getattr(models, name)(), folder / f"{name}.onnx") for name in names}


@pytest.fixture
def compare(tmp_path):
    """Runs `compare` of the sample model with another one on the sample images."""

    def run(b, *options, a=FASHION_VGG, images=FASHION):
        found = fg("compare", a, b, images, "--preprocess", STEPS, "-o", tmp_path / "out", *options)
        path = tmp_path / "out" / "compare.json"
        document = json.loads(path.read_text()) if path.exists() else None
        return found, document and Comparison.from_dict(document)

    return run


def means(document):
    return {each.name: each.distribution.mean for each in document.measures}


ALIKE = {"score": 0, "output": 0, "spearman": 1, "ssim": 1, "top": 1, "shift": 0, "drift": 0}


def test_with_itself_it_agrees_exactly(compare, tmp_path):
    found, document = compare(FASHION_VGG, "--least-agreement", 1, "--least-spearman", 1)
    assert found.code == 0, found.err
    assert means(document) == ALIKE
    assert (document.verdict, document.findings, document.agreement) == ("pass", (), 1)
    assert {each.worst for each in document.measures} == {0, 1}
    assert document.matched == len(document.a.model.sites) == 9
    assert document.covered == pytest.approx(1)
    assert all(each.drift == 0 and each.share_a == each.share_b for each in document.layers)
    assert len(document.classes) == 10
    assert {(row.agreement, row.other, row.spearman) for row in document.classes} == {(1, None, 1)}
    assert document.a == document.b
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"compare.html", "compare.json", "compare.md", "compare.xml",
                     "pairs.parquet", "pairs"}  # fmt: skip


def test_its_later_opset_explains_the_same(compare, made):
    found, document = compare(made["later_opset"])
    assert found.code == 0, found.err
    assert (document.a.model.opset, document.b.model.opset) == (17, 21)
    assert means(document) == pytest.approx(ALIKE, abs=1e-5)


def test_int8_agrees_and_its_maps_are_near(compare, made, tmp_path):
    found, document = compare(made["int8"])
    assert found.code == 0, found.err
    found = means(document)
    assert document.agreement == 1
    assert found["spearman"] > 0.9
    assert 0 < found["score"] < 0.05
    assert 0 < found["output"] < 0.05
    assert 0 < found["shift"] < 0.05
    # the quantisations of activations are sites that the float model does not have
    assert document.matched < len(document.b.model.sites)
    (note,) = document.findings
    assert (note.check, note.severity) == ("matched", "note")
    only_b = [layer for layer in document.layers if layer.share_a is None]
    assert len(only_b) == len(document.b.model.sites) - document.matched
    assert {layer.drift for layer in only_b} == {None}
    # the terms of both stand in other columns of B
    both = [layer for layer in document.layers if layer.drift is not None]
    assert sum(layer.drift for layer in both) == pytest.approx(found["drift"])
    rows = pq.read_table(tmp_path / "out" / "pairs.parquet").to_pylist()
    names = ["input", *(site.name for site in document.b.model.sites)]
    for layer in both:
        column = [row["contributions_b"][names.index(layer.name)] for row in rows]
        assert layer.mean_b == pytest.approx(np.mean(column))
    assert document.b.shares["implicit"] > document.a.shares["implicit"] == 0


def test_noise_in_the_weights_fails(compare, made):
    found, document = compare(made["noisy"])
    assert found.code == 1, found.err
    failed = [each.check for each in document.findings if each.severity == "fail"]
    assert failed == ["spearman"]
    found, _ = compare(made["noisy"], "--least-spearman", 0.5)
    assert found.code == 0
    found, document = compare(made["noisy"], "--most-score", 0.01, "--most-shift", 0.001,
                              "--least-ssim", 0.99, "--least-top", 0.99,
                              "--most-drift", 0.01)  # fmt: skip
    assert found.code == 1
    failed = {each.check for each in document.findings if each.severity == "fail"}
    assert failed == {"spearman", "score", "shift", "ssim", "top", "drift"}


def test_classes_in_another_order(compare, made, tmp_path):
    found, document = compare(made["turned_classes"], "--classes", LABELS)
    assert found.code == 1
    assert "fail: Both predict the same class of 0.0% of the images" in found.out
    assert document.agreement == 0
    assert {(row.agreement, row.other) for row in document.classes} == {
        (0, (row.index + 1) % 10) for row in document.classes
    }
    # in both the class is explained that A predicts, which is another score in B
    rows = pq.read_table(tmp_path / "out" / "pairs.parquet").to_pylist()
    session = Session(instrument(made["turned_classes"]), threads=1)
    steps = load_preprocessing(str(STEPS))
    for row in rows:
        array = prepare(read_image(row["name"]), steps, session.input_shape).array
        alone = session.explain(array, row["target"])
        assert row["score_b"] == pytest.approx(float(alone.scores[0]), rel=1e-5)
        assert row["target_b"] == (row["target"] + 1) % 10


def test_what_is_kept_of_an_image(compare, made, tmp_path):
    """All numbers again, one image at a time, in a few plain lines."""
    compare(made["noisy"], "--classes", LABELS)
    rows = pq.read_table(tmp_path / "out" / "pairs.parquet").to_pylist()
    sessions = [Session(instrument(path), threads=1) for path in (FASHION_VGG, made["noisy"])]
    steps = load_preprocessing(str(STEPS))
    assert [row["name"] for row in rows] == sorted(map(str, FASHION.glob("*.png")))
    for row in rows:
        array = prepare(read_image(row["name"]), steps, sessions[0].input_shape).array
        a = sessions[0].explain(array)
        b = sessions[1].explain(array, a.targets)
        assert row["target"] == a.targets[0]
        assert row["label"] == LABELS.read_text().splitlines()[a.targets[0]]
        assert row["score_a"] == pytest.approx(float(a.scores[0]), rel=1e-5)
        assert row["score_b"] == pytest.approx(float(b.scores[0]), rel=1e-5)
        higher = max(abs(row["score_a"]), abs(row["score_b"]))
        assert row["score"] == pytest.approx(abs(row["score_b"] - row["score_a"]) / higher)
        logits = a.outputs["logits"], b.outputs["logits"]
        apart = np.abs(logits[0] - logits[1]).max() / np.abs(logits).max()
        assert row["output"] == pytest.approx(apart, rel=1e-4)
        maps = [each.saliency[0].astype(np.float64) for each in (a, b)]
        assert row["spearman"] == pytest.approx(rank_correlation(*maps), abs=1e-3)
        ledgers = a.contributions[0], b.contributions[0]
        moved = np.abs(ledgers[1] - ledgers[0]).sum() / np.abs(ledgers[0]).sum()
        assert row["drift"] == pytest.approx(moved, rel=1e-3)
        assert (row["map_a"], row["map_b"], row["seen"], row["broken"]) == (True, True, 1, None)


def test_the_ledger_is_the_mean_over_the_images(compare, made, tmp_path):
    _, document = compare(made["noisy"])
    rows = pq.read_table(tmp_path / "out" / "pairs.parquet").to_pylist()
    for side, shown in (("a", document.a), ("b", document.b)):
        kinds = [site.kind for site in shown.model.sites]
        split = [shares(np.array(row[f"contributions_{side}"]), kinds) for row in rows]
        for kind, share in shown.shares.items():
            assert share == pytest.approx(np.mean([each[kind] for each in split]))
    # what all terms drift sums up to what the images do on average
    assert sum(each.drift for each in document.layers) == pytest.approx(means(document)["drift"])


def test_a_softmax_behind_the_scores_changes_no_explanation(compare, made):
    found, document = compare(made["probabilities"])
    assert found.code == 0, found.err
    # the scores before it are explained; probabilities and scores are not of one kind
    alike = {name: value for name, value in ALIKE.items() if name != "output"}
    assert means(document) == pytest.approx(alike, abs=1e-5)


def test_instrumented_and_plain(compare, tmp_path):
    made = tmp_path / "vgg.fg.onnx"
    assert fg("instrument", FASHION_VGG, "-o", made, "--psi", "abs").code == 0
    for a, b in ((made, FASHION_VGG), (FASHION_VGG, made)):
        found, document = compare(b, a=a)
        assert found.code == 0, found.err
        # the plain one has the map of the other
        assert (document.a.model.psi, document.b.model.psi) == ("abs", "abs")
        assert means(document) == pytest.approx(ALIKE, abs=1e-6)
        assert document.a.model.sha256 == document.b.model.sha256
    other = tmp_path / "other.fg.onnx"
    assert fg("instrument", FASHION_VGG, "-o", other, "--psi", "paper").code == 0
    found, _ = compare(other, a=made)
    assert found.code == 2
    assert "is instrumented with the map `abs`, and" in found.err
    assert "with `paper`" in found.err
    found, _ = compare(FASHION_VGG, "--psi", "abs", a=made)
    assert (found.code, "--psi cannot be chosen any more" in found.err) == (2, True)


def test_labels_say_which_is_right(compare, made, tmp_path):
    words = LABELS.read_text().splitlines()
    names = {word.casefold().replace("/", "-").replace(" ", "-"): word for word in words}
    lines = [f"{path.name},{names[path.stem.rsplit('_', 1)[0]]}" for path in FASHION.glob("*.png")]
    truths = tmp_path / "truths.csv"
    truths.write_text("\n".join([*lines, "nothing.png,Bag"]))
    options = ("--labels", truths, "--classes", LABELS)
    found, document = compare(made["turned_classes"], *options)
    assert (document.a.accuracy, document.b.accuracy) == (1, 0)
    assert {(row.right_a, row.right_b) for row in document.classes} == {(1, 0)}
    assert any("stand for no image" in each.title for each in document.findings)
    (tmp_path / "policy.yaml").write_text("agreement: false\nspearman: false\naccuracy: {}\n"
                                          "shift: false\n")  # fmt: skip
    found, document = compare(made["turned_classes"], *options, "--policy",
                              tmp_path / "policy.yaml")  # fmt: skip
    assert found.code == 1
    failed = [each for each in document.findings if each.severity == "fail"]
    assert [(each.check, each.measured) for each in failed] == [("accuracy", 1)]
    found, _ = compare(made["int8"], *options, "--policy", tmp_path / "policy.yaml")
    assert found.code == 0


def test_the_worst_images_have_pictures(compare, made):
    _, document = compare(made["noisy"], "--shown", 3)
    assert len(document.rows) == 3
    (finding,) = [each for each in document.findings if each.severity == "fail"]
    assert [row.name for row in document.rows] == list(finding.images[:3])
    values = {row.name: row.values["spearman"] for row in document.rows}
    assert list(values.values()) == sorted(values.values())
    for row in document.rows:
        pictures = (row.picture_a, row.overlay_a, row.picture_b, row.overlay_b, row.difference)
        assert all(uri.startswith("data:image/jpeg;base64,") for uri in pictures)
        assert row.picture_a == row.picture_b
        assert row.overlay_a != row.overlay_b


def test_the_same_command_gives_the_same_bytes(compare, made, tmp_path):
    compare(made["int8"])
    first = everything_in(tmp_path / "out")
    found, document = compare(made["int8"])
    assert everything_in(tmp_path / "out") == first
    assert "compared in" not in found.err  # nothing was run again
    assert [path.name for path in write_reports(document, tmp_path / "again")] == [
        "compare.html", "compare.md", "compare.xml"
    ]  # fmt: skip
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
