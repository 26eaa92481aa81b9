"""What goes wrong on the page becomes a sentence, and the page can be used on."""

from __future__ import annotations

import json
import struct
import zlib

import numpy as np
import pytest

from tests.commands import WEIGHTS, write_image, write_model
from tests.view.conftest import serve
from tests.view.pages import Page

pytestmark = [pytest.mark.browser, pytest.mark.network]


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    return write_image(tmp_path_factory.mktemp("photo") / "noise.png")


@pytest.fixture(scope="module")
def page(browser, write, tmp_path_factory):
    model = write_model(tmp_path_factory.mktemp("model") / "net.onnx")
    with serve(write(model, "--preprocess", "unit")) as address:
        yield Page(browser, address).ready()


def png(width, height):
    """A PNG of one bit a pixel, all black, which is small however many pixels it has."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    data = b"".join(rows.compress(row) for _ in range(height)) + rows.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


BAD = {
    "text.png": (b"no image at all", "“text.png” is not an image that this browser can read."),
    "empty.jpg": (b"", "“empty.jpg” is empty."),
    "huge.png": (png(20000, 20000), "“huge.png” has 20000 × 20000 pixels, and at most 179 million"),
    "cut.png": (png(64, 64)[:50], "“cut.png”"),
    "drawing.svg": (
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect/></svg>',
        "“drawing.svg” (9 × 9 pixels) cannot be decoded: it is no photograph",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_photo(page, photo, tmp_path, name):
    data, sentence = BAD[name]
    (tmp_path / name).write_bytes(data)
    page.browser.errors.clear()
    assert sentence in page.explain(tmp_path / name)
    assert page.tell("document.getElementById('failed').getAttribute('role')") == "alert"
    # the next photo is explained as if nothing had been
    assert page.explain(photo).startswith("noise.png: class")
    assert page.text("failed") == ""
    page.is_quiet()


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        ("new DragEvent('drop', {bubbles: true, dataTransfer: given})", "is no file"),
        (
            "new ClipboardEvent('paste', {bubbles: true, clipboardData: given})",
            "The clipboard holds no image.",
        ),
    ],
)
def test_what_is_dropped_or_pasted_is_no_file(page, event, sentence):
    page.tell(
        "(() => { const given = new DataTransfer(); given.setData('text/plain', 'words');"
        f" document.body.dispatchEvent({event}); }})()"
    )
    assert sentence in page.wait()


def test_a_class_before_there_is_a_photo(browser, page):
    fresh = Page(browser, page.address).ready()
    fresh.tell("document.getElementById('other').requestSubmit()")
    # hidden until then, but a script or an extension may do it all the same
    assert fresh.wait() == "Choose a photo first."


# --- the model ----------------------------------------------------------------------------------


def broken(write, tmp_path, change):
    """A page's folder in which something was changed."""
    folder = write(write_model(tmp_path / "net.onnx"), "--preprocess", "unit")
    change(folder)
    return folder


def edit(folder, **values):
    document = json.loads((folder / "view.json").read_text())
    for key, value in values.items():
        document[key].update(value)
    (folder / "view.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder: (folder / "model.onnx").unlink(), "cannot be fetched (404)"),
        (lambda folder: (folder / "model.onnx").write_bytes(b"x" * 99), "does not run here"),
        (lambda folder: (folder / "view.json").unlink(), "view.json cannot be read"),
    ],
    ids=["missing", "broken", "undescribed"],
)
def test_a_folder_that_is_not_whole(browser, write, tmp_path, change, sentence):
    with serve(broken(write, tmp_path, change)) as address:
        assert sentence in Page(browser, address).wait()


def test_a_large_model_is_loaded_only_when_that_is_wanted(browser, write, photo, tmp_path):
    folder = broken(write, tmp_path, lambda folder: edit(folder, limits={"large": 100}))
    with serve(folder) as address:
        page = Page(browser, address)
        assert "a browser gives at most 4 GB" in page.wait()
        assert not any("model.onnx" in url for url in page.browser.requests)
        page.browser.click("#load")
        page.ready()
        assert page.explain(photo).startswith("noise.png")
        assert any("model.onnx" in url for url in page.browser.requests)


GROWING = """g (float[N,3,h,v] x) => (float[N,4] logits) {
    c = Conv (x, w, b)
    e = Expand (c, shape)
    s = Sigmoid (e)
    m = ReduceMean <axes = [0], keepdims = 0> (s)
    p = GlobalAveragePool (m)
    logits = Flatten (p)
}"""


@pytest.mark.parametrize(
    "side",
    [
        140,  # 6 GB for one tensor, more than a 32-bit address reaches
        117,  # 4.28 GB, for which there is no room beside the runtime itself
    ],
)
def test_a_photo_for_which_there_is_no_memory(browser, write, photo, tmp_path, side):
    shape = np.array([20_250, 1, 4, 1, 1], np.int64)
    model = write_model(tmp_path / "net.onnx", GROWING, {**WEIGHTS, "shape": shape})
    with serve(write(model, "--preprocess", "unit")) as address:
        page = Page(browser, address).ready()
        large = write_image(tmp_path / "large.png", size=(side, side))
        assert "needs more memory than a browser gives it" in page.explain(large)
        # and it is opened again for the next one
        assert page.explain(photo).startswith("noise.png")


FAILING = """g (float[N,3,h,v] x) => (float[N,4] logits) {
    c = Conv (x, w, b)
    r = Reshape (c, shape)
    p = GlobalAveragePool (r)
    logits = Flatten (p)
}"""


def test_a_runtime_error_is_said(browser, write, photo, tmp_path):
    # six rows of the eight or ten that a photo of 12 by 10 leaves
    shape = np.array([0, 4, 6, 6], np.int64)
    model = write_model(tmp_path / "net.onnx", FAILING, {**WEIGHTS, "shape": shape})
    with serve(write(model, "--preprocess", "unit")) as address:
        page = Page(browser, address).ready()
        said = page.explain(photo)
        assert said.startswith("The model does not run here: ")
        assert "Reshape" in said
        assert page.explain(write_image(tmp_path / "small.png", size=(8, 8))).startswith(
            "small.png"
        )
