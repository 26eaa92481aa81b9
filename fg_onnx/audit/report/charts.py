"""Bars and histograms as SVG, which scales, prints, and is told by its title.

Sizes stand in attributes: the page forbids styles of single elements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from fg_onnx.audit.document import Distribution
from fg_onnx.audit.report import words
from fg_onnx.audit.report.markup import Html, element, join
from fg_onnx.audit.report.numbers import counted, number, percent

_WIDTH, _HEIGHT = 320, 120
_LEFT, _RIGHT, _TOP, _BOTTOM = 2, 2, 14, 20


def bar(share: float, kind: str) -> Html:
    """A bar as long as a share of 1. Its number is to stand beside it."""
    length = 100 * min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
    return element(
        "svg",
        element("rect", class_=_kind(kind), width=length, height=8),
        class_="bar",
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def stack(shares: Mapping[str, float], kind: str) -> Html:
    """The kinds of contributions one after the other, as long as they are large."""
    total = sum(shares.values())
    if not (math.isfinite(total) and total > 0):
        total = 1.0
    pieces, start = [], 0.0
    for name, share in shares.items():
        length = 100 * share / total if math.isfinite(share) else 0.0
        pieces.append(element("rect", class_=_kind(name), x=start, width=length, height=8))
        start += length
    said = ", ".join(f"{words.KINDS.get(name, name)} {percent(s)}" for name, s in shares.items())
    return element(
        "svg",
        element("title", said),
        join(pieces),
        class_=f"stack {kind}",
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        role="img",
        aria_label=said,
    )


def histogram(name: str, found: Distribution, limit: float | None = None) -> Html:
    """How many images lie in each bin, and a line at a limit where that lies within.

    Args:
        name: of what was measured.
        found: the bins, of equal width on the scale they are drawn in.
        limit: None for no line.
    """
    highest = max(found.counts, default=0)
    across, up = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    bins = len(found.counts)
    bars = []
    for place, images in enumerate(found.counts):
        if images:
            tall = max(1.5, up * images / highest)
            reach = f"{number(found.edges[place])} to {number(found.edges[place + 1])}"
            bars.append(
                element(
                    "rect",
                    element("title", f"{reach}: {counted(images, 'image')}"),
                    x=_LEFT + across * place / bins + 0.5,
                    y=_TOP + up - tall,
                    width=max(across / bins - 1, 0.5),
                    height=tall,
                )
            )
    said = (
        f"Histogram of {name}: {counted(found.count, 'image')} from {number(found.least)} to "
        f"{number(found.most)}, the median {number(found.median)}"
    )
    return element(
        "svg",
        join(bars),
        element("line", class_="axis", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=_TOP + up, y2=_TOP + up),
        element("text", f"{counted(highest, 'image')}", x=_LEFT, y=_TOP - 4),
        _ends(found),
        _limit(found, limit),
        class_="histogram",
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=said,
    )


def _ends(found: Distribution) -> Html:
    """The numbers below the axis: its ends, and the edge in the middle."""
    if len(found.edges) < 2:
        return join([])
    middle = len(found.edges) // 2
    texts = [(0, "start"), (len(found.edges) - 1, "end")]
    if len(found.edges) > 2 and len(found.edges) % 2:
        texts.insert(1, (middle, "middle"))
    across = _WIDTH - _LEFT - _RIGHT
    return join(
        element(
            "text",
            number(found.edges[place]),
            x=_LEFT + across * place / (len(found.edges) - 1),
            y=_HEIGHT - 6,
            text_anchor=side,
        )
        for place, side in texts
    )


def _limit(found: Distribution, limit: float | None) -> Html | None:
    place = None if limit is None else _place(found, limit)
    if place is None:
        return None
    x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * place
    return join(
        [
            element("line", class_="limit", x1=x, x2=x, y1=_TOP - 2, y2=_HEIGHT - _BOTTOM),
            element("text", "limit", x=x, y=_TOP - 4, text_anchor="end" if x > 40 else "start"),
        ]
    )


def _place(found: Distribution, value: float) -> float | None:
    """Where a value lies on the axis, from 0 to 1; None beyond it."""
    edges = found.edges
    if len(edges) < 2 or not edges[0] <= value <= edges[-1]:
        return None
    low, high = edges[0], edges[-1]
    if found.logarithmic and low > 0:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low) if high > low else None


def _kind(kind: str) -> str:
    """The class of a kind of contributions; of what is none, none of the page's own."""
    return f"of-{kind}" if kind in words.KINDS else "of-other"
