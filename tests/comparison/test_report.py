"""The files of a report: they hold what the document says, and nothing that runs or fetches."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from xml.etree import ElementTree

import jsonschema
import pytest

from fg_onnx.audit.report.shell import asset
from fg_onnx.audit.report.text import visible
from fg_onnx.cli.console import to_json
from fg_onnx.comparison import document as fields
from fg_onnx.comparison.document import SCHEMA_VERSION, Comparison
from fg_onnx.comparison.report import junit, markdown, page, words, write_reports
from fg_onnx.comparison.schema import document_schema
from fg_onnx.errors import InputError
from tests.audit.documents import EVIL, NO_PICTURES, replaced
from tests.audit.test_report_files import MARKDOWN
from tests.audit.test_report_schema import agrees
from tests.audit.test_report_text import Read
from tests.comparison import documents

EVERY = ["usual", "alike", "pictureless", "hostile"]
SCHEMA = document_schema()


def made(name):
    return getattr(documents, name)()


def test_writes_three_files_and_names_them(tmp_path):
    written = write_reports(documents.usual(), tmp_path / "new")
    assert [path.name for path in written] == ["compare.html", "compare.md", "compare.xml"]
    assert sorted((tmp_path / "new").iterdir()) == sorted(written)


# --- JSON -----------------------------------------------------------------------------------------


PARTS = [
    kind
    for kind in vars(fields).values()
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind is not Comparison
]


def test_the_schema_describes_every_part_and_nothing_else():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"].endswith(f"compare:{SCHEMA_VERSION}")
    assert SCHEMA["properties"]["schema_version"]["const"] == SCHEMA_VERSION
    # the model card has sites, which the other parts do not name
    assert {kind.__name__ for kind in PARTS} | {"Picture", "SiteCard"} == set(SCHEMA["$defs"])


@pytest.mark.parametrize("kind", [Comparison, *PARTS], ids=lambda kind: kind.__name__)
def test_the_schema_has_the_fields_of(kind):
    described = SCHEMA if kind is Comparison else SCHEMA["$defs"][kind.__name__]
    own = {"schema_version"} if kind is Comparison else set()
    hints = typing.get_type_hints(kind)
    assert described["additionalProperties"] is False
    assert set(described["properties"]) - own == set(described["required"]) - own == set(hints)
    for name, hint in hints.items():
        assert described["properties"][name]["description"], name
        assert agrees(described["properties"][name], hint), (name, hint)


@pytest.mark.parametrize("name", EVERY)
def test_every_document_validates_and_reads_back(name):
    text = to_json(made(name).to_dict())
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(text))
    assert Comparison.from_dict(json.loads(text)) == made(name)


@pytest.mark.parametrize(
    "change", [{"schema_version": 2}, {"images": None}, {"a": {}}, {"colour": "red"}]
)
def test_other_documents_are_refused(change):
    found = {**json.loads(to_json(documents.usual(4).to_dict())), **change}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(found)
    if change != {"images": None}:
        with pytest.raises(InputError, match="no comparison"):
            Comparison.from_dict(found)


# --- HTML -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_the_page_holds_nothing_that_fetches_or_runs(name):
    read = Read(page.text(made(name)))
    tags = [tag for tag, _ in read.found]
    assert tags.count("script") == tags.count("style") == 1
    assert not {"iframe", "object", "embed", "base", "video", "audio", "use", "image"} & set(tags)
    for tag, attributes in read.found:
        assert not [key for key in attributes if key.startswith("on") or key == "style"]
        for key in ("src", "href", "action", "srcset", "data"):
            value = attributes.get(key)
            inside = r"#[\w-]+" if tag == "a" else r"data:(,|image/png;base64,[\w+/=]+)"
            assert value is None or re.fullmatch(inside, value), (tag, value)
    own = asset("compare.css", "fg_onnx.comparison.report")
    assert not re.search(r"url\(|@import", own)


def test_the_page_shows_every_name():
    read = Read(page.text(documents.hostile()))
    said = {text.strip() for text in read.said}
    titles = {attributes.get("title") for _, attributes in read.found}
    for name in EVIL:
        assert visible(name) in said
        assert visible(name) in titles


@pytest.mark.parametrize("uri", NO_PICTURES)
def test_the_page_has_no_picture_that_is_none(uri):
    pictures = dict.fromkeys(
        ["picture_a", "overlay_a", "picture_b", "overlay_b", "difference"], uri
    )
    text = page.text(documents.usual(4, rows=(documents.row(0, **pictures),)))
    assert "img" not in [tag for tag, _ in Read(text).found]
    assert "no picture" in text


@pytest.mark.parametrize("name", EVERY)
def test_links_lead_somewhere_and_ids_are_unique(name):
    found = Read(page.text(made(name))).found
    ids = [attributes["id"] for _, attributes in found if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in found:
        for key in ("href", "aria-labelledby", "for"):
            target = attributes.get(key, "").removeprefix("#")
            assert tag == "link" or not target or target in ids


def test_the_page_says_what_was_found():
    said = " ".join(" ".join(Read(page.text(documents.usual(60, shown=20))).said).split())
    for text in ("net.onnx", "net.int8.onnx", "85.0%", "2 sites match, of 4 in A and 3 in B",
                 "90.0% of A's sum of magnitudes", "Of 2 images neither model has a map",
                 "20 of 60 images", "3 operators, 2 differ",
                 "B's most frequent other"):  # fmt: skip
        assert text in said


def test_equal_file_names_are_told_apart():
    assert words.names(documents.alike()) == ("a/net.onnx", "b/net.onnx")
    assert words.names(documents.usual(4)) == ("net.onnx", "net.int8.onnx")


def test_the_page_is_as_long_as_what_it_shows():
    """Beside the pictures an image that is shown takes less than 5 kB, and others nothing."""
    document = documents.usual(2000, shown=100)
    pictures = sum(
        len(uri)
        for row in document.rows
        for uri in (row.picture_a, row.overlay_a, row.picture_b, row.overlay_b, row.difference)
    )
    assert len(page.text(document)) - pictures < 5000 * 100


# --- Markdown and JUnit ---------------------------------------------------------------------------


def test_markdown_says_what_was_found():
    text = markdown.text(documents.usual())
    said = " ".join(Read(MARKDOWN.render(text)).said)
    for expected in ("Fail: fg-onnx compare of", "net.int8.onnx",
                     "1 check fails, 1 warning, 1 note",
                     "85.0% predicted alike", "The mean is too low", "Rank correlation",
                     "90.0% right", "largest drift", "quantise"):  # fmt: skip
        assert expected in said
    assert [tag for tag, _ in Read(MARKDOWN.render(text)).found].count("table") == 5


@pytest.mark.parametrize("name", EVERY)
def test_markdown_holds_no_markup_but_its_own(name):
    rendered = MARKDOWN.render(markdown.text(made(name)))
    allowed = {"h2", "p", "code", "table", "thead", "tbody", "tr", "th", "td", "strong", "br",
               "details", "summary"}  # fmt: skip
    assert {tag for tag, _ in Read(rendered).found} <= allowed
    for found in re.findall(r"<tr>.*?</tr>", rendered, re.DOTALL):
        assert found.count("</td>") + found.count("</th>") in (4, 5, 6)


def test_junit_fails_where_the_comparison_does():
    suite = ElementTree.fromstring(junit.text(documents.usual())).find("testsuite")
    cases = list(suite.iter("testcase"))
    assert [case.get("name") for case in cases] == [
        "verdict",
        "spearman: the worst",
        "shift: the mean",
        "border: mean share",
        "shares: mean of input",
        "shares: mean of bias",
        "dead",
        "matched",  # a finding of no check
    ]
    assert [case.get("name") for case in cases if case.find("failure") is not None] == [
        "verdict",
        "spearman: the worst",
    ]
    assert {case.get("classname") for case in cases} == {"fg-onnx.compare"}
    assert (suite.get("tests"), suite.get("failures")) == ("8", "2")
    properties = {each.get("name"): each.get("value") for each in suite.iter("property")}
    assert properties["b"] == "models/net.int8.onnx"
    assert properties["agreement"] == "0.85"
    assert float(properties["spearman.mean"]) == pytest.approx(
        documents.usual().measures[2].distribution.mean, rel=1e-5
    )
    alike = ElementTree.fromstring(junit.text(documents.alike())).find("testsuite")
    assert (alike.get("tests"), alike.get("failures")) == ("1", "0")


def test_junit_holds_every_name():
    suite = ElementTree.fromstring(junit.text(documents.hostile())).find("testsuite")
    names = [case.get("name") for case in suite.iter("testcase")]
    cases = ["verdict", *(visible(f"{name}: {name}") for name in EVIL), *map(visible, EVIL)]
    assert names == cases


def test_measures_that_a_document_lacks_are_left_out():
    document = documents.usual(8)
    few = replaced(document, measures=document.measures[:1])
    assert "Rank correlation" not in markdown.text(few).split("| measure")[1].split("\n\n")[0]
    said = Read(page.text(few)).found
    options = [each.get("value") for tag, each in said if tag == "option"]
    assert "score" in options
    assert "spearman-up" not in options
