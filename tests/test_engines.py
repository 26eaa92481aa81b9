"""The engine ort-training yields the same contract, and the two engines agree."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from conftest import FASHION, SAMPLES, engine_is_ready, run

from fg_onnx import Session, instrument
from fg_onnx.errors import InputError, UnsupportedModelError
from fg_onnx.manifest import EMITS
from fg_onnx.verification import engines as comparing
from fg_onnx.verification.engines import AGREEMENT, compare_engines

pytestmark = pytest.mark.engine

# Where the whole decomposition is summed up in another order, residuals are of rounding alone.
COMPLETE = 1e-5
REFUSED = {"mobilenet_v3_small": "`HardSwish` at .* no gradient of it"}
# The offset of x * sigmoid(x) is a small difference of large terms, which the engines sum up in
# another order: one takes it for one step, the other for two. Measured: 1.1e-5.
GATES = ("efficientnet_b0",)
GATED = 5e-5


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
    attribution = accepted.explain(Session(theirs, threads=2))
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


def test_feeding_a_bias_moves_the_gradients_of_both_alike(samples):
    sample = samples["bn_unfolded"]
    found = []
    for engine in ("standard", "ort-training"):
        instrumented = sample.instrument(gradients=engine, emit=EMITS)
        name = next(s.promoted_input for s in instrumented.manifest.sites if s.promoted_input)
        (held,) = (t for t in instrumented.model.graph.initializer if t.name == name)
        other = onnx.numpy_helper.to_array(held) * np.float32(-1.5) + np.float32(0.1)
        session = Session(instrumented, threads=2)
        found.append(sample.explain(session, feeds={name: other}))
    np.testing.assert_allclose(*(each.input_gradient for each in found), rtol=0, atol=1e-5)
    np.testing.assert_allclose(*(each.contributions for each in found), rtol=0, atol=1e-5)


def test_an_unknown_engine_is_an_error(samples):
    with pytest.raises(InputError, match="no engine `other`"):
        samples["residual"].instrument(gradients="other")


# --- an independent witness -----------------------------------------------------------------------


def holds(found, bound=AGREEMENT):
    assert not found.kernels_trouble
    assert {each.against for each in found.differences} == {"ort-training", "kernels"}
    # the bias-gradient of a Clip that nothing reaches is 0
    assert all(each.largest > 0 for each in found.differences if each.quantity != "bias-gradient")
    wrong = [each for each in found.differences if not each.holds(bound)]
    assert not wrong


def test_a_vgg_with_batchnorm_as_it_was_trained():
    holds(compare_engines(FASHION, count=2))


def test_exported_nets(net):
    """VGG with its BatchNorm folded, DenseNet with it unfolded, and some with gates."""
    if net.name in REFUSED:
        with pytest.raises(UnsupportedModelError, match=REFUSED[net.name]):
            compare_engines(net.path, net.images[:1])
        return
    bound = GATED if net.name in GATES else AGREEMENT
    holds(compare_engines(net.path, net.images[:1]), bound)


def test_a_wrong_engine_is_found_out(monkeypatch):
    """The kernels share no rule with the standard engine."""
    real = comparing.both_cotangents

    def bent(question):
        ours, theirs = real(question)
        name = sorted(theirs)[3]
        return ours, {**theirs, name: theirs[name] * np.float32(1.001)}

    monkeypatch.setattr(comparing, "both_cotangents", bent)
    found = compare_engines(FASHION)
    (wrong,) = (each for each in found.differences if not each.holds())
    assert wrong.against == "kernels"
    assert wrong.difference == pytest.approx(1e-3, rel=0.1)


def test_not_a_number_does_not_hold():
    assert not comparing.Difference("kernels", "cotangent", "x", 1.0, float("nan")).holds()
