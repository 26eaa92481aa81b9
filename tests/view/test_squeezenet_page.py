"""The page with the real SqueezeNet and real photographs: it says what the command line says."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

import fg_onnx
from fg_onnx.pictures.render import heat_map, overlay
from sample_models import labels, photos, squeezenet
from tests.commands import fg
from tests.view.conftest import serve
from tests.view.pages import Page

pytestmark = [pytest.mark.browser, pytest.mark.network]

EXPLAINED = ("chelsea.png", "coffee.png", "astronaut.png")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """SqueezeNet as it is, and what every command is told of it."""
    folder = tmp_path_factory.mktemp("model")
    names = labels.write(folder / "imagenet.txt")
    return [squeezenet.write(), "--preprocess", "caffe-bgr", "--labels", names]


@pytest.fixture(scope="module")
def pictures():
    found = {path.name: path for path in photos.write()}
    return {name: found[name] for name in EXPLAINED}


@pytest.fixture(scope="module")
def explained(model, pictures, tmp_path_factory):
    """What the command line says of the three best classes, by photo and rank."""
    folder = tmp_path_factory.mktemp("explanations")
    outcome = fg(
        "explain",
        *model,
        *pictures.values(),
        "-o",
        folder,
        "--target",
        "top3",
        "--layers",
        "--json",
    )
    assert outcome.code == 0, outcome.err
    found = {}
    for each in json.loads(outcome.out)["explanations"]:
        each["saliency"] = np.load(folder / each["files"]["array"])
        found.setdefault(each["image"].rpartition("/")[2], []).append(each)
    return found


@pytest.fixture(scope="module")
def address(write, model, pictures):
    with serve(write(*model, *pictures.values())) as found:
        yield found


@pytest.fixture(scope="module")
def page(browser, address):
    """Opened once: what a person did before is no matter for what is done next."""
    return Page(browser, address).ready()


def agrees(page, expected):
    """The page's numbers are the command line's, as far as two runtimes' float32 can.

    Both run the same graph on inputs that differ, if at all, by one unit in a few pixels in 10,000.
    Their kernels add up thousands of products in another order, each sum rounded by 2^-24 of its
    terms. Measured: contributions differ by at most 1e-5 of the sum of their magnitudes, scores by
    2e-7; the map by 4e-7 of its range, or 5e-4 where a unit of a pixel or a tie of two activations
    within rounding falls to the other side.
    """
    terms = page.shown("shown.found.terms.map(({ name, value }) => [name, value])")
    assert [name for name, _ in terms] == list(expected["contributions"])
    values = np.array(list(expected["contributions"].values()))
    scale = np.abs(values).sum()
    assert np.abs(np.array([value for _, value in terms]) - values).max() < 5e-5 * scale
    assert page.shown("shown.found.target") == expected["target"]
    assert page.shown("shown.found.score") == pytest.approx(expected["score"], rel=1e-5)
    assert page.shown("shown.found.residual") < 1e-4
    saliency = expected["saliency"]
    found = page.numbers("shown.found.saliency.data").reshape(saliency.shape)
    assert np.abs(found - saliency).max() < 1e-3 * np.ptp(saliency)


@pytest.mark.parametrize("name", EXPLAINED)
def test_the_numbers_are_the_command_lines(page, pictures, explained, name):
    said = page.explain(pictures[name])
    expected = explained[name][0]
    assert expected["label"] in said
    agrees(page, expected)
    assert page.text("explained") == expected["label"]
    ranked = page.tell(
        "Array.from(document.querySelectorAll('#classes button'), b => Number(b.dataset.index))"
    )
    assert ranked[:3] == [each["target"] for each in explained[name]]
    assert "within 0.0001" in page.text("verdict")
    page.is_quiet()


def test_a_click_on_a_class_explains_it(page, pictures, explained):
    page.explain(pictures["chelsea.png"])
    for expected in reversed(explained["chelsea.png"]):
        page.browser.click(f"#classes button[data-index='{expected['target']}']")
        assert expected["label"] in page.wait()
        agrees(page, expected)
        pressed = "document.querySelector('#classes [aria-pressed=true]').innerText"
        assert expected["label"] in page.tell(pressed)
    page.is_quiet()


def test_the_pixels_that_are_fed_are_pythons(page, pictures):
    for path in pictures.values():
        page.explain(path)
        wanted = fg_onnx.prepare(
            fg_onnx.read_image(path), fg_onnx.load_preprocessing("caffe-bgr"), [None, 3, 227, 227]
        )
        view = page.numbers("shown.prepared.view.data").reshape(wanted.view.shape)
        off = np.abs(view - wanted.view)
        # the sums of a resize are float32 in both: a tie may fall to either side
        assert off.max() <= 1
        assert np.mean(off > 0) < 1e-3
        array = page.numbers("shown.prepared.array").reshape(wanted.array.shape)
        same = (off == 0)[..., ::-1].transpose(2, 0, 1)[None]
        assert np.array_equal(array[same].astype(np.float32), wanted.array[same])


def test_the_overlay_is_drawn_as_the_command_line_draws_it(page, pictures):
    page.explain(pictures["coffee.png"])
    view = page.numbers("shown.prepared.view.data").reshape(227, 227, 3).astype(np.uint8)
    saliency = page.numbers("shown.found.saliency.data").reshape(227, 227)
    # one unit where a colour lies between two: rounding of another order of the same sums
    assert np.abs(canvas(page, "#overlay") - overlay(view, saliency).astype(int)).max() <= 1
    assert np.array_equal(canvas(page, "#photo"), view)
    page.browser.click("#bare")
    assert np.abs(canvas(page, "#overlay") - heat_map(saliency).astype(int)).max() <= 1
    page.browser.click("#bare")


def canvas(page, selector):
    """The pixels of a canvas."""
    # by a copy that is made to be read: of reading another one Chromium warns
    height, width, values = page.tell(
        f"(() => {{ const at = document.querySelector('{selector}');"
        " const copy = new OffscreenCanvas(at.width, at.height);"
        " const context = copy.getContext('2d', {willReadFrequently: true});"
        " context.drawImage(at, 0, 0);"
        " const found = context.getImageData(0, 0, at.width, at.height).data;"
        " return [at.height, at.width, Array.from(found)]; })()"
    )
    return np.array(values).reshape(height, width, 4)[..., :3]


def test_layers_are_laid_over_the_photo(page, pictures, explained):
    page.explain(pictures["coffee.png"])
    names = page.tell("Array.from(document.querySelectorAll('#strip button'), b => b.title)")
    assert names == list(explained["coffee.png"][0]["contributions"])[1:]
    whole = canvas(page, "#overlay")
    page.browser.click("#strip button[title='fire5/expand3x3']")
    assert "fire5/expand3x3" in page.text("shown")
    layer = canvas(page, "#overlay")
    view = page.numbers("shown.prepared.view.data").reshape(227, 227, 3).astype(np.uint8)
    size = page.shown(
        "(({ map }) => [map.height, map.width])"
        "(shown.found.layers.find(({ name }) => name === 'fire5/expand3x3'))"
    )
    own = page.numbers(
        "shown.found.layers.find(({ name }) => name === 'fire5/expand3x3').map.data"
    ).reshape(size)
    # OpenCV interpolates by float32 weights, the page by float64 ones
    assert np.abs(layer - overlay(view, own).astype(int)).max() <= 1
    page.browser.click("#strip button[title='fire5/expand3x3']")
    assert np.array_equal(canvas(page, "#overlay"), whole)


def bars(page):
    """Name, value, width and left end of every bar."""
    return page.tell(
        "Array.from(document.querySelectorAll('#bars tr'), row => ["
        " row.cells[0].innerText, Number(row.cells[2].dataset.value),"
        " parseFloat(row.querySelector('.bar').style.width),"
        " parseFloat(row.querySelector('.bar').style.left)])"
    )


def test_bars_have_the_length_and_side_of_the_contributions(page, pictures):
    page.explain(pictures["astronaut.png"])
    rows = bars(page)
    terms = page.shown("shown.found.terms.map(({ name, value }) => [name, value])")
    assert [[name, value] for name, value, *_ in rows] == terms
    most = max(abs(value) for _, value in terms)
    assert any(value < 0 for _, value in terms)
    for _, value, width, left in rows:
        assert width == pytest.approx(50 * abs(value) / most, abs=1e-3)
        assert left == pytest.approx(50 - width if value < 0 else 50, abs=1e-3)
    page.browser.click("#of-layers")
    most = max(abs(value) for _, value in terms[1:])
    for _, value, width, _ in bars(page):
        assert width == pytest.approx(min(50, 50 * abs(value) / most), abs=1e-3)
    page.browser.click("#of-layers")


def test_what_is_asked_for_last_is_shown(page, pictures, explained):
    page.explain(pictures["chelsea.png"])
    for expected in explained["chelsea.png"]:
        page.browser.click(f"#classes button[data-index='{expected['target']}']")
    page.wait()
    agrees(page, explained["chelsea.png"][-1])
    page.browser.choose_file("#file", pictures["coffee.png"])
    page.explain(pictures["astronaut.png"])
    agrees(page, explained["astronaut.png"][0])
    page.is_quiet()


def test_everything_is_done_by_the_keyboard(page, pictures, explained):
    page.tell("document.querySelector('#offered button').focus()")
    page.browser.press("Enter")
    page.wait()
    assert page.text("explained") == explained["chelsea.png"][0]["label"]
    # from the photo offered first to the classes, by nothing but Tab
    second = str(explained["chelsea.png"][1]["target"])
    for _ in range(30):
        if page.tell("document.activeElement.dataset.index") == second:
            break
        page.browser.press("Tab")
    page.browser.press("Enter")
    page.wait()
    assert page.text("explained") == explained["chelsea.png"][1]["label"]
    assert page.tell("document.activeElement.dataset.index") == second
    page.tell("document.getElementById('opacity').focus()")
    page.browser.press("Home")
    opacity = "getComputedStyle(document.getElementById('overlay')).opacity"
    assert page.tell(opacity) == "0"
    page.browser.press("ArrowRight", 2)
    assert page.tell(opacity) == "0.1"
    assert page.text("opacity-said") == "10%"
    page.tell("document.querySelector('#strip button').focus()")
    page.browser.press("Space")
    pressed = "document.querySelector('#strip button').getAttribute('aria-pressed')"
    assert page.tell(pressed) == "true"
    page.is_quiet()


def test_another_class_is_explained_by_name_or_number(page, pictures):
    page.explain(pictures["chelsea.png"])
    for typed, found in (
        ("espresso maker", "espresso maker"),
        ("967", "espresso"),
        ("SIAMESE", "Siamese cat"),
    ):
        page.tell(
            f"document.getElementById('wanted').value = {json.dumps(typed)};"
            "document.getElementById('other').requestSubmit()"
        )
        page.wait()
        assert found in page.text("explained")
    for typed, sentence in (
        ("1000", "There is no class 1000: the model has 0 to 999."),
        ("xyz", "No label matches “xyz”."),
        ("retriever", "“retriever” matches"),
        ("", "Type the name or number of a class."),
    ):
        page.tell(
            f"document.getElementById('wanted').value = {json.dumps(typed)};"
            "document.getElementById('other').requestSubmit()"
        )
        assert sentence in page.wait()


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_photo_is_dropped_or_pasted(page, pictures, explained, way):
    event = (
        "new DragEvent('drop', {bubbles: true, dataTransfer: given})"
        if way == "drop"
        else "new ClipboardEvent('paste', {bubbles: true, clipboardData: given})"
    )
    page.tell(
        "fetch('/images/2.png').then(found => found.blob()).then(blob => {"
        " const given = new DataTransfer();"
        " given.items.add(new File([blob], 'cup.png', {type: 'image/png'}));"
        f" document.getElementById('main').dispatchEvent({event}); }})"
    )
    assert page.wait().startswith("cup.png: ")
    agrees(page, explained["coffee.png"][0])
    page.is_quiet()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_fits_the_window(page, pictures, width, dark):
    page.explain(pictures["chelsea.png"])
    page.browser.resize(width)
    page.browser.look(dark=dark)
    assert page.tell("document.documentElement.scrollWidth") <= width
    page.browser.resize(1200)
    page.is_quiet()


def test_reads_a_jpeg_as_the_command_line_does_but_for_the_decoder(page, pictures, tmp_path):
    photo = tmp_path / "cat.jpg"
    cv2.imwrite(
        str(photo), cv2.imread(str(pictures["chelsea.png"])), [cv2.IMWRITE_JPEG_QUALITY, 95]
    )
    page.explain(photo)
    wanted = fg_onnx.prepare(
        fg_onnx.read_image(photo), fg_onnx.load_preprocessing("caffe-bgr"), [None, 3, 227, 227]
    )
    view = page.numbers("shown.prepared.view.data").reshape(wanted.view.shape)
    # two decoders of one JPEG round colours apart by a unit or two
    assert np.abs(view - wanted.view).max() <= 3
