"""The page's folder and its server: what is written, refused and said, without a browser."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import time

import cv2
import numpy as np
import onnx
import pytest

from fg_onnx import instrument
from fg_onnx.errors import OutputError, RuntimeMissingError
from fg_onnx.manifest import Manifest
from fg_onnx.pictures.colours import palette
from fg_onnx.pictures.render import heat_map
from fg_onnx.view import document, folder, policy, runtime, serving
from tests.commands import WEIGHTS, everything_in, fg, write_image, write_model
from tests.view.conftest import serve


@pytest.fixture
def small_runtime(monkeypatch, tmp_path):
    """A package of onnxruntime-web's file names in the cache, pinned by its own checksum."""
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setenv("FG_ONNX_CACHE", str(cache))
    tarball = cache / f"{runtime.PACKAGE}-{runtime.VERSION}.tgz"
    with tarfile.open(tarball, "w:gz") as package:
        for name in runtime.FILES:
            data = f"content of {name}".encode()
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(data)
            package.addfile(entry, io.BytesIO(data))
    monkeypatch.setattr(runtime, "SHA512", runtime._sha512(tarball))
    return tarball


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "net.onnx")


def view(model, out, *more):
    return fg("view", model, "--preprocess", "unit", "-o", out, *more)


def test_the_folder_holds_all_that_the_page_loads(small_runtime, model, tmp_path):
    photo = write_image(tmp_path / "photo.png")
    scan = tmp_path / "scan.tiff"
    cv2.imwrite(str(scan), cv2.imread(str(photo)))
    outcome = view(model, tmp_path / "page", photo, scan)
    assert outcome.code == 0, outcome.err
    assert "index.html" in outcome.out
    found = everything_in(tmp_path / "page")
    for name in runtime.FILES:
        assert found[f"ort/{name}"] == f"content of {name}".encode()
    # as it is, and as PNG where a browser would not show it
    assert found["images/1.png"] == photo.read_bytes()
    assert np.array_equal(
        cv2.imread(str(tmp_path / "page" / "images" / "2.png")), cv2.imread(str(photo))
    )
    described = json.loads(found["view.json"])
    assert [each["name"] for each in described["images"]] == ["photo.png", "scan.tiff"]
    assert described["model"]["bytes"] == len(found["model.onnx"])
    assert Manifest.from_dict(described["manifest"]).psi == "reference"
    # every module that is imported lies there
    scripts = {name: data.decode() for name, data in found.items() if name.endswith(".js")}
    for name, text in scripts.items():
        for other in re.findall(r'(?:from |import\(|new URL\()"\./([\w.]+)"', text):
            assert f"js/{other}" in scripts, (name, other)
    html = found["index.html"].decode()
    assert f'content="{policy.POLICY}"' in html
    for source in re.findall(r'(?:href|src)="([^"#]+)"', html):
        assert source in found


def test_no_line_of_the_page_names_another_host():
    for name, data in folder.assets():
        without = data.replace(b"http://www.w3.org/2000/svg", b"")
        assert b"http" not in without.replace(b"http-equiv", b""), name
        assert b"innerHTML" not in data, name


def test_the_model_has_no_default_inputs(small_runtime, model, tmp_path):
    """onnxruntime-web feeds no input that has a default."""
    assert view(model, tmp_path / "page").code == 0
    graph = onnx.load(tmp_path / "page" / "model.onnx").graph
    assert [value.name for value in graph.input] == ["x", "fg_target"]
    assert not {value.name for value in graph.input} & {t.name for t in graph.initializer}
    onnx.checker.check_model(onnx.load(tmp_path / "page" / "model.onnx"))


def test_an_instrumented_model_is_taken_as_it_is(small_runtime, model, tmp_path):
    instrumented = tmp_path / "net.fg.onnx"
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\nd\n")
    fg("instrument", model, "-o", instrumented, "--preprocess", "unit", "--labels", labels)
    before = instrumented.read_bytes()
    outcome = fg("view", instrumented, "-o", tmp_path / "page")
    assert outcome.code == 0, outcome.err
    assert instrumented.read_bytes() == before
    described = json.loads((tmp_path / "page" / "view.json").read_text())
    assert described["labels"] == ["a", "b", "c", "d"]
    assert described["preprocessing"]["scale"] == 1 / 255
    # it was instrumented without layer maps, and the page does without
    assert described["manifest"]["emits"] == ["saliency", "contributions"]


def test_a_page_is_replaced_and_other_files_are_not(small_runtime, model, tmp_path):
    photo = write_image(tmp_path / "photo.png")
    page = tmp_path / "page"
    assert view(model, page, photo).code == 0
    first = everything_in(page)
    assert view(model, page).code == 0
    second = everything_in(page)
    assert set(first) - set(second) == {"images", "images/1.png"}
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("mine")
    outcome = view(model, other)
    assert outcome.code == 2
    assert "holds other files" in outcome.err
    assert set(everything_in(other)) == {"letter.txt"}


def test_a_folder_that_only_looks_like_a_page_is_left_alone(small_runtime, model, tmp_path):
    """A folder `ort`, which is a usual name, beside a person's own images."""
    other = tmp_path / "other"
    for name in ("ort", "images"):
        (other / name).mkdir(parents=True)
        (other / name / "1.png").write_text("mine")
    before = everything_in(other)
    outcome = view(model, other)
    assert outcome.code == 2
    assert "holds other files" in outcome.err
    assert everything_in(other) == before


def test_what_a_person_laid_into_a_page_stays(small_runtime, model, tmp_path):
    page = tmp_path / "page"
    view(model, page, write_image(tmp_path / "photo.png"))
    mine = [page / ".htaccess", page / "images" / "logo.png"]
    for path in mine:
        path.write_text("mine")
    assert view(model, page).code == 0
    assert all(path.read_text() == "mine" for path in mine)
    assert not (page / "images" / "1.png").exists()


@pytest.mark.parametrize("place", ["file", "file/page"])
def test_a_place_that_is_no_folder_is_said(small_runtime, model, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    outcome = view(model, tmp_path / place)
    assert outcome.code == 2
    assert "a part of the path is not a folder" in outcome.err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_port_without_the_server_is_refused(small_runtime, model, tmp_path):
    outcome = view(model, tmp_path / "page", "--port", "8000")
    assert outcome.code == 2
    assert "--serve" in outcome.err
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize("bad", ["missing.png", "text.png"])
def test_an_image_that_is_none_stops_it_before_anything_is_written(
    small_runtime, model, tmp_path, bad
):
    (tmp_path / "text.png").write_text("no image")
    outcome = view(model, tmp_path / "page", tmp_path / bad)
    assert outcome.code == 2
    assert bad in outcome.err
    assert not (tmp_path / "page").exists()


# --- models that the page cannot run ------------------------------------------------------------


def two_inputs(path):
    text = """g (float[N,3,8,8] x, float[N,4] age) => (float[N,4] logits) {
        c = Conv (x, w, b)
        p = GlobalAveragePool (c)
        f = Flatten (p)
        logits = Add (f, age)
    }"""
    return write_model(path, text)


def sound(path):
    weights = {"w": WEIGHTS["w"][..., 0], "b": WEIGHTS["b"]}
    text = """g (float[N,3,8] x) => (float[N,4] logits) {
        c = Conv (x, w, b)
        p = GlobalAveragePool (c)
        logits = Flatten (p)
    }"""
    return write_model(path, text, weights)


def of_eight(path):
    text = """g (float[8,3,8,8] x) => (float[8,4] logits) {
        c = Conv (x, w, b)
        p = GlobalAveragePool (c)
        logits = Flatten (p)
    }"""
    return write_model(path, text)


def narrow(path):
    text = """g (bfloat16[N,3,8,8] x) => (float[N,4] logits) {
        f = Cast <to = 1> (x)
        c = Conv (f, w, b)
        p = GlobalAveragePool (c)
        logits = Flatten (p)
    }"""
    return write_model(path, text)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (two_inputs, "to be fed more than `x`: age"),
        (sound, "takes `x` with 3 dimensions"),
        (of_eight, "takes batches of 8"),
        (narrow, "takes `x` as BFLOAT16"),
    ],
)
def test_a_model_that_takes_no_single_photo_is_refused(small_runtime, tmp_path, make, reason):
    outcome = view(make(tmp_path / "net.onnx"), tmp_path / "page")
    assert outcome.code == 2
    assert reason in outcome.err
    assert "hint: " in outcome.err
    assert not (tmp_path / "page").exists()


def test_a_model_that_is_too_large_is_refused_or_told_of(
    small_runtime, model, tmp_path, monkeypatch
):
    monkeypatch.setattr(document, "LARGE", 100)
    outcome = view(model, tmp_path / "page")
    assert outcome.code == 0
    assert "the page asks before it loads it" in outcome.err
    monkeypatch.setattr(document, "LARGEST", 100)
    outcome = view(model, tmp_path / "other")
    assert outcome.code == 2
    assert "a browser takes at most" in outcome.err


def test_without_preprocessing_it_is_asked_for(small_runtime, model, tmp_path):
    outcome = fg("view", model, "-o", tmp_path / "page")
    assert outcome.code == 2
    assert "does not say how its images are prepared" in outcome.err


def test_a_seeded_model_is_refused(small_runtime, model, tmp_path):
    seeded = tmp_path / "seeded.onnx"
    instrument(str(model), seed=True).save(seeded)
    outcome = view(seeded, tmp_path / "page")
    assert outcome.code == 2
    assert "--seed" in outcome.err


# --- the runtime --------------------------------------------------------------------------------


def test_without_npm_it_says_how_to_bring_the_file(small_runtime, monkeypatch):
    small_runtime.unlink()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeMissingError, match="there is no `npm`") as found:
        runtime.fetch()
    assert f"npm pack {runtime.PACKAGE}@{runtime.VERSION}" in found.value.hint
    assert str(small_runtime.parent) in found.value.hint


def npm(tmp_path, monkeypatch, script):
    """A program of that name that does something else."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (place / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")


def test_without_a_network_npms_own_reason_is_given(small_runtime, monkeypatch, tmp_path):
    small_runtime.unlink()
    said = "npm error code ENOTFOUND' 'npm error network request failed' 'npm error A complete log"
    npm(tmp_path, monkeypatch, f"printf '%s\\n' 'npm warn old' '{said}' >&2; exit 1")
    with pytest.raises(RuntimeMissingError, match="npm error network request failed"):
        runtime.fetch()
    assert list(small_runtime.parent.iterdir()) == []


def test_another_file_than_the_pinned_one_is_not_used(small_runtime, monkeypatch, tmp_path):
    small_runtime.write_bytes(b"damaged on the way")
    npm(tmp_path, monkeypatch, f'echo replaced > "$3/{small_runtime.name}"')
    with pytest.raises(RuntimeMissingError, match="is pinned"):
        runtime.fetch()
    assert small_runtime.read_bytes() == b"damaged on the way"


# --- the server ---------------------------------------------------------------------------------


def ask(address, path, **headers):
    host, _, port = address.removeprefix("http://").rstrip("/").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def test_it_serves_the_page_isolated_and_to_this_machine_alone(tmp_path):
    for name in ("index.html", "a.js", "b.mjs", "c.wasm", "d.onnx"):
        (tmp_path / name).write_text(name)
    (tmp_path / "js").mkdir()
    (tmp_path.parent / "secret.txt").write_text("not the page's")
    with serve(tmp_path) as address:
        assert address.startswith("http://127.0.0.1:")
        found = ask(address, "/")
        assert found.read() == b"index.html"
        assert found.headers["Content-Security-Policy"].startswith(policy.POLICY)
        assert found.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert found.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        types = {
            "a.js": "text/javascript",
            "b.mjs": "text/javascript",
            "c.wasm": "application/wasm",
            "d.onnx": "application/octet-stream",
        }
        for name, kind in types.items():
            assert ask(address, f"/{name}").headers["Content-Type"] == kind
        assert ask(address, "/js/").status == 404  # no listing
        assert ask(address, "/../secret.txt").status == 404
        assert ask(address, "/%2e%2e/secret.txt").status == 404
        # a name that someone else's page was led to this address by
        assert ask(address, "/", Host="evil.example:80").status == 403
        assert ask(address, "/", Host="127.0.0.1.evil.example").status == 403
        # of port 80 a browser names none
        assert ask(address, "/", Host="127.0.0.1").status == 200


def test_a_browser_that_leaves_early_is_no_error(tmp_path, capfd):
    (tmp_path / "model.onnx").write_bytes(bytes(30_000_000))
    with serve(tmp_path) as address:
        host, _, port = address.removeprefix("http://").rstrip("/").partition(":")
        for _ in range(3):
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                head = f"GET /model.onnx HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n"
                connection.sendall(head.encode())
                connection.recv(100)
        assert ask(address, "/model.onnx").status == 200
    assert capfd.readouterr().err == ""


def test_a_port_that_is_taken_is_said(tmp_path):
    with (
        serving.server(tmp_path) as first,
        pytest.raises(OutputError, match=f"port {first.server_port} cannot be listened to"),
    ):
        serving.server(tmp_path, first.server_port)


def test_serve_shows_the_page_until_it_is_interrupted(small_runtime, model, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    # the small runtime's checksum has to be known in that process too; and what runs the tests in
    # the background may have had the signal ignored
    start = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from fg_onnx.view import runtime; from fg_onnx.cli import main;"
        f"runtime.SHA512 = {runtime.SHA512!r}; main()"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", start, "view", str(model), "--preprocess", "unit", "--serve"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        address = running.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address), running.stderr.read()
        for _ in range(100):
            try:
                assert ask(address, "/view.json").status == 200
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        written = list(tmp_path.glob("fg-onnx-view-*"))
        assert len(written) == 1
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 0
        assert not written[0].exists()
    finally:
        running.kill()
        running.communicate()


def test_colours_are_the_heat_maps():
    levels = np.linspace(0, 1, 256)[None]
    assert np.array_equal(palette(), heat_map(levels, percentile=100)[0])
    stops = np.linspace(-1, 1, 9)[None]
    assert np.array_equal(palette(signed=True), heat_map(stops, signed=True, percentile=100)[0])
