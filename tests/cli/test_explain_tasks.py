"""`fg-onnx explain` beyond classes of photographs: regions, arrays, further inputs."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from commands import fg, write_image
from graphs import resized_input

from fg_onnx import Session, instrument
from sample_models import tasks

TASKS = tasks.all_models()
SIZE = (20, 24)  # of the photographs; the models take 16x16 of it
UNIT = ["--preprocess", "unit"]


@pytest.fixture
def image(tmp_path):
    return write_image(tmp_path / "image.png", size=SIZE)


@pytest.fixture
def explained(tmp_path):
    """Explain with a model of that task: the document."""

    def run(task, *arguments, options=UNIT):
        path = model_file(tmp_path, task)
        found = fg("explain", path, *arguments, *options, "-o", tmp_path / "out", "--json")
        assert found.code == 0, found.err
        return json.loads(found.out)

    return run


@pytest.fixture
def refused(tmp_path):
    """The same where it cannot be done: what stands on stderr."""

    def run(task, *arguments, options=UNIT):
        path = model_file(tmp_path, task)
        found = fg("explain", path, *arguments, *options, "-o", tmp_path / "out")
        assert found.code == 2
        assert len(found.err.splitlines()) == 2
        assert not (tmp_path / "out").exists()
        return found.err

    return run


def model_file(folder: Path, task: str) -> Path:
    path = folder / f"{task}.onnx"
    onnx.save(TASKS[task], path)
    return path


def mask_file(path: Path, size=SIZE, rows=slice(4, 12), columns=slice(6, 22)) -> Path:
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[rows, columns] = (0, 0, 1)  # not black is enough
    assert cv2.imwrite(str(path), pixels)
    return path


def labels_file(folder: Path, *labels: str) -> Path:
    path = folder / "labels.txt"
    path.write_text("\n".join(labels) + "\n")
    return path


# --- regions of dense outputs ---------------------------------------------------------------------


def logits_of(image, task="segmentation"):
    """The logits [4, 16, 16] of what the model sees of a photograph."""
    from fg_onnx import load_preprocessing, prepare, read_image

    session = Session(instrument(TASKS[task]))
    steps = load_preprocessing("unit")
    array = prepare(read_image(image), steps, session.input_shape, session.manifest.layout).array
    return np.array(
        [[[session.explain(array, t).scores[0] for t in row] for row in k] for k in _targets(task)]
    )


def _targets(task):
    flat = np.arange(1024)
    if task == "segmentation_nhwc":
        return flat.reshape(16, 16, 4).transpose(2, 0, 1).tolist()
    return flat.reshape(4, 16, 16).tolist()


@pytest.mark.parametrize("task", ["segmentation", "segmentation_nhwc"])
def test_a_class_over_a_mask(tmp_path, image, explained, task):
    """The mask is cut as the photograph is: 20x24 shrinks to 16x19, then the middle is taken."""
    steps = tmp_path / "steps.yaml"
    steps.write_text("preset: unit\nresize: 20\nsize: 16\n")  # crop alone: exact
    mask = mask_file(tmp_path / "mask.png")
    labels = labels_file(tmp_path, "sky", "road", "tree", "car")
    options = ["--preprocess", steps, "--labels", labels]
    arguments = ("--region", mask, "--target", "tree")
    (entry,) = explained(task, image, *arguments, options=options)["explanations"]
    assert (entry["target"], entry["label"]) == (2, "tree")
    assert entry["region"] == str(mask)
    assert entry["place"] is None
    # rows 4:12 and columns 6:22 of 20x24, cut from (2, 4) on
    weights = np.zeros((1, 16, 16), np.float32)
    weights[0, 2:10, 2:16] = 1
    np.save(tmp_path / "weights.npy", weights[0])
    arguments = ("--region", tmp_path / "weights.npy", "--target", "2")
    (again,) = explained(task, image, *arguments, options=options)["explanations"]
    assert again["score"] == pytest.approx(entry["score"], rel=1e-6)
    assert again["contributions"] == pytest.approx(entry["contributions"], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("task", ["segmentation", "segmentation_nhwc"])
def test_scores_over_regions_are_sums_of_logits(image, explained, task):
    logits = logits_of(image, task)
    entries = explained(task, image, "--region", "all", "--target", "0", "--target", "3")
    for entry, k in zip(entries["explanations"], (0, 3), strict=True):
        assert entry["score"] == pytest.approx(logits[k].sum(), rel=1e-4, abs=1e-4)
    wins = logits.argmax(0)
    most = np.bincount(wins.reshape(-1)).argmax()
    (entry,) = explained(task, image, "--region", "predicted")["explanations"]
    assert entry["target"] == most
    assert entry["score"] == pytest.approx(logits[most][wins == most].sum(), rel=1e-4, abs=1e-4)


def test_the_best_classes_of_a_region(image, explained):
    logits = logits_of(image)
    softmax = np.exp(logits) / np.exp(logits).sum(0)
    order = np.argsort(-softmax.sum((1, 2)))
    document = explained("segmentation", image, "--region", "all", "--target", "top2")
    assert [entry["target"] for entry in document["explanations"]] == order[:2].tolist()
    (entry,) = explained("segmentation", image, "--region", "all")["explanations"]
    assert entry["target"] == order[0]


def test_a_region_of_a_model_that_takes_a_seed(tmp_path, image, explained):
    plain = explained("segmentation", image, "--region", "all", "--target", "1")
    made = tmp_path / "seeded.fg.onnx"
    source = model_file(tmp_path, "segmentation")
    assert fg("instrument", source, "--seed", "-o", made, *UNIT).code == 0
    found = fg("explain", made, image, "--region", "all", "--target", "1", "-o", tmp_path, "--json")
    assert found.code == 0
    for one, other in zip(
        plain["explanations"], json.loads(found.out)["explanations"], strict=True
    ):
        assert one["score"] == pytest.approx(other["score"], rel=1e-6)
    assert fg("instrument", source, "-o", made, *UNIT).code == 0
    found = fg("explain", made, image, "--region", "all", "-o", tmp_path)
    assert found.code == 2
    assert "instrumented without --seed" in found.err


def test_a_region_of_an_output_of_any_size(tmp_path, image):
    """Only the run tells how large the output is; a class has no flat index then."""
    path = tmp_path / "free.onnx"
    onnx.save(resized_input(TASKS["segmentation"], "N", 3, "H", "W"), path)
    mask = mask_file(tmp_path / "mask.png")
    options = [*UNIT, "-o", tmp_path / "out", "--json"]
    for region in (mask, "all", "predicted"):
        found = fg("explain", path, image, "--region", region, "--target", "1", *options)
        assert found.code == 0, found.err
        (entry,) = json.loads(found.out)["explanations"]
        assert np.load(entry["files"]["array"]).shape == SIZE
        assert entry["residual"] <= 1e-5
    found = fg("explain", path, image, *options)
    assert found.code == 2
    assert "--seed" in found.err


def test_an_inner_output_has_regions_but_no_best_class(tmp_path, image):
    path = model_file(tmp_path, "segmentation")
    options = ["--output", "coarse", *UNIT, "-o", tmp_path / "out"]
    assert fg("explain", path, image, "--region", "all", "--target", "1", *options).code == 0
    found = fg("explain", path, image, "--region", "all", *options)
    assert found.code == 2
    assert "no ranking" in found.err


def test_a_label_of_a_dense_output_is_its_largest_score(tmp_path, image, explained):
    labels = labels_file(tmp_path, "sky", "road", "tree", "car")
    logits = logits_of(image)
    softmax = np.exp(logits) / np.exp(logits).sum(0)
    options = [*UNIT, "--labels", labels]
    (entry,) = explained("segmentation", image, "--target", "road", options=options)["explanations"]
    place = np.unravel_index(softmax[1].argmax(), (16, 16))
    assert entry["place"] == [1, *place]
    assert entry["target"] == 256 + 16 * place[0] + place[1]
    assert entry["label"] == "road"
    (entry,) = explained("segmentation", image, "--target", "300", options=options)["explanations"]
    assert (entry["place"], entry["label"]) == ([1, 2, 12], "road")


def test_a_detector_s_heads(tmp_path, image, explained):
    labels = labels_file(tmp_path, "cat", "dog", "cow")
    options = ["--output", "scores", *UNIT, "--labels", labels]
    (entry,) = explained("detector", image, "--target", "dog", options=options)["explanations"]
    assert entry["place"][1] == 1
    assert (entry["label"], entry["target"]) == ("dog", 3 * entry["place"][0] + 1)
    document = explained("detector", image, options=["--output", "boxes", *UNIT])
    assert document["output"] == "boxes"
    assert document["explanations"][0]["place"] is not None


@pytest.mark.parametrize(
    ("task", "region", "words"),
    [
        ("multi_label", "all", "no grid"),
        ("segmentation", "small.png", "the mask `{}` has 10 x 10 pixels, and `{image}` is 20 x 24"),
        ("segmentation", "black.png", "is black"),
        ("segmentation", "weights.npy", "the shape [4, 4], and the grid of `logits` is [16, 16]"),
        ("segmentation", "nothing.png", "no image"),
        ("segmentation", "nothing.npy", "cannot be read as an array"),
    ],
)
def test_regions_that_do_not_fit(tmp_path, image, refused, task, region, words):
    mask_file(tmp_path / "small.png", (10, 10))
    mask_file(tmp_path / "black.png", rows=slice(0, 0))
    np.save(tmp_path / "weights.npy", np.ones((4, 4)))
    path = region if region == "all" else tmp_path / region
    err = refused(task, image, "--region", path, "--target", "1")
    assert words.format(path, image=image) in err


# --- targets --------------------------------------------------------------------------------------


def test_several_targets_each_once(tmp_path, image, explained):
    labels = labels_file(tmp_path, "sun", "rain", "snow", "fog", "wind", "hail")
    arguments = ["--target", "2", "--target", "rain", "--target", "top6"]
    options = [*UNIT, "--labels", labels]
    entries = explained("multi_label", image, *arguments, options=options)["explanations"]
    assert [entry["label"] for entry in entries[:2]] == ["snow", "rain"]
    assert sorted(entry["target"] for entry in entries) == [0, 1, 2, 3, 4, 5]
    scores = [entry["score"] for entry in entries[2:]]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("task", ["regression", "regression_column", "regression_scalar"])
def test_a_single_number(image, explained, task):
    (entry,) = explained(task, image)["explanations"]
    assert (entry["target"], entry["place"]) == (0, None)
    assert entry["residual"] <= 1e-5


def test_labels_are_counted_by_class(tmp_path, image, refused):
    labels = labels_file(tmp_path, "sky", "road")
    err = refused("segmentation", image, options=[*UNIT, "--labels", labels])
    assert "holds 2 labels, and the model has 4 classes" in err


def test_a_class_beyond_the_last(image, refused):
    assert "0 to 3" in refused("segmentation", image, "--region", "all", "--target", "4")


# --- further inputs -------------------------------------------------------------------------------


def test_one_of_two_images_is_explained(tmp_path, image, explained):
    other = write_image(tmp_path / "other.png", seed=1)
    one = explained("siamese", image, "--feed", f"right={other}")
    two = explained("siamese", image, "--input", "right", "--feed", f"left={other}")
    assert (one["input"], two["input"]) == ("left", "right")
    scores = [document["explanations"][0]["score"] for document in (one, two)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)  # the distance is symmetric
    arrays = [np.load(d["explanations"][0]["files"]["array"]) for d in (one, two)]
    np.testing.assert_allclose(arrays[0], arrays[1], atol=1e-5)


def test_an_instrumented_model_knows_its_input(tmp_path, image):
    made = tmp_path / "right.fg.onnx"
    source = model_file(tmp_path, "siamese")
    assert fg("instrument", source, "--input", "right", "-o", made, *UNIT).code == 0
    options = ["--feed", f"left={image}", "-o", tmp_path / "out", "--json"]
    found = fg("explain", made, image, *options)
    assert json.loads(found.out)["input"] == "right"
    assert fg("explain", made, image, "--input", "right", *options).code == 0
    found = fg("explain", made, image, "--input", "left", *options)
    assert found.code == 2
    assert "--input cannot be chosen any more" in found.err


def test_what_inspect_says_of_inputs_and_outputs(tmp_path):
    found = fg("inspect", model_file(tmp_path, "siamese"), "--input", "right", "--json")
    assert json.loads(found.out)["explained_input"] == "right"
    found = fg("inspect", model_file(tmp_path, "siamese"))
    assert "the input left" in found.out
    found = fg("inspect", model_file(tmp_path, "detector"), "--output", "scores", "--json")
    assert json.loads(found.out)["explained_output"]["name"] == "scores"
    found = fg("inspect", model_file(tmp_path, "tokens"))
    assert "yes, 4 x 4 tokens" in found.out


def test_metadata_is_fed_once_or_for_each_image(tmp_path, explained):
    images = [write_image(tmp_path / f"{i}.png", i) for i in range(11)]
    measured = np.random.default_rng(0).standard_normal((11, 4)).astype(np.float32)
    np.save(tmp_path / "all.npy", measured)
    np.save(tmp_path / "sites.npy", np.arange(11) % 7)
    each = explained(
        "image_with_metadata", *images,
        "--feed", f"measured={tmp_path / 'all.npy'}", "--feed", f"site={tmp_path / 'sites.npy'}",
    )  # fmt: skip
    for index in (0, 10):  # of the first and of the second batch
        np.save(tmp_path / "one.npy", measured[index])
        np.save(tmp_path / "site.npy", index % 7)
        (alone,) = explained(
            "image_with_metadata", images[index],
            "--feed", f"measured={tmp_path / 'one.npy'}", "--feed", f"site={tmp_path / 'site.npy'}",
        )["explanations"]  # fmt: skip
        found = each["explanations"][index]
        assert found["target"] == alone["target"]
        assert found["score"] == pytest.approx(alone["score"], rel=1e-5)


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        (["site=site.npy"], "measured [N, 4]"),
        (["measured=measured.npy", "site=two.npy"], "`site` is fed 2 rows for 1 samples"),
        (["measured=measured.npy", "site"], "`--feed site` is not one NAME=FILE"),
        (["measured=measured.npy", "measured=site.npy"], "is not one NAME=FILE"),
        (["measured=image.png", "site=site.npy"], "`measured` takes no image"),
        (["measured=measured.npy", "site=site.npy", "size=two.npy"], "no input `size`"),
        (["measured=measured.npy", "site=text.npy"], "cannot be read as an array"),
        (["measured=measured.npy", "site=none.npy"], "cannot be read as an array"),
    ],
)
def test_feeds_that_do_not_fit(tmp_path, monkeypatch, image, refused, feeds, words):
    monkeypatch.chdir(tmp_path)
    np.save("measured.npy", np.ones((1, 4), np.float32))
    np.save("site.npy", np.array([3]))
    np.save("two.npy", np.array([3, 4]))
    Path("text.npy").write_text("no array")
    options = [part for feed in feeds for part in ("--feed", feed)]
    assert words in refused("image_with_metadata", image, *options)


# --- arrays ---------------------------------------------------------------------------------------


def test_a_signal_gives_arrays_alone(tmp_path, explained):
    signals = np.random.default_rng(0).standard_normal((3, 2, 64)).astype(np.float32)
    np.save(tmp_path / "ecg.npy", signals)
    np.save(tmp_path / "one.npy", signals[1].astype(np.float64))
    document = explained(
        "signal", tmp_path / "ecg.npy", tmp_path / "one.npy", "--layers", options=[]
    )
    entries = document["explanations"]
    assert [(e["image"], e["row"]) for e in entries] == [
        *((str(tmp_path / "ecg.npy"), row) for row in range(3)),
        (str(tmp_path / "one.npy"), None),
    ]
    expected = Session(instrument(TASKS["signal"])).explain(signals)
    for index, entry in enumerate(entries[:3]):
        assert list(entry["files"]) == ["array", "layers"]
        np.testing.assert_allclose(
            np.load(entry["files"]["array"]), expected.saliency[index], rtol=1e-4, atol=1e-5
        )
    assert entries[3]["score"] == pytest.approx(entries[1]["score"], rel=1e-6)
    with np.load(entries[0]["files"]["layers"]) as layers:
        assert {name: layers[name].shape for name in layers} == {
            "c1": (64,), "n1": (64,), "c2": (22,),
        }  # fmt: skip
    assert zipfile.is_zipfile(entries[0]["files"]["layers"])


def test_a_folder_of_volumes(tmp_path, explained):
    volumes = np.random.default_rng(0).standard_normal((2, 1, 6, 12, 10)).astype(np.float32)
    (tmp_path / "scans").mkdir()
    for index, volume in enumerate(volumes):
        np.save(tmp_path / "scans" / f"{index}.npy", volume)
    entries = explained("volume", tmp_path / "scans", options=[])["explanations"]
    assert len(entries) == 2
    assert np.load(entries[0]["files"]["array"]).shape == (6, 12, 10)


def test_an_array_in_the_place_of_a_photograph(tmp_path, image, explained):
    """It is fed as it is, and there is nothing to lay its map over."""
    arrays = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
    np.save(tmp_path / "arrays.npy", arrays)
    entries = explained("multi_label", tmp_path / "arrays.npy", image)["explanations"]
    kinds = [list(entry["files"]) for entry in entries]
    assert kinds == [["map", "array"]] * 2 + [["overlay", "map", "array"]]
    files = [path for entry in entries for path in entry["files"].values()]
    assert len(set(files)) == len(files)
    assert all(Path(path).is_file() for path in files)


def test_what_people_see_of_arrays(tmp_path):
    np.save(tmp_path / "ecg.npy", np.ones((2, 2, 64), np.float32))
    path = model_file(tmp_path, "signal")
    found = fg("explain", path, tmp_path / "ecg.npy", "-o", tmp_path / "out", "--target", "1")
    assert found.code == 0
    for words in (f"{tmp_path / 'ecg.npy'} [1]", "class 1", "ecg.0.1.npy", "ecg.1.1.npy"):
        assert words in found.out


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (
            np.ones((3, 64)),
            "an array of shape [3, 64], and the model takes `x` of shape ['N', 2, 64]",
        ),
        (np.ones((1, 1, 2, 64)), "shape [1, 1, 2, 64]"),
        (np.array(["a"]), "no array of numbers"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, refused, array, words):
    np.save(tmp_path / "x.npy", array)
    assert words in refused("signal", tmp_path / "x.npy", options=[])


def test_a_photograph_for_a_signal(image, refused):
    assert "feed this model an array" in refused("signal", image)
