"""A profile as one HTML file: a chart as wide as time is long, and the tables beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fg_onnx._version import __version__
from fg_onnx.audit.report import layout
from fg_onnx.audit.report.markup import NEWLINE, Html, element, join
from fg_onnx.audit.report.numbers import column, count, counted, percent
from fg_onnx.audit.report.shell import asset, shell
from fg_onnx.audit.report.text import basename
from fg_onnx.profiling.document import Line, Profile

_ROW = 26  # of the chart, in pixels
_ROWS = ("all", "part", "site", "operator")
_SMALL = 0.025  # of the chart's width: without a label, which would not be seen
_MOST_LINES = 200  # of a table; the chart and the JSON document have all
_OWN = "fg_onnx.profiling"


@dataclass(frozen=True)
class Box:
    """A box of the chart.

    Attributes:
        key: of its lines: the part, the site and the operator, as far as they are common.
        start: where it begins, and
        share: how wide it is, in parts of all kernels.
        seconds: that it stands for.
        kernels: how many.
    """

    key: tuple[str, ...]
    start: float
    share: float
    seconds: float
    kernels: int


def page(profile: Profile) -> str:
    """The whole page."""
    name = basename(profile.model)
    sections = {
        "chart": ("Chart", _chart(profile)),
        "parts": ("Parts", _table("parts", "Parts", ("Part",), profile.parts)),
        "operators": (
            "Operators",
            _table("operators", "Operators", ("Operator", "Part"), profile.operators, (1, 0)),
        ),
        "sites": (
            "Sites",
            _table("sites", "Sites", ("Site", "Operator", "Part"), profile.lines, (1, 2, 0)),
        ),
    }
    footer = element("footer", element("p", f"Written by fg-onnx {__version__} for {name}."))
    return shell(
        f"{name}: profile",
        _header(profile, name),
        sections,
        footer,
        style=asset("base.css") + asset("page.css") + asset("chart.css", _OWN),
        script=asset("chart.js", _OWN),
    )


def boxes(profile: Profile) -> Iterator[Box]:
    """Every box, those that hold others first; the dearest of a row stands to the left."""
    yield Box((), 0.0, 1.0, profile.seconds, len(profile.rows))
    yield from _within((), 0.0, profile.lines)


def _within(key: tuple[str, ...], start: float, lines: Sequence[Line]) -> Iterator[Box]:
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(line.key[len(key)], []).append(line)
    for name, held in sorted(groups.items(), key=lambda group: -_share(group[1])):
        own = (*key, name)
        seconds = sum(line.seconds for line in held)
        yield Box(own, start, _share(held), seconds, sum(line.kernels for line in held))
        if len(own) < len(_ROWS) - 1:
            yield from _within(own, start, held)
        start += _share(held)


def _share(lines: Sequence[Line]) -> float:
    return sum(line.share for line in lines)


def _header(profile: Profile, name: str) -> Html:
    where = profile.device
    if profile.threads:
        where += f", {counted(profile.threads, 'thread')}"
    facts = {
        "A run": _ms(profile.alone),
        "Under the profiler": _ms(profile.profiled),
        "In kernels": f"{_ms(profile.seconds)}, {percent(profile.busy)}",
        "Batch": None if profile.batch is None else count(profile.batch),
        "On": where,
        "ONNX Runtime": profile.runtime,
    }
    eyebrow = "Profile of an instrumented model"
    if profile.what == "forward":
        eyebrow = "Profile of a forward pass"
    return element(
        "header",
        element("p", f"{eyebrow}, medians of {counted(profile.runs, 'run')}", class_="eyebrow"),
        element("h1", element("bdi", name)),
        layout.facts(facts, "key"),
    )


def _chart(profile: Profile) -> Html:
    drawn = element(
        "svg",
        join(map(_drawn, boxes(profile)), NEWLINE),
        class_="flame",
        height=_ROW * len(_ROWS),
        width="100%",
        role="tree",
        aria_label="Time by part, site and operator",
    )
    parts = (
        element("li", element("span", "", class_=f"swatch of-{line.key[0]}"), line.key[0])
        for line in profile.parts
    )
    return layout.section(
        "chart",
        "Chart",
        "As wide as the time in kernels: parts, below them sites or nodes of the model, below "
        "these operators. Arrow keys go from box to box, Enter widens one, Escape goes back.",
        element("p", _said(next(boxes(profile))), class_="told", id="told", aria_live="polite"),
        element("div", drawn, class_="frame"),
        element("ul", join(parts), class_="legend"),
    )


def _drawn(box: Box) -> Html:
    label = box.key[-1] if box.key else "all kernels"
    return element(
        "svg",
        element("title", _said(box)),
        element("rect", width="100%", height=_ROW - 2, y=1, rx=2),
        element("text", label, x=5, y=_ROW - 8, class_=None if box.share >= _SMALL else "small"),
        x=f"{100 * box.start:.4f}%",
        y=_ROW * len(box.key),
        width=f"{100 * box.share:.4f}%",
        height=_ROW,
        class_=f"box of-{box.key[0]}" if box.key else "box",
        role="treeitem",
        tabindex=-1 if box.key else 0,
        aria_level=len(box.key) + 1,
        data_start=box.start,
        data_share=box.share,
    )


def _said(box: Box) -> str:
    name = " · ".join(box.key) or "all kernels"
    times = f"{_ms(box.seconds)}, {percent(box.share)}"
    return f"{name}: {times}, {counted(box.kernels, 'kernel')}"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3f} ms" if seconds < 1e-3 else f"{1e3 * seconds:.2f} ms"


def _table(
    key: str,
    title: str,
    names: Sequence[str],
    lines: Sequence[Line],
    order: Sequence[int] = (0,),
) -> Html:
    shown = lines[:_MOST_LINES]
    left = len(lines) - len(shown)
    times = column([line.milliseconds for line in shown])
    rows = [
        [
            *(element("bdi", line.key[place]) for place in order),
            time,
            percent(line.share),
            count(line.kernels),
        ]
        for line, time in zip(shown, times, strict=True)
    ]
    columns = [layout.Column(name) for name in names]
    columns += [layout.Column(name, "number") for name in ("ms", "share", "kernels")]
    return layout.section(
        key,
        title,
        f"The dearest {count(len(shown))}; {count(left)} are left out." if left else None,
        layout.table(title, columns, rows, key),
    )
