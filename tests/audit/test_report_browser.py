"""The HTML report in a real Chromium: it reads, filters, sorts and prints, and fetches nothing."""

from __future__ import annotations

import itertools
import json

import pytest

from fg_onnx.audit.report import page
from fg_onnx.audit.report.text import visible
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


@pytest.mark.parametrize("width", [360, 1200])
def test_the_layers_of_an_image_are_one_row(browser, tmp_path, width):
    maps = tuple((f"layer {n}", documents.square((0, n, 0))) for n in range(6))
    made = documents.usual(rows=tuple(documents.row(n, layers=maps) for n in range(3)))
    (tmp_path / "page.html").write_text(page.text(made), "utf-8")
    browser.open(tmp_path / "page.html", width=width)
    tops = "Array.from(document.querySelectorAll('#image-0 .strip li')).map(li => li.offsetTop)"
    found = browser.tell(tops)
    assert (len(found), len(set(found))) == (6, 1)


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
        usual.settle()
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


# --- one image in the whole window --------------------------------------------------------------


@pytest.mark.parametrize("way", ["click", "Enter"])
def test_an_image_is_enlarged_and_left_again(usual, way):
    first = "#cards > li:not([hidden]) .enlarge"
    if way == "click":
        usual.click("#cards > li:not([hidden]) .picture")
    else:
        usual.tell(f"document.querySelector('{first}').focus()")
        usual.press("Enter")
    name = usual.tell(NAMES)[0]
    assert usual.tell("document.getElementById('viewer').open")
    assert name.endswith(usual.tell("document.getElementById('viewer-title').textContent"))
    usual.press("Escape")
    usual.settle()
    assert not usual.tell("document.getElementById('viewer').open")
    assert usual.tell(f"document.activeElement === document.querySelector('{first}')")
    is_quiet(usual)


def test_the_viewer_leads_on_and_fades(usual):
    names = [name.rpartition("/")[2] for name in usual.tell(NAMES)]
    title = "document.getElementById('viewer-title').textContent"
    usual.click("#cards > li:not([hidden]) .enlarge")
    assert usual.tell("document.getElementById('before').disabled")
    usual.tell("document.getElementById('close').focus()")
    usual.press("ArrowRight")
    assert usual.tell(title) == names[1]
    usual.click("#after")
    assert usual.tell(title) == names[2]
    usual.click("#before")
    assert usual.tell(title) == names[1]
    usual.tell("document.getElementById('viewer-opacity').focus()")
    usual.press("Home")
    assert usual.tell(title) == names[1]
    overlay = "getComputedStyle(document.querySelector('#viewed .overlay')).opacity"
    assert usual.tell(overlay) == "0"
    assert usual.tell("document.getElementById('opacity').value") == "0"


def test_the_viewer_lays_any_layer_over_the_picture(usual):
    name = usual.tell(NAMES)[0]
    usual.click("#cards > li:not([hidden]) .enlarge")
    laid = "document.querySelector('#viewed .overlay').getAttribute('src')"
    sources = [ROWS[name].overlay, *(uri for _, uri in ROWS[name].layers)]
    for place, source in enumerate(sources):
        usual.click(f"#viewed .strip li:nth-child({place + 1}) button")
        assert usual.tell(laid) == source
        pressed = "Array.from(document.querySelectorAll('#viewed .strip button'))"
        states = usual.tell(f"{pressed}.map(b => b.getAttribute('aria-pressed'))")
        assert states == ["true" if n == place else "false" for n in range(len(sources))]


# --- for everybody ------------------------------------------------------------------------------

# of every text that is shown: what it says, and its contrast with what lies behind it
CONTRASTS = """(() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const over = (above, below) => {
    const a = above[3] ?? 1;
    return [0, 1, 2].map(n => a * above[n] + (1 - a) * below[n]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map(c => c / 255).map(
      c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = (element) => {
    const chain = [];
    for (let at = element; at; at = at.parentElement) chain.push(at);
    return chain.reverse().reduce(
      (below, at) => over(parts(getComputedStyle(at).backgroundColor), below), [255, 255, 255]);
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const at = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !at.checkVisibility() || at.disabled) continue;
    const style = getComputedStyle(at);
    const back = behind(at);
    const ink = over(parts(at instanceof SVGElement ? style.fill : style.color), back);
    const [x, y] = [light(ink), light(back)].sort((a, b) => b - a);
    found.push([texts.currentNode.data, (x + .05) / (y + .05)]);
  }
  return found;
})()"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["usual", "empty", "broken"])
def test_contrast(browser, pages, name, dark):
    browser.open(pages / f"{name}.html", dark=dark)
    found = browser.tell(CONTRASTS)
    assert len(found) > 50
    assert [text for text, ratio in found if ratio < 4.5] == []


def test_the_keyboard_reaches_all_controls_and_shows_where_it_is(usual):
    seen = []
    for _ in range(400):
        usual.press("Tab")
        at = usual.tell(
            "(() => { const at = document.activeElement; return [at.id || at.className ||"
            " at.getAttribute('href') || at.tagName, getComputedStyle(at).outlineStyle]; })()"
        )
        if at[0] == "BODY":
            break
        seen.append(at)
    assert [where for where, outline in seen if outline == "none"] == []
    assert seen[0][0] == "skip"
    reached = [where for where, _ in seen]
    for control in ("opacity", "of-class", "of-finding", "sort", "size", "next", "choose",
                    "frame", "enlarge", "#gallery"):  # fmt: skip
        assert control in reached


def test_the_first_link_skips_to_the_findings(usual):
    usual.press("Tab")
    usual.press("Enter")
    assert usual.tell("location.hash") == "#findings"


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
    headings = [
        next(p["value"]["value"] for p in node["properties"] if p["name"] == "level")
        for node in nodes
        if not node["ignored"] and node["role"]["value"] == "heading"
    ]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))


def test_reads_without_scripts(browser, pages):
    browser.open(pages / "usual.html", scripts=False)
    shown = "Array.from(document.querySelectorAll('{}')).filter(e => e.checkVisibility()).length"
    assert browser.tell(shown.format("#cards > li")) == len(ROWS)
    assert browser.tell(shown.format("#cards .pair img")) == 2 * len(ROWS)
    for control in (".controls", ".pages", ".choose", ".enlarge"):
        assert browser.tell(shown.format(control)) == 0
    boxes = browser.tell(
        "Array.from(document.querySelectorAll('#cards > li:first-child .pair img'))"
        ".map(i => i.getBoundingClientRect().x)"
    )
    assert boxes[0] < boxes[1]


def test_prints_everything_and_no_controls(usual):
    usual.look(medium="print")
    shown = "Array.from(document.querySelectorAll('{}')).filter(e => e.checkVisibility()).length"
    assert usual.tell(shown.format("#cards > li")) == len(ROWS)
    for control in ("body > nav", ".controls", ".pages", "button", "dialog"):
        assert usual.tell(shown.format(control)) == 0
    hidden = "getComputedStyle(document.querySelector('details'), '::details-content')"
    assert usual.tell(f"{hidden}.contentVisibility") == "visible"
    assert usual.tell("getComputedStyle(document.querySelector('.frame')).maxHeight") == "none"
    assert usual.pdf().startswith(b"%PDF")
    assert not usual.tell("document.querySelector('details').open")


# --- nothing gets out, and the tests would see it -----------------------------------------------

BAD = (
    "<script>alert(1); fetch('http://127.0.0.1:9/a'); console.error('b'); throw 1</script>"
    "<img src='http://127.0.0.1:9/c.png' onerror='alert(2)'>"
)


def test_a_page_that_does_what_it_should_not_is_noticed(browser, tmp_path):
    (tmp_path / "bad.html").write_text(f"<!DOCTYPE html><title>bad</title>{BAD}")
    browser.open(tmp_path / "bad.html")
    assert browser.dialogs == ["1", "2"]
    assert {"http://127.0.0.1:9/a", "http://127.0.0.1:9/c.png"} <= set(browser.requests)
    assert len(browser.errors) >= 2


def test_what_comes_through_unescaped_does_not_run_all_the_same(browser, pages, tmp_path):
    bad = (pages / "usual.html").read_text("utf-8").replace("</main>", f"{BAD}</main>")
    (tmp_path / "bad.html").write_text(bad, "utf-8")
    browser.open(tmp_path / "bad.html")
    assert browser.dialogs == []
    assert all("Content Security Policy" in error for error in browser.errors)
    assert len(browser.errors) >= 2
    assert browser.tell(COUNT) == "1 to 24 of 60"


def test_names_are_read_as_they_are(browser, pages):
    browser.open(pages / "hostile.html")
    browser.choose("size", "96")
    browser.choose("sort", "score")
    hostile = documents.hostile()
    order = sorted(hostile.rows, key=lambda row: -row.score)
    titles = browser.tell(f"{VISIBLE}.map(c => c.querySelector('h3').title)")
    assert titles == [visible(row.name) for row in order]
    for row in order[:6]:
        browser.choose("of-class", str(row.target))
        assert browser.tell(NAMES) == [visible(row.name)]
        browser.click("#cards > li:not([hidden]) .enlarge")
        assert browser.tell("document.querySelectorAll('#viewed script').length") == 0
        browser.press("Escape")
    is_quiet(browser)
