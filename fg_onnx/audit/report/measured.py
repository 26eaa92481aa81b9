"""What was measured over all images: the ledger by layer, the distributions, the classes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fg_onnx.audit.document import Distribution, Document
from fg_onnx.audit.report import charts, words
from fg_onnx.audit.report.layout import Column, facts, section, table
from fg_onnx.audit.report.markup import Html, element, join, picture
from fg_onnx.audit.report.numbers import NONE, column, count, number, percent

_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "residual": "of completeness: how far the contributions' sum is from the score",
        "score": "the explained scalar",
        "input": "the input term's share in the sum of magnitudes",
        "bias": "the explicit biases' share in the sum of magnitudes",
        "batchnorm": "the BatchNorm shifts' share in the sum of magnitudes",
        "implicit": "the implicit biases' share in the sum of magnitudes",
        "concentration": "the Gini coefficient of the map: 0 even, 1 in one pixel",
        "border": "the share of the map on the outer tenth of each side",
        "inside": "the share of the map inside the given boxes or masks",
        "outlier": "how unlike its class's maps: 0 as the median, 1 at the limit",
    }
)


def ledger(document: Document) -> Html:
    """What each layer contributed to the scores."""
    shares = words.by_kind(document)
    legend = element(
        "ul",
        join(
            element(
                "li",
                element("span", class_=f"swatch of-{kind}"),
                words.KINDS[kind],
                " ",
                element("b", percent(share)),
            )
            for kind, share in shares.items()
            if kind in words.KINDS
        ),
        class_="legend",
    )
    largest = max((layer.share for layer in document.layers), default=0.0) or 1.0
    means = column([layer.mean for layer in document.layers])
    rows = (
        (
            join(
                [
                    element("bdi", layer.name, class_="name"),
                    element("small", words.KINDS.get(layer.kind, layer.kind)),
                ]
            ),
            element(
                "div",
                charts.bar(layer.share / largest, layer.kind),
                element("span", percent(layer.share)),
                class_="barred",
            ),
            mean,
            percent(layer.silent),
        )
        for layer, mean in zip(document.layers, means, strict=True)
    )
    columns = (
        Column("Layer"),
        Column("Share", "share"),
        Column("Mean", "number"),
        Column("Silent", "number"),
    )
    return section(
        "ledger",
        "Ledger by layer",
        "Share is the mean over the images of |c| / sum |c|, mean that of c in units of the score, "
        "silent the share of images to which the layer contributed exactly 0. From input to "
        "output.",
        charts.stack(shares, "wide"),
        legend,
        table("Contributions by layer", columns, rows, "ledger"),
    )


def distributions(document: Document) -> Html:
    """Histograms of everything that was measured of each image, the residual first."""
    found = document.distributions
    names = sorted(found, key=lambda name: name != "residual")
    body = element(
        "div",
        join(_distribution(name, found[name], _limit(name, document)) for name in names),
        class_="histograms",
    )
    return section("distributions", "Distributions", None, body)


def _limit(name: str, document: Document) -> float | None:
    return document.settings.tolerance if name == "residual" else None


def _distribution(name: str, found: Distribution, limit: float | None) -> Html:
    meaning = _MEANINGS.get(name)
    scale = ", on a logarithmic scale" if found.logarithmic else ""
    caption = element(
        "figcaption",
        element("h3", name.capitalize() if meaning else name),
        element("p", f"{meaning}{scale}" if meaning else scale.lstrip(", ")),
    )
    numbers = facts(
        {
            "Least": number(found.least),
            "Median": number(found.median),
            "Mean": number(found.mean),
            "Most": number(found.most),
            "Limit": None if limit is None else number(limit),
        },
        "stats",
    )
    drawn = charts.histogram(name, found, limit) if any(found.counts) else None
    return element("figure", caption, drawn, numbers)


def classes(document: Document) -> Html:
    """The predicted classes, the most frequent first."""
    if not document.classes:
        return section("classes", "Classes", None, element("p", "None.", class_="empty"))
    columns = (
        Column("Class"),
        Column("Mean map", "map"),
        Column("Images", "share"),
        Column("Right", "number"),
        Column("Outliers", "number"),
    )
    most = max(row.images for row in document.classes) or 1
    rows = (
        (
            _of_class(row.index, row.label),
            picture(
                row.mean_map,
                f"Mean map of {words.of_class(row.index, row.label)}",
                loading="lazy",
            )
            or NONE,
            element(
                "div",
                charts.bar(row.images / most, "input"),
                element("span", count(row.images)),
                class_="barred",
            ),
            percent(row.right),
            NONE if row.outliers is None else count(row.outliers),
        )
        for row in document.classes
    )
    return section(
        "classes",
        "Classes",
        "By what was predicted; right is the share whose label agrees.",
        table("Predicted classes", columns, rows, "classes"),
    )


def _of_class(index: int, label: str | None) -> Html:
    name = element("bdi", words.of_class(index, label), class_="name")
    choose = element("button", "Show", type="button", class_="choose", data_class=index)
    return join([name, None if label is None else element("small", str(index)), choose])
