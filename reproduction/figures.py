"""Figures 1 and 3 of the paper, on photographs that anyone may show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

import fg_onnx
from fg_onnx import methods
from fg_onnx.files import replacing
from fg_onnx.pictures import render
from fg_onnx.pictures.colours import Picture
from reproduction.inputs import Inputs, Subject
from sample_models import labels

LAYERED = ("chelsea", "coffee", "rocket")
_LAYERS = 5
COMPARED = ("chelsea", "coffee", "camera", "rocket", "astronaut")
ROWS: Mapping[str, Mapping[str, object]] = {
    "input-gradient": {},
    "integrated-gradients": {"steps": 50},
    "smooth-grad": {"samples": 50},
    "grad-cam": {},
    "fullgrad": {},
}
"""The columns of Figure 3, with the options of each method."""
_QUALITY = 85
_OVERLAID = ("grad-cam", "fullgrad")  # the others are too fine, section 5.3


def figure_1(inputs: Inputs, path: Path) -> None:
    """Maps of bias-gradients at some layers, and the map that gathers all: a row a photograph."""
    subject = inputs.efficientnet
    steps = fg_onnx.load_preprocessing(subject.preprocess)
    session = fg_onnx.Session(
        fg_onnx.instrument(str(subject.model), emit=("saliency", "layer-maps"))
    )
    rows = []
    for name in LAYERED:
        image = fg_onnx.prepare(fg_onnx.read_image(inputs.shown[name]), steps, session.input_shape)
        found = session.explain(image.array)
        assert found.saliency is not None
        assert image.view is not None
        first, *layers = found.layer_maps.values()
        tiles, captions = [image.view, render.heat_map(first[0])], ["image", "x * gradient"]
        for at in np.linspace(0, len(layers) - 1, _LAYERS).round().astype(int):
            tiles.append(render.heat_map(layers[at][0]))
            captions.append(f"layer {at + 1} of {len(layers)}")
        tiles.append(render.overlay(image.view, found.saliency[0]))
        rows.append(render.side_by_side(tiles, [*captions, "FullGrad"], height=180))
    _write(path, rows)


def figure_3(inputs: Inputs, subject: Subject, path: Path) -> None:
    """The methods side by side: a row a photograph."""
    steps = fg_onnx.load_preprocessing(subject.preprocess)
    names = labels.imagenet_labels()
    explainers = {
        name: methods.explainer(str(subject.model), name, preprocessing=steps, **options)
        for name, options in ROWS.items()
    }
    rows = []
    for photo in COMPARED:
        picture = fg_onnx.read_image(inputs.shown[photo])
        tiles, captions = [], []
        for name, explainer in explainers.items():
            image = fg_onnx.prepare(picture, steps, explainer.session.input_shape)
            found = explainer.attribute(image.array)
            assert image.view is not None
            if not tiles:
                assert found.targets is not None
                tiles, captions = [image.view], [names[int(found.targets[0])]]
            if name in _OVERLAID:
                tiles.append(render.overlay(image.view, found.maps[0]))
            else:
                tiles.append(render.heat_map(found.maps[0]))
            captions.append(name)
        rows.append(render.side_by_side(tiles, captions, height=180))
    _write(path, rows)


def _write(path: Path, rows: Sequence[Picture]) -> None:
    """As JPEG: what is noisy makes PNG files of megabytes."""
    rgb = np.concatenate(rows)
    _, encoded = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
