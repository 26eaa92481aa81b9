"""The engine ort-training yields the same contract, and the two engines agree."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from conftest import FASHION, SAMPLES, engine_is_ready, run
from placement import KERNELS, Placement, emitted, lacking
from traps import traps

from fg_onnx import Session, instrument
from fg_onnx.errors import InputError, UnsupportedModelError
from fg_onnx.manifest import EMITS
from fg_onnx.verification.engines import AGREEMENT, IMPLICIT, Difference, compare_engines
from fg_onnx.vjps import RULES

pytestmark = pytest.mark.engine

# Where the whole decomposition is summed up in another order, residuals are of rounding alone.
COMPLETE = 1e-5
REFUSED = {"mobilenet_v3_small": "`HardSwish` at .* no gradient of it"}


@pytest.fixture(scope="module", autouse=True)
def _ready():
    engine_is_ready()


# --- the same contract ----------------------------------------------------------------------------


@pytest.fixture(params=SAMPLES)
def accepted(request):
    """A small sample that the engine takes."""
    return SAMPLES[request.param]


def test_the_contract_is_the_same(accepted):
    ours, theirs = (
        accepted.instrument(emit=EMITS, gradients=engine) for engine in ("standard", "ort-training")
    )
    assert theirs.manifest.gradients == "ort-training"
    assert ours.manifest.gradients == "standard"
    assert theirs.manifest.sites == ours.manifest.sites
    onnx.checker.check_model(theirs.model, full_check=True)
    assert {node.domain for node in theirs.model.graph.node} <= {"", "ai.onnx"}
    for field in ("input", "output"):
        mine, its = (list(getattr(each.model.graph, field)) for each in (ours, theirs))
        assert mine == its
    feeds = accepted.feeds
    expected, found = (run(each.model, feeds) for each in (ours, theirs))
    for name, value in expected.items():
        if name.startswith("fg_") and value.dtype.kind == "f":
            largest = max(float(np.abs(value).max()), 1e-30)
            assert np.abs(found[name] - value).max() <= 2e-5 * largest, name
        else:
            np.testing.assert_array_equal(found[name], value)
    attribution = accepted.explain(Session(theirs))
    assert attribution.residual.max() <= COMPLETE


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("r = PRelu (x, w) y = GlobalAveragePool (r)", "`PRelu` at `r`: .* has no gradient of it"),
        ("r = MaxPool <kernel_shape = [2, 2]> (x) y = GlobalAveragePool (r)", "unknown height"),
        ("r = Tanh (x) h = Cast <to = 10> (r) f = Cast <to = 1> (h) y = GlobalAveragePool (f)",
         "float32 alone, and `h` is not"),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_refused_with_node_reason_and_hint(body, reason):
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 18]> net (float[N,4,H,W] x) => (float[N,a,b,c] y) '
        f"<float[1] w = {{0.5}}> {{{body}}}"
    )
    with pytest.raises(UnsupportedModelError, match=reason) as caught:
        instrument(model, gradients="ort-training")
    assert caught.value.node
    assert caught.value.hint == "use --gradients standard"


def test_options_go_through(samples):
    sample = samples["bn_unfolded"]
    for options in ({"seed": True}, {"freeze_biases": True}, {"psi": "signed"}, {"opset": 22}):
        ours, theirs = (
            sample.instrument(gradients=engine, **options)
            for engine in ("standard", "ort-training")
        )
        assert list(ours.model.graph.output) == list(theirs.model.graph.output)
        assert list(ours.model.graph.input) == list(theirs.model.graph.input)
        feeds = dict(sample.feeds)
        if "seed" in options:
            feeds["fg_seed"] = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
        expected, found = (run(each.model, feeds) for each in (ours, theirs))
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5 * np.abs(value).max())


def test_feeding_a_bias_moves_the_gradients_of_both_alike(samples):
    sample = samples["bn_unfolded"]
    found = []
    for engine in ("standard", "ort-training"):
        instrumented = sample.instrument(gradients=engine, emit=EMITS)
        name = next(s.promoted_input for s in instrumented.manifest.sites if s.promoted_input)
        (held,) = (t for t in instrumented.model.graph.initializer if t.name == name)
        other = onnx.numpy_helper.to_array(held) * np.float32(-1.5) + np.float32(0.1)
        session = Session(instrumented)
        found.append(sample.explain(session, feeds={name: other}))
    np.testing.assert_allclose(*(each.input_gradient for each in found), rtol=0, atol=1e-5)
    np.testing.assert_allclose(*(each.contributions for each in found), rtol=0, atol=1e-5)


@pytest.mark.parametrize("opset", [17, 18])
def test_its_graphs_stay_on_the_device(accepted, opset):
    """As those of the standard engine do (test_cuda_placement, test_operators_emitted)."""
    model = accepted.instrument(gradients="ort-training", emit=EMITS, opset=opset).model
    assert traps(model) == []
    ours = {node.name for node in emitted(model)}
    for runtime in KERNELS.runtimes:
        assert lacking(model, runtime) == {}
        copies = Placement(model, runtime).copies
        assert [copy for copy in copies if ours & {copy.source, copy.target}] == []


def test_an_unknown_engine_is_an_error(samples):
    with pytest.raises(InputError, match="no engine `other`"):
        samples["residual"].instrument(gradients="other")


# --- an independent witness -----------------------------------------------------------------------


def holds(found):
    assert not found.unwitnessed
    assert {each.against for each in found.differences} == {"ort-training", "kernels"}
    # the bias-gradient of a Clip that nothing reaches is 0
    assert all(each.largest > 0 for each in found.differences if each.quantity != IMPLICIT)
    wrong = [each for each in found.differences if not each.holds(AGREEMENT)]
    assert not wrong


def test_a_vgg_with_batchnorm_as_it_was_trained():
    holds(compare_engines(FASHION, count=2))


def test_exported_nets(net):
    """VGG with its BatchNorm folded, DenseNet with it unfolded, and some with gates."""
    if net.name in REFUSED:
        with pytest.raises(UnsupportedModelError, match=REFUSED[net.name]):
            compare_engines(net.path, net.images[:1])
        return
    holds(compare_engines(net.path, net.images[:1]))


def test_a_wrong_rule_is_found_out_by_the_kernels_alone(monkeypatch):
    """Both engines take the forms of the rules; the kernels do not."""
    conv = RULES["Conv"]

    def bent(op, p, ct):
        ct_x, *rest = conv.vjp(op, p, ct)
        return op.Mul(ct_x, 1.001), *rest

    monkeypatch.setitem(RULES, "Conv", dataclasses.replace(conv, vjp=bent))
    wrong = [each for each in compare_engines(FASHION).differences if not each.holds()]
    assert {each.against for each in wrong} == {"kernels"}
    (image,) = (each for each in wrong if each.name == "image")
    # eight convolutions lie before the input
    assert image.difference == pytest.approx(8e-3, rel=0.2)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            'r = Resize <mode = "nearest"> (x, , s) y = GlobalAveragePool (r)',
            "`Resize` at `r` is not",
        ),
        ("r = Slice (x, a, e, a, a) y = GlobalAveragePool (r)", "`Slice` at `r` does not take"),
    ],
)
def test_a_model_without_an_independent_witness_says_so(body, reason):
    found = compare_engines(one_node(body))
    assert all(each.holds() for each in found.differences)
    assert reason in found.unwitnessed


def one_node(body):
    return onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 18]> net (float[N,4,6,6] x) => (float[N,a,b,c] y) '
        f"<float[4] s = {{1, 1, 2, 2}}, int64[1] a = {{-1}}, int64[1] e = {{-9}}> {{{body}}}"
    )


@pytest.mark.parametrize(
    ("inputs", "body", "feeds"),
    [
        ("uint8[N,4,6,6] x", "f = Cast <to = 1> (x) y = GlobalAveragePool (f)", {}),
        ("float[1,4,6,6] x", "h = Tanh (x) y = GlobalAveragePool (h)", {}),
        ("float[N,4,H,W] x", "h = MaxPool <kernel_shape = [2, 2]> (x) y = GlobalAveragePool (h)",
         {"x": np.random.default_rng(0).standard_normal((2, 4, 6, 6))}),
        ("float[N,4,6,6] x, float[N,4,6,6] z", "h = Mul (x, z) y = GlobalAveragePool (h)",
         {"z": np.random.default_rng(0).standard_normal((1, 4, 6, 6)).astype(np.float32)}),
        ("float[N,4,6,6] x", "x_grad = Tanh (x) t0 = Neg (x_grad) t0_grad = Mul (t0, x) "
         "y = GlobalAveragePool (t0_grad)", {}),
        ("float[N,4,6,6] x", "u, m = Dropout (x) f = Cast <to = 1> (m) h = Mul (u, f) "
         "y = GlobalAveragePool (h)", {}),
        ("float[N,4,6,6] x", "h = Clip (x, l, t) y = GlobalAveragePool (h)", {}),
    ],
)  # fmt: skip
def test_models_of_many_kinds(inputs, body, feeds):
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 18]> net ({inputs}) => (float[N,a,b,c] y) '
        f"<float l = {{-0.5}}, float t = {{0.5}}> {{{body}}}"
    )
    holds(compare_engines(model, feeds.pop("x", None), feeds=feeds))


def test_kinks_are_those_of_the_standard_engine():
    """The slope of Clip is 0 at its bounds; onnxruntime-training's own is 1."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> net (float[N,1,2,2] x) => (float[N,a,b,c] y) '
        "<float l = {0}, float t = {1}> { h = Clip (x, l, t) y = GlobalAveragePool (h) }"
    )
    image = np.array([0, 1, 0.5, 2], np.float32).reshape(1, 1, 2, 2)
    found = Session(instrument(model, gradients="ort-training", emit=EMITS)).explain(image)
    np.testing.assert_array_equal(found.input_gradient.ravel(), [0, 0, 0.25, 0])


def test_batchnorm_of_many_channels():
    """Its factors are more than the builder is given values of."""
    draws = np.random.default_rng(0)
    arrays = {
        "s": draws.uniform(0.5, 2, 1100), "b": draws.standard_normal(1100),
        "m": draws.standard_normal(1100), "v": draws.uniform(0.5, 2, 1100),
    }  # fmt: skip
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> net (float[N,1100,2,2] x) => (float[N,a,b,c] y) '
        "{ n = BatchNormalization (x, s, b, m, v) r = Relu (n) y = GlobalAveragePool (r) }"
    )
    for name, array in arrays.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    holds(compare_engines(model))


def test_an_image_that_moves_nothing_is_no_evidence():
    model = one_node("r = Relu (x) y = GlobalAveragePool (r)")
    found = compare_engines(model, np.full((1, 4, 6, 6), -1.0))
    assert not all(each.holds() for each in found.differences)


def test_not_a_number_does_not_hold():
    assert not Difference("kernels", "cotangent", "x", 1.0, float("nan")).holds()
