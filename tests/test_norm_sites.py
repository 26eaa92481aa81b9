"""A node whose offset is a bias and an implicit rest: two sites, and the bias can be fed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import build, draw, everything, noise
from traps import traps

from fg_onnx import instrument
from fg_onnx.graph import working
from fg_onnx.manifest import EMITS
from fg_onnx.runtime import open_session

NODES = """
    c = Conv <pads = [1,1,1,1]> (x, w, b)
    instance = InstanceNormalization (c, g1, b1)
    bent = Softplus (instance)
    last = Transpose <perm = [0,2,3,1]> (bent)
    layer = LayerNormalization (last, g2, b2)
    first = Transpose <perm = [0,3,1,2]> (layer)
    h = Softplus (first)
    tiles = AveragePool <kernel_shape = [4,4], strides = [4,4]> (h)
    features = Flatten (tiles)
    logits = MatMul (features, fc)
"""
IMAGES = noise(3, 3, 16, 16, seed=1)


def model():
    weights = {name: draw(name, 5, scale=1.0) for name in ("b", "g1", "b1", "g2", "b2")}
    return build(NODES, {**weights, "w": draw("w", 5, 3, 3, 3), "fc": draw("fc", 80, 5)})


def test_both_are_listed_and_the_bias_alone_is_promoted():
    sites = [site for site in instrument(model()).manifest.sites if site.op != "Softplus"]
    assert [(site.name, site.kind, site.promoted_input) for site in sites] == [
        ("c", "bias", "fg_bias/c"),
        ("instance", "bias", "fg_bias/instance"),
        ("instance/implicit", "implicit", None),
        ("layer", "bias", "fg_bias/layer"),
        ("layer/implicit", "implicit", None),
    ]
    assert [site.spatial_axes for site in sites] == [(2, 3), (2, 3), (2, 3), (1, 2), (1, 2)]


def test_freezing_leaves_the_same_sites():
    frozen = instrument(model(), freeze_biases=True).manifest.sites
    assert [site.name for site in frozen] == [
        site.name for site in instrument(model()).manifest.sites
    ]
    assert not any(site.promoted_input for site in frozen)


def test_complete():
    attribution = everything(model()).explain(IMAGES)
    # float32 sums over a few thousand terms.
    assert np.max(attribution.residual) <= 1e-5
    assert np.ptp(attribution.saliency) > 0


def test_what_is_emitted_runs_on_other_devices():
    assert traps(instrument(model(), emit=EMITS).model) == []


@pytest.mark.parametrize("name", ["layer", "instance"])
def test_the_bias_gradient_is_the_derivative_along_what_is_fed(name):
    """No kinks; truncation falls with the square of the step, and rounding grows."""
    proto = instrument(model(), emit=EMITS).model
    session = open_session(proto.SerializeToString())
    default = draw({"layer": "b2", "instance": "b1"}[name], 5, scale=1.0)
    feeds = {"x": IMAGES, "fg_target": np.array([2])}
    (gradient,) = session.run([f"fg_bias_gradient/{name}"], feeds)
    channel = {"layer": 3, "instance": 1}[name]
    rest = tuple(axis for axis in (1, 2, 3) if axis != channel)
    totals = gradient.astype(np.float64).sum(rest)
    for c in np.flatnonzero(np.abs(totals).max(0) > 0):
        step = np.zeros(5)
        step[c] = 0.0625
        above, below = (
            session.run(
                ["fg_score"],
                {**feeds, f"fg_bias/{name}": (default * (1 + sign * step)).astype(np.float32)},
            )[0].astype(np.float64)
            for sign in (1, -1)
        )
        found = (above - below) / 0.125
        # Measured: 1e-3 at the most.
        np.testing.assert_allclose(found, totals[:, c], atol=3e-3 * np.abs(totals).max())


@pytest.mark.parametrize(
    "node",
    [
        "GroupNormalization <num_groups = 2> (x, scale, scale)",
        "MeanVarianceNormalization (x)",  # of its default axes onnx makes a body that is broken
    ],
)
def test_what_follows_has_a_shape(node):
    proto = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 21]>
        net (float[N,4,6,6] x, float[4] scale) => (float[N,4] logits) {{
            n = {node}
            r = Relu (n)
            p = GlobalAveragePool (r)
            logits = Flatten (p)
        }}
    """)
    graph = working.to_graph(proto)
    assert [graph.tensors()[name].shape for name in "nrp"] == [
        ["N", 4, 6, 6],
        ["N", 4, 6, 6],
        ["N", 4, 1, 1],
    ]
