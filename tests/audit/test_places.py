"""Where an audit is kept and where images are: the same here and behind a URL."""

from __future__ import annotations

import contextlib
import json
import sys

import fsspec
import pytest
from commands import FASHION, FASHION_VGG, fg

from audit.nets import net, photographs
from fg_onnx import Session, instrument
from fg_onnx.audit.document import Document
from fg_onnx.audit.items import find_files
from fg_onnx.audit.places import LocalPlace, place_of
from fg_onnx.audit.remote import RemoteFile, RemotePlace
from fg_onnx.errors import InputError, OutputError, RuntimeMissingError

OPTIONS = ["--preprocess", FASHION / "preprocess.yaml", "--sample", 2, "--shown", 3]


@pytest.fixture
def memory():
    """The files behind ``memory://``, empty before and after."""
    found = fsspec.filesystem("memory")
    found.store.clear()
    yield found
    found.store.clear()


@pytest.fixture(params=["local", "file", "memory"])
def place(request, tmp_path, memory):
    """A place of every kind."""
    where = {
        "local": tmp_path / "a" / "b",
        "file": f"file://{tmp_path}/a/b",
        "memory": "memory://a/b",
    }[request.param]
    return place_of(where)


def read(place, name):
    with place.read(name) as file:
        return file.read()


def test_files_are_whole_or_not_there(place):
    assert place.names() == []
    with place.write("one") as file:
        file.write(b"1")
    with contextlib.suppress(KeyboardInterrupt), place.write("one") as file:
        file.write(b"half of 2")
        raise KeyboardInterrupt
    assert (place.names(), read(place, "one")) == (["one"], b"1")
    with place.write("one") as file:
        file.write(b"3")
    assert read(place, "one") == b"3"
    below = place.below("c")
    with below.write("two") as file:
        file.write(b"2")
    assert below.names() == ["two"]
    assert sorted(place.names()) == ["c", "one"]
    below.remove("two")
    below.remove("two")
    assert below.names() == []
    with pytest.raises(FileNotFoundError):
        below.read("two")


def test_a_url_that_cannot_be_written(memory, monkeypatch):
    place = RemotePlace("memory://place")
    with place.write("held") as file:
        file.write(b"1")

    def denied(*_, **__):
        raise ValueError("403: access denied")  # services have errors of every kind

    for method in ("mv", "open", "rm"):
        with monkeypatch.context() as patched:
            patched.setattr(type(memory), method, denied)
            if method == "rm":
                with pytest.raises(OutputError, match=r"`memory://place/held`: 403: access denied"):
                    place.remove("held")
                continue
            with pytest.raises(OutputError, match=r"`memory://place/one`: 403: access denied"):  # noqa: SIM117
                with place.write("one") as file:
                    file.write(b"1")
    assert place.names() == ["held"]


def test_an_audit_behind_urls_is_that_of_the_files(tmp_path, memory):
    for path in FASHION.glob("*.png"):
        memory.pipe_file(f"/images/{path.name}", path.read_bytes())
    memory.pipe_file("/images/notes.txt", b"no image")
    assert fg("audit", FASHION_VGG, FASHION, "-o", tmp_path, *OPTIONS).code == 0
    done = fg("audit", FASHION_VGG, "memory://images", "-o", "memory://out", *OPTIONS)
    assert done.code == 0, done.err
    assert "memory://out/audit.html" in done.out
    here = (tmp_path / "audit.json").read_text()
    there = memory.cat_file("/out/audit.json").decode()
    assert there.replace("memory:///images/", f"{FASHION}/") == here
    assert sorted(memory.find("/out")) == [
        *(f"/out/audit.{suffix}" for suffix in ("html", "json", "md", "xml")),
        "/out/images.parquet",
        *memory.ls("/out/parts", detail=False),
    ]
    again = fg("audit", FASHION_VGG, "memory://images/*.png", "-o", "memory://out", *OPTIONS)
    assert "images measured" not in again.err  # it went on from what is there
    assert memory.cat_file("/out/audit.json").decode() == there


def test_what_changes_behind_a_url_is_measured_again(tmp_path, memory):
    paths = sorted(FASHION.glob("*.png"))
    for path in paths[:2]:
        memory.pipe_file(f"/images/{path.name}", path.read_bytes())

    def scores():
        done = fg("audit", FASHION_VGG, "memory://images", "-o", tmp_path, *OPTIONS)
        assert done.code == 0, done.err
        return "2 images measured" in done.err

    assert scores()
    assert not scores()
    memory.pipe_file(f"/images/{paths[0].name}", paths[5].read_bytes())
    assert scores()


def test_broken_files_behind_a_url_are_findings(tmp_path, memory):
    path = next(FASHION.glob("*.png"))
    memory.pipe_file("/images/a.png", path.read_bytes())
    memory.pipe_file("/images/b.png", b"")
    done = fg("audit", FASHION_VGG, "memory://images", "-o", tmp_path, *OPTIONS)
    assert done.code == 1
    document = Document.from_dict(json.loads((tmp_path / "audit.json").read_text()))
    assert document.broken == 1
    assert document.findings[0].images == ("memory:///images/b.png",)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("memory://nothing", "no-such-image"),
        ("memory://nothing/*.png", "no-such-image"),
        ("memory://images/a.npy", "remote-array"),
        ("nowhere://images", "no-such-storage"),
    ],
)
def test_refused_images(tmp_path, memory, url, code):
    memory.pipe_file("/images/a.npy", b"")
    session = Session(instrument(net(tmp_path / "net.onnx")))
    with pytest.raises(InputError) as caught:
        find_files([url], session)
    assert caught.value.code == code


def test_paths_and_urls_side_by_side(tmp_path, memory):
    paths = photographs(tmp_path / "images", 2)
    memory.pipe_file("/images/a.png", b"1")
    session = Session(instrument(net(tmp_path / "net.onnx")))
    found = find_files(["memory://images", str(tmp_path / "images"), "memory://images"], session)
    assert found[:2] == paths
    assert [str(file) for file in found[2:]] == ["memory:///images/a.png"]
    assert isinstance(found[2], RemoteFile)


def test_a_place_of_an_unknown_kind(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        place_of("nowhere://out")
    assert place_of(tmp_path) == LocalPlace(tmp_path)


def test_without_fsspec(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(RuntimeMissingError) as caught:
        place_of("memory://out")
    assert 'pip install "fg-onnx[ray]"' in caught.value.hint
