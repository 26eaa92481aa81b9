"""Maps of several sizes, and of several parts of a photograph, on one grid."""

from __future__ import annotations

import numpy as np
import pytest

from fg_onnx.comparison.frames import (
    Frame,
    common,
    frame_of,
    seen_by_both,
    to_one_grid,
    whole,
)
from fg_onnx.comparison.pair import relaid
from fg_onnx.pictures.preprocess import Preprocessing

ALL = whole(2)
LEFT = Frame(((0.0, 1.0), (0.0, 0.5)))
MIDDLE = Frame(((0.25, 0.75), (0.25, 0.75)))


def test_equal_maps_are_left_as_they_are():
    one, other = np.arange(4.0).reshape(2, 2), np.ones((2, 2))
    a, b = to_one_grid(one, ALL, other, ALL)
    assert a.tolist() == one.tolist()
    assert b.tolist() == other.tolist()


def test_the_finer_map_is_pooled_to_the_coarser():
    fine = np.arange(16.0).reshape(4, 4)
    a, b = to_one_grid(fine, ALL, np.eye(2), ALL)
    assert a.tolist() == [[0 + 1 + 4 + 5, 2 + 3 + 6 + 7], [8 + 9 + 12 + 13, 10 + 11 + 14 + 15]]
    assert b.tolist() == np.eye(2).tolist()


def test_pixels_across_a_cell_are_split():
    # three pixels to two cells: the middle one's half in each
    a, _ = to_one_grid(np.array([[1.0, 10, 100]]), ALL, np.array([[0.0, 1]]), ALL)
    assert a.tolist() == [[6, 105]]


@pytest.mark.parametrize("sizes", [((7, 5), (3, 11)), ((224, 224), (160, 192))])
def test_nothing_is_lost(sizes):
    maps = [np.random.default_rng(0).random(size) for size in sizes]
    pooled = to_one_grid(maps[0], ALL, maps[1], ALL)
    assert pooled[0].shape == pooled[1].shape == tuple(map(min, *sizes))
    for before, after in zip(maps, pooled, strict=True):
        assert after.sum() == pytest.approx(before.sum())


def test_where_both_see():
    # A sees all of the image, B its left half, in as many pixels: there A has 2 x 1 of them
    a, b = to_one_grid(np.array([[1.0, 2], [3, 4]]), ALL, np.array([[1.0, 5], [6, 9]]), LEFT)
    assert a.tolist() == [[1], [3]]
    assert b.tolist() == [[6], [15]]
    a, b = to_one_grid(np.arange(16.0).reshape(4, 4), ALL, np.ones((2, 2)), MIDDLE)
    assert a.tolist() == [[5, 6], [9, 10]]
    assert b.tolist() == np.ones((2, 2)).tolist()


def test_how_much_both_see():
    assert seen_by_both(ALL, ALL) == 1
    assert seen_by_both(ALL, LEFT) == 0.5
    assert seen_by_both(LEFT, MIDDLE) == pytest.approx(0.125 / (0.5 + 0.25 - 0.125))
    right = Frame(((0.0, 1.0), (0.5, 1.0)))
    assert common(LEFT, right) is None
    assert seen_by_both(LEFT, right) == 0
    assert to_one_grid(np.eye(2), LEFT, np.eye(2), right) is None


def test_volumes_and_signals_too():
    a, b = to_one_grid(np.arange(4.0), whole(1), np.array([1.0, 2]), whole(1))
    assert (a.tolist(), b.tolist()) == ([1, 5], [1, 2])
    a, _ = to_one_grid(np.ones((2, 4, 6)), whole(3), np.ones((2, 2, 3)), whole(3))
    assert a.tolist() == np.full((2, 2, 3), 4.0).tolist()


def test_the_frame_of_a_preprocessing():
    shape = (1, 3, 224, 224)
    stretched = frame_of((100, 200), Preprocessing(fit="stretch"), shape, "nchw")
    assert stretched == ALL
    # the short side to 256, so 256 x 512 pixels, and 224 x 224 in the middle of these
    cropped = frame_of((100, 200), Preprocessing(size=(224, 224), resize=256), shape, "nchw")
    assert cropped == Frame(((16 / 256, 240 / 256), (144 / 512, 368 / 512)))


def test_layouts():
    array = np.arange(24).reshape(1, 2, 3, 4)
    there = relaid(array, "nchw", "nhwc")
    assert there.shape == (1, 3, 4, 2)
    assert there[0, 1, 2].tolist() == array[0, :, 1, 2].tolist()
    assert np.array_equal(relaid(there, "nhwc", "nchw"), array)
    assert relaid(array, "nchw", "nchw") is not None
    assert relaid(array, None, "nchw") is array
    assert relaid(array, "ncl", "nchw") is array
