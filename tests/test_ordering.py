"""The runtime forgets a cotangent before it makes the next but one: the order of nodes decides."""

import onnx
import pytest
from graphs import convolutions, resized_input

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


@pytest.mark.parametrize("emit", [("contributions",), ("contributions", "saliency")])
def test_a_mask_is_made_before_the_next_layer_and_read_after_its_cotangent(emit):
    layer = "h{i} = Conv <pads=[1,1,1,1]> ({x}, w{i}, b{i}) a{i} = Relu (h{i})"
    made = instrument(convolutions(LAYERS, 8, 48, layer), emit=emit)
    origins = [row.origin for row in profile(made.model, batch=2).rows]
    ran = [(origin.stage, origin.site) for origin in origins]
    for i, behind in enumerate([*(f"h{i}" for i in range(1, LAYERS)), "g"]):
        written, read = (
            place
            for place, origin in enumerate(origins)
            if origin.operator == "Cast" and ran[place] == ("adjoint", f"a{i}")
        )
        # A convolution that is one kernel with its ReLU may be named after that.
        one_of = {("forward", behind), ("forward", behind.replace("h", "a"))}
        assert written < next(at for at, one in enumerate(ran) if one in one_of)
        assert max(at for at, one in enumerate(ran) if one == ("adjoint", behind)) < read


@pytest.mark.parametrize(
    ("batch", "runtime", "waits"), [("N", "ort", True), (1, "ort", False), ("N", "openvino", False)]
)
def test_where_an_output_waits_for_masks(chain, batch, runtime, waits):
    made = instrument(resized_input(chain, batch, 8, 48, 48), runtime=runtime).model
    masks = {
        node.output[0]
        for node in made.graph.node
        if node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.BOOL
    }
    assert len(masks) == LAYERS
    read = {node.input[0] for node in made.graph.node if node.op_type == "Shape"}
    assert masks & read == (masks if waits else set())


def test_the_file_is_sorted(sample):
    onnx.checker.check_model(sample.instrument(emit=EMITS).model, full_check=True)
