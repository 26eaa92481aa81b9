"""Boxes and masks end up where the model sees what they mark."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from fg_onnx import Preprocessing, prepare
from fg_onnx.audit.inside import map_boxes, read_inside
from fg_onnx.audit.items import Item
from fg_onnx.errors import InputError
from fg_onnx.pictures.images import placement, prepare_mask
from fg_onnx.samples import Sample

SHAPE = (1, 3, 32, 32)
STEPS = {
    "crop": Preprocessing(size=(32, 32), resize=40),
    "stretch": Preprocessing(size=(32, 32), fit="stretch"),
    "cover": Preprocessing(size=(32, 32)),
    "enlarged": Preprocessing(size=(32, 32), resize=36, interpolation="opencv-bilinear"),
}


@pytest.mark.parametrize("size", [(120, 160), (150, 90), (20, 26)], ids=str)
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_a_box_lies_where_the_painted_rectangle_is_seen(size, steps):
    height, width = size
    x0, y0, x1, y1 = (
        round(s * n) for s, n in zip((0.3, 0.35, 0.6, 0.7), (width, height) * 2, strict=True)
    )
    photograph = np.zeros((*size, 3), np.uint8)
    photograph[y0:y1, x0:x1] = 255
    seen = prepare(photograph, steps, SHAPE).array[0].mean(axis=0) / 255
    mapped = map_boxes([(x0, y0, x1, y1)], size, placement(size, steps, SHAPE))
    assert mapped.shape == (32, 32)
    # smoothing moves neither the mass nor its centre; by eye, a pixel would be a wrong crop
    assert mapped.sum() == pytest.approx(seen.sum(), rel=0.04)
    for axis in (0, 1):
        at = np.arange(32) + 0.5
        centre = seen.sum(axis=1 - axis) @ at / seen.sum()
        assert mapped.sum(axis=1 - axis) @ at / mapped.sum() == pytest.approx(centre, abs=0.2)
    assert np.abs(mapped - prepare_mask(photograph, steps, SHAPE)).mean() < 0.03


def test_what_is_cropped_away_is_gone(tmp_path):
    steps = Preprocessing(size=(32, 32))
    size = (100, 300)
    placed = placement(size, steps, SHAPE)
    assert not map_boxes([(0, 0, 90, 100)], size, placed).any()
    # the crop begins at column 100
    half = map_boxes([(0, 0, 150, 100)], size, placed)
    assert np.allclose(half[:, :16], 1)
    assert np.allclose(half[:, 16:], 0)
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"a.png": [[0, 0, 90, 100]]}))
    item = Item(Path("a.png"))
    inside = read_inside(boxes, [item], steps, SHAPE, "nchw")
    assert inside.of(item, Sample(0, item.path, None, None, None, size), (32, 32)) is None


def test_boxes_are_joined_and_arrays_have_their_own_pixels(tmp_path):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image,x0,y0,x1,y1\na.npy,0,0,2,2\na.npy,1,0,3.5,1\n")
    item = Item(Path("data/a.npy"))
    inside = read_inside(boxes, [item], None, (1, 3, 4, 4), "nchw")
    found = inside.of(item, Sample(0, item.path, None, None, None, None), (4, 4))
    assert found.tolist() == [[1, 1, 1, 0.5], [1, 1, 0, 0], [0] * 4, [0] * 4]
    assert inside.of(item, Sample(1, item.path, None, None, None, None), (4, 4)) is None


def test_a_folder_of_masks(tmp_path):
    mask = np.zeros((120, 160, 3), np.uint8)
    mask[30:90, 40:100] = 255
    assert cv2.imwrite(str(tmp_path / "a.png"), mask)
    item = Item(Path("photos/a.jpg"))
    inside = read_inside(tmp_path, [item], STEPS["crop"], SHAPE, "nchw")
    found = inside.of(item, Sample(0, item.path, None, None, None, (120, 160)), (32, 32))
    assert np.array_equal(found, prepare_mask(mask, STEPS["crop"], SHAPE))
    with pytest.raises(InputError, match="120 x 160 pixels"):
        inside.of(item, Sample(0, item.path, None, None, None, (12, 16)), (32, 32))
    assert cv2.imwrite(str(tmp_path / "a.bmp"), mask)
    with pytest.raises(InputError, match="has `a` more than once"):
        read_inside(tmp_path, [item], STEPS["crop"], SHAPE, "nchw")


BAD = {
    "few.csv": ("a.png,1,2,3\n", "line 1: 4 cells"),
    "words.csv": ("image,x0,y0,x1,y1\na.png,1,2,3,four\n", "line 2: a box is four numbers"),
    "turned.csv": ("a.png,5,0,2,2\n", "turned around"),
    "empty.csv": ("image,x0,y0,x1,y1\n", "holds no box"),
    "none.json": ("[1]", "no JSON object"),
    "broken.json": ("{", "is not JSON"),
    "three.json": ('{"a.png": [[1, 2, 3]]}', "four numbers"),
    "nan.json": ('{"a.png": [[NaN, 0, 3, 4]]}', "turned around"),
    "other.json": ('{"b.png": [[1, 2, 3, 4]]}', "none of the images"),
}


@pytest.mark.parametrize("name", BAD)
def test_boxes_that_make_no_sense(tmp_path, name):
    text, reason = BAD[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=reason) as caught:
        read_inside(tmp_path / name, [Item(Path("a.png"))], None, SHAPE, "nchw")
    assert caught.value.code == "bad-boxes"
