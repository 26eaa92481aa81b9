"""Pools in ceil mode whose last window would lie in the padding after the image."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from conftest import noise, run

from fg_onnx import instrument
from fg_onnx.graph import working

# A pool in ceil mode, and the same one without: its padding reaches to the last true window.
THREE = "kernel_shape = [3,3], strides = [3,3]"
GAPS = "kernel_shape = [3,2], strides = [3,4]"
TWINS = {
    "MaxPool": (
        f"MaxPool <{THREE}, pads = [1,1,1,1], ceil_mode = 1>",
        f"MaxPool <{THREE}, pads = [1,1,0,0]>",
    ),
    "AveragePool": (
        f"AveragePool <{THREE}, pads = [1,1,1,1], ceil_mode = 1>",
        f"AveragePool <{THREE}, pads = [1,1,0,0]>",
    ),
    "padding counts": (
        f"AveragePool <{THREE}, pads = [1,1,1,1], ceil_mode = 1, count_include_pad = 1>",
        f"AveragePool <{THREE}, pads = [1,1,0,0], count_include_pad = 1>",
    ),
    "gaps": (
        f"MaxPool <{GAPS}, pads = [1,0,1,1], ceil_mode = 1>",
        f"MaxPool <{GAPS}, pads = [1,0,0,0]>",
    ),
}


def pooled(pool: str, size: int = 14) -> onnx.ModelProto:
    """A pool between two smooth layers, by whose true number of windows scores are divided."""
    return onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]> net (float[N,2,{size},{size}] x) =>
        (float[N,2] logits) {{
            a = Tanh (x)
            p = {pool} (a)
            s = Sigmoid (p)
            g = GlobalAveragePool (s)
            logits = Flatten (g)
        }}
    """)


@pytest.mark.parametrize("twins", TWINS.values(), ids=TWINS)
def test_the_windows_that_the_runtime_makes_are_explained(twins):
    ceiled, plain = (pooled(pool) for pool in twins)
    feeds = noise(plain)
    logits = run(ceiled, feeds)["logits"]
    np.testing.assert_array_equal(logits, run(plain, feeds)["logits"])
    emit = ["contributions", "input-gradient"]
    found, wanted = (run(instrument(proto, emit=emit).model, feeds) for proto in (ceiled, plain))
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-6)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
    assert np.abs(found["fg_input_gradient"]).max() > 0


def test_the_size_held_is_that_of_the_runtime():
    graph = working.to_graph(pooled(TWINS["MaxPool"][0]))
    assert graph.tensors()["p"].shape == ["N", 2, 5, 5]


def test_a_pool_that_needs_ceil_mode_keeps_it():
    graph = working.to_graph(pooled("MaxPool <kernel_shape = [3,3], ceil_mode = 1>"))
    assert [node.attrs["ceil_mode"] for node in graph.nodes if node.op == "MaxPool"] == [1]
    graph = working.to_graph(pooled(f"MaxPool <{THREE}, ceil_mode = 1>"))
    assert [node.attrs["ceil_mode"] for node in graph.nodes if node.op == "MaxPool"] == [1]
    assert graph.tensors()["p"].shape == ["N", 2, 5, 5]
