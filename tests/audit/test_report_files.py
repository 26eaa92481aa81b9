"""The files of a report: Markdown and JUnit that hold what the document says, and their size."""

from __future__ import annotations

import html
import re
import time
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from fg_onnx.audit.report import junit, markdown, page, write_reports
from fg_onnx.audit.report.shell import asset
from fg_onnx.audit.report.text import visible
from fg_onnx.errors import OutputError
from tests.audit import documents
from tests.audit.documents import EVIL, NO_PICTURES
from tests.audit.test_report_text import Read

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
EVERY = ["usual", "empty", "hostile", "broken"]


def test_writes_three_files_and_names_them(tmp_path):
    folder = tmp_path / "new" / "folder"
    document = documents.usual()
    written = write_reports(document, folder)
    assert [path.name for path in written] == ["audit.html", "audit.md", "audit.xml"]
    assert sorted(folder.iterdir()) == sorted(written)
    before = [path.read_bytes() for path in written]
    write_reports(document, folder)
    assert [path.read_bytes() for path in written] == before


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_reports(documents.usual(), tmp_path / "file")


# --- HTML ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_the_page_holds_nothing_that_fetches_or_runs(name):
    read = Read(page.text(getattr(documents, name)()))
    tags = [tag for tag, _ in read.found]
    assert tags.count("script") == tags.count("style") == 1
    assert not {"iframe", "object", "embed", "base", "video", "audio", "use", "image"} & set(tags)
    for tag, attributes in read.found:
        assert not [key for key in attributes if key.startswith("on") or key == "style"]
        for key in ("src", "href", "action", "srcset", "data"):
            value = attributes.get(key)
            inside = r"#[\w-]+" if tag == "a" else r"data:(,|image/png;base64,[\w+/=]+)"
            assert value is None or re.fullmatch(inside, value), (tag, value)
    assert not re.search(r"url\(|@import", asset("base.css") + asset("page.css"))


def test_the_page_shows_every_name():
    read = Read(page.text(documents.hostile()))
    said = {text.strip() for text in read.said}
    titles = {attributes.get("title") for _, attributes in read.found}
    for name in EVIL:
        assert visible(name) in said
        assert visible(name) in titles


@pytest.mark.parametrize("form", ["html", "md"])
def test_what_became_of_every_check_is_shown(form):
    document = documents.usual()
    made = page.text(document) if form == "html" else MARKDOWN.render(markdown.text(document))
    said = " ".join(" ".join(Read(made).said).split())
    assert "6 checks: 2 passed, 1 failed, 1 warning, 2 not made" in said
    for told in ("at most 0.6", "at least 0.1", "mean of bias", "The policy sets no limit", "0.25"):
        assert told in said
    assert "checks:" not in " ".join(Read(page.text(documents.empty())).said)


def test_a_class_without_outliers_has_no_number():
    classes = (documents.replaced(documents.usual().classes[0], outliers=None),)
    document = documents.usual(classes=classes)
    assert '<td class="number">–</td></tr>' in page.text(document)
    assert "| – |" in markdown.text(document).splitlines()[-3]


def test_a_residual_that_is_not_finite_is_in_the_head():
    found = documents.usual()
    assert "not finite" not in page.text(found)
    two = documents.distribution([1e-6, 1e-5])
    for distributions in ({"residual": two}, {}):
        made = documents.replaced(found, distributions=distributions)
        assert "<dt>Largest residual</dt><dd>not finite</dd>" in page.text(made)
    gone = documents.replaced(found, distributions={"residual": two}, broken=found.images - 2)
    assert "not finite" not in page.text(gone)


@pytest.mark.parametrize("uri", NO_PICTURES)
def test_the_page_has_no_picture_that_is_none(uri):
    row = documents.row(0, picture=uri, overlay=uri, layers=(("conv1", uri),))
    first = documents.usual(4)
    classes = tuple(documents.replaced(each, mean_map=uri) for each in first.classes)
    made = page.text(documents.replaced(first, rows=(row,), classes=classes))
    assert "img" not in [tag for tag, _ in Read(made).found]
    assert "no picture" in made


def test_links_lead_somewhere_and_ids_are_unique():
    for name in EVERY:
        found = Read(page.text(getattr(documents, name)())).found
        ids = [attributes["id"] for _, attributes in found if "id" in attributes]
        assert len(ids) == len(set(ids))
        for tag, attributes in found:
            for key in ("href", "aria-labelledby", "for"):
                target = attributes.get(key, "").removeprefix("#")
                assert tag == "link" or not target or target in ids


def test_the_cap_is_stated():
    made = " ".join(Read(page.text(documents.usual(60, shown=20))).said)
    assert "20 of 60 images" in made
    assert "20 at most" in made
    assert "All 60 images" in " ".join(Read(page.text(documents.usual(60))).said)


# --- Markdown -----------------------------------------------------------------------------------


def test_markdown_says_what_was_found():
    made = markdown.text(documents.usual())
    read = Read(MARKDOWN.render(made))
    said = " ".join(read.said)
    tables = [tag for tag, _ in read.found].count("table")
    assert tables == 4
    for expected in ("Fail: fg-onnx audit of", "net.onnx", "1 check fails, 1 warning, 1 note",
                     "2 images are not complete", "0.002", "1×10⁻⁴", "80.0%", "conv5"):  # fmt: skip
        assert expected in said


def test_markdown_holds_no_markup_but_its_own():
    made = markdown.text(documents.hostile())
    read = Read(MARKDOWN.render(made))
    allowed = {"h2", "p", "code", "table", "thead", "tbody", "tr", "th", "td", "strong", "br",
               "details", "summary"}  # fmt: skip
    assert {tag for tag, _ in read.found} <= allowed
    for row in re.findall(r"<tr>.*?</tr>", MARKDOWN.render(made), re.DOTALL):
        assert row.count("</td>") + row.count("</th>") in (4, 5, 6)
    said = re.sub(r"\s+", " ", "".join(read.said))
    for name in EVIL:
        assert re.sub(r"\s+", " ", visible(name)) in said


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("written", [markdown.plain, markdown.code])
def test_markdown_escapes(name, written):
    read = Read(MARKDOWN.render(f"{written(name)}\n"))
    assert {tag for tag, _ in read.found} <= {"p", "code"}
    assert "".join(read.said).strip() == visible(name).strip()


def test_markdown_tells_nobody_and_links_nothing():
    made = markdown.plain("@everyone fixes #1, https://evil.example www.evil.example")
    assert not re.search(r"://|www\.", made)  # as they are looked for before entities are read
    assert not re.search(r"@\w|#\d", html.unescape(made))  # and after


# --- JUnit --------------------------------------------------------------------------------------


def test_junit_fails_where_the_audit_does():
    suite = ElementTree.fromstring(junit.text(documents.usual())).find("testsuite")
    cases = {case.get("name"): case for case in suite}
    del cases[None]  # the properties
    assert list(cases) == [
        "verdict",
        "residual: the worst",
        "outlier: the mean",
        "border: mean share",
        "shares: mean of input",
        "shares: mean of bias",
        "dead",
        "silent",  # a finding of no check
    ]
    assert [name for name, case in cases.items() if case.find("failure") is not None] == [
        "verdict",
        "residual: the worst",
    ]
    counts = {key: suite.get(key) for key in ("tests", "failures", "skipped", "errors")}
    assert counts == {"tests": "8", "failures": "2", "skipped": "2", "errors": "0"}
    failure = cases["residual: the worst"].find("failure")
    assert failure.get("message") == "2 images are not complete"
    for line in documents.usual().findings[0].images:
        assert line in failure.text
    assert cases["border: mean share"].findtext("system-out") == "passed\nmeasured 0.25, limit 0.6"
    skipped = cases["shares: mean of bias"].find("skipped").get("message")
    assert skipped == "The policy sets no limit, measured 0.3"


def test_junit_passes_where_the_audit_does():
    suite = ElementTree.fromstring(junit.text(documents.empty())).find("testsuite")
    assert (suite.get("tests"), suite.get("failures")) == ("1", "0")


def test_junit_fails_by_the_verdict_alone():
    made = junit.text(documents.replaced(documents.empty(), verdict="fail"))
    assert ElementTree.fromstring(made).find("testsuite").get("failures") == "1"


def test_junit_tells_findings_of_one_check_apart():
    first = documents.usual().findings[0]
    made = junit.text(documents.usual(findings=(first, first), checks=()))
    names = [case.get("name") for case in ElementTree.fromstring(made).iter("testcase")]
    assert names == ["verdict", "residual", "residual (2)"]


def test_junit_holds_every_name():
    suite = ElementTree.fromstring(junit.text(documents.hostile())).find("testsuite")
    names = [case.get("name") for case in suite.iter("testcase")]
    cases = ["verdict", *(visible(f"{name}: {name}") for name in EVIL), *map(visible, EVIL)]
    assert names == cases


# --- size ---------------------------------------------------------------------------------------


def test_ten_thousand_images_make_a_page_of_megabytes(tmp_path):
    """Pictures of 224 pixels of noise, the worst to compress, at the cap of 200 images.

    224 x 224 x 3 bytes, by 4/3 for base64, are 0.2 MB; two of them and five layers of a sixteenth
    are 0.46 MB an image and 93 MB in all: an upper bound, of which JPEG or WebP takes a tenth. The
    page itself adds nothing to it: less than 5 kB an image that is shown.
    """
    shown = 200
    document = documents.usual(10_000, shown=shown)
    listed = tuple(f"images/{place:05}.png" for place in range(10_000))[:50]
    findings = tuple(documents.replaced(each, images=listed) for each in document.findings)
    document = documents.replaced(document, findings=findings)
    pictures = sum(
        len(row.picture) + len(row.overlay) + sum(len(uri) for _, uri in row.layers)
        for row in document.rows
    )
    started = time.process_time()
    written, *_ = write_reports(document, tmp_path)
    took = time.process_time() - started
    assert written.stat().st_size - pictures < 5000 * shown
    assert took < 2, "it is 0.15 s where nothing else runs"
