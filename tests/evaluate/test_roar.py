"""ROAR: what removal does to accuracy, what is kept of a run that ends early, refusals."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from graphs import build
from planted import CLASSES, SHARE, TELLING, Centroid, guess, model, oracle, planted

from fg_onnx.errors import FgOnnxError
from fg_onnx.evaluate import roar as module
from fg_onnx.evaluate.kept import Kept
from fg_onnx.evaluate.labelled import Labelled, Part
from fg_onnx.evaluate.maps import NotJudgedError
from fg_onnx.evaluate.roar import PARTS, Retraining, Roar, roar
from fg_onnx.evaluate.scorer import Scorer
from fg_onnx.evaluate.training import TrainingError, identity, load_trainer
from fg_onnx.pictures.preprocess import PRESETS, Preprocessing

METHODS = {"oracle": oracle, "guess": guess}


@pytest.fixture(autouse=True)
def runs():
    """The seeds of all trainings of a test."""
    Centroid.runs.clear()
    return Centroid.runs


@pytest.fixture(scope="module")
def scorer():
    return Scorer(model())


def retraining(scorer, folder, *, methods=None, data=None, trainer=None, steps=None, **chosen):
    return Retraining(
        scorer,
        METHODS if methods is None else methods,
        data or planted(),
        trainer or Centroid(),
        Roar(**{"percents": (SHARE, 50), "seeds": (0, 1), **chosen}),
        Kept(folder),
        steps,
    )


def finish(experiment):
    experiment.explain()
    experiment.train()
    return {curve.method: curve.values for curve in experiment.panel().curves}


# --- what it measures ----------------------------------------------------------------------------


@pytest.mark.parametrize("replacement", ["mean", "black"])
def test_without_the_pixels_that_tell_nothing_can_be_learnt(scorer, tmp_path, replacement):
    data = planted(400, 400)
    experiment = retraining(
        scorer,
        tmp_path,
        data=data,
        replacement=replacement,
        steps=PRESETS["none"],
        percents=(SHARE,),
        seeds=(0, 1, 2),
    )
    found = finish(experiment)
    # at chance, with the standard error of 400 images at 1/4, 0.022, four times
    assert np.abs(found["oracle"][:, 1] - 1 / CLASSES).max() < 0.09
    assert found["guess"][:, 1].min() > 0.9
    for values in found.values():
        assert values[:, 0].min() > 0.95
    assert np.array_equal(found["oracle"][:, 0], found["guess"][:, 0])


def test_against_a_plain_computation(scorer, tmp_path):
    """Removal, replacement and retraining in loops."""
    data = planted(40, 30)
    tilt = np.linspace(0, 1, 64).reshape(8, 8)
    methods = {"brightness": lambda images, targets: images[:, 0] + tilt * targets[:, None, None]}
    found = finish(retraining(scorer, tmp_path, methods=methods, data=data))["brightness"]
    mean = np.float32(data.train.images.astype(np.float64).mean())

    def removed(part, percent):
        images = part.images.copy()
        for image, target in zip(images, scorer.predicted(part.images), strict=True):
            salient = image[0].astype(np.float32) + tilt * target
            ranked = sorted(np.ndindex(8, 8), key=lambda at: -salient[at])
            for at in ranked[: round(64 * percent / 100)]:
                image[0][at] = mean
        return images

    for row, seed in enumerate((0, 1)):
        for column, percent in enumerate((0, SHARE, 50)):
            train, test = removed(data.train, percent), removed(data.test, percent)
            classify = Centroid()(train, data.train.labels, seed, lambda share: None)
            assert found[row, column] == (classify(test) == data.test.labels).mean()


def test_the_class_is_the_one_that_the_model_predicts(scorer, tmp_path):
    data = planted(20, 12)
    wrong = Labelled(
        Part(data.train.images, (data.train.labels + 1) % CLASSES),
        Part(data.test.images, data.test.labels),
    )
    asked = []

    def maps(images, targets):
        asked.extend(targets.tolist())
        return oracle(images, targets)

    finish(retraining(scorer, tmp_path, methods={"m": maps}, data=wrong))
    images = np.concatenate([data.train.images, data.test.images])
    assert asked == scorer.predicted(images).tolist()


def test_the_mean_is_that_of_the_images_to_train_on_by_channel(tmp_path):
    weights = {"k": np.ones((2, 2, 1, 1))}
    nodes = """t = Transpose <perm = [0, 3, 1, 2]> (x)
        c = Conv (t, k)
        p = GlobalAveragePool (c)
        logits = Flatten (p)"""
    shapes = {"inputs": "float[N,4,4,2] x", "outputs": "float[N,2] logits"}
    draws = np.random.default_rng(0)
    train, test = (draws.normal(size=(n, 4, 4, 2)).astype(np.float32) for n in (6, 4))
    train[..., 1] += 5
    data = Labelled(Part(train, np.arange(6) % 2), Part(test, np.arange(4) % 2))
    seen = []

    @dataclass(frozen=True)
    class Look:
        def __call__(self, images, labels, seed, progress):
            seen.append(images)
            return lambda images: np.zeros(len(images), dtype=int)

    first = {"m": lambda images, targets: -np.arange(16.0).reshape(1, 4, 4).repeat(len(images), 0)}
    experiment = retraining(
        Scorer(build(nodes, weights, **shapes)),
        tmp_path,
        methods=first,
        data=data,
        trainer=Look(),
        percents=(50,),
        seeds=(0,),
    )
    finish(experiment)
    whole, left = seen
    assert np.array_equal(whole, train)
    assert np.array_equal(left[:, 2:], train[:, 2:])
    wanted = train.astype(np.float64).mean(axis=(0, 1, 2)).astype(np.float32)
    assert np.array_equal(left[:, :2], np.broadcast_to(wanted, (6, 2, 4, 2)))
    assert experiment.colour == wanted.tolist()


def test_black_is_what_the_preprocessing_makes_of_it(scorer, tmp_path):
    steps = Preprocessing(mean=(3.0,), std=(2.0,), channels="gray")
    black = retraining(scorer, tmp_path, replacement="black", steps=steps)
    assert black.colour == [-1.5]
    with pytest.raises(FgOnnxError, match="black"):
        _ = retraining(scorer, tmp_path, replacement="black").colour


def test_nothing_removed_is_trained_once_a_seed(scorer, tmp_path, runs):
    experiment = retraining(scorer, tmp_path, percents=(0, 50), seeds=(3, 5))
    finish(experiment)
    assert runs == [3] * 3 + [5] * 3  # whole, and by two methods; one seed after the other
    assert experiment.panel().points == (0, 50)


def test_all_at_once_and_again_from_scratch(scorer, tmp_path):
    chosen = Roar(percents=(SHARE,), seeds=(0,))
    one, other = (
        roar(scorer, METHODS, planted(), Centroid(), chosen, Kept(tmp_path / name))
        for name in ("a", "b")
    )
    for a, b in zip(one.curves, other.curves, strict=True):
        assert np.array_equal(a.values, b.values)


# --- what is kept --------------------------------------------------------------------------------


class Stopped(BaseException):
    """As Ctrl-C, or a machine that goes down."""


@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_run_that_is_stopped_goes_on(scorer, tmp_path, monkeypatch, runs, after):
    wanted = finish(retraining(scorer, tmp_path / "whole"))
    whole = list(runs)
    runs.clear()
    train = Centroid.__call__

    def stopping(self, *given):
        if len(runs) == after:
            raise Stopped
        return train(self, *given)

    monkeypatch.setattr(Centroid, "__call__", stopping)
    experiment = retraining(scorer, tmp_path / "stopped")
    with pytest.raises(Stopped):
        finish(experiment)
    assert len(experiment.cells_left()) == len(whole) - after
    monkeypatch.setattr(Centroid, "__call__", train)
    again = retraining(scorer, tmp_path / "stopped")
    assert again.images_left() == 0
    found = finish(again)
    assert runs == whole  # each once
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_maps_that_are_done_are_not_made_again(scorer, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_KEPT_AT_ONCE", 32)
    monkeypatch.setattr(module, "_AT_ONCE", 16)
    wanted = finish(retraining(scorer, tmp_path / "whole"))
    calls = []

    def counting(images, targets):
        calls.append(len(images))
        if len(calls) == 6:
            raise Stopped
        return guess(images, targets)

    methods = {"oracle": oracle, "guess": counting}
    experiment = retraining(scorer, tmp_path / "stopped", methods=methods)
    assert experiment.images_left() == 2 * 200
    with pytest.raises(Stopped):
        experiment.explain()
    assert experiment.images_left() == 200 - 2 * 32  # all of the first, two files of the second
    found = finish(experiment)
    assert sum(calls[6:]) == 200 - 2 * 32
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_more_seeds_and_shares_are_added_to_what_is_there(scorer, tmp_path, runs):
    finish(retraining(scorer, tmp_path))
    del runs[:]
    finish(retraining(scorer, tmp_path, seeds=(0, 1, 2), percents=(SHARE, 50, 70)))
    # seeds 0 and 1: the new share by two methods; seed 2: whole, and three shares by two
    assert runs == [0] * 2 + [1] * 2 + [2] * 7


def changed_data():
    data = planted()
    images = data.test.images.copy()
    images[0, 0, 0, 0] += 1
    return Labelled(data.train, Part(images, data.test.labels))


@pytest.mark.parametrize(
    ("change", "trained"),
    [
        ({}, 0),
        ({"data": changed_data()}, 10),
        ({"trainer": Centroid(share=0.8)}, 10),
        ({"seeds": (2, 3)}, 10),
        ({"seed": 1}, 8),  # whole images have no order
        ({"steps": PRESETS["unit"]}, 8),
        ({"replacement": "black"}, 8),
        ({"percents": (5, 6)}, 8),
        ({"methods": {"other": oracle, "name": guess}}, 8),
        ({"scorer": "another"}, 8),
    ],
)
def test_what_was_found_otherwise_is_not_taken(scorer, tmp_path, runs, change, trained):
    finish(retraining(scorer, tmp_path, steps=PRESETS["none"]))
    del runs[:]
    if change.get("scorer"):
        other = model()
        other.graph.initializer[1].float_data[:] = [0.5] * CLASSES
        other.graph.initializer[1].ClearField("raw_data")
        change = {}
        scorer = Scorer(other)
    again = retraining(scorer, tmp_path, **{"steps": PRESETS["none"], **change})
    assert len(again.cells_left()) == trained
    finish(again)
    assert len(runs) == trained


def test_broken_files_are_found_again(scorer, tmp_path, runs):
    wanted = finish(retraining(scorer, tmp_path))
    del runs[:]
    broken = sorted(tmp_path.glob("*.json"))[:3]
    for path, text in zip(broken, ("", "{}", '{"of": {}, "found": 1}'), strict=True):
        path.write_text(text)
    for path in tmp_path.glob("*.npy"):
        path.write_bytes(b"")
    found = finish(retraining(scorer, tmp_path))
    assert len(runs) == 3
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_a_kept_accuracy_says_what_it_is_of(scorer, tmp_path):
    finish(retraining(scorer, tmp_path, methods={"oracle": oracle}, seeds=(7,), percents=(50,)))
    whole, removed = sorted(
        (json.loads(path.read_text()) for path in tmp_path.glob("*.json")),
        key=lambda each: each["of"]["percent"],
    )
    assert "removed" not in whole["of"]
    assert removed["of"]["seed"] == 7
    assert removed["of"]["removed"]["method"] == "oracle"
    assert removed["of"]["trainer"]["settings"] == {"share": 0.9}
    assert 0 <= removed["found"] <= 1
    orders = [np.load(path) for path in tmp_path.glob("*.npy")]
    assert {order.dtype for order in orders} == {np.dtype(np.uint8)}
    assert all(np.array_equal(np.sort(o, axis=1)[0], np.arange(64)) for o in orders)


def test_equal_pixels_go_in_an_order_of_each_images_own(scorer, tmp_path):
    """Else a test image would lack the same pixels as one that is trained on."""
    even = {"even": lambda images, targets: np.zeros((len(images), 8, 8))}
    finish(retraining(scorer, tmp_path, methods=even))
    orders = np.concatenate([np.load(path) for path in tmp_path.glob("*.npy")])
    assert len(np.unique(orders, axis=0)) == len(orders) == 200


def test_progress_counts_what_is_left(scorer, tmp_path):
    told = {"images": 0, "parts": 0}
    experiment = retraining(scorer, tmp_path)
    assert len(experiment.cells_left()) == len(experiment.cells()) == 10
    left = experiment.images_left()
    experiment.explain(lambda n: told.update(images=told["images"] + n))
    assert told["images"] == left == 400
    experiment.train(lambda n: told.update(parts=told["parts"] + n))
    assert told["parts"] == 10 * PARTS
    assert experiment.cells_left() == []


# --- trainers ------------------------------------------------------------------------------------


def constant(images, labels, seed, progress):
    return lambda images: np.zeros(len(images), dtype=np.int64)


def test_a_function_is_known_by_its_name_and_file():
    found = identity(constant)
    assert found["name"].endswith("test_roar:constant")
    assert len(found["source_sha256"]) == 64
    assert identity(Centroid(0.5))["settings"] == {"share": 0.5}
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        (3, "cannot be called"),
        (Centroid, "neither"),
        (functools.partial(constant), "neither"),
        (len, "neither"),
    ],
)
def test_what_cannot_be_told_apart_is_no_trainer(trainer, said):
    with pytest.raises(FgOnnxError, match=said) as caught:
        identity(trainer)
    assert caught.value.code == "bad-trainer"


def test_a_function_with_hidden_settings_is_no_trainer():
    share = 0.5

    def train(images, labels, seed, progress):
        return constant(images, labels, share, progress)

    with pytest.raises(FgOnnxError, match="share"):
        identity(train)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("train", "names no trainer"),
        (":train", "names no trainer"),
        ("json:", "names no trainer"),
        ("no_such_module:train", "no_such_module"),
        ("json:no_such_name", "no_such_name"),
        ("json:__name__", "cannot be called"),
    ],
)
def test_a_trainer_is_found_by_its_name_or_refused(name, said):
    with pytest.raises(FgOnnxError, match=said) as caught:
        load_trainer(name)
    assert caught.value.code == "bad-trainer"


def test_a_trainer_by_name():
    assert load_trainer(f"{__name__}:constant") is constant


def failing(images, labels, seed, progress):
    raise RuntimeError("out of memory")


def vague(images, labels, seed, progress):
    return lambda images: np.zeros((len(images), 3))


def leaving(images, labels, seed, progress):
    sys.exit(0)


@pytest.mark.parametrize(
    ("trainer", "said"),
    [(failing, "out of memory"), (leaving, "SystemExit"), (vague, "float64")],
)
def test_a_trainer_that_fails_is_named(scorer, tmp_path, trainer, said):
    with pytest.raises(TrainingError, match=said):
        finish(retraining(scorer, tmp_path, trainer=trainer))


# --- refusals ------------------------------------------------------------------------------------


def test_maps_are_held_to_their_contract(scorer, tmp_path):
    with pytest.raises(NotJudgedError, match="`m`"):
        finish(retraining(scorer, tmp_path, methods={"m": lambda x, t: x}))


@pytest.mark.parametrize("seeds", [(), (1, 1), (-1,)])
def test_seeds_are_there_and_differ(seeds):
    with pytest.raises(FgOnnxError, match="no seeds"):
        Roar(seeds=seeds)


@pytest.mark.parametrize("percents", [(), (50, 10), (101,)])
def test_percents_rise(percents):
    with pytest.raises(FgOnnxError, match="no rising list"):
        Roar(percents=percents)


def test_no_method(scorer, tmp_path):
    with pytest.raises(FgOnnxError, match="no method"):
        retraining(scorer, tmp_path, methods={})


def test_a_model_of_dense_scores_is_no_classifier(tmp_path):
    nodes = "logits = Conv (x, k)"
    shapes = {"inputs": "float[N,1,8,8] x", "outputs": "float[N,4,8,8] logits"}
    dense = Scorer(build(nodes, {"k": np.ones((4, 1, 1, 1))}, **shapes))
    with pytest.raises(FgOnnxError, match="no row of scores"):
        retraining(dense, tmp_path)


def test_the_mean_of_whole_numbers_is_one(tmp_path):
    """Which is what a model of integer images takes."""
    data = planted(7, 4)
    parts = [
        Part(np.uint8(np.clip(40 * p.images + 99, 0, 255)), p.labels)
        for p in (data.train, data.test)
    ]
    experiment = retraining(Scorer(model()), tmp_path, data=Labelled(*parts))
    mean = parts[0].images.mean(dtype=np.float64)
    assert mean % 1 > 0.5  # so that it is not cut off
    assert experiment.colour == [np.rint(mean)]


def test_images_of_another_size_are_refused_before_anything_is_trained(scorer, tmp_path, runs):
    data = planted()
    small = Labelled(*(Part(p.images[..., :7], p.labels) for p in (data.train, data.test)))
    with pytest.raises(FgOnnxError, match="shape"):
        retraining(scorer, tmp_path, data=small)
    assert not runs
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "part",
    [
        lambda x, y: (x[0], y),
        lambda x, y: (x, y[1:]),
        lambda x, y: (x, y - 1),
        lambda x, y: (x, y * 1.0),
        lambda x, y: (x[:0], y[:0]),
        lambda x, y: (x.astype(str), y),
        lambda x, y: (x, y[:, None]),
        lambda x, y: (x, y * 0),
        lambda x, y: (x[..., :5], y),
        lambda x, y: (x.astype(np.float64), y),
    ],
)
def test_data_that_make_no_sense(part):
    data = planted()
    train = (data.train.images, data.train.labels)
    with pytest.raises(FgOnnxError) as caught:
        Labelled(Part(*part(*train)), data.test)
    assert caught.value.code == "bad-data"


def test_the_digest_is_of_everything():
    data = planted()
    digests = {data.digest, Labelled(data.test, data.train).digest}
    for name in ("train", "test"):
        part = getattr(data, name)
        labels = part.labels.copy()
        labels[3] = (labels[3] + 1) % CLASSES
        digests.add(dataclasses.replace(data, **{name: Part(part.images, labels)}).digest)
        images = part.images.copy()
        images[3, 0, TELLING] += 1e-3
        digests.add(dataclasses.replace(data, **{name: Part(images, part.labels)}).digest)
    assert len(digests) == 6
    assert data.digest == planted().digest
