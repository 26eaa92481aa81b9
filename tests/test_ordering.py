"""The runtime forgets a cotangent before it makes the next but one: the order of nodes decides."""

import onnx
import pytest
from graphs import convolutions

from fg_onnx import instrument
from fg_onnx.manifest import EMITS
from fg_onnx.profiling import profile

LAYERS = 6


@pytest.fixture
def chain():
    """Convolutions of eight channels, every other one of stride 2, and their means for scores."""
    return convolutions(
        LAYERS,
        8,
        48,
        "h{i} = Conv <pads=[1,1,1,1], strides=[{stride},{stride}]> ({x}, w{i}, b{i})"
        "c{i} = Relu (h{i}) a{i} = Clip (c{i}, zero, six)",
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"freeze_biases": True},
        {"seed": True},
        {"emit": ("contributions",)},
        {"emit": ("saliency",)},
        {"emit": ("contributions", "saliency", "input-gradient")},
    ],
    ids=str,
)
@pytest.mark.parametrize("psi", ["reference", "paper", "abs", "positive"])
def test_a_layer_is_summed_up_before_the_adjoint_goes_on(chain, psi, options):
    rows = profile(instrument(chain, psi=psi, **options).model, batch=2, runs=1).rows
    ran = [(row.origin.stage, row.origin.site) for row in rows]
    for layer in range(2, LAYERS):
        summing = {(stage, f"h{layer}") for stage in ("psi", "contributions")}
        sums = [i for i, at in enumerate(ran) if at in summing]
        assert ran.index(("adjoint", f"h{layer}")) < ran.index(("adjoint", f"h{layer - 1}"))
        assert max(sums) < ran.index(("adjoint", f"h{layer - 2}"))


def test_the_file_is_sorted(sample):
    onnx.checker.check_model(sample.instrument(emit=EMITS).model, full_check=True)
