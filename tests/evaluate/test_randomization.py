"""Sanity checks: what is randomised, what stays, and the paper's Example 2."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from commands import FASHION, FASHION_VGG
from conftest import SAMPLES
from graphs import build, draw
from onnx import numpy_helper
from quantising import quantised

import fg_onnx
from fg_onnx import load_preprocessing, prepare, read_image
from fg_onnx.errors import FgOnnxError
from fg_onnx.evaluate.parameters import parameters, redraw
from fg_onnx.evaluate.randomization import AMOUNTS, MODES, Subject, randomize
from fg_onnx.evaluate.similarity import SIMILARITIES
from fg_onnx.methods import explainer
from sample_models import tasks
from sample_models.tiny import all_models

TINY = all_models()
TASKS = tasks.all_models()
CORRELATION, SSIM, CHANGE = SIMILARITIES


def stored(proto):
    found = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def changed(before, after):
    return {name for name in before if not np.array_equal(before[name], after[name])}


# --- parameters ----------------------------------------------------------------------------------


def test_layers_in_topological_order():
    held = parameters(TINY["bn_unfolded"])
    assert [layer.op for layer in held.layers] == [
        "Conv", "BatchNormalization", "Conv", "BatchNormalization", "Gemm",
    ]  # fmt: skip
    assert held.layers[2].tensors == ("conv2_weight", "conv2_bias")
    assert held.layers[1].tensors == ("bn1_scale", "bn1_bias", "bn1_mean", "bn1_var")


@pytest.mark.parametrize(
    ("name", "layer", "tensors"),
    [
        ("aliasing_identity", 2, {"conv2_weight", "conv2_bias"}),  # through an Identity
        ("constant_node_weights", 0, {"conv1_weight", "conv1_bias"}),
        ("old_opset", 0, {"conv1_weight", "conv1_bias"}),  # listed as inputs
        ("nhwc", 1, {"dense_weight"}),  # a MatMul, whose bias is an Add of its own
        ("nhwc", 2, {"dense_bias"}),
    ],
)
def test_a_layer_alone_is_redrawn(name, layer, tensors):
    held = parameters(TINY[name])
    before = stored(held.proto)
    found = held.redrawn([held.layers[layer]], 0)
    assert changed(before, stored(found)) == tensors
    assert changed(before, stored(held.proto)) == set()  # the original is left alone
    onnx.checker.check_model(found, full_check=True)
    again = stored(held.redrawn([held.layers[layer]], 0))
    assert changed(stored(found), again) == set()
    assert changed(stored(found), stored(held.redrawn([held.layers[layer]], 1))) == tensors


def test_a_standardised_kernel_is_reached_through_what_computes_it():
    held = parameters(TINY["bn_on_weights"])
    (convolution,) = [layer for layer in held.layers if layer.op == "Conv"]
    assert {"conv1_weight", "conv1_bias"} <= set(convolution.tensors)


def test_a_cascade_draws_what_single_layers_draw():
    held = parameters(TINY["bn_unfolded"])
    both = stored(held.redrawn(held.layers[3:], 7))
    for layer in held.layers[3:]:
        alone = stored(held.redrawn([layer], 7))
        assert all(np.array_equal(both[name], alone[name]) for name in layer.tensors)


def test_draws_keep_the_size_and_variances_their_values():
    held = parameters(FASHION_VGG)
    before, after = stored(held.proto), stored(held.redrawn(held.layers, 0))
    variances = {
        node.input[4] for node in held.proto.graph.node if node.op_type == "BatchNormalization"
    }
    for name in {name for layer in held.layers for name in layer.tensors}:
        if name in variances:
            assert np.array_equal(np.sort(before[name]), np.sort(after[name]))
        elif before[name].size > 1000:
            size, now = (np.sqrt(np.mean(v[name].astype(float) ** 2)) for v in (before, after))
            # the root mean square of n normal draws deviates by 1 / sqrt(2 n): four deviations
            assert abs(now / size - 1) < 4 / np.sqrt(2 * before[name].size)
            assert abs(np.corrcoef(before[name].ravel(), after[name].ravel())[0, 1]) < 0.15


def test_redraw():
    rng = np.random.default_rng(0)
    assert not redraw(np.zeros(5, np.float32), rng).any()
    whole = redraw(np.arange(50, dtype=np.int8), rng)
    assert whole.dtype == np.int8
    assert np.array_equal(np.sort(whole), np.arange(50))
    assert redraw(np.ones(3, np.float16), rng).dtype == np.float16


def test_factors_of_formulas_and_shapes_are_no_parameters():
    nodes = """
        half = Constant <value = float {0.5}> ()
        shape = Constant <value = int64[2] {-1, 4}> ()
        flat = Reshape (x, shape)
        halved = Mul (flat, half)
        logits = Gemm (halved, w)
    """
    shapes = {"inputs": "float[N,1,2,2] x", "outputs": "float[N,4] logits"}
    held = parameters(build(nodes, {"w": draw("w", 4, 4)}, **shapes))
    assert [layer.tensors for layer in held.layers] == [("w",)]


CLASSIFIER = """
    scale = Constant <value_floats = [1.0, 2.0, 3.0, 4.0]> ()
    two = Constant <value_float = 2.0> ()
    twice = Mul (x, two)
    centred = Sub (twice, colour)
    divided = Div (centred, deviation)
    c = Conv (divided, w, scale)
    r = Relu (c)
    p = GlobalAveragePool (r)
    f = Flatten (p)
    d = Div (f, temperature)
    logits = Einsum <equation = "nc,ck->nk"> (d, v)
"""
COLOUR = np.array([0.4, 0.5, 0.6]).reshape(1, 3, 1, 1)
EINSUM = build(
    CLASSIFIER,
    {
        "w": draw("w", 4, 3, 3, 3), "v": draw("v", 4, 4), "temperature": np.arange(1, 5),
        "colour": COLOUR, "deviation": COLOUR / 2,
    },
    inputs="float[N,3,8,8] x", outputs="float[N,4] logits",
)  # fmt: skip
QDQ = quantised(
    SAMPLES["batchnorm_preact"].model, [SAMPLES["batchnorm_preact"].feeds], per_channel=True
)


def test_layers_in_other_forms_and_no_preparation_of_the_image():
    held = parameters(EINSUM)
    assert [(layer.op, layer.tensors) for layer in held.layers] == [
        ("Conv", ("w", "scale")), ("Div", ("temperature",)), ("Einsum", ("v",)),
    ]  # fmt: skip
    found = held.redrawn(held.layers, 0)
    assert changed(held.values(), stored(found)) == {"w", "scale", "temperature", "v"}
    onnx.checker.check_model(found, full_check=True)
    assert not stored(EINSUM).keys() & {"scale"}  # the model that was given is left alone


def test_biases_of_a_quantised_model_are_shuffled():
    held = parameters(QDQ)
    before, after = stored(held.proto), stored(held.redrawn(held.layers, 0))
    taken = {n.input[0] for n in held.proto.graph.node if n.op_type == "DequantizeLinear"}
    wide = {name for name in taken & set(before) if before[name].dtype == np.int32}
    assert {"conv1_bias_quantized", "bn1_bias_quantized"} <= wide
    assert wide <= changed(before, after)
    for name in wide:
        assert np.array_equal(np.sort(before[name]), np.sort(after[name]))


# What takes floats that are no parameters, and by which operand; None: any of them.
NO_PARAMETERS = {
    ("QuantizeLinear", None): "scale and zero point",
    ("DequantizeLinear", 1): "scale",
    ("DequantizeLinear", 2): "zero point",
    ("Resize", None): "factors of a size",
    ("Clip", None): "bounds",
    ("Pow", 1): "an exponent",
    ("Pad", 2): "the value of a border",
}
# By their names, in the models that have them.
FORMULAS = {
    "EINSUM": {"two", "colour", "deviation"},  # prepare the image
    "dead_branch": {"prior_bias"},  # nothing that depends on the image takes it
}


@pytest.mark.parametrize("name", [*SAMPLES, *TASKS, "EINSUM", "QDQ"])
def test_every_float_is_a_parameter_or_known_to_be_none(name):
    own = {"EINSUM": EINSUM, "QDQ": QDQ, **TASKS}
    proto = own[name] if name in own else SAMPLES[name].model
    if name == "saturation":  # two single numbers, in f(x) = a - relu(b - x)
        with pytest.raises(FgOnnxError, match="no parameters"):
            parameters(proto)
        return
    held = parameters(proto)
    known = {tensor for layer in held.layers for tensor in layer.tensors}
    known |= FORMULAS.get(name, set())
    values = stored(held.proto)
    dequantised = {n.input[0] for n in held.proto.graph.node if n.op_type == "DequantizeLinear"}
    left = [
        (node.op_type, slot, tensor)
        for node in held.proto.graph.node
        for slot, tensor in enumerate(node.input)
        if tensor in values
        and (values[tensor].dtype.kind == "f" or tensor in dequantised)
        and not {(node.op_type, slot), (node.op_type, None)} & set(NO_PARAMETERS)
        and tensor not in known
    ]
    assert left == []


def test_a_model_without_parameters_is_refused():
    nodes = "h = Relu (x)\n pooled = GlobalAveragePool (h)\n logits = Flatten (pooled)"
    with pytest.raises(FgOnnxError, match="no parameters"):
        parameters(build(nodes, {}, inputs="float[N,5,4,4] x"))


# --- Example 2 -----------------------------------------------------------------------------------

UNITS = {
    "w0": draw("w0", 4, 1, 3, 3),
    "b0": 5 + draw("b0", 4),  # every unit is open on every image below
    "w1": draw("w1", 3, 4 * 12 * 12),
    "b1": draw("b1", 3),
}


def one_hidden_layer():
    """f(x) = w1 relu(w0 * x + b0) + b1, as in Example 2, of 12 x 12 pixels."""
    nodes = """
        hidden = Conv <pads = [1,1,1,1]> (x, w0, b0)
        open = Relu (hidden)
        flat = Flatten (open)
        logits = Gemm <transB = 1> (flat, w1, b1)
    """
    return build(nodes, UNITS, inputs="float[N,1,12,12] x", outputs="float[N,3] logits")


IMAGES = np.random.default_rng(0).uniform(-1, 1, (5, 1, 12, 12)).astype(np.float32)
METHODS = ["fullgrad", "fullgrad:abs", "input-gradient", "guided-backprop", "gradient-x-input"]


def open_maps(method, proto):
    name, _, psi = method.partition(":")
    return explainer(proto, name, **({"psi": psi} if psi else {})).explain


def open_scores(proto):
    instrumented = fg_onnx.instrument(proto, emit=())
    return instrumented, fg_onnx.Session(instrumented)


def subject(model, methods=METHODS, images=IMAGES):
    batches = (images[:3], images[3:])
    return Subject(parameters(model), open_maps, open_scores, methods, batches, "nchw")


def curves(panels, quantity):
    (panel,) = [panel for panel in panels if panel.quantity == quantity]
    return {curve.method: curve.values for curve in panel.curves}


def test_example_2_input_gradients_do_not_see_biases_within_a_region():
    """Section 4.1: their maps stay bit for bit while f moves; the full-gradients move with f."""
    panels = randomize(subject(one_hidden_layer()), "biases")
    (score,) = curves(panels, "|change of the score| / |score|").values()
    assert (score > 0).all()
    change = curves(panels, CHANGE)
    for method in ("input-gradient", "guided-backprop", "gradient-x-input"):
        assert not change[method][:, :-1].any()
        # equal maps correlate with 1 up to float64's rounding
        assert np.allclose(curves(panels, CORRELATION)[method][:, :-1], 1)
        assert (change[method][:, -1] > 0).all()  # the largest noise closes a unit: no small change
    for method in ("fullgrad", "fullgrad:abs"):
        assert (change[method] > 0).all()
        mean = change[method].mean(0)
        assert (np.diff(mean) > 0).all()  # more noise, more change
    # without rescaling the map's change is of the order of the noise
    assert 0.1 < change["fullgrad:abs"][:, -1].mean() < 2


def test_the_bias_of_the_output_moves_no_map():
    """b1 has no place on the image: no map sees it, and the decomposition does."""
    maps = explainer(one_hidden_layer(), "fullgrad")
    fed = {"fg_bias/logits": np.float32([100, 200, 300])}
    targets = np.zeros(5, np.int64)
    one = maps.session.explain(IMAGES, targets)
    other = maps.session.explain(IMAGES, targets, feeds=fed)
    assert np.array_equal(one.saliency, other.saliency)
    assert (other.contributions[:, -1] == 100).all()
    assert not np.array_equal(one.scores, other.scores)


# --- the experiment ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fashion():
    steps = load_preprocessing(FASHION / "preprocess.yaml")
    paths = sorted(FASHION.glob("*.png"))[:5]
    return np.concatenate([prepare(read_image(p), steps, ("N", 1, 28, 28)).array for p in paths])


def test_against_a_plain_computation(fashion):
    """Independent randomisation of one layer, done by hand."""
    held = subject(str(FASHION_VGG), ["fullgrad", "input-gradient"], fashion)
    panels = randomize(held, "independent", 3, most=2)
    first, last = held.parameters.layers[0], held.parameters.layers[-1]
    assert panels[0].points == (last.name, first.name)
    session = fg_onnx.Session(fg_onnx.instrument(FASHION_VGG, emit=("saliency", "input-gradient")))
    other = fg_onnx.Session(
        fg_onnx.instrument(held.parameters.redrawn([first], 3), emit=("saliency", "input-gradient"))
    )
    one = session.explain(fashion)
    two = other.explain(fashion, one.targets)
    for quantity, measure in SIMILARITIES.items():
        found = curves(panels, quantity)
        for row in range(5):
            pairs = {
                "fullgrad": (one.saliency[row], two.saliency[row]),
                "input-gradient": (
                    np.abs(one.input_gradient[row, 0]),
                    np.abs(two.input_gradient[row, 0]),
                ),
            }
            for method, (a, b) in pairs.items():
                wanted = measure(a.astype(np.float64), b.astype(np.float64))
                # one ReLU may take the other side in a batch of another size
                assert np.isclose(found[method][row, 1], wanted, rtol=1e-2, atol=1e-3)
    moved = np.abs(two.scores - one.scores) / np.abs(one.scores)
    (score,) = curves(panels, "|change of the score| / |score|").values()
    assert np.allclose(score[:, 1], moved, rtol=1e-3)


def test_modes(fashion):
    held = subject(str(FASHION_VGG), ["fullgrad", "random"], fashion)
    ticks = []
    panels = {mode: randomize(held, mode, most=3, tick=ticks.append) for mode in MODES}
    assert ticks == [5] * 2 * (3 + 3 + len(AMOUNTS))
    assert panels["biases"][0].points == AMOUNTS
    names = [layer.name for layer in held.parameters.layers]
    assert panels["cascading"][0].points == (names[-1], names[8], names[0])
    one, other = (curves(panels[mode], CHANGE)["fullgrad"] for mode in MODES[:2])
    assert np.array_equal(one[:, 0], other[:, 0])  # nothing lies behind the last layer
    assert not np.array_equal(one[:, 1:], other[:, 1:])
    for mode in MODES:
        # a map that knows nothing of the model says so
        assert not curves(panels[mode], CHANGE)["random"].any()
        assert (curves(panels[mode], CORRELATION)["fullgrad"][:, -1] < 1).all()


def test_what_cannot_be_randomised_is_refused():
    nodes = "flat = Flatten (x)\n logits = MatMul (flat, w)"
    shapes = {"inputs": "float[N,1,12,12] x", "outputs": "float[N,3] logits"}
    model = build(nodes, {"w": draw("w", 144, 3)}, **shapes)
    with pytest.raises(FgOnnxError, match="no biases"):
        randomize(subject(model, ["input-gradient"]), "biases")
    with pytest.raises(FgOnnxError, match="no method"):
        randomize(subject(model, []), "cascading")
