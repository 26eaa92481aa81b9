"""Concatenations that go on where an earlier one ended: the same numbers, by fewer additions."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import HEAD, build, draw, everything, noise

from fg_onnx import instrument, steps

WIDTH = 4
X = noise(2, 3, 16, 16)


def dense(layers: int, joined=lambda parts: parts):
    """A dense block: every layer reads all that came before."""
    weights = {"w0": draw("w0", WIDTH, 3, 3, 3), "b0": draw("b0", WIDTH)}
    parts, body = ["f0"], "f0 = Conv <pads = [1,1,1,1]> (x, w0, b0) "
    for k in range(1, layers + 1):
        read = "f0"
        if k > 1:
            read = f"c{k}"
            body += f"{read} = Concat <axis = 1> ({', '.join(joined(parts))}) "
        weights[f"w{k}"] = draw(f"w{k}", WIDTH, WIDTH * k, 3, 3)
        weights[f"b{k}"] = draw(f"b{k}", WIDTH)
        body += f"r{k} = Relu ({read}) f{k} = Conv <pads = [1,1,1,1]> (r{k}, w{k}, b{k}) "
        parts.append(f"f{k}")
    body += f"h = Concat <axis = 1> ({', '.join(parts)})"
    weights["fc_weight"] = draw("fc_weight", 5, WIDTH * (layers + 1))
    weights["fc_bias"] = draw("fc_bias", 5)
    return build(body + HEAD, weights)


def additions(model) -> int:
    """Of cotangents."""
    nodes = instrument(model).model.graph.node
    return sum(node.name.startswith("fg/adjoint/") and node.op_type == "Add" for node in nodes)


def as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "nested", list)


def test_a_dense_block_has_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    model = dense(5)
    found = everything(model).explain(X, 2)
    as_written(monkeypatch)
    wanted = everything(model).explain(X, 2)
    assert found.manifest.sites == wanted.manifest.sites
    for name in ("scores", "contributions", "saliency", "input_gradient"):
        ours, theirs = getattr(found, name), getattr(wanted, name)
        # float32's rounding of sums in another order
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max(), err_msg=name)


def test_its_cotangents_are_added_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = [additions(dense(layers)) for layers in (4, 8, 16)]
    assert counts[2] - counts[1] == 2 * (counts[1] - counts[0])  # one more for each layer
    as_written(monkeypatch)
    assert additions(dense(16)) > 100 > 2 * counts[2]


def test_other_orders_and_axes_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    turned = dense(3, joined=lambda parts: parts[::-1])
    count = additions(turned)
    along_rows = build(
        "a = Conv (x, w, b) d = Relu (a) r = Concat <axis = 2> (a, d) "
        "s = MaxPool <kernel_shape = [2,1], strides = [2,1]> (r) "
        "e = Concat <axis = 1> (a, d, s) h = Relu (e)" + HEAD,
        {
            "w": draw("w", 4, 3, 1, 1), "b": draw("b", 4),
            "fc_weight": draw("fc_weight", 5, 12), "fc_bias": draw("fc_bias", 5),
        },
    )  # fmt: skip
    found = everything(along_rows).explain(X, 2)
    as_written(monkeypatch)
    assert additions(turned) == count
    wanted = everything(along_rows).explain(X, 2)
    np.testing.assert_array_equal(found.input_gradient, wanted.input_gradient)
