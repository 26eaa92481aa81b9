"""Documents to write reports of: made up, with names that would break a page, and of any size."""

from __future__ import annotations

import base64
import dataclasses
import random

import cv2
import numpy as np

from fg_onnx.audit.document import (
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
    known = {
        "name": f"images/{LABELS[target].lower()}_{place:03}.png",
        "broken": None,
        "target": target,
        "label": LABELS[target],
        "truth": target if place % 5 else (target + 1) % len(LABELS),
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


def document(images: int = 60, shown: int | None = None, **changes) -> Document:
    """An audit of so many images, that fails."""
    rows = [row(place) for place in range(min(images, shown or images))]
    sites = tuple(SiteCard(f"conv{n}", KINDS[n % 3], "Conv", n % 4 > 0) for n in range(6))
    draws = np.random.default_rng(0)
    random.Random(0).shuffle(rows)
    known = {
        "tool_version": "0.1.0",
        "verdict": "fail",
        "model": ModelCard(
            "models/net.onnx", "ab" * 32, 18, 9, "pytorch", {"Conv": 6, "Relu": 6, "Gemm": 1},
            "image", "logits", 4, "reference", sites,
        ),
        "settings": Settings(1e-4, "cpu", {"residual": {"most": 1e-4}}, "labels.csv", None, 0, 50,
                             shown or images),
        "images": images,
        "broken": 0,
        "accuracy": 0.8,
        "findings": (
            Finding("residual", "fail", "2 images are not complete", "The sum is off.", 2e-3,
                    1e-4, (rows[0].name, rows[-1].name)),
            Finding("outlier", "warning", "1 map is unlike its class's", "Look at it.", 1.6, 1.0,
                    (rows[1].name,)),
            Finding("silent", "note", "conv5 is silent", "It adds nothing.", None, None, ()),
        ),
        "distributions": {
            "residual": distribution(10 ** draws.normal(-6.5, 0.4, images), logarithmic=True),
            "concentration": distribution(draws.beta(5, 3, images)),
        },
        "layers": (
            Layer("input", "input", 0.4, 3.0, 0.0),
            *(Layer(site.name, site.kind, 0.1, -0.5 + n / 5, 0.01 * n)
              for n, site in enumerate(sites)),
        ),
        "classes": tuple(
            ClassRow(n, label, images // 4, 0.8, n, square((n * 60, 90, 90)))
            for n, label in enumerate(LABELS)
        ),
        "rows": tuple(rows),
    }  # fmt: skip
    return Document(**{**known, **changes})


replaced = dataclasses.replace
