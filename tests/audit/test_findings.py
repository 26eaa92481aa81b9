"""Every check finds what was planted for it, and nothing where nothing was."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from graphs import build, draw, resized_input
from planted import SIZE, TELLING, planted
from planted import model as telling_model

from audit.nets import UNIT, audited, checks_of, net, photographs
from fg_onnx import Session, instrument
from fg_onnx.audit import sampled
from fg_onnx.audit.document import Document
from fg_onnx.audit.policy import schema
from fg_onnx.audit.report.cards import Cards
from fg_onnx.cli.console import to_json


@pytest.fixture
def place(tmp_path):
    """A model and sixteen images, and what an audit of them finds."""
    model, paths = net(tmp_path / "net.onnx"), photographs(tmp_path / "images", 16)

    def run(policy=None, **options):
        return audited(model, paths, tmp_path / "out", policy, **options)

    return model, paths, run


def test_the_document_goes_through_json_and_back(place):
    document = place[2](shown=3)
    assert Document.from_dict(json.loads(to_json(document.to_dict()))) == document
    assert len(document.rows) == 3
    for row in document.rows:
        assert row.picture.startswith("data:image/jpeg;base64,")
        assert [name for name, _ in row.layers] == ["c1", "c2"]
        assert sum(row.shares.values()) == pytest.approx(1)


def test_what_the_rows_say_is_what_the_session_says(place):
    model, paths, run = place
    session = Session(instrument(model))
    from fg_onnx import prepare, read_image

    arrays = [prepare(read_image(path), UNIT, session.input_shape).array for path in paths]
    found = session.explain(np.concatenate(arrays))
    document = run(shown=16)
    magnitude = np.abs(found.contributions)
    shares = (magnitude / magnitude.sum(axis=1, keepdims=True)).mean(axis=0)
    assert [layer.share for layer in document.layers] == pytest.approx(list(shares), rel=1e-4)
    means = found.contributions.mean(axis=0)
    assert [layer.mean for layer in document.layers] == pytest.approx(list(means), rel=1e-4)
    counts = np.bincount(found.targets)
    assert {row.index: row.images for row in document.classes} == {
        k: n for k, n in enumerate(counts) if n
    }
    assert sum(document.distributions["residual"].counts) == 16
    scores = document.distributions["score"]
    assert scores.median == pytest.approx(np.median(found.scores), rel=1e-5)


def test_residual(place):
    found = checks_of(place[2]({"residual": {"most": 0}}))["residual"]
    assert found.severity == "fail"
    assert found.measured > 0
    assert "residual" not in checks_of(place[2]())


def test_a_number_that_is_not_finite_fails(tmp_path, place):
    images = np.random.default_rng(0).normal(size=(5, 3, 8, 8)).astype(np.float32)
    images[2, 0, 4, 4] = np.nan
    np.save(tmp_path / "images.npy", images)
    document = audited(place[0], [tmp_path / "images.npy"], tmp_path / "out", shown=5)
    assert document.verdict == "fail"
    assert checks_of(document)["residual"].images == (f"{tmp_path / 'images.npy'}[2]",)
    json.loads(to_json(document.to_dict()))


def test_accuracy(tmp_path, place):
    _, paths, run = place
    predicted = {row.index: row.images for row in run().classes}
    (likely, count), *_ = predicted.items()
    labels = tmp_path / "labels.csv"
    labels.write_text("image,label\n" + "".join(f"{path.stem},{likely}\n" for path in paths))
    document = run({"accuracy": {"least": 1}}, labels=labels, shown=2)
    assert document.accuracy == pytest.approx(count / 16)
    assert len(checks_of(document)["accuracy"].images) == 16 - count
    assert document.classes[0].right == 1
    assert {row.truth for row in document.rows} == {likely}
    assert "accuracy" not in checks_of(run({"accuracy": {"least": count / 16}}, labels=labels))
    # without labels it cannot be said to hold
    assert checks_of(run({"accuracy": {"least": 0.5}}))["accuracy"].severity == "fail"


def test_images_without_a_label_are_told(tmp_path, place):
    _, paths, run = place
    labels = tmp_path / "labels.csv"
    labels.write_text(f"{paths[0].stem},0\n{paths[1].stem},0\n")
    document = run({"accuracy": {"least": 0}}, labels=labels)
    (note,) = [each for each in document.findings if each.check == "labels"]
    assert (note.severity, note.measured, len(note.images)) == ("note", 14, 14)
    share, accuracy = told(document, "accuracy")
    assert (share.measured, share.outcome, share.limit) == (2 / 16, "not made", None)
    assert (accuracy.measured, accuracy.outcome) == (document.accuracy, "passed")
    strict = run({"accuracy": {"least": 0, "labelled": 0.5}}, labels=labels)
    assert strict.verdict == "fail"
    assert (checks_of(strict)["accuracy"].measured, checks_of(strict)["accuracy"].limit) == (
        0.125,
        0.5,
    )
    assert run({"accuracy": {"least": 0, "labelled": 0.125}}, labels=labels).verdict == "pass"


def test_boxes_that_the_model_does_not_see_are_told(tmp_path, place):
    _, paths, run = place
    (tmp_path / "boxes.csv").write_text(
        f"{paths[0].stem},1,1,5,5\n{paths[3].stem},900,900,950,950\n"
    )
    document = run(boxes=tmp_path / "boxes.csv")
    (note,) = [each for each in document.findings if each.check == "boxes"]
    assert (note.severity, note.measured, note.images) == ("note", 1, (str(paths[3]),))
    (tmp_path / "boxes.csv").write_text(f"{paths[0].stem},1,1,5,5\n")
    assert "boxes" not in checks_of(run(boxes=tmp_path / "boxes.csv"))


def test_the_true_class_has_its_name_though_it_is_never_predicted(tmp_path, place):
    _, paths, run = place
    unseen = min(set(range(5)) - {row.index for row in run().classes})
    labels = tmp_path / "labels.csv"
    labels.write_text(f"{paths[0].stem},{unseen}\n")
    names = tuple(f"class of {n}" for n in range(5))
    document = run(labels=labels, names=names, shown=16)
    (row,) = [row for row in document.rows if row.truth is not None]
    assert row.truth_label == f"class of {unseen}"
    assert f"class of {unseen}" in Cards(document).card(document.rows.index(row))


def test_a_class_too_small_for_outliers_has_none(place):
    small = place[2]()
    assert {each.outliers for each in small.classes if each.images < 8} == {None}
    assert {each.outliers for each in small.classes if each.images >= 8} <= {0, 1, 2}


def test_shares(place):
    document = place[2]({"shares": {"input": {"least": 0.99}, "bias": {"most": 0.001}}})
    titles = [each.title for each in document.findings if each.check == "shares"]
    assert len(titles) == 2
    measured = sum(each.share for each in document.layers if each.kind == "bias")
    assert any(f"{measured:.1%}" in title for title in titles)


def test_bias_driven(tmp_path):
    paths = photographs(tmp_path / "images", 4)
    model = net(tmp_path / "net.onnx", fc_bias=np.array([9000.0, 0, 0, 0, 0]))
    found = checks_of(audited(model, paths, tmp_path / "out"))["bias_driven"]
    assert (found.measured, len(found.images)) == (1, 4)


def test_border_concentration_and_boxes(tmp_path):
    """A linear model of some pixels: its map lies on these and nowhere else."""
    model = tmp_path / "telling.onnx"
    model.write_bytes(telling_model().SerializeToString())
    images = planted(4, 12).test.images
    np.save(tmp_path / "images.npy", images)
    rows = [f"images.npy[{n}],1,2,5,4" for n in range(12)]
    (tmp_path / "boxes.csv").write_text("\n".join(rows))
    (tmp_path / "beside.csv").write_text("\n".join(row[:-7] + "5,5,8,8" for row in rows))

    def run(policy, boxes):
        paths = [tmp_path / "images.npy"]
        return checks_of(
            audited(model, paths, tmp_path / "out", policy, None, boxes=tmp_path / boxes)
        )

    wanted = {"inside": {"least": 0.99}, "pointing": {"least": 1}}
    assert not {"inside", "pointing"} & set(run(wanted, "boxes.csv"))
    beside = run(wanted, "beside.csv")
    assert beside["inside"].measured == pytest.approx(0)
    assert beside["pointing"].measured == 0
    even = {"concentration": {"least": 0.99}, "border": {"most": 0.0}}
    found = run(even, "boxes.csv")
    # 8 of 64 pixels have all of it
    assert 1 - TELLING.sum() / SIZE**2 <= found["concentration"].measured < 0.99
    assert "border" not in found  # a tenth of eight pixels is less than one


def test_boxes_that_are_missing(place):
    found = checks_of(place[2]({"inside": {"least": 0.1}}))["inside"]
    assert (found.severity, found.measured) == ("fail", None)


def test_an_outlier_of_its_class(tmp_path):
    """One class; the map follows the one bright spot, which is elsewhere in one image."""
    weights = {"w": np.ones((1, 1, 1, 1)), "b": np.zeros(1)}
    nodes = "c = Conv (x, w, b)\n r = Relu (c)\n p = GlobalAveragePool (r)\n y = Flatten (p)"
    model = build(nodes, weights, inputs="float[N,1,16,16] x", outputs="float[N,1] y")
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    images = np.random.default_rng(0).uniform(0, 0.1, (20, 1, 16, 16)).astype(np.float32)
    images[:, 0, 2:5, 2:5] += 1
    images[13] = images[13, :, ::-1, ::-1]
    np.save(tmp_path / "images.npy", images)

    def run(**limits):
        policy = {"outliers": {"most": 0, "distance": 20, **limits}}
        paths = [tmp_path / "images.npy"]
        return audited(tmp_path / "net.onnx", paths, tmp_path / "out", policy, shown=1)

    document = run()
    assert checks_of(document)["outliers"].images == (f"{tmp_path / 'images.npy'}[13]",)
    assert document.classes[0].outliers == 1
    assert document.rows[0].outlier > 1
    assert document.rows[0].centre[0] > 0.5
    assert document.distributions["outlier"].least == 0
    assert "outliers" not in checks_of(run(distance=10_000))
    assert checks_of(run(images=21))["outliers"].measured is None


def test_the_model(place):
    card = place[2]().model
    sound = {"sha256": [card.sha256], "operators": list(card.operators), "least_opset": 17}
    assert "model" not in checks_of(place[2]({"model": sound}))
    for wrong in (
        {"sha256": ["0" * 64]},
        {"operators": ["Conv"]},
        {"forbidden": ["Conv"]},
        {"least_opset": 18},
        {"most_opset": 16},
    ):
        assert place[2]({"model": wrong}).verdict == "fail"


def test_perturbation_and_randomization(place):
    run = place[2]
    policy = {"perturbation": {"most": 0}, "randomization": {"most": 0}}
    found = checks_of(run(policy, sample=4))
    assert 0 < found["perturbation"].measured < 2
    assert 0 < found["randomization"].measured <= 1
    # the sample follows from the seed
    again = checks_of(run(policy, sample=4))
    assert again["perturbation"] == found["perturbation"]
    assert checks_of(run(policy, sample=4, seed=1))["perturbation"] != found["perturbation"]
    assert not {"perturbation", "randomization", "sample"} & set(checks_of(run()))


def test_perturbation_tells_a_map_that_knows_from_chance(tmp_path):
    model = tmp_path / "telling.onnx"
    model.write_bytes(telling_model().SerializeToString())
    np.save(tmp_path / "images.npy", planted(4, 12).test.images)
    policy = {"perturbation": {"percent": 50, "most": 0.05}, "randomization": False}
    document = audited(model, [tmp_path / "images.npy"], tmp_path / "out", policy, None, sample=12)
    assert "perturbation" not in checks_of(document)


def test_every_image_of_the_sample_has_a_random_order_of_its_own(place, monkeypatch):
    orders, perturb = [], sampled.perturb

    def noted(scorer, methods, *rest):
        def chance(images, targets):
            orders.append(methods["random"](images, targets))
            return orders[-1]

        return perturb(scorer, {**methods, "random": chance}, *rest)

    monkeypatch.setattr(sampled, "perturb", noted)
    found = []
    for batch in (3, 16):
        orders.clear()
        place[2](sample=16, batch=batch)
        found.append(np.concatenate(orders))
    assert len(np.unique(found[0].reshape(16, -1), axis=0)) == 16
    assert np.array_equal(*found)


def test_what_cannot_be_sampled_is_said(tmp_path, place):
    model, paths, _ = place
    instrument(model).save(tmp_path / "net.fg.onnx")
    document = audited(tmp_path / "net.fg.onnx", paths, tmp_path / "out", sample=2)
    assert "only a plain model is randomised" in checks_of(document)["sample"].text
    assert document.verdict == "pass"


def test_an_instrumented_model_is_audited_as_the_plain_one(tmp_path, place):
    model, paths, run = place
    instrument(model).save(tmp_path / "net.fg.onnx")
    plain, other = run(), audited(tmp_path / "net.fg.onnx", paths, tmp_path / "other")
    assert other.layers == plain.layers
    assert other.distributions == plain.distributions
    same = ("sha256", "operators", "sites", "opset", "classes", "psi")
    assert [getattr(other.model, k) for k in same] == [getattr(plain.model, k) for k in same]


def test_signals_have_no_flat_map(tmp_path):
    nodes = "c = Conv (x, w, b)\n r = Relu (c)\n p = GlobalAveragePool (r)\n y = Flatten (p)"
    weights = {"w": draw("w", 4, 2, 3), "b": draw("b", 4)}
    model = build(nodes, weights, inputs="float[N,2,30] x", outputs="float[N,4] y")
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    images = np.random.default_rng(0).normal(size=(6, 2, 30)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    paths = [tmp_path / "images.npy"]
    document = audited(tmp_path / "net.onnx", paths, tmp_path / "out", shown=2, sample=2)
    assert document.verdict == "pass"
    assert "border" not in document.distributions
    for row in document.rows:
        assert (row.centre, row.border, row.outlier, row.picture) == (None,) * 4
    assert all(each.mean_map is None for each in document.classes)


def test_a_batch_of_one(tmp_path, place):
    model, paths, run = place
    fixed = tmp_path / "fixed.onnx"
    fixed.write_bytes(resized_input(onnx.load(model), 1, 3, 8, 8).SerializeToString())
    one = audited(fixed, paths, tmp_path / "fixed")
    assert one.broken == 0
    for layer, same in zip(one.layers, run().layers, strict=True):
        assert layer.mean == pytest.approx(same.mean, rel=1e-4)


@pytest.mark.parametrize(
    ("check", "settings"),
    [("outliers", {"images": 99}), ("perturbation", {}), ("randomization", {})],
)
def test_a_named_check_that_could_not_be_made_does_not_hold(place, check, settings):
    run = place[2]
    document = run({check: {**settings, "severity": "fail"}}, sample=0)
    assert document.verdict == "fail"
    (found,) = [each for each in document.findings if each.severity == "fail"]
    assert (found.check, found.measured) == (check, None)
    assert check not in checks_of(run(sample=0))


def test_a_map_that_is_wanted_of_signals_does_not_hold(tmp_path):
    place = tmp_path / "signals.npy"
    np.save(place, np.random.default_rng(0).normal(size=(3, 3, 8)).astype(np.float32))
    nodes = """
        c = Conv (x, w, b)
        r = Relu (c)
        p = GlobalAveragePool (r)
        logits = Flatten (p)
    """
    weights = {"w": draw("w", 5, 3, 3), "b": draw("b", 5)}
    signals = build(nodes, weights, inputs="float[N,3,8] x")
    onnx.save(signals, tmp_path / "signals.onnx")
    policy = {"border": {"severity": "fail"}, "concentration": {}}
    document = audited(tmp_path / "signals.onnx", [place], tmp_path / "out", policy)
    (found,) = [each for each in document.findings if each.severity == "fail"]
    assert found.check == "border"
    assert "concentration" not in checks_of(document)


# --- what became of the checks --------------------------------------------------------------------


def told(document, name):
    """What became of the checks of that name."""
    return [each for each in document.checks if each.name == name]


def test_every_check_is_told_whatever_became_of_it(place):
    high = {"perturbation": {"most": 99}, "randomization": {"most": 1}}
    document = place[2]({"border": {"most": 0.01}, "dead": False, **high}, sample=4)
    assert {each.name for each in document.checks} == set(schema()["properties"])
    (border,) = told(document, "border")
    finding = document.findings[border.finding]
    assert (border.outcome, border.bound, border.limit) == ("failed", "most", 0.01)
    assert (finding.check, finding.measured) == ("border", border.measured)
    for name in ("perturbation", "randomization"):
        (made,) = told(document, name)
        assert (made.outcome, made.severity, made.finding) == ("passed", "warning", None)
        assert made.measured <= made.limit
    (dead,) = told(document, "dead")
    assert (dead.outcome, dead.reason) == ("not made", "The policy turns it off")


def test_what_has_no_limit_tells_its_number(place):
    document = place[2]()
    shares = told(document, "shares")
    assert [each.outcome for each in shares] == ["not made"] * 4
    assert sum(each.measured for each in shares) == pytest.approx(1)
    (even,) = told(document, "concentration")
    assert even.measured == pytest.approx(document.distributions["concentration"].mean)
    assert (even.limit, even.reason) == (None, "The policy sets no limit")
    limited = place[2]({"concentration": {"least": even.measured, "most": even.measured}})
    bounds = [(each.bound, each.outcome) for each in told(limited, "concentration")]
    assert bounds == [("least", "passed"), ("most", "passed")]


def test_why_a_check_was_not_made_is_told(tmp_path, place):
    model, paths, run = place
    assert told(run(), "perturbation")[0].reason == "No image is in the sample"
    assert told(run(), "accuracy")[0].reason == "No image has a label"
    instrument(model).save(tmp_path / "net.fg.onnx")
    (randomised,) = told(
        audited(tmp_path / "net.fg.onnx", paths, tmp_path / "fg", sample=2), "randomization"
    )
    assert "only a plain model is randomised" in randomised.reason
    assert (randomised.outcome, randomised.finding) == ("not made", None)
    needed = run({"inside": {"least": 0.5}})
    (inside,) = told(needed, "inside")
    assert inside.outcome == "not made"
    assert needed.findings[inside.finding].severity == "fail"
