"""Whatever happens to an audit, it stops in order, goes on, and ends the same."""

from __future__ import annotations

import os
import resource
import signal
import struct
import subprocess
import zlib
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from audit.commands import leftovers, parts_of, run, run_until, written
from audit.nets import UNIT, checks_of, net, photographs
from fg_onnx.audit import auditing
from fg_onnx.audit.model import open_audited
from fg_onnx.audit.places import LocalPlace
from fg_onnx.audit.records import FOLDER
from fg_onnx.audit.table import IMAGES
from fg_onnx.errors import OutputError

COUNT = 240  # none is through before it is stopped


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model and a folder of images, of which one is broken."""
    folder = tmp_path_factory.mktemp("place")
    paths = photographs(folder / "images", COUNT, side=32)
    paths[17].write_bytes(b"broken")
    return net(folder / "net.onnx", side=32), folder / "images"


@pytest.fixture(scope="module")
def undisturbed(place, tmp_path_factory):
    """What an audit leaves that nothing happens to."""
    out = tmp_path_factory.mktemp("undisturbed")
    done = run(*place, out)
    assert done.returncode == 1, done.stderr  # of the broken image
    return out


# --- signals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "code", "said"),
    [
        (signal.SIGKILL, -signal.SIGKILL, ""),
        (signal.SIGINT, 130, "interrupted\n"),
        (signal.SIGTERM, 143, "terminated\n"),
    ],
)
def test_stopped_in_the_middle_and_run_again_it_ends_the_same(
    tmp_path, place, undisturbed, sent, code, said
):
    process = run_until(3, *place, tmp_path)
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (code, said)
    assert sent == signal.SIGKILL or leftovers(tmp_path) == []
    kept = parts_of(tmp_path)
    assert 3 <= len(kept) < COUNT // 4
    (tmp_path / ".audit.k1ll3d__.html").write_bytes(b"half")  # where a later moment leaves it
    assert not (tmp_path / auditing.DOCUMENT).exists()
    resumed = run(*place, tmp_path)
    assert resumed.returncode == 1, resumed.stderr
    assert f"{COUNT - 4 * len(kept)} images measured" in resumed.stderr
    assert written(tmp_path) == written(undisturbed)
    names = pq.read_table(tmp_path / IMAGES)["name"].to_pylist()
    assert names == sorted(map(str, place[1].iterdir()))
    assert parts_of(tmp_path) == parts_of(undisturbed)
    assert leftovers(tmp_path) == []


def test_two_audits_of_one_folder_are_refused(tmp_path, place):
    out = tmp_path / "out"
    with LocalPlace(out).claimed():
        refused = run(*place, out)
    assert refused.returncode == 2
    assert (
        refused.stderr.splitlines()[0]
        == f"error: another audit or comparison is at work in `{out}`"
    )
    assert not out.exists()  # nothing was written
    with LocalPlace(out).claimed():
        pass


# --- images -------------------------------------------------------------------------------------


def bomb(side):
    """A PNG of a few bytes for very many pixels."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    packer = zlib.compressobj(9)
    row = bytes(side // 8 + 1)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_broken_images_of_every_kind_are_findings(tmp_path, monkeypatch):
    paths = photographs(tmp_path / "images", 9)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
    paths[0].write_bytes(jpeg[: len(jpeg) * 9 // 10])
    paths[1].write_bytes(b"")
    paths[2].write_bytes(bomb(40_000))
    paths[3].unlink()
    paths[3].mkdir()
    read = Path.read_bytes

    def forbidden(path):
        if path == paths[4]:
            raise PermissionError(13, os.strerror(13))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", forbidden)  # root may read all
    chosen = auditing.Options(sample=4, shown=9)
    prepared = auditing.prepare(
        open_audited(net(tmp_path / "net.onnx")), paths, UNIT, tmp_path / "out", chosen
    )
    paths[5].unlink()  # it was there when the audit began
    document, _ = auditing.audit(prepared)
    assert (document.verdict, document.images, document.broken) == ("fail", 9, 6)
    assert checks_of(document)["broken"].images == tuple(map(str, paths[:6]))
    reasons = pq.read_table(tmp_path / "out" / IMAGES)["broken"].to_pylist()
    wanted = ["cut short", "is empty", "more pixels", "is a folder", "Permission", "no image"]
    assert all(want in reason for want, reason in zip(wanted, reasons[:6], strict=True)), reasons
    assert reasons[6:] == [None] * 3
    assert {row.name for row in document.rows} == set(map(str, paths[6:]))


def test_an_image_that_vanishes_after_it_was_measured(tmp_path):
    """It has its numbers, and no picture."""
    paths = photographs(tmp_path / "images", 4)
    model, out = net(tmp_path / "net.onnx"), tmp_path / "out"
    chosen = auditing.Options(sample=4, shown=4)
    prepared = auditing.prepare(open_audited(model), paths, UNIT, out, chosen)

    def engine(subject, records, tick):
        found = auditing.run_pending(subject, records, tick)
        paths[2].unlink()
        return found

    document, _ = auditing.audit(prepared, engine=engine)
    assert document.broken == 0
    without = [row.name for row in document.rows if row.picture is None]
    assert without == [str(paths[2])]


# --- disks --------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own, and what changes how it is mounted."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        return subprocess.run(
            ["mount", *options, "tmpfs", folder], capture_output=True, check=False
        ).returncode

    if mount("-t", "tmpfs", "-o", "size=64k"):
        pytest.skip("this root may not mount")
    yield folder, mount
    subprocess.run(["umount", folder], check=True)


def is_clean_stop(done, reason, out):
    """Whether it ended with one line of what and one of what next, and nothing is left half."""
    error, hint, *more = done.stderr.splitlines()
    assert (done.returncode, done.stdout, more) == (2, "", [])
    assert error.startswith(f"error: cannot write `{out}")
    assert error.endswith(reason)
    assert hint.startswith("hint: ")
    assert leftovers(out) == []
    assert not (out / auditing.DOCUMENT).exists()
    for part in (out / FOLDER).glob("*"):
        assert pq.read_table(part).num_rows == 4
    return True


def test_a_full_disk_and_then_room(place, undisturbed, disk):
    folder, mount = disk
    out = folder / "out"
    assert is_clean_stop(run(*place, out), "No space left on device", out)
    kept = parts_of(out)
    assert 0 < len(kept) < COUNT // 4
    assert mount("-o", "remount,size=8m") == 0
    resumed = run(*place, out)
    assert f"{COUNT - 4 * len(kept)} images measured" in resumed.stderr
    assert written(out) == written(undisturbed)


def test_a_read_only_folder(place, disk):
    folder, mount = disk
    assert mount("-o", "remount,ro") == 0
    out = folder / "out"
    assert is_clean_stop(run(*place, out), "Read-only file system", out)


def test_no_room_for_the_report(tmp_path, place, undisturbed):
    """A limit on the size of files, which parts keep and the page does not."""
    sizes = [path.stat().st_size for path in (undisturbed / FOLDER).iterdir()]
    most = max(sizes) + 1
    assert most < (undisturbed / "audit.html").stat().st_size
    out = tmp_path / "out"
    limited = run(
        *place, out, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    )
    assert is_clean_stop(limited, "File too large", out)
    assert len(parts_of(out)) == COUNT // 4


def test_a_claim_ends_with_its_folder_and_may_be_taken_again(tmp_path):
    place = LocalPlace(tmp_path / "a" / "b")
    with place.claimed(), pytest.raises(OutputError, match="another audit"), place.claimed():
        pass
    assert list(tmp_path.iterdir()) == []
    with place.claimed(), place.write("kept") as file:
        file.write(b"1")
    assert (tmp_path / "a" / "b" / "kept").read_bytes() == b"1"
