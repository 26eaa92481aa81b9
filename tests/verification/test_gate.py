"""`fg_onnx.verify`: good models pass, whatever they were instrumented with."""

from __future__ import annotations

from conftest import SAMPLES

import fg_onnx


def test_samples_pass(sample):
    found = fg_onnx.verify(sample.instrument().model, sample.model)
    assert found.verdict == "passed", found


def test_a_changed_weight_fails():
    sample = SAMPLES["residual"]
    model = sample.instrument().model
    (weight,) = (w for w in model.graph.initializer if w.name == "conv2_weight")
    changed = bytearray(weight.raw_data)
    changed[0] ^= 1  # the last bit of the mantissa
    weight.raw_data = bytes(changed)
    found = fg_onnx.verify(model, sample.model)
    assert found.check("forward").outcome == "failed"
