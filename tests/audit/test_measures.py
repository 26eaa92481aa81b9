"""What is measured of one map: numbers that can be had by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fg_onnx.audit.measures import (
    GRID,
    coarse,
    inside_share,
    measure_map,
    overlaps,
    points_inside,
    shares,
)


def one_pixel(row, column, size=(10, 20), value=3.0):
    found = np.zeros(size, np.float32)
    found[row, column] = value
    return found


def test_an_even_map():
    measured = measure_map(np.full((10, 20), 2.0, np.float32))
    assert measured.concentration == pytest.approx(0, abs=1e-12)
    assert measured.centre == pytest.approx((0.5, 0.5))
    assert measured.border == pytest.approx(1 - 0.8 * 0.8)


def test_all_in_one_pixel():
    measured = measure_map(one_pixel(2, 15))
    assert measured.concentration == pytest.approx(1)
    assert measured.centre == pytest.approx((0.25, 0.775))
    assert measured.border == pytest.approx(0)
    assert measure_map(one_pixel(0, 15)).border == pytest.approx(1)


def test_gini_of_a_known_distribution():
    # 1, 2, 3: sum |xi - xj| / (2 n^2 mean) = 8 / 36, times n / (n - 1)
    assert measure_map(np.array([[3.0, 1.0, 2.0]])).concentration == pytest.approx(1 / 3)


def test_gini_of_many_is_that_of_their_exact_sums():
    values = np.random.default_rng(0).exponential(size=(61, 67)).astype(np.float32)
    rising = sorted(map(float, values.flat))
    count = len(rising)
    weighted = sum((2 * at - count + 1) * each for at, each in enumerate(rising))
    # what is sorted in float32 is summed in float64, of which 4,087 numbers cost 1e-12 at most
    wanted = weighted / sum(rising) / (count - 1)
    assert measure_map(values).concentration == pytest.approx(wanted, rel=1e-12)


def test_the_sign_does_not_count():
    signed, plain = measure_map(one_pixel(2, 15, value=-3.0)), measure_map(one_pixel(2, 15))
    assert signed.centre == plain.centre
    assert np.array_equal(signed.small, plain.small)


def test_a_pixel_is_cut_where_the_border_ends():
    # of 5 rows a tenth is half of one: half of the first row, and of the last, is border
    found = np.zeros((5, 100))
    found[0, 50] = 1
    assert measure_map(found).border == pytest.approx(0.5)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_no_mass(value):
    found = np.zeros((4, 4))
    found[1, 1] = value
    assert measure_map(found) is None
    assert inside_share(found, np.ones((4, 4))) is None
    assert points_inside(found, np.ones((4, 4))) is None


@pytest.mark.parametrize("size", [(GRID, GRID), (5, 7), (224, 100)])
def test_the_coarse_map_keeps_mass_and_centre(size):
    mass = np.random.default_rng(0).random(size)
    mass /= mass.sum()
    small = coarse(mass)
    assert small.shape == (GRID, GRID)
    assert small.sum() == pytest.approx(1)
    fine = mass.sum(axis=1) @ (np.arange(size[0]) + 0.5) / size[0]
    # rows move by half a cell at most
    assert small.sum(axis=1) @ (np.arange(GRID) + 0.5) / GRID == pytest.approx(fine, abs=0.5 / GRID)
    if size == (GRID, GRID):
        assert np.allclose(small, mass)


def test_overlaps():
    assert overlaps(4, [0.5, 2.25, 9]).tolist() == [[0.5, 1, 0.25, 0], [0, 0, 0.75, 1]]


def test_inside():
    inside = np.zeros((10, 20))
    inside[2:5, 10:18] = 1
    found = one_pixel(2, 15) + one_pixel(8, 1, value=1.0)
    assert inside_share(found, inside) == pytest.approx(0.75)
    assert points_inside(found, inside)
    assert not points_inside(found + one_pixel(8, 1), inside)
    inside[2, 15] = 0.4  # less than half of the pixel
    assert not points_inside(found, inside)


def test_shares():
    kinds = ["bias", "implicit", "bias"]
    found = shares(np.array([1.0, -2.0, 4.0, 1.0]), kinds)
    assert found == {"input": 1 / 8, "bias": 3 / 8, "batchnorm": 0, "implicit": 0.5}
    assert shares(np.zeros(4), kinds) == {}
    assert shares(np.array([1.0, np.nan, 0, 0]), kinds) == {}
