"""Documents to write reports of: made up, with names that would break a page, and of any size."""

from __future__ import annotations

import base64
import dataclasses
import random

import cv2
import numpy as np

from fg_onnx.audit.document import (
    Check,
    ClassRow,
    Distribution,
    Document,
    Finding,
    ImageRow,
    Layer,
    ModelCard,
    Settings,
    SiteCard,
)

LABELS = ("Coat", "Bag", "Shirt", "Sandal")
KINDS = ("bias", "batchnorm", "implicit")


def uri(pixels) -> str:
    """A picture as a data URI."""
    done, data = cv2.imencode(".png", pixels)
    assert done
    return f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode()}"


def square(colour: tuple[int, int, int], side: int = 28) -> str:
    """A picture of one colour, red, green and blue."""
    return uri(np.full((side, side, 3), colour[::-1], np.uint8))


def distribution(values, bins: int = 20, logarithmic: bool = False) -> Distribution:
    """Of numbers, as an audit makes it."""
    values = np.asarray(values, np.float64)
    low, high = float(values.min()), float(values.max())
    edges = np.geomspace(low, high, bins + 1) if logarithmic else np.linspace(low, high, bins + 1)
    counts, _ = np.histogram(values, edges)
    return Distribution(
        len(values), float(values.mean()), low, float(np.median(values)), high,
        tuple(map(float, edges)), tuple(map(int, counts)), logarithmic,
    )  # fmt: skip


def row(place: int, **changes) -> ImageRow:
    """The image of that place: its numbers are told apart, and known from it."""
    target = place % len(LABELS)
    truth = target if place % 5 else (target + 1) % len(LABELS)
    known = {
        "name": f"images/{LABELS[target].lower()}_{place:03}.png",
        "broken": None,
        "target": target,
        "label": LABELS[target],
        "truth": truth,
        "truth_label": LABELS[truth],
        "score": 10.0 + (place * 7) % 13 + place / 1000,
        "residual": 1e-7 * (1 + (place * 5) % 11 + place / 1000),
        "shares": {"input": 0.4, "bias": 0.3, "batchnorm": 0.2, "implicit": 0.1},
        "concentration": 0.5,
        "centre": (0.5, 0.5),
        "border": 0.1,
        "inside": 0.8,
        "pointing": place % 3 > 0,
        "outlier": (place * 3) % 17 / 10 + place / 10000,
        "picture": square((0, 0, 255)),
        "overlay": square((255, 0, 0)),
        "layers": (("conv1", square((0, 255, 0))), ("conv2", square((255, 255, 0)))),
    }
    return ImageRow(**{**known, **changes})


def checks(fails: str, warns: str) -> tuple[Check, ...]:
    """One that fails the first finding, one that warns of the second, and those that found none."""
    no_limit = "The policy sets no limit"
    return (
        Check(fails, "the worst", "failed", "fail", 2e-3, "most", 1e-4, None, 0),
        Check(warns, "the mean", "failed", "warning", 1.6, "most", 1.0, None, 1),
        Check("border", "mean share", "passed", "warning", 0.25, "most", 0.6, None, None),
        Check("shares", "mean of input", "passed", "fail", 0.4, "least", 0.1, None, None),
        Check("shares", "mean of bias", "not made", "fail", 0.3, None, None, no_limit, None),
        Check("dead", "", "not made", "note", None, None, None, "The policy turns it off", None),
    )


def usual(images: int = 60, shown: int | None = None, **changes) -> Document:
    """An audit of so many images, that fails, and has pictures of all or of so many."""
    rows = [row(place) for place in range(min(images, shown or images))]
    random.Random(0).shuffle(rows)
    sites = tuple(SiteCard(f"conv{n}", KINDS[n % 3], "Conv", n % 4 > 0) for n in range(6))
    draws = np.random.default_rng(0)
    known = {
        "tool_version": "0.1.0",
        "verdict": "fail",
        "model": ModelCard(
            "models/net.onnx", "ab" * 32, 18, 9, "pytorch", {"Conv": 6, "Relu": 6, "Gemm": 1},
            "image", "logits", 4, "reference", sites,
        ),
        "settings": Settings(
            1e-4, "cpu", {"residual": {"most": 1e-4}}, "labels.csv", None, 0, 50, shown or images
        ),
        "images": images,
        "broken": 0,
        "accuracy": 0.8,
        "findings": (
            Finding(
                "residual", "fail", "2 images are not complete", "The sum is off.", 2e-3, 1e-4,
                (rows[0].name, rows[-1].name),
            ),
            Finding(
                "outlier", "warning", "1 map is unlike its class's", "Look at it.", 1.6, 1.0,
                (rows[1].name,),
            ),
            Finding("silent", "note", "conv5 is silent", "It adds nothing.", None, None, ()),
        ),
        "checks": checks("residual", "outlier"),
        "distributions": {
            "concentration": distribution(draws.beta(5, 3, images)),
            "residual": distribution(10 ** draws.normal(-4.5, 0.4, images), logarithmic=True),
        },
        "layers": (
            Layer("input", "input", 0.4, 3.0, 0.0),
            *(
                Layer(site.name, site.kind, 0.1, -0.5 + n / 5, 0.01 * n)
                for n, site in enumerate(sites)
            ),
        ),
        "classes": tuple(
            ClassRow(n, label, images // 4, 0.8, n, square((n * 60, 90, 90)))
            for n, label in enumerate(LABELS)
        ),
        "rows": tuple(rows),
    }  # fmt: skip
    return Document(**{**known, **changes})


def empty() -> Document:
    """Of no image, with nothing found."""
    nothing = Distribution(0, None, None, None, None, (), (), False)
    return dataclasses.replace(
        usual(4),
        images=0,
        rows=(),
        findings=(),
        checks=(),
        verdict="pass",
        accuracy=None,
        layers=(),
        classes=(),
        distributions={"residual": nothing},
    )  # fmt: skip


def broken() -> Document:
    """With an image that could not be read, and one of which there is no picture."""
    none = dict.fromkeys(
        ["target", "label", "truth", "truth_label", "score", "residual", "concentration", "centre",
         "border", "inside", "pointing", "outlier", "picture", "overlay"]
    )  # fmt: skip
    unread = row(
        0, name="torn.png", broken="it is damaged or cut short", shares={}, layers=(), **none
    )
    without = row(1, name="volume.npy", picture=None, overlay=None, layers=(), truth=None)
    return usual(images=3, broken=1, rows=(unread, without, row(2)))


EVIL = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onfocus='alert(1)' autofocus='",
    "<!-- ]]> </script> </style> </title> </textarea>",
    "--><svg onload=alert(1)>",
    "[a](javascript:alert(1))",
    "](javascript:alert(1)) a|b \\| c \\\\| d",
    "![a](https://evil.example/a.png) <https://evil.example>",
    "line\nbreak\r\n# heading\n```\n***",
    "\u202egnp.exe\u202c \u200f \u2028",
    "\x00\x07\x1b[31m\ufffe\udcff",
    "{{script}} ${{ x }} {% x %}",
    "@everyone #1 https://evil.example www.evil.example a@evil.example",
    "`a` ``` **b** _c_ ~~d~~ <b>e</b> &lt;i&gt; &amp; &#60;",
    "url(https://evil.example/a.png);} * { display: none",
    "__proto__",
    "- 1. # > + = a",
    "😀 日本語 عربى é",
)
"""Names that would break a page, run something, fetch something or tell somebody."""


def evil_checks() -> tuple[Check, ...]:
    """One of each name."""
    return tuple(
        Check(name, name, "not made", "fail", 1.0, "most", 2.0, name, None)
        if n % 2
        else Check(name, name, "passed", "fail", 1.0, "most", 2.0, None, None)
        for n, name in enumerate(EVIL)
    )


def hostile() -> Document:
    """Every text of it is one of `EVIL`, and each of these stands everywhere where text stands."""
    sites = tuple(SiteCard(name, KINDS[n % 3], name, True) for n, name in enumerate(EVIL))
    return usual(
        tool_version=EVIL[0],
        model=ModelCard(
            EVIL[1], "ab" * 32, 18, 9, EVIL[2], {name: n for n, name in enumerate(EVIL)}, EVIL[3],
            EVIL[0], 4, EVIL[0], sites,
        ),
        settings=Settings(
            1e-4, EVIL[0], {name: [name, {name: name}] for name in EVIL}, EVIL[1], EVIL[2], 0, 50,
            99,
        ),
        images=len(EVIL),
        findings=tuple(
            Finding(name, ("fail", "warning", "note")[n % 3], name, name, 1.0, 2.0, EVIL)
            for n, name in enumerate(EVIL)
        ),
        checks=evil_checks(),
        distributions={name: distribution([1.0, 2.0, 4.0]) for name in EVIL},
        layers=(
            Layer("input", "input", 0.5, 1.0, 0.0),
            *(Layer(site.name, site.kind, 0.05, 1.0, 0.0) for site in sites),
        ),
        classes=tuple(
            ClassRow(n, name, 1, 1.0, 0, square((9, 9, 9))) for n, name in enumerate(EVIL)
        ),
        rows=tuple(
            row(n, name=name, target=n, label=name, truth=n, layers=((name, square((0, 255, 0))),))
            for n, name in enumerate(EVIL)
        ),
    )  # fmt: skip


NO_PICTURES = (
    "",
    "javascript:alert(1)",
    "https://evil.example/a.png",
    "//evil.example/a.png",
    "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    "data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIi8+",
    'data:image/png;base64,AAAA" onerror="alert(1)',
    "data:image/png;base64,AAAA\n",
    "DATA:image/png;base64,",
)
"""What is no data URI of a picture."""

replaced = dataclasses.replace
