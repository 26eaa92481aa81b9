"""The pictures of an audit: of a few images, and the mean map of each class."""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.attribution import Attribution
from fg_onnx.audit.document import Finding
from fg_onnx.audit.items import Item
from fg_onnx.audit.running import Subject
from fg_onnx.pictures import render
from fg_onnx.pictures.colours import Picture
from fg_onnx.pictures.opencv import cv2
from fg_onnx.samples import Sample
from fg_onnx.session import Session

SIDE = 160
"""The longer side of a picture, in pixels, at most."""
MEAN_MAPS = 256
"""Of how many classes the mean map is drawn, those with most images first."""
_SMALL_SIDE = 96  # of the maps of layers and of classes
_MOST_LAYERS = 6
_QUALITY = 82

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Pictures:
    """Of one image, as data URIs; None and empty where there is nothing flat to draw."""

    picture: str | None = None
    overlay: str | None = None
    layers: tuple[tuple[str, str], ...] = ()


def choose_shown(
    items: Sequence[Item],
    findings: Sequence[Finding],
    sound: Array,
    most: int,
    seed: int,
    further: Sequence[Sequence[int]] = (),
) -> list[int]:
    """The numbers of the images that have pictures: findings take turns, then chance.

    Args:
        items: the images.
        findings: that name some of them.
        sound: whether each could be read and run.
        most: how many are chosen, at most.
        seed: of what is drawn by chance.
        further: lists of images that take turns after the findings.
    """
    named = {name for finding in findings for name in finding.images}
    numbers = {item.name: at for at, item in enumerate(items) if item.name in named}
    found: dict[int, None] = {}
    for lists in ([[numbers[name] for name in each.images] for each in findings], further):
        turns = itertools.chain.from_iterable(itertools.zip_longest(*lists))
        found |= dict.fromkeys(at for at in turns if at is not None and sound[at])
    rest = np.random.default_rng(seed).permutation(np.flatnonzero(sound))
    found |= dict.fromkeys(map(int, rest[:most]))
    return list(found)[:most]


def draw(subject: Subject, session: Session, numbers: Sequence[int]) -> Iterator[Pictures]:
    """The pictures of some images.

    Args:
        subject: what is audited.
        session: the model, with the maps of its layers if they are to be drawn.
        numbers: of the images.
    """
    emits = session.manifest.emits
    wanted = [word for word in ("saliency", "layer-maps") if word in emits]
    for number in numbers:
        read = subject.read(number)
        if not isinstance(read, Sample) or "saliency" not in wanted:
            yield Pictures()
            continue
        yield _drawn(read, session.explain(read.array, outputs=wanted))


def _drawn(sample: Sample, found: Attribution) -> Pictures:
    assert found.saliency is not None
    saliency = found.saliency[0]
    if saliency.ndim != 2:
        return Pictures()
    signed = found.manifest.psi == "signed"
    layers = [(name, maps[0]) for name, maps in found.layer_maps.items() if maps.ndim == 3]
    chosen = [layers[at] for at in render.evenly_spaced(len(layers), _MOST_LAYERS)]
    small = size_of(saliency.shape, _SMALL_SIDE)
    drawn = tuple(
        (name, to_uri(render.heat_map(each, signed, size=small))) for name, each in chosen
    )
    return Pictures(*draw_map(sample, saliency, signed=signed), drawn)


def draw_map(sample: Sample, saliency: Array, *, signed: bool) -> tuple[str | None, str]:
    """What the model saw, None of an array, and the map [H, W] laid over it."""
    size = size_of(saliency.shape)
    if sample.view is None:
        return None, to_uri(render.heat_map(saliency, signed, size=size))
    shrinks = size[0] < sample.view.shape[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
    resized = cv2.resize(sample.view, (size[1], size[0]), interpolation=how)
    seen = np.asarray(resized, dtype=np.uint8)
    return to_uri(seen), to_uri(render.overlay(seen, saliency, signed=signed))


def draw_mean(mean: Array) -> str:
    """The mean map of a class."""
    return to_uri(render.heat_map(mean, size=(_SMALL_SIDE, _SMALL_SIDE)))


def size_of(shape: tuple[int, ...], side: int = SIDE) -> tuple[int, int]:
    """Of a picture, with that longer side; what is small grows by whole factors."""
    longest = max(shape)
    factor = side / longest if longest > side else math.floor(side / longest)
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def to_uri(rgb: Picture) -> str:
    """A picture as a data URI."""
    pixels = np.ascontiguousarray(rgb[..., ::-1])
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
