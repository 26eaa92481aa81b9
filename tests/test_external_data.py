"""Weights in files of their own: read where they may lie, refused by name where not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from test_hostile import sound, weight

from fg_onnx import Session, instrument
from fg_onnx.errors import ModelError
from fg_onnx.source.model import read


@pytest.fixture
def home(tmp_path):
    """A folder with a model whose weights lie in ``w.bin``; there are files beside the folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    onnx.save_model(
        sound(), folder / "model.onnx", save_as_external_data=True, location="w.bin",
        size_threshold=0,
    )  # fmt: skip
    (tmp_path / "outside.bin").write_bytes((folder / "w.bin").read_bytes())
    return folder


def claim(path: Path, **entries: str) -> None:
    """Change what the model says of where the data of ``w1`` lie."""
    model = onnx.load(path, load_external_data=False)
    tensor = weight(model, "w1")
    held = {entry.key: entry.value for entry in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in held.items():
        if value:
            tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read(path)
    assert caught.value.code == "external-data"
    assert str(path) in caught.value.message
    return caught.value.message


def test_external_data_are_read(home):
    found = read(home / "model.onnx").proto
    assert found.graph.initializer == sound().graph.initializer
    explained = Session(instrument(home / "model.onnx")).explain(np.ones((1, 3, 16, 16)))
    assert explained.residual.max() < 1e-5


@pytest.mark.parametrize(
    "location",
    [
        "../outside.bin",
        "deep/../../outside.bin",
        "..\\outside.bin",
        "/etc/passwd",
        "//host/share",
        "C:\\w.bin",
        "C:w.bin",
        "\\\\host\\w.bin",
        "/dev/zero",
        "/dev/stdin",
        "nul\0byte",
    ],
)
def test_paths_that_leave_the_folder(home, location):
    claim(home / "model.onnx", location=location)
    assert "not a path below the model's folder" in refusal(home / "model.onnx")


def test_no_path_at_all(home):
    claim(home / "model.onnx", location="")
    assert "not a path below" in refusal(home / "model.onnx")


@pytest.mark.parametrize("leads", ["file", "folder"])
def test_links_that_leave_the_folder(home, leads):
    if leads == "file":
        (home / "link.bin").symlink_to(home.parent / "outside.bin")
        claim(home / "model.onnx", location="link.bin")
    else:
        (home / "link").symlink_to(home.parent)
        claim(home / "model.onnx", location="link/outside.bin")
    assert "leads out of the model's folder" in refusal(home / "model.onnx")


def test_links_within_the_folder(home):
    (home / "link.bin").symlink_to("w.bin")
    claim(home / "model.onnx", location="link.bin")
    assert read(home / "model.onnx").proto.graph.initializer == sound().graph.initializer


def test_a_model_that_is_a_link_as_in_a_download_cache(home):
    cache = home.parent / "cache"
    cache.mkdir()
    for name in ("model.onnx", "w.bin"):
        (cache / name).symlink_to(home / name)
    assert read(cache / "model.onnx").proto.graph.initializer == sound().graph.initializer


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("folder", "not a regular file"),
        ("fifo", "not a regular file"),
        ("missing", "cannot be read"),
        ("loop", "cannot be read"),
    ],
)
def test_what_is_no_file(home, kind, says):
    place = home / "odd"
    if kind == "folder":
        place.mkdir()
    elif kind == "fifo":
        os.mkfifo(place)  # to open it would be to wait for ever
    elif kind == "loop":
        place.symlink_to("odd")
    claim(home / "model.onnx", location="odd")
    assert says in refusal(home / "model.onnx")


def test_the_folder_itself(home):
    claim(home / "model.onnx", location=".")
    assert "not a regular file" in refusal(home / "model.onnx")


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"offset": "1000000"}, "ends before `w1` does"),
        ({"offset": str(2**62)}, "ends before `w1` does"),
        ({"offset": "-4"}, "the offset in `w.bin` is no number"),
        ({"offset": "9" * 30}, "is no number"),
        ({"offset": "\u0663"}, "is no number"),
        ({"length": "4"}, "takes 648 bytes, not 4"),
        ({"length": str(2**62)}, "takes 648 bytes"),
        ({"length": "many"}, "the length in `w.bin` is no number"),
    ],
)
def test_places_that_the_file_does_not_have(home, entries, says):
    claim(home / "model.onnx", **entries)
    assert says in refusal(home / "model.onnx")


def test_dims_that_claim_more_than_the_file_has(home):
    model = onnx.load(home / "model.onnx", load_external_data=False)
    weight(model, "w1").dims[:] = [2**40, 2**20]
    (home / "model.onnx").write_bytes(model.SerializeToString())
    claim(home / "model.onnx", length="")
    assert "ends before" in refusal(home / "model.onnx")


def test_the_model_itself_as_its_data(home):
    claim(home / "model.onnx", location="model.onnx", offset="700")
    assert (home / "model.onnx").stat().st_size < 700 + 648
    assert "`model.onnx` ends before `w1` does" in refusal(home / "model.onnx")


def test_a_constant_s_data_are_looked_at_too(home):
    model = onnx.load(home / "model.onnx", load_external_data=False)
    tensor = TensorProto()
    tensor.CopyFrom(weight(model, "w1"))
    tensor.external_data[0].value = "../outside.bin"
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["c"], value=tensor))
    (home / "model.onnx").write_bytes(model.SerializeToString())
    assert "not a path below" in refusal(home / "model.onnx")


def test_a_model_in_memory_without_its_data(home):
    model = onnx.load(home / "model.onnx", load_external_data=False)
    with pytest.raises(ModelError, match="without its external data") as caught:
        instrument(model)
    assert caught.value.code == "external-data"
