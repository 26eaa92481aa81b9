"""What was measured over all images: the measures, the ledger by layer, the classes."""

from __future__ import annotations

from fg_onnx.audit.report import charts
from fg_onnx.audit.report.layout import Column, facts, section, table
from fg_onnx.audit.report.markup import Html, element, join
from fg_onnx.audit.report.numbers import NONE, count, number, percent
from fg_onnx.audit.report.words import KINDS, folder, of_class
from fg_onnx.comparison.document import ClassPair, Comparison, LayerPair, Measure
from fg_onnx.comparison.report import words


def measures(document: Comparison) -> Html:
    """Histograms of everything that was measured of each image, the maps first."""
    order = list(words.TITLES)
    found = sorted(document.measures, key=lambda each: order.index(each.name))
    places = {row.name: f"image-{place}" for place, row in enumerate(document.rows)}
    shared = folder(document)
    body = element(
        "div", join(_measure(each, places, shared) for each in found), class_="histograms"
    )
    mapless = (
        f" Of {count(document.mapless)} images neither model has a map." if document.mapless else ""
    )
    return section(
        "measures",
        "Measures",
        "Of every image; one in twenty is at the worst 5 % or beyond." + mapless,
        body,
    )


def _measure(found: Measure, places: dict[str, str], shared: str) -> Html:
    held = found.distribution
    title = words.TITLES[found.name]
    better = "more is more alike" if found.better == "high" else "0 is alike"
    caption = element(
        "figcaption",
        element("h3", title),
        element("p", f"{words.MEANINGS[found.name]}; {better}"),
    )
    worst = next(iter(found.images), None)
    numbers = facts(
        {
            "Mean": number(held.mean),
            "Median": number(held.median),
            "Worst 5 %": number(found.worst),
            "Least": number(held.least),
            "Most": number(held.most),
            "Worst": None if worst is None else _image(worst, places.get(worst), shared),
        },
        "stats",
    )
    return element("figure", caption, charts.histogram(title, held), numbers)


def _image(name: str, place: str | None, shared: str) -> Html:
    shown = element("bdi", name.removeprefix(shared))
    if place is None:
        return element("span", shown, title=name)
    return element("a", shown, href=f"#{place}", title=name)


def ledger(document: Comparison) -> Html:
    """What each layer contributed in either model."""
    stacks = element(
        "div",
        join(
            join(
                [
                    element("span", letter.upper(), class_=f"letter {letter}"),
                    charts.stack(dict(side.shares), "wide"),
                ]
            )
            for letter, side in (("a", document.a), ("b", document.b))
        ),
        class_="stacks",
    )
    legend = element(
        "ul",
        join(
            element(
                "li",
                element("span", class_=f"swatch of-{kind}"),
                f"{name} ",
                element("b", percent(document.a.shares.get(kind))),
                " and ",
                element("b", percent(document.b.shares.get(kind))),
            )
            for kind, name in KINDS.items()
        ),
        class_="legend",
    )
    shares = [share for each in document.layers for share in (each.share_a, each.share_b) if share]
    largest = max(shares, default=1.0)
    columns = (
        Column("Layer"),
        Column("Shares of A and B", "share"),
        Column("Mean in A", "number"),
        Column("in B", "number"),
        Column("Drift", "number"),
    )
    covered = f"; these have {percent(document.covered)} of A's sum of magnitudes"
    return section(
        "ledger",
        "Ledger by layer",
        "Share is the mean over the images of |c| / sum |c|, drift that of |c in B - c in A| over "
        f"A's sum |c|. {words.matched(document)}{'' if document.covered is None else covered}. "
        "From input to output, then what only B has.",
        stacks,
        legend,
        table(
            "Contributions by layer in A and B",
            columns,
            (_layer(each, largest) for each in document.layers),
            "ledger",
        ),
    )


def _layer(layer: LayerPair, largest: float) -> tuple[str, ...]:
    name = join(
        [
            element("bdi", layer.name, class_="name"),
            element("small", KINDS.get(layer.kind, layer.kind)),
        ]
    )
    bars = join(
        element(
            "div",
            charts.bar(share / largest, layer.kind) if share is not None else None,
            element("span", percent(share)),
            class_="barred",
        )
        for share in (layer.share_a, layer.share_b)
    )
    return name, bars, number(layer.mean_a), number(layer.mean_b), number(layer.drift)


def classes(document: Comparison) -> Html:
    """The classes that A predicts, the most frequent first."""
    if not document.classes:
        return section("classes", "Classes", None, element("p", "None.", class_="empty"))
    labelled = document.a.accuracy is not None
    columns = (
        Column("Class"),
        Column("Images", "number"),
        Column("Predicted alike", "share"),
        Column("B's most frequent other"),
        Column("Rank correlation", "number"),
        *((Column("A right", "number"), Column("B right", "number")) if labelled else ()),
    )
    return section(
        "classes",
        "Classes",
        "By what A predicts.",
        table(
            "Classes that A predicts",
            columns,
            (_class(each, labelled=labelled) for each in document.classes),
            "classes",
        ),
    )


def _class(row: ClassPair, *, labelled: bool) -> tuple[str, ...]:
    name = element("bdi", of_class(row.index, row.label), class_="name")
    choose = element("button", "Show", type="button", class_="choose", data_class=row.index)
    number_of = None if row.label is None else element("small", str(row.index))
    right = (percent(row.right_a), percent(row.right_b)) if labelled else ()
    return (
        join([name, number_of, choose]),
        count(row.images),
        element(
            "div",
            charts.bar(row.agreement, "input"),
            element("span", percent(row.agreement)),
            class_="barred",
        ),
        NONE if row.other is None else element("bdi", of_class(row.other, row.other_label)),
        number(row.spearman),
        *right,
    )
