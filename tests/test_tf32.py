"""What TF32 does to completeness, reckoned on the CPU: no GPU is needed to round a factor."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from conftest import SAMPLES, run
from tf32 import in_tf32

from fg_onnx.attribution import TOLERANCES, completeness_residual

# TF32 has the mantissa of float16, so that the bound of float16 is its bound too.
BOUND = TOLERANCES["float16"]
# Residuals of these samples: float32 at most 4e-7, TF32 5e-5 to 9e-4.
ROUNDED = 1e-5


def residual(model, feeds):
    found = run(model, feeds, ["fg_score", "fg_contributions"])
    return completeness_residual(found["fg_score"], found["fg_contributions"]).max()


def test_factors_are_rounded_to_eleven_bits():
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]>'
        "g (float[N,1] x, float[1,1] w) => (float[N,1] y) { y = MatMul (x, w) }"
    )
    x = np.random.default_rng(0).standard_normal((1000, 1)).astype(np.float32)
    y = run(in_tf32(model), {"x": x, "w": np.ones((1, 1), np.float32)})["y"]
    assert not np.any(y.view(np.uint32) & 0x1FFF)
    gap = np.abs(y - x) / np.abs(x)
    assert 2.0**-13 < gap.max() <= 2.0**-11


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "saturation"])
def test_a_residual_in_tf32(name):
    """`saturation` multiplies by powers of two alone, which no rounding changes."""
    sample = SAMPLES[name]
    model = sample.instrument().model
    rounded = residual(in_tf32(model), sample.feeds)
    assert residual(model, sample.feeds) < ROUNDED < rounded <= BOUND


def test_float32_s_own_tolerance_would_fail_in_tf32():
    sample = SAMPLES["fashion_vgg"]
    assert residual(in_tf32(sample.instrument().model), sample.feeds) > TOLERANCES["float32"]
