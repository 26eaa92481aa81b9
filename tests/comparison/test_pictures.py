"""The difference of two maps: where it is blue, where red, where white."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest

from fg_onnx.comparison.pictures import draw_difference


def drawn(a, b):
    """The picture, float [H, W, 3], red first."""
    uri = draw_difference(a, b)
    data = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return pixels[..., ::-1].astype(float)


def test_less_is_blue_and_more_is_red():
    a, b = np.zeros((20, 30)), np.zeros((20, 30))
    a[:, :10], b[:, 20:] = 7, 2
    picture = drawn(a, b)
    height, width = picture.shape[:2]
    assert (height, width) == (100, 150)
    left, middle, right = (picture[:, at : at + 20].mean(axis=(0, 1)) for at in (10, 65, 120))
    assert left[2] > left[0] + 50
    assert right[0] > right[2] + 50
    assert middle.min() > 220


def test_what_only_scales_is_white():
    noise = np.random.default_rng(0).random((20, 20))
    assert drawn(noise, 4 * noise).min() > 220


def test_maps_that_are_nearly_alike_are_nearly_white():
    noise = np.random.default_rng(0).random((20, 20))
    there = noise + np.random.default_rng(1).normal(size=(20, 20)) / 100
    assert drawn(noise, there).min() > 200
    assert drawn(noise, noise.T).min() < 100


@pytest.mark.parametrize("even", [np.zeros((4, 4)), np.full((4, 4), np.nan)])
def test_a_map_without_mass_has_none(even):
    assert draw_difference(even, np.ones((4, 4))) is None
    assert draw_difference(np.ones((4, 4)), even) is None
