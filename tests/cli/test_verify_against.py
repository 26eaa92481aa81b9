"""``fg-onnx verify MODEL --against SOURCE``: exit codes, what is printed, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest
from commands import FASHION, FASHION_VGG, everything_in, fg, fg_process, write_image, write_model
from onnx import numpy_helper

from fg_onnx import manifest
from fg_onnx.ort_training import environment

CHECKS = [
    *("source-hash", "manifest", "forward", "defaults", "shapes", "outputs", "tensors", "score"),
    *("completeness", "input-slope", "bias-slopes", "gradients", "contributions", "saliency"),
]


@pytest.fixture(autouse=True)
def _no_engine(tmp_path, monkeypatch):
    """onnxruntime-training is looked for in the cache."""
    monkeypatch.setenv("FG_ONNX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def source(tmp_path):
    return write_model(tmp_path / "net.onnx")


@pytest.fixture
def model(source, tmp_path):
    path = tmp_path / "net.fg.onnx"
    assert fg("instrument", source, "-o", path, "--preprocess", "unit").code == 0
    return path


def change(model, name, by=1.0):
    """Add to the first entry of a weight."""
    proto = onnx.load(model)
    weight = next(w for w in proto.graph.initializer if w.name == name)
    array = numpy_helper.to_array(weight).copy()
    array.reshape(-1)[0] += by
    weight.CopyFrom(numpy_helper.from_array(array, name))
    model.write_bytes(proto.SerializeToString())


def told(*arguments):
    return json.loads(fg(*arguments, "--json").out)


# --- exit codes -----------------------------------------------------------------------------------


def test_a_model_that_is_its_source_s_passes(model, source):
    found = fg("verify", model, "--against", source)
    assert (found.code, found.err) == (0, "")
    lines = found.out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == CHECKS
    assert lines[-1] == f"passed: {model} against {source}, on 6 images of noise"


def test_a_changed_weight_fails(model, source):
    change(model, "w", by=1e-3)
    found = fg("verify", model, "--against", source)
    assert found.code == 1
    assert "does not hold: forward: " in found.err
    assert found.out.splitlines()[-1].startswith("failed: ")


def test_a_check_that_cannot_be_run_is_no_pass(source, tmp_path):
    path = tmp_path / "map.fg.onnx"
    assert fg("instrument", source, "-o", path, "--emit", "saliency").code == 0
    found = fg("verify", path, "--against", source)
    assert found.code == 2
    assert "could not be run" in found.err
    assert found.out.splitlines()[-1].startswith("undecided: ")


def test_a_failure_counts_more_than_what_cannot_be_run(source, tmp_path):
    path = tmp_path / "map.fg.onnx"
    assert fg("instrument", source, "-o", path, "--emit", "saliency").code == 0
    change(path, "w")
    assert fg("verify", path, "--against", source).code == 1


# --- JSON -----------------------------------------------------------------------------------------


def test_the_document(model, source):
    found = fg("verify", model, "--against", source, "--json")
    assert (found.code, found.err) == (0, "")
    document = json.loads(found.out)
    assert list(document) == [
        *("schema_version", "verdict", "model", "against", "images", "drawn", "checks"),
        "per_image",
    ]
    assert document["schema_version"] == 1
    assert document["verdict"] == "passed"
    assert (document["images"], document["drawn"]) == (6, True)
    assert [check["name"] for check in document["checks"]] == CHECKS
    for check in document["checks"]:
        assert list(check) == ["name", "outcome", "detail", "figure", "tolerance"]
        assert check["outcome"] in ("passed", "not applicable")
        assert (check["figure"] is None) == (check["tolerance"] is None)
    for each in document["per_image"]:
        assert list(each) == ["image", "target", "score", "total", "residual", "holds"]
        assert each["holds"]
        assert abs(each["score"] - each["total"]) <= 1e-4 * max(abs(each["score"]), 1)
    assert [each["image"] for each in document["per_image"]] == list("012345")


def test_the_document_of_a_failure_holds_no_infinity(model, source):
    proto = onnx.load(model)
    node = next(n for n in proto.graph.node if manifest.SALIENCY in n.output)
    node.output[0] = "map"
    proto.graph.initializer.append(numpy_helper.from_array(np.float32("nan"), "nan"))
    proto.graph.node.append(onnx.helper.make_node("Add", ["map", "nan"], [manifest.SALIENCY]))
    model.write_bytes(proto.SerializeToString())
    found = fg("verify", model, "--against", source, "--json")
    assert found.code == 1
    (failed,) = (c for c in json.loads(found.out)["checks"] if c["outcome"] == "failed")
    assert (failed["name"], failed["figure"]) == ("saliency", None)


# --- images ---------------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        write_image(folder / name, seed)
    return folder


def test_completeness_of_every_image(model, source, images):
    found = fg("verify", model, "--against", source, "--images", images)
    assert found.code == 0
    for name in ("a.png", "b.png", "c.png"):
        assert sum(line.startswith(f"{images / name} ") for line in found.out.splitlines()) == 1
    assert "on 3 images\n" in found.out
    document = told("verify", model, "--against", source, "--images", images)
    assert not document["drawn"]
    assert [each["image"] for each in document["per_image"]] == [
        str(images / name) for name in ("a.png", "b.png", "c.png")
    ]


def test_many_images_go_in_parts_and_the_least_complete_are_shown(model, source, images):
    for number in range(17):
        write_image(images / f"d{number:02}.png", 10 + number)
    found = fg("verify", model, "--against", source, "--images", images)
    assert found.code == 0
    assert "and 10 images with smaller residuals" in found.err
    document = told("verify", model, "--against", source, "--images", images)
    assert document["images"] == len(document["per_image"]) == 20
    worst = max(document["per_image"], key=lambda each: each["residual"])
    assert worst["image"] in found.out
    (completeness,) = (c for c in document["checks"] if c["name"] == "completeness")
    assert completeness["figure"] == worst["residual"]


def test_a_broken_image_is_named_and_the_others_are_seen(model, source, images):
    (images / "b.png").write_bytes(b"nothing")
    found = fg("verify", model, "--against", source, "--images", images, "--json")
    assert found.code == 2
    document = json.loads(found.out)
    assert document["verdict"] == "undecided"
    assert document["images"] == 2
    (unread,) = (c for c in document["checks"] if c["outcome"] == "not run")
    assert unread["name"] == "images"
    assert str(images / "b.png") in unread["detail"]


def test_images_none_of_which_can_be_read(model, source, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"nothing")
    found = fg("verify", model, "--against", source, "--images", tmp_path / "broken.png")
    assert (found.code, found.out) == (2, "")
    assert "broken.png" in found.err


def test_an_array_gives_its_rows_names(model, source, tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.random.default_rng(0).random((2, 3, 8, 8), dtype=np.float32))
    found = fg("verify", model, "--against", source, "--array", path)
    assert found.code == 0
    assert f"{path}[0] " in found.out
    assert f"{path}[1] " in found.out


def test_real_pictures_through_a_trained_net(tmp_path):
    path = tmp_path / "vgg.fg.onnx"
    steps = FASHION / "preprocess.yaml"
    pictures = sorted(FASHION.glob("*.png"))[:3]
    assert fg("instrument", FASHION_VGG, "-o", path, "--preprocess", steps).code == 0
    given = [part for picture in pictures for part in ("--images", picture)]
    found = fg("verify", path, "--against", FASHION_VGG, *given)
    assert found.code == 0, found.out
    assert "on 3 images\n" in found.out


# --- what is refused ------------------------------------------------------------------------------


def refused(*arguments):
    found = fg("verify", *arguments)
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith("error: ")
    return found.err


def test_another_model_for_a_source_fails(model, tmp_path):
    other = write_model(tmp_path / "other.onnx", weights={
        "w": np.ones((4, 3, 3, 3), np.float32), "b": np.zeros(4, np.float32),
    })  # fmt: skip
    found = fg("verify", model, "--against", other)
    assert found.code == 1
    assert "does not hold: source-hash: " in found.err
    assert "does not hold: forward: " in found.err


def test_a_source_saved_again_fails_by_its_hash_alone(model, source):
    proto = onnx.load(source)
    proto.doc_string = "saved again"
    source.write_bytes(proto.SerializeToString())
    found = fg("verify", model, "--against", source, "--json")
    assert found.code == 1
    failed = [c["name"] for c in json.loads(found.out)["checks"] if c["outcome"] == "failed"]
    assert failed == ["source-hash"]


def test_a_source_that_is_gone(model, source):
    source.unlink()
    assert str(source) in refused(model, "--against", source)


def test_a_source_that_is_no_model(model, tmp_path):
    (tmp_path / "text.onnx").write_text("no model")
    assert "text.onnx" in refused(model, "--against", tmp_path / "text.onnx")


def test_an_instrumented_model_for_a_source(model):
    assert "is an instrumented model itself" in refused(model, "--against", model)


def test_a_plain_model_in_the_place_of_an_instrumented_one(source, images):
    assert "is not an instrumented model" in refused(source, "--against", source)
    assert "is not an instrumented model" in refused(
        source, "--against", source, "--images", images
    )


def test_a_model_that_is_no_file_or_no_model(source, tmp_path, images):
    (tmp_path / "text.fg.onnx").write_text("no model")
    for arguments in ((), ("--images", images)):
        assert "gone.onnx" in refused(tmp_path / "gone.onnx", "--against", source, *arguments)
        assert "text.fg.onnx" in refused(tmp_path / "text.fg.onnx", "--against", source, *arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--output", "c"), "--input and --output"),
        (("--images", "nowhere"), "nowhere"),
        (("--array", "nowhere.npy"), "nowhere.npy"),
        (("--array", "a.npy", "--images", "a.png"), "exclude each other"),
        (("--feed", "x"), "NAME=FILE"),
    ],
)
def test_what_does_not_go_together(model, source, arguments, says):
    assert says in refused(model, "--against", source, *arguments)


def test_an_array_of_another_shape(model, source, tmp_path):
    for shape in ((), (2, 3, 9, 8), (3, 8, 8), (0, 3, 8, 8)):
        np.save(tmp_path / "rows.npy", np.zeros(shape, np.float32))
        refused(model, "--against", source, "--array", tmp_path / "rows.npy")


def test_how_to_prepare_images_has_to_be_known(source, images, tmp_path):
    path = tmp_path / "plain.fg.onnx"
    assert fg("instrument", source, "-o", path).code == 0
    assert "--preprocess" in refused(path, "--against", source, "--images", images)
    given = ("--images", images, "--preprocess", "unit")
    assert fg("verify", path, "--against", source, *given).code == 0


def test_nothing_is_written(model, source, tmp_path):
    (tmp_path / "cache").mkdir(exist_ok=True)
    before = everything_in(tmp_path)
    fg("verify", model, "--against", source)
    assert everything_in(tmp_path) == before


def test_an_engine_that_is_broken_counts_where_it_was_asked_for(model, source):
    environment.folder().mkdir()
    found = {name: fg("verify", model, "--against", source, *given) for name, given in {
        "by itself": (), "asked for": ("--engines",), "not wanted": ("--no-engines",),
    }.items()}  # fmt: skip
    assert [each.code for each in found.values()] == [0, 2, 0]
    assert ["engines " in each.out for each in found.values()] == [True, True, False]


def test_without_a_cache_there_is_no_engine(model, source, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FG_ONNX_CACHE", str(tmp_path / "file" / "cache"))
    assert fg("verify", model, "--against", source).code == 0


# --- what files call things -----------------------------------------------------------------------

NAMES = {
    "newline": "a\npassed: all of it",
    "escape": "\x1b[31mred\x1b[0m",
    "turned": "\u202egnp.exe",
    "html": "<script>alert('1')</script>",
    "long": "x" * 5000,
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_cannot_forge_a_verdict(source, tmp_path, name):
    proto = onnx.load(source)
    for node in proto.graph.node:
        node.input[:] = [name if tensor == "c" else tensor for tensor in node.input]
        node.output[:] = [name if tensor == "c" else tensor for tensor in node.output]
    proto.graph.node[0].name = name
    source.write_bytes(proto.SerializeToString())
    model = tmp_path / "named.fg.onnx"
    assert fg("instrument", source, "-o", model).code == 0
    good = fg("verify", model, "--against", source)
    assert good.code == 0, good.out
    change(model, "w")
    bad = fg("verify", model, "--against", source)
    assert bad.code == 1
    for found in (good, bad):
        assert all(line.isprintable() for line in (found.out + found.err).split("\n"))
    assert not any(line.startswith("passed") for line in bad.out.splitlines())


def test_a_folder_whose_name_breaks_lines(model, source, images, tmp_path):
    folder = tmp_path / "a\npassed: all of it"
    shutil.copytree(images, folder)
    shutil.copy(model, folder / "net.fg.onnx")
    found = fg("verify", folder / "net.fg.onnx", "--against", source, "--images", folder)
    assert found.code == 0
    assert all(line.isprintable() for line in found.out.split("\n"))
    assert sum(line.startswith("passed") for line in found.out.splitlines()) == 1


def test_as_a_process(model, source):
    found = fg_process("verify", model, "--against", source, "--json")
    assert found.code == 0
    assert found.err == ""
    assert json.loads(found.out)["verdict"] == "passed"
