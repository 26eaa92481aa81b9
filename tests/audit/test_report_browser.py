"""The HTML report in a real Chromium: it reads, filters, sorts and prints, and fetches nothing."""

from __future__ import annotations

import json

import pytest

from fg_onnx.audit.report import page
from tests.audit import documents

pytestmark = pytest.mark.browser

VISIBLE = "Array.from(document.querySelectorAll('#cards > li')).filter(c => !c.hidden)"
NAMES = f"{VISIBLE}.map(c => c.dataset.name)"
COUNT = "document.getElementById('count').textContent"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    for name in ("usual", "empty", "hostile", "broken"):
        (folder / f"{name}.html").write_text(page.text(getattr(documents, name)()), "utf-8")
    return folder


@pytest.fixture
def usual(browser, pages):
    browser.open(pages / "usual.html")
    return browser


ROWS = {row.name: row for row in documents.usual().rows}


def is_quiet(browser):
    assert browser.errors == []
    assert browser.dialogs == []
    assert browser.requests == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("name", ["usual", "empty", "hostile", "broken"])
def test_loads_and_fits(browser, pages, name, width, dark):
    browser.open(pages / f"{name}.html", width=width, dark=dark)
    is_quiet(browser)
    across = "document.documentElement.scrollWidth"
    assert browser.tell(across) <= width


def test_pages_through_all_images_once(usual):
    seen = []
    assert usual.tell(COUNT) == "1 to 24 of 60"
    for _ in range(3):
        seen += usual.tell(NAMES)
        usual.click("#next")
    assert sorted(seen) == sorted(ROWS)
    assert usual.tell("document.getElementById('next').disabled")
    assert usual.tell(COUNT) == "49 to 60 of 60"
    is_quiet(usual)


@pytest.mark.parametrize(
    ("order", "key"),
    [
        ("outlier", lambda row: -row.outlier),
        ("residual", lambda row: -row.residual),
        ("score", lambda row: -row.score),
        ("score-up", lambda row: row.score),
        ("name", lambda row: row.name),
    ],
)
def test_sorts(usual, order, key):
    usual.choose("size", "96")
    usual.choose("sort", order)
    assert usual.tell(NAMES) == [row.name for row in sorted(ROWS.values(), key=key)]


def test_filters_by_class(usual):
    usual.choose("of-class", "2")
    names = usual.tell(NAMES)
    assert sorted(names) == sorted(row.name for row in ROWS.values() if row.target == 2)
    assert usual.tell(COUNT) == "1 to 15 of 15"
    assert usual.tell("document.getElementById('count').getAttribute('role')") == "status"


def test_filters_by_finding(usual):
    finding = documents.usual().findings[0]
    usual.choose("of-finding", "0")
    assert sorted(usual.tell(NAMES)) == sorted(finding.images)


def test_a_class_of_the_table_filters(usual):
    usual.click("button.choose[data-class='3']")
    assert usual.tell("document.getElementById('of-class').value") == "3"
    assert len(usual.tell(NAMES)) == 15


def test_a_finding_leads_to_its_image_on_any_page(usual):
    finding = documents.usual().findings[0]
    for name in finding.images:
        usual.choose("of-class", "")
        usual.tell(f"document.querySelector('.finding a[title={json.dumps(name)}]').click()")
        usual.tell("new Promise(done => setTimeout(done, 50))")
        assert usual.tell("document.activeElement.dataset.name") == name
        assert name in usual.tell(NAMES)


def test_the_slider_fades_the_overlay_by_the_keyboard(usual):
    opacity = f"Number(getComputedStyle({VISIBLE}[0].querySelector('.overlay')).opacity)"
    usual.tell("document.getElementById('opacity').focus()")
    assert usual.tell(opacity) == pytest.approx(0.7)
    usual.press("ArrowRight", 2)
    assert usual.tell(opacity) == pytest.approx(0.8)
    usual.press("Home")
    assert usual.tell(opacity) == 0
    assert usual.tell("document.getElementById('opacity-said').textContent") == "0%"
    usual.press("End")
    assert usual.tell(opacity) == 1


def test_pictures_lie_on_each_other(usual):
    boxes = usual.tell(
        f"Array.from({VISIBLE}[0].querySelectorAll('.pair img'))"
        ".map(i => JSON.stringify(i.getBoundingClientRect()))"
    )
    assert len(boxes) == 2
    assert boxes[0] == boxes[1]
    loaded = f"{VISIBLE}[0].querySelector('img').naturalWidth"
    assert usual.tell(loaded) == 28
