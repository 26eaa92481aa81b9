"""The audit on Ray: on several machines' worth of processes, some of which die."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from commands import FASHION_VGG, fg

from audit.commands import leftovers, parts_of, run, run_until, written
from audit.nets import UNIT, net, photographs
from fg_onnx import Session
from fg_onnx.audit import auditing
from fg_onnx.audit.distributed import Cluster, on_ray, require_ray
from fg_onnx.audit.items import find_files
from fg_onnx.audit.model import open_audited
from fg_onnx.audit.records import FOLDER
from fg_onnx.audit.report import write_reports
from fg_onnx.cli.console import to_json
from fg_onnx.errors import EngineError, InputError, OutputError, RuntimeMissingError

COUNT = 60
RAY = ("--engine", "ray", "--workers", "2")


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(RuntimeMissingError) as caught:
        require_ray()
    assert (caught.value.code, caught.value.hint) == ("no-ray", 'pip install "fg-onnx[ray]"')


@pytest.mark.ray
def test_workers_run_on_what_this_process_runs_on(tmp_path):
    found = fg(
        *("audit", FASHION_VGG, tmp_path, "-o", tmp_path / "out", "--device", "cpu"),
        *("--engine", "ray", "--gpus-per-worker", "0.5"),
    )
    assert found.code == 2
    assert "the model runs on cpu here, and the workers are given GPUs" in found.err


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model and a folder of images, of which one is broken."""
    folder = tmp_path_factory.mktemp("place")
    paths = photographs(folder / "images", COUNT, side=32)
    paths[17].write_bytes(b"broken")
    return net(folder / "net.onnx", side=32), folder / "images"


@pytest.fixture(scope="module")
def alone(place, tmp_path_factory):
    """What an audit in one process leaves."""
    out = tmp_path_factory.mktemp("alone")
    assert run(*place, out).returncode == 1  # of the broken image
    return out


# --- a cluster of its own -----------------------------------------------------------------------


NODE = ("raylet", "gcs_server", "ray::MapWorker")


def processes(folder, *words):
    """Those that were started in a folder and whose command lines hold one of the words."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (place / "cmdline").read_text()
            if os.readlink(place / "cwd") == str(folder) and any(word in line for word in words):
                found.append(line)
    return found


@pytest.mark.ray
@pytest.mark.parametrize(
    ("sent", "code", "said"),
    [(signal.SIGKILL, -signal.SIGKILL, ""), (signal.SIGTERM, 143, "terminated\n")],
)
def test_stopped_in_the_middle_and_run_again(tmp_path, place, alone, sent, code, said):
    """Once with Ray, then here: one goes on where the other was."""
    out = tmp_path / "out"
    process = run_until(2, *place, out, *RAY, cwd=tmp_path)
    assert processes(tmp_path, *NODE)
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (code, said)
    assert 2 <= len(parts_of(out)) < COUNT // 4
    end = time.monotonic() + 30
    while processes(tmp_path, *NODE) and time.monotonic() < end:
        time.sleep(0.2)
    assert processes(tmp_path, *NODE) == []  # agents of theirs look after a while, and end too
    resumed = run(*place, out)
    assert resumed.returncode == 1, resumed.stderr
    assert written(out) == written(alone)


@pytest.mark.ray
def test_the_command_is_quiet_and_leaves_nothing_running(tmp_path, place, alone):
    out = tmp_path / "out"
    done = run(*place, out, *RAY, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f"{COUNT} images measured in ")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout.splitlines()[-1].startswith("fail: 60 images, 1 broken")
    assert written(out) == written(alone)
    assert processes(tmp_path, *NODE, "ray::") == []


# --- a cluster of two nodes ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU each, and this process connected to them."""
    ray = require_ray()
    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1, num_gpus=1)
    ray.init(address=nodes.address, log_to_driver=False, logging_level="CRITICAL")
    yield ray
    ray.shutdown()
    nodes.shutdown()


def audit_on(place, out, images=None, tick=None, before=lambda: None):
    """An audit by the workers of the cluster, with all that the command writes."""
    opened = open_audited(place[0])
    chosen = auditing.Options(sample=2, shown=3, part=4, batch=1)  # as the command has them
    paths = find_files([str(images or place[1])], opened.session)
    prepared = auditing.prepare(opened, paths, UNIT, out, chosen)
    engine = on_ray(opened, Cluster(workers=2))

    def ticking(subject, records, _):
        before()
        return engine(subject, records, tick)

    document, timing = auditing.audit(prepared, engine=ticking)
    write_reports(document, out)
    with prepared.place.write(auditing.DOCUMENT) as file:
        file.write(f"{to_json(document.to_dict())}\n".encode())
    return timing


def readers(path):
    """The processes that have a file open."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) == str(path):
                found.add(int(link.parts[2]))
        except OSError:
            continue
    return found - {os.getpid()}


class Deadly:
    """Makes an image a pipe for a while, and kills so many workers that read it.

    So they die at a moment when the image cannot be done.
    """

    def __init__(self, image, most):
        self.image, self.most = image, most
        self.died = []
        self._held = image.read_bytes()
        self._thread = threading.Thread(target=self._kill, daemon=True)

    def lay(self):
        """Begin."""
        self.image.unlink()
        os.mkfifo(self.image)
        self._thread.start()

    def heal(self):
        """Make it an image again."""
        new = self.image.with_suffix(".new")
        new.write_bytes(self._held)
        new.rename(self.image)

    def _kill(self):
        while len(self.died) < self.most:
            with self.image.open("wb"):  # which waits until somebody reads
                while not (found := readers(self.image) - set(self.died)):
                    time.sleep(0.02)  # the worker needs this core
                self.died.extend(found)
                if len(self.died) == self.most:
                    self.heal()
                for pid in found:
                    os.kill(pid, signal.SIGKILL)
                while found & readers(self.image):
                    time.sleep(0.02)


@pytest.mark.ray
def test_a_worker_dies_in_the_middle(tmp_path, cluster, place, alone):
    deadly = Deadly(sorted(place[1].iterdir())[30], 1)
    done = []
    timing = audit_on(place, tmp_path, tick=done.append, before=deadly.lay)
    assert len(deadly.died) == 1
    assert sum(done) == timing.images == COUNT
    assert written(tmp_path) == written(alone)
    assert len(parts_of(tmp_path)) == COUNT // 4  # nothing lost, and nothing twice
    assert leftovers(tmp_path) == []


@pytest.mark.ray
def test_an_image_that_every_worker_dies_of(tmp_path, cluster, place, alone):
    images = sorted(place[1].iterdir())
    deadly = Deadly(images[30], 3)
    with pytest.raises(EngineError) as caught:
        audit_on(place, tmp_path, before=deadly.lay)
    assert f"3 workers died of what lies between `{images[28]}` and" in caught.value.message
    assert audit_on(place, tmp_path).images < COUNT
    assert written(tmp_path) == written(alone)


@pytest.mark.ray
def test_everything_behind_urls_on_a_cluster_that_runs(tmp_path, cluster, place, alone):
    images, out = f"file://{place[1]}", f"file://{tmp_path}"
    address = cluster.get_runtime_context().gcs_address
    done = run(place[0], images, out, "--engine", "ray", "--address", address)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f"{COUNT} images measured in ")
    document = (tmp_path / auditing.DOCUMENT).read_text()
    assert document.replace("file:///", "/") == (alone / auditing.DOCUMENT).read_text()
    assert len(parts_of(tmp_path)) == COUNT // 4
    assert audit_on(place, out, images=images).images == 0  # another driver finds all of it


@pytest.mark.ray
def test_what_stops_a_worker_stops_the_audit(tmp_path, cluster, place):
    """As it would have here: with the same error."""
    opened = open_audited(place[0])
    paths = find_files([str(place[1])], opened.session)
    prepared = auditing.prepare(opened, paths, UNIT, tmp_path, auditing.Options(part=4))
    (tmp_path / FOLDER).rmdir()
    (tmp_path / FOLDER).write_bytes(b"in the way")
    with pytest.raises(OutputError, match="a part of the path is not a folder"):
        auditing.audit(prepared, engine=on_ray(opened, Cluster(workers=2)))


@pytest.mark.ray
def test_images_that_workers_do_not_see_are_not_broken(tmp_path, cluster, place):
    opened = open_audited(place[0])
    paths = photographs(tmp_path / "images", 4, side=32)
    prepared = auditing.prepare(opened, paths, UNIT, tmp_path / "out", auditing.Options())
    os.rename(tmp_path / "images", tmp_path / "elsewhere")
    with pytest.raises(InputError) as caught:
        auditing.audit(prepared, engine=on_ray(opened, Cluster(workers=2)))
    assert caught.value.code == "not-shared"


@pytest.mark.ray
def test_a_share_of_a_gpu_for_every_worker(tmp_path, cluster, place, monkeypatch):
    """The nodes say that they have one; that they do not is what the workers find."""
    opened = open_audited(place[0])
    paths = find_files([str(place[1])], opened.session)
    prepared = auditing.prepare(opened, paths, UNIT, tmp_path, auditing.Options(part=4))
    monkeypatch.setattr(Session, "device", "cuda:0")
    with pytest.raises(InputError, match=r"room for 4 workers of 0\.25 GPU each, not 5"):
        auditing.audit(prepared, engine=on_ray(opened, Cluster(workers=5, gpus=0.25)))
    with pytest.raises(RuntimeMissingError, match="CUDA"):
        auditing.audit(prepared, engine=on_ray(opened, Cluster(gpus=0.5)))


@pytest.mark.ray
def test_nobody_at_the_address(tmp_path, place, free_port):
    done = run(*place, tmp_path / "out", "--engine", "ray", "--address", f"127.0.0.1:{free_port}")
    assert done.returncode == 2
    assert "there is no Ray cluster at `127.0.0.1:" in done.stderr


@pytest.fixture
def free_port():
    """At which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.mark.ray
def test_more_workers_than_there_is_room_for(tmp_path, cluster, place):
    opened = open_audited(place[0])
    prepared = auditing.prepare(
        opened, photographs(tmp_path / "images", 1, side=32), UNIT, tmp_path, auditing.Options()
    )
    with pytest.raises(InputError, match="room for 2 workers of a CPU each, not 3"):
        auditing.audit(prepared, engine=on_ray(opened, Cluster(workers=3)))
