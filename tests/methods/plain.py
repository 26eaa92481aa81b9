"""Models for the tests of methods, and the chance that the methods say they draw from."""

from __future__ import annotations

import zlib

import numpy as np
from graphs import build, draw, noise, two_stages

from sample_models import tiny

SMALL = {
    "smooth-fullgrad": {"samples": 3},
    "smooth-grad": {"samples": 3},
    "smooth-grad-squared": {"samples": 3},
    "integrated-gradients": {"steps": 4},
    "rise": {"samples": 6, "cells": 3},
}
"""Options that make the methods that run a model often run it seldom."""


def signals():
    """Two convolutions of one axis, [N,2,32]."""
    nodes = """
        c1 = Conv <pads = [1,1]> (x, w1, b1)
        r1 = Relu (c1)
        c2 = Conv <strides = [2], pads = [1,1]> (r1, w2, b2)
        h = Relu (c2)
        pooled = GlobalAveragePool (h)
        features = Flatten (pooled)
        logits = Gemm <transB = 1> (features, fc_weight, fc_bias)
    """
    weights = {
        "w1": draw("w1", 4, 2, 3),
        "b1": draw("b1", 4),
        "w2": draw("w2", 6, 4, 3),
        "b2": draw("b2", 6),
        "fc_weight": draw("fc_weight", 5, 6),
        "fc_bias": draw("fc_bias", 5),
    }
    return build(nodes, weights, inputs="float[N,2,32] x")


MODELS = {
    "images": (two_stages(16, 12), (3, 16, 12), (16, 12)),
    "nhwc": (tiny.all_models()["nhwc"], (16, 16, 3), (16, 16)),
    "signals": (signals(), (2, 32), (32,)),
}
"""By what they explain: the model, the shape of one input, and its grid."""


def inputs(kind, count=3):
    """A model and as many inputs."""
    model, shape, _ = MODELS[kind]
    return model, noise(count, *shape)


def draws(seed, image, sample=0):
    """What a method draws from for one sample of an image."""
    return np.random.default_rng([seed, zlib.crc32(image.tobytes()), sample])


def close(found, expected, bound):
    """Equal up to ``bound`` of the largest entry."""
    assert found.shape == expected.shape
    assert np.isfinite(found).all()
    largest = np.abs(expected).max()
    assert largest > 0
    assert np.abs(found - expected).max() <= bound * largest
