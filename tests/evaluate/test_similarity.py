"""How alike two maps are, against SciPy and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity as reference

from fg_onnx.evaluate.similarity import (
    rank_correlation,
    relative_change,
    structural_similarity,
)


def pair(height, width, share, seed=0):
    rng = np.random.default_rng(seed)
    one = rng.normal(size=(height, width)).cumsum(0).cumsum(1)
    return one, (1 - share) * one + share * rng.normal(size=one.shape).cumsum(1)


def scaled(values):
    return (values - values.min()) / np.ptp(values)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("size", [(28, 28), (40, 23), (11, 30)])
def test_structural_similarity_is_scikit_images(size, share):
    one, other = pair(*size, share)
    wanted = reference(
        scaled(one),
        scaled(other),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
    )
    assert np.isclose(structural_similarity(one, other), wanted, rtol=0, atol=1e-12)
    assert np.isclose(structural_similarity(3 * one - 5, other), wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_rank_correlation_is_scipys(share):
    one, other = pair(20, 15, share)
    assert np.isclose(rank_correlation(one, other), spearmanr(one.ravel(), other.ravel())[0])
    one, other = one.round(), other.round()  # many ties
    assert np.isclose(rank_correlation(one, other), spearmanr(one.ravel(), other.ravel())[0])
    assert np.isclose(rank_correlation(one, -np.exp(one)), -1)


def test_relative_change():
    one = np.array([[3.0, 4.0]])
    assert relative_change(one, one) == 0
    assert relative_change(one, np.array([[3.0, 5.0]])) == 0.2


def test_what_is_not_defined_is_not_a_number():
    even, some = np.ones((20, 20)), pair(20, 20, 0)[0]
    assert np.isnan(rank_correlation(even, some))
    assert np.isnan(structural_similarity(some, even))
    assert np.isnan(structural_similarity(some[:10], some[:10]))  # smaller than the window
    assert np.isnan(structural_similarity(some[0], some[0]))  # of a signal
    assert np.isnan(relative_change(0 * some, some))
