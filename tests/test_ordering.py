"""The runtime forgets a cotangent before it makes the next but one: the order of nodes decides."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from fg_onnx import instrument
from fg_onnx.manifest import EMITS
from fg_onnx.profiling import profile

LAYERS = 6


@pytest.fixture
def chain():
    """Convolutions of eight channels, every other one of stride 2, and their means for scores."""
    read = ["x", *(f"a{i}" for i in range(LAYERS))]
    steps = "".join(
        f"h{i} = Conv <pads=[1,1,1,1], strides={[1 + i % 2] * 2}> ({read[i]}, w{i}, b{i})"
        f"c{i} = Relu (h{i}) a{i} = Clip (c{i}, zero, six)"
        for i in range(LAYERS)
    )
    model = parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[N,8,48,48] x) => (float[N,8] y) <float zero = {{0.0}}, float six = {{6.0}}> {{
            {steps}
            g = GlobalAveragePool (a{LAYERS - 1})
            y = Flatten (g)
        }}""")
    rng = np.random.default_rng(0)
    for i in range(LAYERS):
        for name, shape in ((f"w{i}", [8, 8, 3, 3]), (f"b{i}", [8])):
            values = 0.2 * rng.standard_normal(shape, dtype=np.float32)
            model.graph.initializer.append(numpy_helper.from_array(values, name))
    return model


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
