"""`fg-onnx explain`: files, document, targets, certificate."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from commands import FASHION, FASHION_VGG, WEIGHTS, fg, fg_process, write_image, write_model

from fg_onnx import Session, prepare, read_image
from fg_onnx.cli.progress import Bar
from fg_onnx.pictures import png
from fg_onnx.pictures.preprocess import PRESETS
from sample_models import tiny

LABELS = (FASHION / "labels.txt").read_text().split("\n")


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """The VGG on Fashion-MNIST, instrumented, with preprocessing and labels."""
    out = tmp_path_factory.mktemp("models") / "vgg.fg.onnx"
    options = ["--preprocess", "unit", "--labels", FASHION / "labels.txt"]
    options += ["--emit", "saliency,contributions,layer-maps"]
    assert fg("instrument", FASHION_VGG, "-o", out, *options).code == 0
    return out


@pytest.fixture
def explained(tmp_path):
    """Runs `explain ... --json`, and gives the document."""

    def run(*arguments, code=0):
        found = fg("explain", *arguments, "-o", tmp_path / "out", "--json")
        assert found.code == code, found.err
        return json.loads(found.out)

    return run


@pytest.fixture
def told(monkeypatch):
    """How many images a progress bar was told of, each time."""
    found = []

    monkeypatch.setattr(Bar, "finish", lambda _, images: found.append(images))
    return found


BAG, BOOT = FASHION / "bag_18.png", FASHION / "ankle-boot_0.png"


# --- files and document -------------------------------------------------------------------------


@pytest.mark.parametrize("batch", ["auto", "2"])
def test_progress_is_told_of_every_image_once(vgg, explained, told, batch):
    explained(vgg, BAG, BOOT, "--target", "top2", "--batch", batch)
    assert sum(told) == 2  # whatever the number of targets


def test_the_document(tmp_path, vgg, explained):
    document = explained(vgg, BAG, BOOT)
    keys = ["schema_version", "model", "device", "input", "output", "method", "sites"]
    assert list(document) == [*keys, "explanations"]
    assert document["schema_version"] == 1
    assert document["model"] == str(vgg)
    assert document["device"] == Session(vgg).device
    assert document["method"]["name"] == "fullgrad"
    assert document["method"]["options"] == {"psi": "reference"}
    assert document["method"]["certified"]
    assert (document["input"], document["output"]) == ("image", "logits")
    assert [site["spatial"] for site in document["sites"]] == [True] * 8 + [False]
    assert [e["label"] for e in document["explanations"]] == ["Bag", "Ankle boot"]
    for entry, image in zip(document["explanations"], (BAG, BOOT), strict=True):
        keys = ["image", "target", "label", "score", "residual", "contributions", "files"]
        keys += ["row", "place", "region", "delta"]
        assert list(entry) == keys
        assert entry["image"] == str(image)
        assert list(entry["files"]) == ["overlay", "map", "array"]
        assert all(Path(path).is_file() for path in entry["files"].values())
        contributions = entry["contributions"]
        assert next(iter(contributions)) == "input"
        assert len(contributions) == 10
        assert sum(contributions.values()) == pytest.approx(entry["score"], rel=1e-5)
        assert entry["residual"] <= 1e-5
    written = json.loads((tmp_path / "out" / "explanations.json").read_text())
    assert written == document


def test_the_files_hold_what_the_model_computes(vgg, explained):
    (entry,) = explained(vgg, BAG)["explanations"]
    session = Session(vgg)
    prepared = prepare(read_image(BAG), PRESETS["unit"], session.input_shape)
    expected = session.explain(prepared.array)
    array = np.load(entry["files"]["array"])
    assert array.dtype == np.float32
    assert array.shape == (28, 28)
    np.testing.assert_array_equal(array, expected.saliency[0])
    assert entry["score"] == expected.scores[0]
    for kind in ("overlay", "map"):
        # small pictures are drawn larger, by a whole factor
        assert cv2.imread(entry["files"][kind]).shape == (224, 224, 3)


def test_only_these_files_are_written(tmp_path, vgg):
    assert fg("explain", vgg, BAG, "-o", tmp_path / "out").code == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [
        "bag_18.8.map.png",
        "bag_18.8.npy",
        "bag_18.8.overlay.png",
        "explanations.json",
    ]


def test_layers_draw_a_grid(vgg, explained):
    (entry,) = explained(vgg, BAG, "--layers")["explanations"]
    assert list(entry["files"]) == ["overlay", "map", "array", "layers"]
    assert cv2.imread(entry["files"]["layers"]).shape[1] > 900


def test_layers_of_a_plain_model(explained):
    (entry,) = explained(FASHION_VGG, BAG, "--layers", "--preprocess", "unit")["explanations"]
    assert Path(entry["files"]["layers"]).is_file()


def test_images_of_one_name_do_not_overwrite_each_other(tmp_path, vgg, explained):
    places = ["a/x.png", "b/x.png", "c/x_2.png", "d/X.bmp"]
    sources = [BAG, BOOT, FASHION / "coat_6.png", FASHION / "dress_13.png"]
    for place, source in zip(places, sources, strict=True):
        (tmp_path / place).parent.mkdir()
        cv2.imwrite(str(tmp_path / place), cv2.imread(str(source)))
    entries = explained(vgg, *(tmp_path / place for place in places), "--target", "0")
    files = [path for e in entries["explanations"] for path in e["files"].values()]
    assert len({path.casefold() for path in files}) == len(files) == 12
    alone = explained(vgg, tmp_path / "c/x_2.png", "--target", "0")["explanations"][0]
    third = entries["explanations"][2]
    assert alone["contributions"].keys() == third["contributions"].keys()
    assert third["score"] == pytest.approx(alone["score"], rel=1e-5)


def test_folders_and_globs(vgg, explained, monkeypatch):
    assert len(explained(vgg, FASHION)["explanations"]) == 10
    assert len(explained(vgg, FASHION / "*a*.png")["explanations"]) > 2
    monkeypatch.chdir(FASHION)
    assert explained(vgg, "bag_*.png")["explanations"][0]["image"] == "bag_18.png"


def test_a_batch_gives_what_single_images_give(vgg, explained):
    together = explained(vgg, FASHION)["explanations"]
    for entry in together:
        (alone,) = explained(vgg, entry["image"])["explanations"]
        assert alone["target"] == entry["target"]
        assert alone["score"] == pytest.approx(entry["score"], rel=1e-5)


def test_an_unfinished_run_leaves_no_document_of_an_earlier_one(tmp_path, vgg, monkeypatch):
    out = tmp_path / "out"
    assert fg("explain", vgg, BAG, "-o", out).code == 0

    monkeypatch.setattr("fg_onnx.pictures.png.to_png", failing_after(1))
    assert fg("explain", vgg, BOOT, BAG, "-o", out, "--batch", 1).code == 2
    assert not (out / "explanations.json").exists()
    left = {path.name for path in out.iterdir()}
    assert {"ankle-boot_0.9.map.png", "ankle-boot_0.9.npy"} < left
    assert all(name[0] != "." for name in left)


# --- for people ---------------------------------------------------------------------------------


def test_what_people_see(tmp_path, vgg):
    found = fg("explain", vgg, BAG, "-o", tmp_path / "out")
    assert found.err == ""
    for word in (str(BAG), "Bag (8)", "score 10.1", "residual", "bag_18.8.overlay.png"):
        assert word in found.out
    assert "1 explanation listed" in found.out


def test_as_a_process_stdout_is_the_document_alone(tmp_path, vgg):
    found = fg_process("explain", vgg, FASHION, "-o", tmp_path / "out", "--json")
    assert found.code == 0
    assert found.err == ""
    assert len(json.loads(found.out)["explanations"]) == 10


# --- targets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "index"),
    [("3", 3), ("-1", 8), ("dress", 3), ("DRESS", 3), ("boot", 9), ("t-shirt", 0), ("top1", 8)],
)
def test_a_target(vgg, explained, text, index):
    (entry,) = explained(vgg, BAG, "--target", text)["explanations"]
    assert entry["target"] == index
    assert entry["label"] == LABELS[index]


def test_the_best_of_every_image(vgg, explained):
    entries = explained(vgg, BAG, BOOT, "--target", "top3")["explanations"]
    assert [e["image"] for e in entries] == [str(BAG)] * 3 + [str(BOOT)] * 3
    for group in (entries[:3], entries[3:]):
        scores = [e["score"] for e in group]
        assert scores == sorted(scores, reverse=True)
        assert len({e["target"] for e in group}) == 3
    assert len({path for e in entries for path in e["files"].values()}) == 18


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bagg", ["bagg", "Bag (8)"]),
        ("s", ["matches", "Dress (3)"]),
        ("zebra", ["no label", "T-shirt/top (0)"]),
    ],
)
def test_labels_that_are_not_one(tmp_path, vgg, text, words):
    found = fg("explain", vgg, BAG, "-o", tmp_path / "out", "--target", text)
    assert found.code == 2
    for word in words:
        assert word in found.err
    assert not (tmp_path / "out").exists()


def test_a_label_without_labels(tmp_path):
    options = ["--preprocess", "unit", "-o", tmp_path / "out", "--target", "bag"]
    found = fg("explain", FASHION_VGG, BAG, *options)
    assert found.code == 2
    assert "--labels" in found.err


def test_labels_may_be_given_here(tmp_path, explained):
    options = ["--preprocess", "unit", "--labels", FASHION / "labels.txt", "--target", "bag"]
    assert explained(FASHION_VGG, BAG, *options)["explanations"][0]["label"] == "Bag"


def test_labels_given_here_come_first(tmp_path, vgg, explained):
    (tmp_path / "l.txt").write_text("\n".join(f"nr {i}" for i in range(10)) + "\n")
    entries = explained(vgg, BAG, "--labels", tmp_path / "l.txt")["explanations"]
    assert entries[0]["label"] == "nr 8"


# --- preprocessing ------------------------------------------------------------------------------


def test_without_preprocessing_nothing_is_guessed(tmp_path):
    found = fg("explain", FASHION_VGG, BAG, "-o", tmp_path / "out")
    assert found.code == 2
    assert all(name in found.err for name in PRESETS)


def test_a_file_of_preprocessing(tmp_path, vgg, explained):
    path = tmp_path / "steps.yaml"
    path.write_text("scale: 0.00392156862745098\nchannels: gray\n")
    as_asked = explained(FASHION_VGG, BAG, "--preprocess", path)["explanations"][0]
    as_held = explained(vgg, BAG)["explanations"][0]
    assert as_asked["score"] == pytest.approx(as_held["score"], rel=1e-6)


def test_preprocessing_given_here_comes_first(vgg, explained):
    held = explained(vgg, BAG)["explanations"][0]["score"]
    given = explained(vgg, BAG, "--preprocess", "none")["explanations"][0]["score"]
    assert abs(given) > 10 * abs(held)


# --- models -------------------------------------------------------------------------------------


def test_plain_and_instrumented_agree(vgg, explained):
    plain = explained(FASHION_VGG, BAG, "--preprocess", "unit")["explanations"][0]
    ours = explained(vgg, BAG)["explanations"][0]
    assert plain["contributions"] == pytest.approx(ours["contributions"], rel=1e-6)


def test_psi_of_a_plain_model(tmp_path, explained):
    options = ["--preprocess", "unit", "--psi", "signed"]
    (entry,) = explained(FASHION_VGG, BAG, *options)["explanations"]
    assert np.load(entry["files"]["array"]).min() < 0


@pytest.mark.parametrize("name", sorted(tiny.all_models().keys() - {"two_inputs"}))
def test_every_tiny_model(tmp_path, explained, name):
    path = tmp_path / "model.onnx"
    onnx.save(tiny.all_models()[name], path)
    images = [write_image(tmp_path / f"{i}.png", i, (20, 16 + i)) for i in range(2)]
    if name == "saturation":
        images = images[:1]
    options = ["--preprocess", "unit", "--layers"]
    document = explained(path, *images, *options)
    assert len(document["explanations"]) == len(images)


def test_a_model_that_takes_more_than_an_image(tmp_path):
    path = tmp_path / "two.onnx"
    onnx.save(tiny.all_models()["two_inputs"], path)
    image = write_image(tmp_path / "image.png")
    found = fg("explain", path, image, "--preprocess", "unit", "-o", tmp_path / "out")
    assert found.code == 2
    assert "extra [N, 4]" in found.err
    assert "--feed extra=FILE" in found.err
    assert not (tmp_path / "out").exists()


def test_images_of_several_sizes(tmp_path, explained):
    free = """g (float[N,3,H,W] x) => (float[N,4] logits) {
        c = Conv (x, w, b)
        logits = ReduceSum <keepdims = 0> (c, axes)
    }"""
    weights = {**WEIGHTS, "axes": np.array([2, 3])}
    path = write_model(tmp_path / "free.onnx", free, weights)
    images = [write_image(tmp_path / f"{i}.png", i, (10, 9 + i % 3)) for i in range(6)]
    entries = explained(path, *images, "--preprocess", "unit")["explanations"]
    assert [e["image"] for e in entries] == [str(image) for image in images]
    shapes = [np.load(e["files"]["array"]).shape for e in entries]
    assert shapes == [(10, 9 + i % 3) for i in range(6)]


@pytest.mark.parametrize(
    ("emit", "options", "words"),
    [
        ("saliency", [], ["without contributions", "--emit saliency,contributions"]),
        ("contributions", [], ["without the map"]),
        ("saliency,contributions", ["--layers"], ["layer maps", "contributions,layer-maps"]),
        ("saliency,contributions", ["--psi", "abs"], ["--psi", "reference", "--psi abs"]),
    ],
)
def test_what_an_instrumented_model_lacks(tmp_path, emit, options, words):
    path = write_model(tmp_path / "net.onnx")
    assert fg("instrument", path, "--emit", emit, "--preprocess", "unit").code == 0
    image = write_image(tmp_path / "image.png")
    out = tmp_path / "out"
    found = fg("explain", tmp_path / "net.fg.onnx", image, "-o", out, *options)
    assert found.code == 2
    for word in words:
        assert word in found.err
    assert not out.exists()


def test_a_model_with_a_seed_is_not_for_this_command(tmp_path):
    path = write_model(tmp_path / "net.onnx")
    assert fg("instrument", path, "--seed", "--preprocess", "unit").code == 0
    found = fg("explain", tmp_path / "net.fg.onnx", write_image(tmp_path / "image.png"))
    assert found.code == 2
    assert "--seed" in found.err


# --- the certificate ----------------------------------------------------------------------------


def test_a_residual_above_the_tolerance_exits_with_1(tmp_path, vgg):
    out = tmp_path / "out"
    found = fg("explain", vgg, BAG, BOOT, "-o", out, "--tolerance", "1e-12", "--json")
    assert found.code == 1
    assert len(found.err.splitlines()) == 2
    for line, image in zip(found.err.splitlines(), (BAG, BOOT), strict=True):
        assert line.startswith("not complete: ")
        assert str(image) in line
        assert "residual" in line
    # everything is written all the same
    document = json.loads((out / "explanations.json").read_text())
    assert document == json.loads(found.out)
    assert len(list(out.iterdir())) == 7


def test_a_nan_does_not_pass_and_the_document_stays_valid(tmp_path):
    model = write_model(
        tmp_path / "log.onnx",
        """g (float[N,3,8,8] x) => (float[N,4] logits) {
            c = Conv (x, w, b)
            n = Neg (c)
            s = Mul (c, n)
            l = Sqrt (s)
            p = GlobalAveragePool (l)
            logits = Flatten (p)
        }""",
    )
    image = write_image(tmp_path / "image.png")
    options = ["--preprocess", "unit", "-o", tmp_path / "out", "--json"]
    found = fg("explain", model, image, *options)
    assert found.code == 1
    assert "not complete" in found.err
    assert "NaN" not in found.out
    (entry,) = json.loads(found.out)["explanations"]
    assert entry["score"] is None
    assert entry["residual"] is None


def test_the_source_images_are_untouched(tmp_path, vgg):
    shutil.copytree(FASHION, tmp_path / "photos")
    before = {p.name: p.read_bytes() for p in (tmp_path / "photos").iterdir()}
    assert fg("explain", vgg, tmp_path / "photos", "-o", tmp_path / "photos").code == 0
    after = {p.name: p.read_bytes() for p in (tmp_path / "photos").iterdir()}
    assert {name: after[name] for name in before} == before


def test_the_device_is_asked_for_and_said(vgg, explained):
    assert explained(vgg, BAG, "--device", "cpu")["device"] == "cpu"
    found = fg("explain", vgg, BAG, "--device", "cuda:99")
    assert found.code == 2
    assert "`cuda:99`" in found.err
    assert "hint: " in found.err
    found = fg("explain", "no.onnx", BAG, "--device", "gpu")  # before anything is read
    assert found.code == 2
    assert "`gpu` is no device" in found.err


# --- many images --------------------------------------------------------------------------------


def failing_after(count):
    """In the place of `png.to_png`: a picture that cannot be made after so many that can."""
    make, made = png.to_png, []

    def fail(picture):
        made.append(picture)
        if len(made) > count:
            raise RuntimeError("no more")
        return make(picture)

    return fail


def files_of(folder):
    """The names and bytes of all files but the document, which names the folder."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "explanations.json"}


def test_an_image_that_cannot_be_read_leaves_nothing(tmp_path, vgg):
    broken = tmp_path / "cut.png"
    broken.write_bytes(BAG.read_bytes()[:100])
    out = tmp_path / "deep" / "out"
    found = fg("explain", vgg, FASHION, broken, "-o", out, "--batch", 1)
    assert found.code == 2
    assert "cut.png" in found.err
    assert not out.parent.exists()


def test_and_what_an_earlier_run_left_stays(tmp_path, vgg):
    broken, out = tmp_path / "cut.png", tmp_path / "out"
    broken.write_bytes(BAG.read_bytes()[:100])
    assert fg("explain", vgg, BAG, "-o", out).code == 0
    before, document = files_of(out), (out / "explanations.json").read_text()
    assert fg("explain", vgg, BAG, BOOT, broken, "-o", out, "--batch", 1).code == 2
    assert files_of(out) == before
    assert (out / "explanations.json").read_text() == document


def test_runs_side_by_side_write_what_one_run_writes(tmp_path, vgg, monkeypatch):
    monkeypatch.setattr("fg_onnx.cores.available_cores", lambda: 3)
    aside, alone = tmp_path / "aside", tmp_path / "alone"
    seen, explain = set(), Session.explain

    def noted(session, *arguments, **options):
        seen.add(threading.get_ident())
        return explain(session, *arguments, **options)

    monkeypatch.setattr(Session, "explain", noted)
    first = json.loads(fg("explain", vgg, FASHION, "-o", aside, "--json").out)
    assert len(seen) > 1
    monkeypatch.setattr("fg_onnx.cores.available_cores", lambda: 1)
    options = ["--json", "--batch", 1, "--threads", 1]
    second = json.loads(fg("explain", vgg, FASHION, "-o", alone, *options).out)
    assert files_of(aside) == files_of(alone)
    for one, other in zip(first["explanations"], second["explanations"], strict=True):
        assert {**one, "files": None} == {**other, "files": None}


@pytest.mark.parametrize(
    "options", [("--batch", "0"), ("--batch", "many"), ("--batch", "-1"), ("--threads", "0")]
)
def test_a_pace_that_is_none(tmp_path, vgg, options):
    found = fg("explain", vgg, BAG, "-o", tmp_path / "out", *options)
    assert found.code == 2
    assert options[0] in found.err
