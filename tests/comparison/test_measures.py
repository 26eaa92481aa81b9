"""Measures of two maps, scores and ledgers, against numbers that were worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fg_onnx.comparison.measures import (
    MapAgreement,
    centre,
    compare_maps,
    drift,
    on_top,
    output_change,
    score_change,
    shift,
    tells,
    top_overlap,
)

NOWHERE = MapAgreement(None, None, None, None)
NOISE = np.random.default_rng(0).random((20, 20))


def test_spearman_of_four_pixels():
    # ranks 1 2 3 4 and 2 1 4 3: 1 - 6 * (1 + 1 + 1 + 1) / (4 * 15) = 0.6
    found = compare_maps(np.array([[1.0, 2], [3, 4]]), np.array([[20.0, 10], [90, 80]]))
    assert found.spearman == pytest.approx(0.6)
    assert found.ssim is None  # its window of 11 pixels does not fit


def test_a_map_is_like_itself_exactly():
    assert compare_maps(NOISE, NOISE) == MapAgreement(1.0, 1.0, 1.0, 0.0)


def test_what_only_scales_is_alike_but_for_nothing():
    found = compare_maps(NOISE, 3 * NOISE)
    assert found.spearman == 1
    assert found.ssim == pytest.approx(1)
    assert found.top == 1
    assert found.shift == pytest.approx(0, abs=1e-15)


def test_turned_around_it_is_unlike():
    found = compare_maps(NOISE, 1 - NOISE)
    assert found.spearman == pytest.approx(-1)
    assert found.ssim < 0
    assert found.top == 0


def test_the_top_tenth():
    # of 20 pixels the two largest
    values = np.arange(20.0).reshape(4, 5)
    assert on_top(values).ravel().tolist() == [0.0] * 18 + [1, 1]
    # of 21 pixels three: a tenth is rounded up
    assert on_top(np.arange(21.0)).sum() == 3


def test_pixels_that_tie_at_the_edge_count_in_parts():
    # two of 20 are on top: 9 surely, and one of the four that are 5, a quarter each
    values = np.zeros(20)
    values[[0, 1, 2, 3, 4]] = 9, 5, 5, 5, 5
    assert on_top(values)[:6].tolist() == [1, 0.25, 0.25, 0.25, 0.25, 0]
    other = np.zeros(20)
    other[[0, 1]] = 9, 5
    # intersection 1 + 0.25, union 1 + 1 + 3 * 0.25
    assert top_overlap(values, other) == pytest.approx(1.25 / 2.75)


def test_the_top_half_shared():
    one, other = np.zeros(20), np.zeros(20)
    one[[3, 4]] = 2, 1
    other[[4, 5]] = 2, 1
    assert top_overlap(one, other) == pytest.approx(1 / 3)


def test_magnitudes_decide_what_is_on_top():
    signed = np.zeros(20)
    signed[[3, 4]] = -2, 1
    assert top_overlap(signed, np.abs(signed)) == 1


def test_centre_and_shift():
    # all in the upper left quarter's pixel, then all in the lower right one of 2 x 4 pixels
    one, other = np.zeros((2, 4)), np.zeros((2, 4))
    one[0, 0] = 5
    other[1, 3] = 1
    assert centre(one).tolist() == [0.25, 0.125]
    assert centre(other).tolist() == [0.75, 0.875]
    assert shift(one, other) == pytest.approx(math.hypot(0.5, 0.75))
    assert shift(np.array([0.0, 1, 0, 0]), np.array([0.0, 0, 0, 1])) == pytest.approx(0.5)
    assert centre(np.zeros((2, 2))) is None


@pytest.mark.parametrize("even", [np.zeros((4, 4)), np.full((4, 4), 3.0), np.full((4, 4), np.nan)])
def test_maps_that_tell_nothing(even):
    assert not tells(even)
    assert compare_maps(even, NOISE[:4, :4]) == NOWHERE
    assert compare_maps(NOISE[:4, :4], even) == NOWHERE


def test_one_pixel_that_is_not_finite():
    broken = NOISE.copy()
    broken[0, 0] = np.inf
    assert not tells(broken)


@pytest.mark.parametrize(
    ("a", "b", "change"),
    [(4, 5, 0.2), (5, 4, 0.2), (-1, 1, 2), (0, 0, 0), (0, 3, 1), (math.nan, 1, None),
     (1, math.nan, None), (math.inf, math.inf, None)],
)  # fmt: skip
def test_score_change(a, b, change):
    assert score_change(a, b) == (None if change is None else pytest.approx(change))


def test_output_change():
    # the largest difference is 3 and the largest magnitude 6
    assert output_change(np.array([1.0, -6, 2]), np.array([1.0, -3, 4])) == pytest.approx(0.5)
    assert output_change(np.zeros(3), np.zeros(3)) == 0
    assert output_change(np.array([1.0, np.nan]), np.array([1.0, 2])) is None
    assert output_change(np.array([1.0, 2]), np.array([1.0, np.inf])) is None


def test_drift_of_what_matches():
    a, b = np.array([4.0, -3, 2, 1]), np.array([5.0, 7, -3])
    # the input, and A's second column in B's third: (|5 - 4| + |-3 - -3|) / (4 + 3 + 2 + 1)
    assert drift(a, b, np.array([[0, 0], [1, 2]])) == pytest.approx(0.1)
    # A's third too, in B's second: |7 - 2| more
    assert drift(a, b, np.array([[0, 0], [1, 2], [2, 1]])) == pytest.approx(0.6)
    assert drift(np.zeros(4), b, np.array([[0, 0]])) is None
    assert drift(a, np.array([np.nan, 1, 1]), np.array([[0, 0]])) is None
