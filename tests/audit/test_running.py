"""The streaming loop: order, overlap, memory, and images that break."""

from __future__ import annotations

import itertools
import json
import threading
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from graphs import resized_input
from peaks import peak_of

from audit.nets import UNIT, audited, checks_of, net, photographs
from fg_onnx import Session, instrument
from fg_onnx.audit import running
from fg_onnx.audit.items import Item, list_items
from fg_onnx.audit.places import LocalPlace
from fg_onnx.audit.records import Measured, Records
from fg_onnx.audit.remote import RemoteFile
from fg_onnx.audit.running import Subject, run_pending
from fg_onnx.comparison.running import Pairs
from fg_onnx.errors import InputError

EXPLAIN = Session.explain


def save(path, count, side=8, seed=0):
    images = np.random.default_rng(seed).normal(size=(count, 3, side, side))
    np.save(path, images.astype(np.float32))
    return path


def test_every_number_is_that_of_the_image_alone(tmp_path):
    model, path = net(tmp_path / "net.onnx"), save(tmp_path / "images.npy", 23)
    session = Session(instrument(model))
    items = list_items([path], session)
    records = Records(Measured, LocalPlace(tmp_path), {}, items, size=10)
    subject = Subject(session, None, items, None, batch=4)
    done = []
    timing = run_pending(subject, records, done.append)
    assert sum(done) == timing.images == 23
    assert records.pending() == []
    alone = [session.explain(np.load(path)[n : n + 1]) for n in range(23)]
    assert np.allclose(records.column("score"), [a.scores[0] for a in alone], rtol=1e-5)
    assert records.column("target").tolist() == [a.targets[0] for a in alone]
    rows = records.rows(range(23))
    assert [rows[n].name for n in range(23)] == [f"{path}[{n}]" for n in range(23)]
    for number, one in enumerate(alone):
        assert np.allclose(rows[number].contributions, one.contributions[0], atol=1e-5)


def test_reading_and_writing_overlap_with_the_runtime(tmp_path, monkeypatch):
    """While a batch runs the next one is read and the last one is measured; else this waits."""
    model, path = net(tmp_path / "net.onnx"), save(tmp_path / "images.npy", 80)
    session = Session(instrument(model), threads=1)
    moved = threading.Condition()
    counts = {"read_item": 0, "measure": 0}

    def counted(name):
        function = getattr(running, name)

        def call(*args):
            found = function(*args)
            with moved:
                counts[name] += 1
                moved.notify_all()
            return found

        return call

    batches = itertools.count()

    def explain(self, array, *args, **options):
        before = 8 * next(batches)
        wanted = {"read_item": min(before + 16, 80), "measure": before}
        with moved:
            assert moved.wait_for(lambda: all(counts[k] >= wanted[k] for k in wanted), timeout=60)
        return EXPLAIN(self, array, *args, **options)

    for name in counts:
        monkeypatch.setattr(running, name, counted(name))
    monkeypatch.setattr(Session, "explain", explain)
    items = list_items([path], session)
    records = Records(Measured, LocalPlace(tmp_path), {}, items, size=16)
    timing = run_pending(Subject(session, None, items, None), records)
    assert timing.images == counts["read_item"] == counts["measure"] == 80
    assert next(batches) == 10


@pytest.mark.parametrize("is_remote", [False, True])
def test_images_behind_urls_and_devices_are_waited_for(tmp_path, is_remote):
    path = RemoteFile("memory://a.png", "1") if is_remote else tmp_path / "a.png"
    on_cpu, on_gpu = SimpleNamespace(device="cpu"), SimpleNamespace(device="cuda:0")
    items = [Item(tmp_path / "b.png"), Item(path)]
    assert Subject(on_cpu, None, items, None).waits is is_remote
    assert Subject(on_gpu, None, items, None).waits
    pair = SimpleNamespace(a=SimpleNamespace(session=on_cpu), b=SimpleNamespace(session=on_cpu))
    assert Pairs(pair, None, items).waits is is_remote
    pair.b.session = on_gpu
    assert Pairs(pair, None, items).waits


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    model = net(tmp_path / "net.onnx", side=32)
    folder = tmp_path / "arrays"
    folder.mkdir()
    for number in range(20):
        save(folder / f"{number:02d}.npy", 100, side=32, seed=number)

    def peak(files):
        out = tmp_path / f"out{files}"
        options = ["-o", out, "--sample", 0, "--shown", 0]
        found = peak_of("audit", model, *sorted(folder.iterdir())[:files], *options)
        assert json.loads((out / "audit.json").read_text())["images"] == files * 100
        return found

    # 1800 further arrays have 22 MB, their paths and numbers 1 MB; allocators vary by some
    assert peak(20) - peak(2) < 8e6


def test_a_broken_image_is_a_finding_and_not_the_end(tmp_path):
    paths = photographs(tmp_path / "images", 12)
    paths[3].write_bytes(paths[3].read_bytes()[:40])
    paths[7].write_bytes(b"no picture")
    paths.append(tmp_path / "images" / "gone.png")
    model = net(tmp_path / "net.onnx")
    document = audited(model, paths, tmp_path / "out")
    assert (document.verdict, document.images, document.broken) == ("fail", 13, 3)
    broken = checks_of(document)["broken"]
    assert broken.images == tuple(str(paths[at]) for at in (3, 7, 12))
    assert "damaged or cut short" in broken.text
    assert document.distributions["residual"].count == 10
    allowed = audited(model, paths, tmp_path / "out", {"broken": {"most": 0.25}})
    assert allowed.verdict == "pass"


def test_the_others_of_a_batch_that_fails_are_measured(tmp_path, monkeypatch):
    paths = photographs(tmp_path / "images", 9)
    model = net(tmp_path / "net.onnx")
    before = audited(model, paths, tmp_path / "before")
    marked = running.read_item(SimpleNamespace(path=paths[4]), 0, *_reading(model)).array

    def explain(self, array, *args, **options):
        if (array == marked).all(axis=(1, 2, 3)).any():
            raise InputError("run-fails", "the model does not run on this input: no reason")
        return EXPLAIN(self, array, *args, **options)

    monkeypatch.setattr(Session, "explain", explain)
    document = audited(model, paths, tmp_path / "out")
    assert checks_of(document)["broken"].images == (str(paths[4]),)
    assert document.distributions["residual"].count == 8
    assert before.broken == 0


def _reading(model):
    return Session(instrument(model)), UNIT


def test_no_image_at_all_can_be_read(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"no")
    with pytest.raises(InputError, match=r"none of the images could be read.*0\.png"):
        audited(net(tmp_path / "net.onnx"), sorted(tmp_path.glob("*.png")), tmp_path / "out")


def test_images_of_several_sizes(tmp_path):
    model = net(tmp_path / "net.onnx")
    free = tmp_path / "free.onnx"

    free.write_bytes(resized_input(onnx.load(model), "N", 3, "h", "w").SerializeToString())
    paths = [*photographs(tmp_path / "a", 5), *photographs(tmp_path / "b", 6, side=11)]
    document = audited(free, paths, tmp_path / "out", shown=11)
    assert document.broken == 0
    assert {row.name for row in document.rows} == set(map(str, paths))
