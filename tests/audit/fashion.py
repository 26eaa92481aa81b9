"""A document of the real VGG on Fashion-MNIST and its ten images.

    python -m tests.audit.fashion FOLDER

writes its report there. What an image's numbers are is measured here in a few plain lines.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx

from fg_onnx import Session, instrument, load_preprocessing, prepare, read_image
from fg_onnx._version import __version__
from fg_onnx.audit.document import (
    ClassRow,
    Document,
    Finding,
    ImageRow,
    Layer,
    ModelCard,
    Settings,
    SiteCard,
)
from fg_onnx.audit.report import write_reports
from fg_onnx.pictures.render import heat_map, overlay
from sample_models import fetch
from tests.audit.documents import checks, distribution, uri

FOLDER = Path(fetch.__file__).parent
MODEL = FOLDER / "fashion_vgg.onnx"
LARGE = 4  # a map is smoother than the 28 pixels that it is laid over
KINDS = ("input", "bias", "batchnorm", "implicit")


def large(picture: np.ndarray) -> np.ndarray:
    return picture.repeat(LARGE, 0).repeat(LARGE, 1)


def drawn(rgb: np.ndarray) -> str:
    return uri(rgb[..., ::-1])


def gini(values: np.ndarray) -> float:
    ordered = np.sort(np.abs(values).ravel())
    places = np.arange(1, ordered.size + 1)
    return float((2 * places - ordered.size - 1) @ ordered / (ordered.size * ordered.sum()))


def mean_map(maps: np.ndarray) -> str:
    return drawn(heat_map(maps.mean(0), size=(56, 56)))


def fashion() -> Document:
    """The document."""
    instrumented = instrument(MODEL, emit=("saliency", "contributions", "layer-maps"))
    manifest = instrumented.manifest
    session = Session(instrumented, threads=1)
    steps = load_preprocessing(FOLDER / "fashion" / "preprocess.yaml")
    labels = (FOLDER / "fashion" / "labels.txt").read_text().splitlines()
    paths = sorted((FOLDER / "fashion").glob("*.png"))
    views = [prepare(read_image(path), steps, session.input_shape) for path in paths]
    found = session.explain(np.concatenate([view.array for view in views]))
    magnitudes = np.abs(found.contributions)
    shares = magnitudes / magnitudes.sum(1, keepdims=True)
    kinds = ["input", *(site.kind for site in manifest.sites)]
    spatial = [site.name for site in manifest.sites if site.spatial][
        :: max(1, len(manifest.sites) // 5)
    ]
    ginis = [gini(saliency) for saliency in found.saliency]
    away = np.abs(np.array(ginis) - np.median(ginis))
    outliers = away / (3 * np.median(away))
    rows = []
    for place, (path, view) in enumerate(zip(paths, views, strict=True)):
        saliency = found.saliency[place]
        target = int(found.targets[place])
        truth = [name.lower().replace("/", "-").replace(" ", "-") for name in labels].index(
            path.stem.rpartition("_")[0]
        )
        mass = np.abs(saliency) / np.abs(saliency).sum()
        inner = mass[3:-3, 3:-3].sum()
        rows.append(
            ImageRow(
                name=f"sample_models/fashion/{path.name}",
                broken=None,
                target=target,
                label=labels[target],
                truth=truth,
                truth_label=labels[truth],
                score=float(found.scores[place]),
                residual=float(found.residual[place]),
                shares={
                    kind: float(
                        sum(s for s, k in zip(shares[place], kinds, strict=True) if k == kind)
                    )
                    for kind in KINDS
                },
                concentration=ginis[place],
                centre=(
                    float(mass.sum(1) @ np.linspace(0, 1, 28)),
                    float(mass.sum(0) @ np.linspace(0, 1, 28)),
                ),
                border=float(1 - inner),
                inside=None,
                pointing=None,
                outlier=float(outliers[place]),
                picture=drawn(large(view.view)),
                overlay=drawn(overlay(large(view.view), saliency)),
                layers=tuple(
                    (name, drawn(heat_map(found.layer_maps[name][place], size=(56, 56))))
                    for name in spatial
                ),
            )
        )
    layers = tuple(
        Layer(
            name,
            kind,
            float(shares[:, n].mean()),
            float(found.contributions[:, n].mean()),
            float((found.contributions[:, n] == 0).mean()),
        )
        for n, (name, kind) in enumerate(
            zip(["input", *(s.name for s in manifest.sites)], kinds, strict=True)
        )
    )
    predicted = Counter(row.target for row in rows)
    worst = max(rows, key=lambda row: row.outlier)
    edge = max(rows, key=lambda row: row.border)
    model = onnx.load(MODEL)
    return Document(
        tool_version=__version__,
        verdict="fail",
        model=ModelCard(
            path="sample_models/fashion_vgg.onnx",
            sha256=hashlib.sha256(MODEL.read_bytes()).hexdigest(),
            opset=model.opset_import[0].version,
            ir_version=model.ir_version,
            producer=model.producer_name,
            operators=dict(Counter(node.op_type for node in model.graph.node)),
            input=manifest.input,
            output=manifest.output,
            classes=manifest.classes,
            psi=manifest.psi,
            sites=tuple(SiteCard(s.name, s.kind, s.op, s.spatial) for s in manifest.sites),
        ),
        settings=Settings(
            1e-4, "cpu", {"border": {"most": 0.2}, "residual": {"most": 1e-4}}, None, None, 0, 50,
            200,
        ),
        images=len(rows),
        broken=0,
        accuracy=float(np.mean([row.truth == row.target for row in rows])),
        findings=(
            Finding("border", "fail", "The map of 1 image lies on the border",
                    "A map whose mass lies on the outer tenth of each side often follows padding "
                    "or a frame. Look at the picture, and at how the images are cropped.",
                    edge.border, 0.2, (edge.name,)),
            Finding("outlier", "warning", "The map of 1 image is unlike the others",
                    "Its concentration is far from the median. Look whether the image is what its "
                    "class should be.",
                    worst.outlier, 1.0, (worst.name,)),
            Finding("residual", "note", "Every explanation is complete",
                    "The largest residual is within what float32 rounds.",
                    max(row.residual for row in rows), 1e-4, ()),
        ),
        checks=checks("border", "outliers"),
        distributions={
            "residual": distribution([row.residual for row in rows], 12, logarithmic=True),
            "score": distribution([row.score for row in rows], 12),
            "input": distribution([row.shares["input"] for row in rows], 12),
            "concentration": distribution(ginis, 12),
            "border": distribution([row.border for row in rows], 12),
            "outlier": distribution([row.outlier for row in rows], 12),
        },
        layers=layers,
        classes=tuple(
            ClassRow(index, labels[index], images,
                     float(np.mean([r.truth == index for r in rows if r.target == index])),
                     sum(r.outlier > 1 for r in rows if r.target == index),
                     mean_map(found.saliency[found.targets == index]))
            for index, images in predicted.most_common()
        ),
        rows=tuple(rows),
    )  # fmt: skip


if __name__ == "__main__":
    for path in write_reports(fashion(), Path(sys.argv[1])):
        print(path)
