"""An audit that was stopped goes on where it was; nothing is taken for what it is not."""

from __future__ import annotations

import errno
import itertools
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest

from audit.nets import audited, net, photographs
from fg_onnx.audit import running
from fg_onnx.audit.records import FOLDER, require_parquet
from fg_onnx.audit.table import IMAGES
from fg_onnx.errors import OutputError, RuntimeMissingError
from fg_onnx.pictures.preprocess import Preprocessing


@pytest.fixture
def measured(monkeypatch):
    """The numbers of the images that were measured, in order."""
    numbers = []
    measure = running.measure

    def noted(subject, read, found, row):
        numbers.append(read.number)
        return measure(subject, read, found, row)

    monkeypatch.setattr(running, "measure", noted)
    return numbers


@pytest.fixture
def place(tmp_path):
    """A model and ten images."""
    return net(tmp_path / "net.onnx"), photographs(tmp_path / "images", 10)


def parts_of(out):
    return sorted(path.name for path in (out / FOLDER).iterdir())


def test_what_is_there_is_not_measured_again(tmp_path, place, measured):
    model, paths = place
    first = audited(model, paths, tmp_path / "out", part=4)
    assert measured == list(range(10))
    assert len(parts_of(tmp_path / "out")) == 3
    again = audited(model, paths, tmp_path / "out", part=4)
    assert len(measured) == 10
    assert again == first


def test_another_policy_judges_the_same_rows(tmp_path, place, measured):
    model, paths = place
    assert audited(model, paths, tmp_path / "out").verdict == "pass"
    labels = tmp_path / "labels.csv"
    labels.write_text("".join(f"{path.name},0\n" for path in paths))
    strict = audited(model, paths, tmp_path / "out", {"border": {"most": 0, "severity": "fail"}})
    assert strict.verdict == "fail"
    assert audited(model, paths, tmp_path / "out", labels=labels).accuracy is not None
    assert len(measured) == 10


def test_a_missing_or_damaged_part_is_measured_again(tmp_path, place, measured):
    model, paths = place
    first = audited(model, paths, tmp_path / "out", part=4)
    one, two, _ = sorted((tmp_path / "out" / FOLDER).iterdir())
    one.unlink()
    two.write_bytes(two.read_bytes()[:-9])
    measured.clear()
    assert audited(model, paths, tmp_path / "out", part=4) == first
    assert measured == list(range(8))


CHANGES = {
    "model": lambda place, out: audited(net(out / "other.onnx", b1=np.ones(6)), place[1], out),
    "preprocessing": lambda place, out: audited(
        *place, out, steps=Preprocessing(scale=1 / 255, mean=(0.5,))
    ),
    "batch": lambda place, out: audited(*place, out, batch=3),
    "boxes": lambda place, out: audited(*place, out, boxes=_boxes(out)),
}


def _boxes(out):
    (out / "boxes.csv").write_text("0001.png,1,1,5,5\n")
    return out / "boxes.csv"


@pytest.mark.parametrize("change", CHANGES)
def test_other_circumstances_have_other_numbers(tmp_path, place, measured, change):
    out = tmp_path / "out"
    audited(*place, out)
    before = parts_of(out)
    measured.clear()
    CHANGES[change](place, out)
    assert measured == list(range(10))
    # what does not belong to this audit is gone
    assert len(parts_of(out)) == len(before) == 1
    assert parts_of(out) != before


def test_a_changed_image_is_measured_again_with_its_part(tmp_path, place, measured):
    model, paths = place
    audited(model, paths, tmp_path / "out", part=4)
    measured.clear()
    paths[5].write_bytes(paths[6].read_bytes())
    changed = audited(model, paths, tmp_path / "out", part=4)
    assert measured == [4, 5, 6, 7]
    rows = pq.read_table(tmp_path / "out" / IMAGES).to_pylist()
    assert rows[5]["score"] == rows[6]["score"]
    assert changed == audited(model, paths, tmp_path / "fresh", part=4)


# --- disks and folders --------------------------------------------------------------------------


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Full:
    """A file on a disk that has no room any more."""

    def __init__(self, file):
        self.file = file

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, _):
        full()


@pytest.fixture
def fill(monkeypatch):
    """Lets the disk be full when a file of that beginning is opened for the so-manieth time."""

    def at(beginning, count):
        opened, seen = Path.open, itertools.count(1)

        def open_full(path, *args, **options):
            file = opened(path, *args, **options)
            counts = path.name.startswith(beginning) and args == ("wb",)
            return Full(file) if counts and next(seen) == count else file

        monkeypatch.setattr(Path, "open", open_full)

    return at


def test_a_full_disk_stops_it_and_it_goes_on_later(tmp_path, place, fill, measured):
    model, paths = place
    fill(".0", 2)
    with pytest.raises(OutputError, match="No space left on device"):
        audited(model, paths, tmp_path / "out", part=4)
    assert len(parts_of(tmp_path / "out")) == 1
    measured.clear()
    resumed = audited(model, paths, tmp_path / "out", part=4)
    assert measured == list(range(4, 10))
    assert resumed == audited(model, paths, tmp_path / "fresh", part=4)


def test_a_full_disk_at_the_very_end(tmp_path, place, fill):
    fill(".images.", 1)
    with pytest.raises(OutputError, match=r"images\.parquet"):
        audited(*place, tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_told_before_anything_runs(tmp_path, place, measured):
    model, paths = place
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="a part of the path is not a folder"):
        audited(model, paths, tmp_path / "file" / "out")
    assert measured == []


def test_only_parts_are_removed(tmp_path, place):
    out = tmp_path / "out"
    audited(*place, out)
    digest = "0123456789abcdef" * 2
    others = [f"000000.{digest[:24]}.parquet", f".000001.{digest[:24]}.k1ll3d__.parquet"]
    kept = ["mine.parquet", f"000000.{digest}.parquet", f"000000.{digest[:24]}.parquet.old"]
    for name in (*others, *kept):
        (out / FOLDER / name).write_bytes(b"")
    audited(*place, out)
    assert not set(others) & set(parts_of(out))
    assert set(kept) < set(parts_of(out))


@pytest.mark.parametrize("library", [np, cv2, onnxruntime])
def test_another_version_of_what_computes_measures_again(
    tmp_path, place, measured, monkeypatch, library
):
    audited(*place, tmp_path / "out")
    measured.clear()
    monkeypatch.setattr(library, "__version__", "0.0.1")
    audited(*place, tmp_path / "out")
    assert measured == list(range(10))


def test_without_pyarrow(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(RuntimeMissingError) as caught:
        require_parquet()
    assert 'pip install "fg-onnx[audit]"' in caught.value.hint
