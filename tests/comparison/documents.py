"""Comparisons to write reports of: made up, with names that would break a page, and of any size."""

from __future__ import annotations

import random

import numpy as np

from fg_onnx.audit.document import Finding, ModelCard, SiteCard
from fg_onnx.comparison.document import (
    ClassPair,
    Comparison,
    LayerPair,
    Measure,
    PairRow,
    Settings,
    Side,
)
from fg_onnx.comparison.measures import MEASURES
from tests.audit.documents import (
    EVIL,
    KINDS,
    LABELS,
    checks,
    distribution,
    evil_checks,
    replaced,
    square,
)

SHARES = {"input": 0.4, "bias": 0.3, "batchnorm": 0.2, "implicit": 0.1}
NAMES = ("conv0", "conv1", "conv2", "conv3")


def side(path, names=NAMES, **changes) -> Side:
    """A model with a site of each name."""
    sites = tuple(SiteCard(name, KINDS[n % 3], "Conv", True) for n, name in enumerate(names))
    card = ModelCard(
        path, "ab" * 32, 18, 9, "pytorch", {"Conv": 6, "Relu": 6, "Gemm": 1}, "image", "logits", 4,
        "reference", sites,
    )  # fmt: skip
    return Side(replaced(card, **changes), 1e-4, 0.9, SHARES)


def row(place: int, **changes) -> PairRow:
    """The image of that place: its numbers are told apart, and known from it."""
    target = place % len(LABELS)
    other = target if place % 7 else (target + 1) % len(LABELS)
    values = {
        "score": (place * 7) % 13 / 20 + place / 1e5,
        "output": (place * 5) % 11 / 20 + place / 1e5,
        "spearman": 0.99 - (place * 3) % 17 / 20 - place / 1e5,
        "ssim": 0.99 - (place * 11) % 19 / 20 - place / 1e5,
        "top": 0.99 - (place * 13) % 23 / 30 - place / 1e5,
        "shift": (place * 9) % 29 / 100 + place / 1e5,
        "drift": (place * 4) % 31 / 30 + place / 1e5,
    }
    known = {
        "name": f"images/{LABELS[target].lower()}_{place:03}.png",
        "target": target,
        "label": LABELS[target],
        "target_b": other,
        "label_b": LABELS[other],
        "truth": target,
        "truth_label": LABELS[target],
        "score_a": 10.0 + place,
        "score_b": 9.0 + place,
        "residual_a": 1e-7,
        "residual_b": 2e-7,
        "values": values,
        "picture_a": square((0, 0, 255)),
        "overlay_a": square((255, 0, 0)),
        "picture_b": square((0, 0, 200)),
        "overlay_b": square((200, 0, 0)),
        "difference": square((0, 255, 0)),
    }
    return PairRow(**{**known, **changes})


def measures(rows) -> tuple[Measure, ...]:
    """Over the rows."""
    found = []
    for name, better in MEASURES.items():
        sign = -1 if better == "low" else 1
        worst = sorted(rows, key=lambda row: sign * row.values[name])
        values = [row.values[name] for row in rows]
        edge = float(np.percentile(values, 95 if better == "low" else 5))
        names = tuple(row.name for row in worst[:5])
        found.append(Measure(name, better, edge, names, distribution(values)))
    return tuple(found)


def usual(images: int = 60, shown: int | None = None, **changes) -> Comparison:
    """Of so many images, that fails, and has pictures of all or of so many."""
    rows = [row(place) for place in range(min(images, shown or images))]
    random.Random(0).shuffle(rows)
    known = {
        "tool_version": "0.1.0",
        "verdict": "fail",
        "a": side("models/net.onnx"),
        "b": side("models/net.int8.onnx", (*NAMES[:2], "quantise"), operators={"Conv": 6}),
        "settings": Settings(
            "cpu", "reference", {"spearman": {"least": 0.9}}, "labels.csv", 0, 50, shown or images
        ),
        "images": images,
        "broken": 0,
        "agreement": 0.85,
        "mapless": 2,
        "matched": 2,
        "covered": 0.9,
        "findings": (
            Finding(
                "spearman", "fail", "The mean is too low", "Others are looked at.", 0.6, 0.9,
                (rows[0].name, rows[-1].name),
            ),
            Finding("shift", "warning", "1 map moved", "Look at it.", 0.3, 0.1, (rows[1].name,)),
            Finding("matched", "note", "2 sites in both", "Others are not.", 0.9, None, ()),
        ),
        "checks": checks("spearman", "shift"),
        "measures": measures(rows) if rows else (),
        "layers": (
            LayerPair("input", "input", 0.4, 0.41, 3.0, 3.1, 0.01),
            *(LayerPair(f"conv{n}", KINDS[n], 0.1, 0.2, -0.5, 0.5, 0.1 * n) for n in range(2)),
            LayerPair("conv2", "implicit", 0.3, None, 1.0, None, None),
            LayerPair("quantise", "implicit", None, 0.05, None, 0.01, None),
        ),
        "classes": tuple(
            ClassPair(n, label, images // 4, 0.8, (n + 1) % 4, LABELS[(n + 1) % 4], 0.9, 0.9, 0.8)
            for n, label in enumerate(LABELS)
        ),
        "rows": tuple(rows),
    }  # fmt: skip
    return Comparison(**{**known, **changes})


def alike() -> Comparison:
    """Nothing found, no image shown, no map, no label."""
    sides = [
        replaced(side("a/net.onnx"), accuracy=None),
        replaced(side("b/net.onnx"), accuracy=None),
    ]
    classes = tuple(
        replaced(each, agreement=1.0, other=None, other_label=None, spearman=None, right_a=None,
                 right_b=None)
        for each in usual(4).classes
    )  # fmt: skip
    return usual(
        4, a=sides[0], b=sides[1], verdict="pass", findings=(), checks=(), rows=(), measures=(),
        mapless=0, classes=classes, covered=None,
        settings=replaced(usual(4).settings, policy={}, labels=None),
    )  # fmt: skip


def pictureless() -> Comparison:
    """Of arrays that are not flat; an image of which numbers are not finite."""
    none = dict.fromkeys(["picture_a", "overlay_a", "picture_b", "overlay_b", "difference"])
    broken = dict.fromkeys(["score_a", "score_b", "residual_a", "residual_b"])
    alone = {**none, "overlay_a": square((1, 2, 3))}
    rows = (
        row(0, **none),
        row(1, **{**none, **broken}, values={}, label=None, truth=None),
        row(2, **alone),
    )
    return usual(3, rows=rows)


def hostile() -> Comparison:
    """Every text of it is one of `EVIL`, and each of these stands everywhere where text stands."""
    held = side(EVIL[1], EVIL, producer=EVIL[2], input=EVIL[3], output=EVIL[0], psi=EVIL[0],
                operators={name: n for n, name in enumerate(EVIL)})  # fmt: skip
    rows = tuple(
        row(n, name=name, target=n, label=name, target_b=n + 1, label_b=name, truth=n)
        for n, name in enumerate(EVIL)
    )
    return usual(
        tool_version=EVIL[0],
        a=held,
        b=replaced(held, model=replaced(held.model, path=EVIL[3], operators={})),
        settings=Settings(EVIL[0], EVIL[1], {name: [name] for name in EVIL}, EVIL[2], 0, 50, 99),
        images=len(EVIL),
        findings=tuple(
            Finding(name, ("fail", "warning", "note")[n % 3], name, name, 1.0, 2.0, EVIL)
            for n, name in enumerate(EVIL)
        ),
        checks=evil_checks(),
        measures=tuple(replaced(each, images=EVIL) for each in measures(rows)),
        layers=tuple(LayerPair(name, name, 0.1, 0.1, 1.0, 1.0, 0.1) for name in EVIL),
        classes=tuple(
            ClassPair(n, name, 1, 0.5, n + 1, name, 0.5, 1.0, 0.0) for n, name in enumerate(EVIL)
        ),
        rows=rows,
    )
