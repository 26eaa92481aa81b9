"""The report of a comparison in a real Chromium: it reads, filters, sorts, fades and prints."""

from __future__ import annotations

import pytest

from fg_onnx.comparison.report import page
from tests.audit.test_report_browser import CONTRASTS, COUNT, NAMES, VISIBLE, is_quiet
from tests.comparison import documents

pytestmark = pytest.mark.browser

ROWS = {row.name: row for row in documents.usual().rows}
EVERY = ("usual", "alike", "pictureless", "hostile")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    for name in EVERY:
        (folder / f"{name}.html").write_text(page.text(getattr(documents, name)()), "utf-8")
    return folder


@pytest.fixture
def usual(browser, pages):
    browser.open(pages / "usual.html")
    return browser


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("name", EVERY)
def test_loads_and_fits(browser, pages, name, width, dark):
    browser.open(pages / f"{name}.html", width=width, dark=dark)
    is_quiet(browser)
    assert browser.tell("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(
    ("order", "key"),
    [
        ("spearman-up", lambda row: row.values["spearman"]),
        ("ssim-up", lambda row: row.values["ssim"]),
        ("top-up", lambda row: row.values["top"]),
        ("shift", lambda row: -row.values["shift"]),
        ("score", lambda row: -row.values["score"]),
        ("output", lambda row: -row.values["output"]),
        ("drift", lambda row: -row.values["drift"]),
        ("name", lambda row: row.name),
    ],
)
def test_sorts_the_least_alike_first(usual, order, key):
    usual.choose("size", "96")
    usual.choose("sort", order)
    assert usual.tell(NAMES) == [row.name for row in sorted(ROWS.values(), key=key)]


def test_the_least_alike_maps_are_first_from_the_start(usual):
    first = sorted(ROWS.values(), key=lambda row: row.values["spearman"])[:24]
    assert usual.tell(NAMES) == [row.name for row in first]
    assert usual.tell(COUNT) == "1 to 24 of 60"


def test_filters_by_class_and_finding(usual):
    usual.choose("of-class", "2")
    wanted = sorted(row.name for row in ROWS.values() if row.target == 2)
    assert sorted(usual.tell(NAMES)) == wanted
    usual.choose("of-class", "")
    usual.choose("of-finding", "0")
    assert sorted(usual.tell(NAMES)) == sorted(documents.usual().findings[0].images)
    usual.click("button.choose[data-class='3']")
    assert usual.tell("document.getElementById('of-class').value") == "3"


def test_the_slider_fades_both_maps(usual):
    both = f"Array.from({VISIBLE}[0].querySelectorAll('.overlay'))"
    opacities = f"{both}.map(o => Number(getComputedStyle(o).opacity))"
    usual.tell("document.getElementById('opacity').focus()")
    assert usual.tell(opacities) == pytest.approx([0.7, 0.7])
    usual.press("ArrowRight", 2)
    assert usual.tell(opacities) == pytest.approx([0.8, 0.8])
    usual.press("Home")
    assert usual.tell(opacities) == [0, 0]


def test_every_map_lies_on_its_own_picture(usual):
    boxes = usual.tell(
        f"Array.from({VISIBLE}[0].querySelectorAll('.pair')).map(pair =>"
        " Array.from(pair.querySelectorAll('img')).map(i => JSON.stringify("
        "i.getBoundingClientRect())))"
    )
    assert [len(pair) for pair in boxes] == [2, 2, 1]
    assert boxes[0][0] == boxes[0][1]
    assert boxes[1][0] == boxes[1][1]
    assert len({pair[0] for pair in boxes}) == 3
    captions = f"Array.from({VISIBLE}[0].querySelectorAll('figcaption')).map(c => c.textContent)"
    assert usual.tell(captions) == ["A", "B", "B − A"]


def test_an_image_is_enlarged_with_all_three(usual):
    usual.click("#cards > li:not([hidden]) .enlarge")
    assert usual.tell("document.getElementById('viewer').open")
    assert usual.tell("document.querySelectorAll('#viewed .pair').length") == 3
    usual.tell("document.getElementById('close').focus()")
    usual.press("ArrowRight")
    title = usual.tell("document.getElementById('viewer-title').textContent")
    assert usual.tell(NAMES)[1].endswith(title)
    usual.press("Escape")
    usual.settle()
    assert not usual.tell("document.getElementById('viewer').open")
    is_quiet(usual)


def test_the_worst_of_a_measure_leads_to_its_image(usual):
    worst = next(m for m in documents.usual().measures if m.name == "shift").images[0]
    usual.tell(f"document.querySelector('.histograms a[title=\"{worst}\"]').click()")
    usual.settle()
    assert usual.tell("document.activeElement.dataset.name") == worst
    assert worst in usual.tell(NAMES)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["usual", "alike", "pictureless"])
def test_contrast(browser, pages, name, dark):
    browser.open(pages / f"{name}.html", dark=dark)
    found = browser.tell(CONTRASTS)
    assert len(found) > 50
    assert [text for text, ratio in found if ratio < 4.5] == []


def test_everything_has_a_role_and_a_name(usual):
    nodes = usual.call("Accessibility.getFullAXTree")["nodes"]
    found = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]
    roles = {role for role, _ in found}
    assert {"main", "banner", "contentinfo", "navigation", "status", "slider", "table"} <= roles
    named = {"button", "slider", "combobox", "link", "image", "img", "table", "region", "article"}
    assert [role for role, name in found if role in named and not name] == []


def test_the_keyboard_reaches_the_controls(usual):
    seen = []
    for _ in range(500):
        usual.press("Tab")
        at = usual.tell(
            "(() => { const at = document.activeElement; return [at.id || at.className ||"
            " at.getAttribute('href') || at.tagName, getComputedStyle(at).outlineStyle]; })()"
        )
        if at[0] == "BODY":
            break
        seen.append(at)
    assert [where for where, outline in seen if outline == "none"] == []
    reached = [where for where, _ in seen]
    for control in ("skip", "opacity", "of-class", "sort", "size", "next", "frame", "enlarge"):
        assert control in reached


def test_reads_without_scripts_and_prints(browser, pages):
    shown = "Array.from(document.querySelectorAll('{}')).filter(e => e.checkVisibility()).length"
    browser.open(pages / "usual.html", scripts=False)
    assert browser.tell(shown.format("#cards .pair img")) == 5 * len(ROWS)
    for control in (".controls", ".pages", ".choose", ".enlarge"):
        assert browser.tell(shown.format(control)) == 0
    browser.open(pages / "usual.html")
    browser.look(medium="print")
    assert browser.tell(shown.format("#cards > li")) == len(ROWS)
    for control in ("body > nav", ".controls", ".pages", "button", "dialog"):
        assert browser.tell(shown.format(control)) == 0
    assert browser.pdf().startswith(b"%PDF")


def test_names_are_read_as_they_are(browser, pages):
    browser.open(pages / "hostile.html")
    browser.choose("size", "96")
    assert len(browser.tell(NAMES)) == len(documents.hostile().rows)
    browser.click("#cards > li:not([hidden]) .enlarge")
    assert browser.tell("document.querySelectorAll('#viewed script').length") == 0
    is_quiet(browser)
