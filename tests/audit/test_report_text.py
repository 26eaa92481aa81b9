"""What a report shows of names: everything, and nothing but text."""

from __future__ import annotations

import html
import math
from html.parser import HTMLParser

import pytest

from fg_onnx.audit.report import charts, words
from fg_onnx.audit.report.cards import Cards
from fg_onnx.audit.report.markup import Html, element, escaped, is_picture, join, picture
from fg_onnx.audit.report.numbers import column, number, percent
from fg_onnx.audit.report.text import visible
from tests.audit import documents
from tests.audit.documents import EVIL, NO_PICTURES

PIXEL = documents.square((1, 2, 3), 1)


class Read(HTMLParser):
    """The elements and texts of a page."""

    def __init__(self, page):
        super().__init__()
        self.found, self.said = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.said.append(data)


@pytest.mark.parametrize("name", EVIL)
def test_escapes_children_and_attributes(name):
    read = Read(element("p", name, title=name, data_name=name))
    shown = visible(name)
    assert read.found == [("p", {"title": shown, "data-name": shown})]
    assert "".join(read.said) == shown


def test_markup_is_only_what_was_made_as_such():
    assert element("p", element("b", "<"), None, " & ") == "<p><b>&lt;</b> &amp; </p>"
    assert isinstance(escaped("a"), Html)
    assert join(["<", Html("<br>"), None]) == "&lt;<br>"
    assert not isinstance(Html("<br>") + "<", Html)


def test_attributes():
    made = element("input", class_="a b", hidden=True, checked=False, value=None, min=0, step=0.5)
    assert made == '<input class="a b" hidden min="0" step="0.5">'


def test_visible_shows_what_hides():
    assert visible("a\nb") == "a\\nb"
    assert visible("\u202egnp.exe") == "\\u202egnp.exe"
    assert visible("\x00\udcff\ufffe") == "\\x00\\udcff\\ufffe"
    assert visible("عربى 日本語 é") == "عربى 日本語 é"
    assert len(visible("a" * 10**6)) < 2100
    for name in EVIL:
        assert visible(name).isprintable()
        visible(name).encode()


@pytest.mark.parametrize("uri", [None, *NO_PICTURES])
def test_what_is_no_picture_is_left_out(uri):
    assert not is_picture(uri)
    assert picture(uri, "alt") is None


def test_a_picture_is_shown():
    made = picture(PIXEL, '"', loading="lazy")
    assert made == f'<img alt="&quot;" src="{PIXEL}" loading="lazy">'


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0, "0"),
        (1, "1"),
        (-1.5, "−1.5"),
        (0.0123, "0.0123"),
        (12.345, "12.3"),
        (123456.7, "123,457"),
        (100.0, "100"),
        (1e-4, "1×10⁻⁴"),
        (-2.34e-12, "−2.3×10⁻¹²"),
        (3.2e9, "3.2×10⁹"),
        (9.9999, "10"),
        (float("nan"), "not a number"),
        (float("-inf"), "−∞"),
    ],
)
def test_numbers(value, shown):
    assert number(value) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [(None, "–"), (0.0, "0.0%"), (1.0, "100.0%"), (0.12345, "12.3%"), (1e-6, "<0.1%"),
     (0.99999, ">99.9%"), (float("nan"), "–")],
)  # fmt: skip
def test_percentages(share, shown):
    assert percent(share) == shown


def test_a_column_has_one_number_of_decimals():
    assert column([12.0, -0.5, 0.123]) == ["12.0", "−0.5", "0.1"]
    assert column([0.5, 0.25]) == ["0.500", "0.250"]
    assert column([]) == []
    assert column([1e-9, 0.0]) == ["1×10⁻⁹", "0"]


def test_the_limit_lies_where_the_axis_says():
    found = documents.distribution([1e-6, 1e-5, 1e-4, 1e-2], 4, logarithmic=True)
    (line,) = [at for tag, at in Read(charts.histogram("residual", found, 1e-4)).found
               if at.get("class") == "limit"]  # fmt: skip
    middle = 320 / 2
    assert float(line["x1"]) == float(line["x2"]) == pytest.approx(middle, abs=0.01)
    assert 'class="limit"' not in charts.histogram("residual", found, 1.0)


def test_a_stack_is_as_long_as_its_parts():
    read = Read(charts.stack({"input": 0.5, "bias": 0.25, "batchnorm": 0.25}, "wide"))
    widths = [float(at["width"]) for tag, at in read.found if tag == "rect"]
    assert widths == [50, 25, 25]


def test_names_are_shown_without_the_folder_of_all():
    rows = [documents.row(n, name=name) for n, name in enumerate(["a/b/x/1.png", "a/b/y/1.png"])]
    made = documents.usual(rows=tuple(rows), findings=())
    assert words.folder(made) == "a/b/"
    assert words.folder(documents.empty()) == ""
    alone = documents.usual(rows=(documents.row(0, name="1.png"),), findings=())
    assert words.folder(alone) == ""


@pytest.mark.parametrize("residual", [None, math.nan, math.inf])
def test_a_residual_that_is_not_finite_sorts_as_the_largest(residual):
    rows = (documents.row(0), documents.row(1, residual=residual))
    card = Cards(documents.usual(rows=rows)).card
    assert 'data-residual="Infinity"' in card(1)
    assert 'data-residual="Infinity"' not in card(0)
    gone = documents.row(1, residual=None, broken="cut short")
    assert "data-residual" not in Cards(documents.usual(rows=(gone,))).card(0)


def test_escaping_is_undone_by_a_browser():
    for name in EVIL:
        assert html.unescape(escaped(name)) == visible(name)
