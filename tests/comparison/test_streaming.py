"""The loop over two models: broken images, memory, and going on after a stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from audit.nets import UNIT, net, photographs
from peaks import peak_of

from comparison.models import checks_of, compared, means
from fg_onnx import Session
from fg_onnx.comparison import running
from fg_onnx.comparison.comparing import DOCUMENT, FOLDER
from fg_onnx.comparison.running import Pairs
from fg_onnx.comparison.table import IMAGES
from fg_onnx.errors import InputError
from fg_onnx.pictures.preprocess import Preprocessing

EXPLAIN = Session.explain


@pytest.fixture
def place(tmp_path):
    """Two nets and twelve images."""
    other = net(tmp_path / "b.onnx", b1=np.linspace(-0.5, 0.5, 6), fc_bias=np.zeros(5))
    return net(tmp_path / "a.onnx"), other, photographs(tmp_path / "images", 12)


@pytest.fixture
def measured(monkeypatch):
    """The numbers of the images that were measured, in order."""
    numbers = []
    before = Pairs.measured

    def noted(self, read, found):
        numbers.append(read.number)
        return before(self, read, found)

    monkeypatch.setattr(Pairs, "measured", noted)
    return numbers


def test_every_number_is_that_of_the_image_alone(tmp_path, place):
    a, b, paths = place
    compared(a, b, paths, tmp_path / "batches", batch=5, part=6)
    compared(a, b, paths, tmp_path / "alone", batch=1, part=100)
    rows = [pq.read_table(tmp_path / out / IMAGES).to_pylist() for out in ("batches", "alone")]
    assert len({row["target_b"] == row["target"] for row in rows[0]}) == 2  # some agree, some not
    for one, other in zip(*rows, strict=True):
        assert one["name"] == other["name"]
        assert (one["target"], one["target_b"]) == (other["target"], other["target_b"])
        for name in ("score_a", "score_b", "score", "output", "spearman", "shift", "drift"):
            assert one[name] == pytest.approx(other[name], rel=1e-3, abs=1e-5)


def test_broken_images_are_a_finding_and_not_the_end(tmp_path, place):
    a, b, paths = place
    paths[3].write_bytes(b"no picture")
    paths.append(tmp_path / "images" / "gone.png")
    document = compared(a, b, paths, tmp_path / "out")
    assert (document.images, document.broken) == (13, 2)
    broken = checks_of(document)["broken"]
    assert broken.severity == "fail"
    assert broken.images == (str(paths[3]), str(paths[12]))
    assert {each.distribution.count for each in document.measures} == {11}
    allowed = compared(a, a, paths, tmp_path / "out", {"broken": {"most": 0.2}})
    assert allowed.verdict == "pass"


def test_what_one_model_does_not_run_on_is_broken_alone(tmp_path, place, monkeypatch):
    a, b, paths = place
    marked = {}

    def explain(self, array, *args, **options):
        if (np.abs(array - marked["array"]) < 1e-6).all(axis=(1, 2, 3)).any():
            raise InputError("run-fails", "the model does not run on this input: no reason")
        return EXPLAIN(self, array, *args, **options)

    read = Pairs.read

    def noted(self, number):
        found = read(self, number)
        if number == 4:
            marked["array"] = found.b.array
        return found

    marked["array"] = np.full((1, 3, 8, 8), -1.0)
    monkeypatch.setattr(Pairs, "read", noted)
    monkeypatch.setattr(Session, "explain", explain)
    document = compared(a, b, paths, tmp_path / "out")
    assert checks_of(document)["broken"].images == (str(paths[4]),)
    assert {each.distribution.count for each in document.measures} == {11}


def test_no_image_at_all_can_be_read(tmp_path, place):
    (tmp_path / "0.png").write_bytes(b"no")
    with pytest.raises(InputError, match="none of the images could be read"):
        compared(*place[:2], [tmp_path / "0.png"], tmp_path / "out")


def test_what_is_there_is_not_measured_again(tmp_path, place, measured):
    a, b, paths = place
    first = compared(a, b, paths, tmp_path / "out", part=5)
    assert measured == list(range(12))
    assert compared(a, b, paths, tmp_path / "out", part=5) == first
    judged = compared(a, b, paths, tmp_path / "out", {"agreement": {"least": 1}}, part=5)
    assert means(judged) == means(first)
    assert len(measured) == 12
    (tmp_path / "out" / FOLDER).joinpath(sorted(os.listdir(tmp_path / "out" / FOLDER))[1]).unlink()
    assert compared(a, b, paths, tmp_path / "out", part=5) == first
    assert measured[12:] == [5, 6, 7, 8, 9]
    # the models the other way round are another comparison
    compared(b, a, paths, tmp_path / "out", part=5)
    assert len(measured) == 12 + 5 + 12


def test_another_preprocessing_is_measured_anew(tmp_path, place, measured):
    a, b, paths = place
    compared(a, b, paths, tmp_path / "out")
    compared(a, b, paths, tmp_path / "out", steps=(UNIT, Preprocessing(scale=1 / 200)))
    assert len(measured) == 24


def command(a, b, images, out):
    """A comparison of parts of four, as a process."""
    code = (
        "import sys; from fg_onnx.comparison import comparing\n"
        "Options = comparing.Options\n"
        "comparing.Options = lambda **given: Options(**given, part=4)\n"
        "from fg_onnx.cli import main; sys.argv[1:1] = ['compare']; main()"
    )
    options = ["--preprocess", "unit", "--shown", "3", "-o", out]
    return [sys.executable, "-c", code, a, b, images, *options]


def test_killed_and_resumed_it_ends_the_same(tmp_path):
    a, b = net(tmp_path / "a.onnx", side=32), net(tmp_path / "b.onnx", side=32, b1=np.ones(6))
    images = tmp_path / "images"
    paths = photographs(images, 60, side=32)
    paths[17].write_bytes(b"broken")
    done, killed = tmp_path / "done", tmp_path / "killed"
    whole = subprocess.run(command(a, b, images, done), capture_output=True, check=False)
    assert whole.returncode == 1, whole.stderr  # of the broken image
    process = subprocess.Popen(command(a, b, images, killed), stderr=subprocess.DEVNULL)
    while len(list(killed.glob(f"{FOLDER}/0*.parquet"))) < 3 and process.poll() is None:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = [path for path in (killed / FOLDER).iterdir() if path.name[0] == "0"]
    assert 3 <= len(kept) < 15
    assert not (killed / DOCUMENT).exists()
    resumed = subprocess.run(command(a, b, images, killed), capture_output=True, check=False)
    assert resumed.returncode == 1, resumed.stderr
    assert f"{60 - 4 * len(kept)} images compared" in str(resumed.stderr)
    for name in (DOCUMENT, IMAGES, "compare.html"):
        assert (killed / name).read_bytes() == (done / name).read_bytes()


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    a, b = net(tmp_path / "a.onnx", side=64), net(tmp_path / "b.onnx", side=64, b1=np.ones(6))
    folder = tmp_path / "arrays"
    folder.mkdir()
    for number in range(10):
        images = np.random.default_rng(number).normal(size=(50, 3, 64, 64)).astype("f")
        np.save(folder / f"{number:02d}.npy", images)

    def peak(files):
        out = tmp_path / f"out{files}"
        options = ["-o", out, "--shown", 0]
        found = peak_of("compare", a, b, *sorted(folder.iterdir())[:files], *options)
        assert json.loads((out / DOCUMENT).read_text())["images"] == files * 50
        return found

    # 400 further arrays have 20 MB, their paths and numbers less than 1; allocators vary by some
    assert peak(10) - peak(2) < 8e6


def test_one_decoding_serves_both_models(tmp_path, place, monkeypatch):
    a, b, paths = place
    calls = []
    read_image = running.read_image
    monkeypatch.setattr(running, "read_image", lambda path: calls.append(path) or read_image(path))
    compared(a, b, paths, tmp_path / "out")
    assert sorted(map(Path, calls)) == sorted(paths)
