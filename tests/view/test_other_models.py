"""Models of other types and tasks on the page, against `Session`; and where the page runs."""

from __future__ import annotations

import functools
import http.server
import json
import re
import threading
import time

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import fg_onnx
from fg_onnx.view import serving
from tests.chromium import Chromium
from tests.commands import CLASSIFIER, FASHION, FASHION_VGG, WEIGHTS, write_image, write_model
from tests.view.conftest import serve
from tests.view.pages import Page

pytestmark = [pytest.mark.browser, pytest.mark.network]

WITH_UINT8 = """g (uint8[N,8,8,3] x) => (float[N,4] logits) {
    f = Cast <to = 1> (x)
    t = Transpose <perm = [0, 3, 1, 2]> (f)
    s = Mul (t, k)
    c = Conv (s, w, b)
    r = Relu (c)
    p = GlobalAveragePool (r)
    logits = Flatten (p)
}"""
DENSE = """g (float[N,3,8,6] x) => (float[N,4,8,6] scores) {
    scores = Conv <pads = [1, 1, 1, 1]> (x, w, b)
}"""
GATED = """g (float[1,3,8,8] x) => (float[1,4] probabilities) {
    c = Conv (x, w, b)
    s = Sigmoid (c)
    r = Mul (c, s)
    p = GlobalAveragePool (r)
    f = Flatten (p)
    probabilities = Softmax (f)
}"""
SMALL = {"k": np.array(1 / 255, np.float32)}


def float16(path):
    """The classifier in float16."""
    write_model(path)
    model = onnx.load(path)
    for weight in model.graph.initializer:
        weight.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), weight.name)
        )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    onnx.save(model, path)
    return path


MODELS = {
    "plain": (write_model, "unit", "reference"),
    "signed": (write_model, "unit", "signed"),
    "pixels": (lambda p: write_model(p, WITH_UINT8, {**WEIGHTS, **SMALL}), "none", "reference"),
    "dense": (lambda p: write_model(p, DENSE), "unit", "abs"),
    "gated": (lambda p: write_model(p, GATED), "unit", "abs"),
    "float16": (float16, "unit", "abs"),
}


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    return write_image(tmp_path_factory.mktemp("photo") / "noise.png", size=(12, 10))


@pytest.mark.parametrize("name", MODELS)
def test_the_numbers_are_the_sessions(browser, write, photo, tmp_path, name):
    make, preset, psi = MODELS[name]
    model = make(tmp_path / "net.onnx")
    with serve(write(model, "--preprocess", preset, "--psi", psi)) as address:
        page = Page(browser, address).ready()
        page.explain(photo)
        page.is_quiet()
        session = fg_onnx.Session(
            fg_onnx.instrument(
                str(model), psi=psi, emit=("saliency", "contributions", "layer-maps")
            )
        )
        steps = fg_onnx.load_preprocessing(preset)
        prepared = fg_onnx.prepare(
            fg_onnx.read_image(photo), steps, session.input_shape, session.manifest.layout
        )
        ranked = page.tell(
            "Array.from(document.querySelectorAll('#classes button'), b => Number(b.dataset.index))"
        )
        assert len(ranked) == 4
        for target in (None, *ranked):
            if target is not None:
                page.browser.click(f"#classes button[data-index='{target}']")
                page.wait()
            expected = session.explain(prepared.array, target)
            assert page.shown("shown.found.target") == expected.targets[0]
            # the order of sums of float32, or of float16 in that model's forward pass
            near = 3e-3 if name == "float16" else 1e-5
            terms = page.numbers("shown.found.terms.map(({ value }) => value)")
            # what is added up is of order 1, though it may nearly cancel
            scale = max(1.0, np.abs(expected.contributions[0]).sum())
            assert np.abs(terms - expected.contributions[0]).max() <= near * scale
            size = tuple(page.shown("[shown.found.saliency.height, shown.found.saliency.width]"))
            assert size == expected.saliency[0].shape
            saliency = page.numbers("shown.found.saliency.data").reshape(size)
            # of a saturated gate 1 - y has lost its digits: what is small is compared with 1
            scale = max(1.0, np.abs(expected.saliency).max())
            assert np.abs(saliency - expected.saliency[0]).max() <= near * scale
            layers = page.shown("shown.found.layers.map(({ name }) => name)")
            assert layers == list(expected.layer_maps)
    page.is_quiet()


def test_pixels_that_the_model_cannot_be_fed_are_refused(browser, write, photo, tmp_path):
    model = write_model(tmp_path / "net.onnx", WITH_UINT8, {**WEIGHTS, **SMALL})
    with serve(write(model, "--preprocess", "unit")) as address:
        said = Page(browser, address).ready().explain(photo)
    assert "takes pixels as uint8" in said


def test_scores_that_no_output_ranks(browser, write, photo, tmp_path):
    text = CLASSIFIER.replace("logits = Flatten (p)", "inner = Flatten (p)\n logits = Sin (inner)")
    model = write_model(tmp_path / "net.onnx", text)
    with serve(write(model, "--preprocess", "unit", "--output", "inner")) as address:
        page = Page(browser, address).ready()
        assert page.explain(photo).startswith("noise.png: class")
        assert page.text("classes-note") == "No output of the model ranks its classes."
        predicted = page.shown("shown.found.target")
        other = (predicted + 1) % 4
        page.tell(
            f"document.getElementById('wanted').value = '{other}';"
            "document.getElementById('other').requestSubmit()"
        )
        assert f"class {other}" in page.wait()
        page.is_quiet()


HOSTILE = "<img src=x onerror=alert(1)>"


def test_names_are_text(browser, write, photo, tmp_path):
    names = tmp_path / "labels.txt"
    names.write_text("\n".join(f"{HOSTILE}\u202e{i}" for i in range(4)))
    text = CLASSIFIER.replace(" c)", ' "c)').replace('"', "")
    model = write_model(tmp_path / "<b>bold<b>.onnx", text)
    loaded = onnx.load(model)
    loaded.graph.node[0].name = HOSTILE
    onnx.save(loaded, model)
    picture = tmp_path / f"{HOSTILE.replace('/', '')}.png"
    picture.write_bytes(photo.read_bytes())
    with serve(write(model, picture, "--preprocess", "unit", "--labels", names)) as address:
        page = Page(browser, address).ready()
        page.browser.click("#offered button")
        assert page.wait().startswith(picture.name)
        assert page.text("title") == model.name
        assert re.search(r"\d\.\d kB", page.text("about"))
        assert page.text("explained").startswith(HOSTILE)
        # a mark that would turn the rest of the line around is an escape, wherever it is said
        for key in ("explained", "said", "classes", "shown"):
            assert "\\u202e" in page.text(key)
        assert "\u202e" not in page.tell("document.body.innerText")
        assert page.tell("document.querySelectorAll('main img').length") == 1
        assert page.tell("document.querySelectorAll('b').length") == 0
        page.is_quiet()


def test_a_name_of_two_classes_is_asked_for_again(browser, write, photo, tmp_path):
    names = tmp_path / "labels.txt"
    names.write_text("crane\nheron\ncrane\nstork\n")
    model = write_model(tmp_path / "net.onnx")
    with serve(write(model, "--preprocess", "unit", "--labels", names)) as address:
        page = Page(browser, address).ready()
        page.explain(photo)
        page.tell("document.getElementById('wanted').value = 'Crane';")
        page.tell("document.getElementById('other').requestSubmit()")
        assert page.wait() == "“Crane” matches 2 labels: crane (0), crane (2)."
        # and what is still shown below tells what it is of
        assert "noise.png" in page.text("shown")


def test_what_is_pressed_is_seen_in_forced_colours(browser, write, photo, tmp_path):
    model = write_model(tmp_path / "net.onnx")
    with serve(write(model, "--preprocess", "unit")) as address:
        page = Page(browser, address).ready()
        page.explain(photo)
        page.browser.click("#strip button")
        forced = [{"name": "forced-colors", "value": "active"}]
        page.browser.call("Emulation.setEmulatedMedia", features=forced)
        for place in ("#classes", "#strip"):
            pressed = f"getComputedStyle(document.querySelector('{place} [aria-pressed=true]'))"
            assert page.tell(f"{pressed}.outlineStyle") == "solid"
        page.browser.look()


# --- where it runs ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fashion(write):
    return write(
        FASHION_VGG,
        FASHION / "bag_18.png",
        "--preprocess",
        FASHION / "preprocess.yaml",
        "--labels",
        FASHION / "labels.txt",
    )


def explained_bag(page):
    page.browser.click("#offered button")
    assert page.wait().startswith("bag_18.png: Bag")
    return page.numbers("shown.found.terms.map(({ value }) => value)")


def test_any_file_server_will_do(browser, fashion):
    """In a folder of it; and without the headers that isolate a page, with one thread."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        extensions_map = serving._Handler.extensions_map

        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(fashion.parent))
    with http.server.ThreadingHTTPServer((serving.HOST, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = Page(browser, f"http://{serving.HOST}:{server.server_port}/page/").ready()
        assert "1 thread" in page.text("runs")
        one = explained_bag(page)
        page.is_quiet()
        server.shutdown()
    with serve(fashion) as address:
        page = Page(browser, address).ready()
        assert page.tell("crossOriginIsolated")
        several = explained_bag(page)
    np.testing.assert_allclose(one, several, rtol=1e-4, atol=1e-5)


def test_from_disk_it_says_what_it_needs(browser, fashion):
    browser.open(fashion / "index.html")
    for _ in range(200):  # it waits a little, for it is not to be read while scripts arrive
        said = browser.tell("document.getElementById('unserved').innerText")
        if said:
            break
        time.sleep(0.05)
    assert "This page needs a web server" in said


@pytest.fixture(scope="module")
def with_gpu(tmp_path_factory):
    """A Chromium whose WebGPU is computed on the CPU."""
    flags = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
    chromium = Chromium(tmp_path_factory.mktemp("profile"), flags)
    yield chromium
    chromium.close()


def choose_webgpu(page):
    adapter = page.tell("navigator.gpu?.requestAdapter().then((found) => Boolean(found))")
    if not adapter:
        pytest.skip("this Chromium brings no software WebGPU")
    page.browser.choose("runs", "webgpu")
    page.wait()
    assert page.text("failed") == ""


def test_webgpu_gives_the_same(with_gpu, fashion):
    with serve(fashion) as address:
        page = Page(with_gpu, address).ready()
        # one that is computed on the CPU is no gain, so it is not taken of itself
        assert page.tell("document.getElementById('runs').value") == "wasm"
        expected = explained_bag(page)
        choose_webgpu(page)
        found = explained_bag(page)
        assert "by WebGPU" in page.text("said")
        assert page.text("fallback") == ""
        # sums of float32 in another order
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
        page.is_quiet()


def test_where_webgpu_fails_webassembly_runs_it(with_gpu, fashion):
    file = fashion / "ort"
    real = file.resolve()
    file.unlink()
    file.mkdir()
    for each in real.iterdir():
        if "asyncify" not in each.name:
            (file / each.name).symlink_to(each)
    with serve(fashion) as address:
        page = Page(with_gpu, address).ready()
        choose_webgpu(page)
        assert page.tell("document.getElementById('runs').value") == "wasm"
        assert page.text("fallback").startswith("WebGPU failed, and WebAssembly runs the model.")
        explained_bag(page)
        assert "by WebAssembly" in page.text("said")


def test_an_incomplete_decomposition_is_said(browser, write, photo, tmp_path):
    page_folder = write(write_model(tmp_path / "net.onnx"), "--preprocess", "unit")
    document = json.loads((page_folder / "view.json").read_text())
    document["tolerance"] = -1.0  # which no residual meets
    (page_folder / "view.json").write_text(json.dumps(document))
    with serve(page_folder) as address:
        page = Page(browser, address).ready()
        page.explain(photo)
        assert "The contributions do not add up to the score" in page.text("verdict")
        assert page.tell("document.getElementById('verdict').className") == "notice fail"
