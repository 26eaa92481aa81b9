"""`fg-onnx evaluate roar`: data sets of every form, a run that is killed, documents, refusals."""

from __future__ import annotations

import csv
import json
import signal
import sys

import cv2
import numpy as np
import onnx
import pytest
from commands import everything_in, fg, fg_process, write_model
from planted import SHARE, model, planted

# It tells of every training, and is killed, or interrupted, in the one that it is told.
TRAINER = """
import os, signal
import numpy as np

# what runs the tests in the background may have had it ignored
signal.signal(signal.SIGINT, signal.default_int_handler)

def train(images, labels, seed, progress):
    with open("trainings", "a") as file:
        file.write(f"{seed}\\n")
    with open("trainings") as file:
        if os.environ.get("STOP_AT") == str(len(file.readlines())):
            os.kill(os.getpid(), getattr(signal, os.environ["STOP_BY"]))
    print("training")
    rows = np.random.default_rng(seed).permutation(len(images))[: len(images) * 9 // 10]
    flat = images[rows].reshape(len(rows), -1).astype(np.float64)
    means = np.stack([flat[labels[rows] == k].mean(0) for k in range(labels.max() + 1)])
    return lambda images: (
        ((images.reshape(len(images), 1, -1) - means) ** 2).sum(2).argmin(1)
    )

broken = "no function"
"""
METHODS = "input-gradient,random"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a model, data and a trainer, which is the current one."""
    onnx.save(model(), tmp_path / "net.onnx")
    (tmp_path / "roar_trainer.py").write_text(TRAINER)
    data = planted(200, 200)
    np.savez(tmp_path / "data.npz", **arrays(data))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # to which the current folder is added
    monkeypatch.delitem(sys.modules, "roar_trainer", raising=False)
    return tmp_path


def arrays(data):
    return {
        "train_images": data.train.images,
        "train_labels": data.train.labels,
        "test_images": data.test.images,
        "test_labels": data.test.labels,
    }


def command(*options, data="data.npz"):
    chosen = ["--methods", METHODS, "--percent", f"{SHARE},50", "--seeds", 2]
    trainer = ["--trainer", "roar_trainer:train"]
    return ["evaluate", "roar", "net.onnx", data, *chosen, *trainer, *options]


def trainings(place):
    return (place / "trainings").read_text().split()


def test_roar(place):
    found = fg(*command("--json", "-o", "out"))
    assert found.code == 0, found.err
    document = json.loads(found.out)
    own, told = found.err.splitlines()[::2], found.err.splitlines()[1::2]
    assert own == ["training"] * 10
    assert [line.split(" done")[0] for line in told] == [
        f"{done} of 10 trainings" for done in range(1, 11)
    ]
    assert told[-1].endswith("about 0:00:00 left")
    assert document["rows"] == "seed"
    assert document["seeds"] == ["0", "1"]
    assert document["settings"]["trainer"]["name"] == "roar_trainer:train"
    assert document["settings"]["data"]["train"] == 200
    (panel,) = document["panels"]
    assert panel["points"] == [0, SHARE, 50]
    salient, chance = panel["curves"]
    assert [salient["method"], chance["method"]] == METHODS.split(",")
    assert salient["seeds"] == [2, 2, 2]
    # at chance, with the standard error of 200 images at 1/4, 0.031, four times
    assert abs(salient["mean"][1] - 0.25) < 0.13
    assert min(*chance["mean"][:2], salient["mean"][0]) > 0.9
    names = {path.name for path in (place / "out").iterdir()}
    endings = (".json", ".csv", ".seeds.csv", ".png", ".svg", ".kept")
    assert names == {f"roar{ending}" for ending in endings}
    with (place / "out" / "roar.seeds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 2
    assert {row["seed"] for row in rows} == {"0", "1"}
    assert len(trainings(place)) == 10


@pytest.mark.parametrize(
    ("at", "by", "code"), [(6, "SIGKILL", -signal.SIGKILL), (1, "SIGINT", 130)]
)
def test_a_run_that_is_killed_goes_on(place, at, by, code):
    whole = fg(*command("-o", "whole"))
    (place / "trainings").unlink()
    killed = fg_process(*command("-o", "out"), cwd=place, STOP_AT=str(at), STOP_BY=by)
    assert killed.code == code
    assert not (place / "out" / "roar.json").exists()
    if by == "SIGINT":
        assert f"{at - 1} of 10 trainings done" in killed.err
        assert "Traceback" not in killed.err
    assert len(trainings(place)) == at
    again = fg(*command("-o", "out"))
    assert again.code == 0, again.err
    assert f"{at} of 10 trainings done" in again.err  # counts what was done before
    assert len(trainings(place)) == 10 + 1  # the one that was cut short, twice
    assert again.out == whole.out.replace("whole", "out")
    one, other = (everything_in(place / name) for name in ("whole", "out"))
    assert {k: v for k, v in other.items() if "/." not in k} == one


def test_the_seed_decides_and_what_is_done_stays_done(place):
    one = fg(*command("-o", "out"))
    same = fg(*command("-o", "out"))
    assert one.out == same.out
    assert len(trainings(place)) == 10
    other = fg(*command("-o", "out", "--seed", 1))
    assert other.out != one.out
    # seeds 1 and 2, of which 1 has been trained on whole images
    assert len(trainings(place)) == 10 + 9


def test_what_methods_say_is_in_the_document_of_a_run_that_goes_on_too(place):
    options = ["--methods", "integrated-gradients:steps=1", "--seeds", 1, "--json", "-o", "out"]
    one, again = (fg(*command(*options)) for _ in range(2))
    assert one.code == 0, one.err
    assert one.out == again.out
    (said,) = json.loads(one.out)["settings"]["notes"].values()
    assert said == ["the preprocessing is not known: black is taken to be 0 in the input"]
    assert one.err.count(said[0]) == again.err.count(said[0]) == 1


def test_a_changed_trainer_trains_again(place):
    fg(*command("-o", "out"))
    (place / "roar_trainer.py").write_text(TRAINER.replace("* 9 // 10", "* 4 // 5"))
    del sys.modules["roar_trainer"]
    assert fg(*command("-o", "out")).code == 0
    assert len(trainings(place)) == 20


def test_a_folder_of_arrays(place):
    (place / "arrays").mkdir()
    with np.load(place / "data.npz") as data:
        for name, array in data.items():
            np.save(place / "arrays" / f"{name}.npy", array)
    one, other = (fg(*command("--json", "-o", "out", data=data)) for data in ("data.npz", "arrays"))
    assert other.code == 0, other.err
    assert json.loads(other.out)["panels"] == json.loads(one.out)["panels"]
    assert len(trainings(place)) == 10  # it is the same data


def test_a_folder_of_images(place):
    """Images are prepared as --preprocess says, and classes numbered by name."""
    write_model(place / "net.onnx")
    draws = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 5)):
        for shade, name in ((50, "dark"), (200, "bright")):
            (place / "images" / part / name).mkdir(parents=True)
            for number in range(count):
                noise = draws.integers(-40, 40, (8, 8, 3))
                file = place / "images" / part / name / f"{number}.png"
                cv2.imwrite(str(file), np.uint8(shade + noise))
    options = ["-o", "out", "--preprocess", "unit", "--replace", "black", "--json"]
    found = fg(*command(*options, data="images"))
    assert found.code == 0, found.err
    document = json.loads(found.out)
    assert document["settings"]["data"]["train"] == 24
    assert document["settings"]["colour"] == [0, 0, 0]
    assert document["panels"][0]["curves"][0]["mean"][0] == 1
    (place / "images" / "test" / "dark").rename(place / "images" / "test" / "darker")
    failed = fg(*command(*options, data="images"))
    assert failed.code == 2
    assert "the same classes" in failed.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--trainer", "nonsense"], "names no trainer"),
        (["--trainer", "roar_trainer:nonsense"], "no `nonsense`"),
        (["--trainer", "roar_trainer:broken"], "cannot be called"),
        (["--trainer", "nowhere:train"], "nowhere"),
        (["--epochs", "2"], "--epochs"),
        (["--width", "0"], "--width"),
        (["--seeds", "0"], "--seeds"),
        (["--percent", "50,10"], "rising"),
        (["--methods", "nonsense"], "nonsense"),
        (["--replace", "blur"], "blur"),
        (["--replace", "black"], "--preprocess"),
    ],
)
def test_what_makes_no_sense_is_refused(place, options, said):
    found = fg(*command("-o", "out", *options))
    assert found.code == 2
    assert said in found.err
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda held: held.pop("test_labels"), "test_labels"),
        (lambda held: held.update(train_labels=held["train_labels"] - 1), "-1 is no label"),
        (lambda held: held.update(test_images=held["test_images"][:, :, :4]), "not alike"),
        (lambda held: held["train_images"].__setitem__((7, 0, 1, 1), np.nan), "train_images[7]"),
        (lambda held: held["test_images"].__setitem__((3, 0, 1, 1), np.inf), "test_images[3]"),
        (lambda held: held.update(train_labels=held["train_labels"] + 1000), "4 classes"),
        (lambda held: held.update(test_labels=held["test_labels"] + 1), "4 is no label"),
        (lambda held: held.update(train_labels=np.array([None] * 200)), "cannot be read"),
    ],
)
def test_data_that_make_no_sense_are_refused(place, change, said):
    held = arrays(planted(200, 200))
    change(held)
    np.savez(place / "data.npz", **held)
    found = fg(*command("-o", "out"))
    assert found.code == 2
    assert said in found.err
    assert not (place / "out").exists()


@pytest.mark.parametrize("text", [b"", b"PK\x03\x04rubbish", b"rubbish"])
def test_what_is_no_archive_is_refused(place, text):
    (place / "data.npz").write_bytes(text)
    found = fg(*command("-o", "out"))
    assert found.code == 2
    assert "data.npz" in found.err
    assert "unforeseen" not in found.err


@pytest.mark.parametrize("data", ["nowhere.npz", "empty", "net.onnx", "lonely.npy"])
def test_what_is_no_data_set_is_refused(place, data):
    (place / "empty").mkdir()
    np.save(place / "lonely.npy", np.zeros((3, 1, 8, 8)))
    found = fg(*command("-o", "out", data=data))
    assert found.code == 2
    assert data in found.err
    assert "unforeseen" not in found.err


def test_without_torch_it_is_said_what_to_install(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    found = fg("evaluate", "roar", "net.onnx", "data.npz", "-o", "out")
    assert found.code == 2
    assert "fg-onnx[train]" in found.err
    assert not (place / "out").exists()


@pytest.mark.torch
def test_the_network_that_comes_along(place):
    """It is trained by default, needs nothing but torch, and goes by its options."""
    chosen = ["--methods", "random", "--percent", "50", "--seeds", 1, "--json"]
    own = ["--epochs", 2, "--width", 2, "-o", "out"]
    found = fg("evaluate", "roar", "net.onnx", "data.npz", *chosen, *own)
    assert found.code == 0, found.err
    trainer = json.loads(found.out)["settings"]["trainer"]
    assert (trainer["settings"]["epochs"], trainer["settings"]["width"]) == (2, 2)
    again = fg("evaluate", "roar", "net.onnx", "data.npz", *chosen, *own[:-1], "again")
    assert again.out == found.out
