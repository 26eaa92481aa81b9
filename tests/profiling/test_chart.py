"""The chart: boxes as wide as time is long, one page that fetches nothing, and keys to go round."""

from __future__ import annotations

import re

import pytest

from fg_onnx.profiling.chart import boxes, page
from tests.profiling.profiles import HOSTILE, row, usual

TOLD = "document.getElementById('told').textContent"
WIDTHS = (
    "Array.from(document.querySelectorAll('.flame .box'))"
    ".filter(b => b.getAttribute('display') !== 'none')"
    ".map(b => b.querySelector('title').textContent)"
)


def test_boxes_lie_within_those_that_hold_them():
    found = {box.key: box for box in boxes(usual())}
    assert found[()].seconds == pytest.approx(10e-3)
    assert found[()].kernels == 6
    assert [key for key in found if len(key) == 1] == [("adjoint",), ("forward",), ("aggregation",)]
    assert found["aggregation", "conv1 psi"].share == pytest.approx(0.15)
    assert found["aggregation", "– map", "Resize"].start == pytest.approx(0.95)
    for key, box in found.items():
        if len(key) == 3:
            continue
        held = [
            other for k, other in found.items() if k[: len(key)] == key and len(k) == len(key) + 1
        ]
        assert sum(other.share for other in held) == pytest.approx(box.share)
        assert sum(other.seconds for other in held) == pytest.approx(box.seconds)
        assert sum(other.kernels for other in held) == box.kernels
        assert min(other.start for other in held) == pytest.approx(box.start)


def test_the_page_tells_all_of_it():
    text = page(usual())
    assert "<title>net.onnx: profile</title>" in text
    assert "adjoint · conv1 · Conv: 5.00 ms, 50.0%, 2 kernels" in text
    assert 'href="#chart">Skip to the chart<' in text
    assert "http:" not in text
    assert "https:" not in text


def test_every_name_in_the_style_has_a_value():
    """Without its base sheet a page still loads, and has no colours."""
    text = page(usual())
    assert set(re.findall(r"var\((--[\w-]+)\)", text)) <= set(re.findall(r"(--[\w-]+):", text))


def test_names_from_the_model_are_text():
    text = page(usual(row("forward", HOSTILE, HOSTILE, 1.0), model=HOSTILE))
    assert "alert" in text
    assert HOSTILE not in text
    assert "<script>alert" not in text


def test_no_time_at_all():
    assert "0.000 ms" in page(usual(row("forward", "a", "Relu", 0.0)))


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_loads_and_fits(browser, tmp_path, width, dark):
    place = tmp_path / "page.html"
    place.write_text(page(usual(row("forward", HOSTILE, "Conv", 1.0))), "utf-8")
    browser.open(place, width=width, dark=dark)
    assert (browser.errors, browser.dialogs, browser.requests) == ([], [], [])
    assert browser.tell("document.documentElement.scrollWidth") <= width


@pytest.mark.browser
def test_keys_go_round_and_widen(browser, tmp_path):
    place = tmp_path / "page.html"
    place.write_text(page(usual()), "utf-8")
    browser.open(place)
    every = browser.tell(WIDTHS)
    assert len(every) == len(list(boxes(usual())))
    browser.tell("document.querySelector('.flame .box[tabindex=\"0\"]').focus()")
    browser.press("ArrowDown")
    assert browser.tell(TOLD).startswith("adjoint: 5.00 ms, 50.0%")
    browser.press("ArrowRight")
    assert browser.tell(TOLD).startswith("forward: 3.00 ms")
    browser.press("ArrowDown", times=2)
    assert browser.tell(TOLD).startswith("forward · conv1 · Conv: 3.00 ms")
    browser.press("ArrowUp")
    browser.press("Enter")
    left = browser.tell(WIDTHS)
    assert [label.split(":")[0] for label in left] == [
        "all kernels", "forward", "forward · conv1", "forward · conv1 · Conv",
    ]  # fmt: skip
    browser.press("Escape")
    assert browser.tell(WIDTHS) == every
    assert browser.errors == []


@pytest.mark.browser
def test_without_a_script_titles_tell(browser, tmp_path):
    place = tmp_path / "page.html"
    place.write_text(page(usual()), "utf-8")
    browser.open(place, scripts=False)
    assert browser.errors == []
