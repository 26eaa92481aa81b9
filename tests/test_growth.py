"""The work of instrumenting is linear in the nodes, and so is what the growth benchmark builds."""

from __future__ import annotations

import cProfile
import pstats

import numpy as np
import onnx
import pytest

from benchmarks import growth
from fg_onnx import Session, instrument


def calls(model):
    """How many functions are called to instrument a model: work, and no time."""
    profile = cProfile.Profile()
    profile.runcall(instrument, model)
    return pstats.Stats(profile).total_calls


@pytest.mark.parametrize("kind", growth.KINDS)
def test_twice_the_nodes_are_twice_the_work(kind):
    instrument(growth.net(kind, 50))  # what is looked up once and kept
    few, some, many = (calls(growth.net(kind, nodes)) for nodes in (150, 300, 600))
    # a second step twice as long as the first takes twice the work; 4 times if it were quadratic
    assert (many - some) / (some - few) == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("kind", growth.KINDS)
@pytest.mark.parametrize("nodes", [12, 100])
def test_the_nets_are_sound_and_of_that_size(kind, nodes):
    model = growth.net(kind, nodes)
    onnx.checker.check_model(model, full_check=True)
    assert nodes - 5 < len(model.graph.node) <= nodes
    images = np.random.default_rng(0).normal(size=(2, 2, 8, 8)).astype(np.float32)
    assert Session(instrument(model)).explain(images).residual.max() < 1e-4
