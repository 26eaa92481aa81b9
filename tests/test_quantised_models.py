"""int8 models as ONNX Runtime's tool makes them: outputs, gradients, completeness, refusals."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from conftest import SAMPLES, run
from onnx.reference import ReferenceEvaluator
from onnxruntime.quantization import QuantFormat, QuantType
from quantising import quantised, quantised_as_it_runs, surrogate

from fg_onnx import instrument
from fg_onnx.attribution import completeness_residual
from fg_onnx.errors import UnsupportedModelError
from fg_onnx.manifest import EMITS

# The bound of the project. Measured 1e-8 to 4e-7: rounding is a site, and float32 does the sums.
COMPLETE = 1e-5

FORMS = {
    "uint8": {"activation_type": QuantType.QUInt8},
    "uint8 per channel": {"activation_type": QuantType.QUInt8, "per_channel": True},
    "uint8, float biases": {
        "activation_type": QuantType.QUInt8,
        "extra_options": {"QuantizeBias": False},
    },
    "uint8, float weights behind a pair": {
        "activation_type": QuantType.QUInt8,
        "extra_options": {"AddQDQPairToWeight": True},
    },
    "uint8, convolutions alone": {
        "activation_type": QuantType.QUInt8,
        "op_types_to_quantize": ["Conv"],
    },
    "int8": {"activation_type": QuantType.QInt8},
    "int8 symmetric per channel": {
        "activation_type": QuantType.QInt8,
        "per_channel": True,
        "extra_options": {"ActivationSymmetric": True},
    },
}
NETS = (
    *("residual", "shared_weights", "grouped", "dead_branch", "nhwc", "bias_free"),
    *("batchnorm_preact", "dynamic_batch", "fixed_batch", "two_inputs"),
)


# Every net in one form, and every form.
CASES = [
    *((name, "uint8 per channel") for name in NETS),
    *(("batchnorm_preact", form) for form in FORMS if form != "uint8 per channel"),
]


def model_of(name, form="uint8"):
    sample = SAMPLES[name]
    return sample, quantised(sample.model, [sample.feeds], **FORMS[form])


def by_name(model, feeds, *, optimise):
    found = run(model, feeds, optimise=optimise)
    return found, completeness_residual(found["fg_score"], found["fg_contributions"])


@pytest.mark.parametrize(("name", "form"), CASES)
def test_outputs_are_those_of_the_deployed_model_and_complete(name, form):
    sample, model = model_of(name, form)
    instrumented = instrument(model).model
    # ONNX Runtime on x86 computes in unsigned integers: a pair of int8 becomes one of uint8 if it
    # has one reader, and the adjoint is another. Then it computes in floats and rounds to integers
    # after them, which now and then rounds to the other side.
    exact = form.startswith("uint8")
    for optimise in (False, True):
        wanted = run(model, sample.feeds, optimise=optimise)
        found, residual = by_name(instrumented, sample.feeds, optimise=optimise)
        assert np.all(residual <= COMPLETE)
        for output in wanted:
            if exact or not optimise:
                np.testing.assert_array_equal(found[output], wanted[output])
            else:
                step = np.ptp(wanted[output]) / 255
                np.testing.assert_allclose(found[output], wanted[output], rtol=0, atol=3 * step)


@pytest.mark.parametrize("name", ["residual", "grouped", "dead_branch", "nhwc", "two_inputs"])
def test_gradient_by_differences_of_the_surrogate(name):
    sample, model = model_of(name, "uint8 per channel")
    one = {key: value[:1] for key, value in sample.feeds.items()}
    instrumented = instrument(model, emit=EMITS)
    found = run(instrumented.model, one, optimise=False)
    (target,) = found["fg_explained"]
    evaluator = ReferenceEvaluator(surrogate(model, one))
    scores = instrumented.manifest.output

    def score(x):
        feeds = {key: value.astype(np.float64) for key, value in one.items()}
        named = dict(
            zip(
                evaluator.output_names, evaluator.run(None, {**feeds, sample.image: x}), strict=True
            )
        )
        return named[scores].reshape(-1)[target]

    x = one[sample.image].astype(np.float64)
    # The surrogate is the deployed model at this very image.
    assert score(x) == pytest.approx(float(found["fg_score"][0]), rel=1e-5)
    draws = np.random.default_rng(0)
    for _ in range(3):
        v = draws.standard_normal(x.shape)
        step = 1e-6  # float64: rounding 1e-10, and hardly a kink that so small a step crosses
        slope = (score(x + step * v) - score(x - step * v)) / (2 * step)
        pulled = (found["fg_input_gradient"].astype(np.float64) * v).sum()
        size = np.abs(found["fg_input_gradient"] * v).sum()
        assert size > 0
        assert abs(slope - pulled) <= 1e-5 * size  # float32 sums


def test_rounding_is_what_the_sites_of_quantisation_hold():
    sample, model = model_of("residual")
    instrumented = instrument(model, emit=EMITS)
    found = run(instrumented.model, sample.feeds)
    kinds = {site.op: site.kind for site in instrumented.manifest.sites}
    assert kinds == {"QuantizeLinear": "implicit", "Conv": "bias", "Gemm": "bias"}
    quantiser = instrumented.manifest.sites[0]
    (node,) = [n for n in model.graph.node if quantiser.tensor in n.output]
    x = sample.feeds[sample.image]
    assert node.input[0] == sample.image
    held = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    scale, zero = (held[name].astype(np.float32) for name in node.input[1:])
    steps = np.round(x / scale) + zero
    assert steps.min() >= 0
    assert steps.max() <= 255
    error = (steps - zero) * scale - x  # calibrated on x itself, all of which is in the range
    term, gradient = (
        found[name] for name in (f"fg_bias_gradient/{quantiser.name}", "fg_input_gradient")
    )
    # The term is the difference of two products in float32, each of the gradient with a number.
    atol = 1e-6 * np.abs(gradient * x).max()
    np.testing.assert_allclose(term, gradient * error, rtol=0, atol=atol)


def test_biases_are_sites_and_not_promoted():
    """Promoted, a bias would not be the integer that the runtime's kernel adds."""
    _, model = model_of("residual")
    sites = instrument(model).manifest.sites
    assert [site.promoted_input for site in sites] == [None] * len(sites)
    assert sum(site.kind == "bias" for site in sites) == 3


@pytest.mark.parametrize("name", ["residual", "bias_free"])
def test_integer_kernels_are_kept(name, tmp_path):
    """Whatever the runtime computes in integers in the source model, it still does."""
    import onnxruntime as ort

    _, model = model_of(name)
    found = []
    for proto in (model, instrument(model).model):
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        ort.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
        nodes = onnx.load(tmp_path / "optimised.onnx").graph.node
        kernels = [node.op_type for node in nodes if node.op_type.startswith(("QLinear", "QGemm"))]
        found.append(sorted(kernels))
    assert found[0] == found[1]
    assert found[0].count("QLinearConv") == 2


# --- refusals -------------------------------------------------------------------------------------


def refusal(model):
    with pytest.raises(UnsupportedModelError) as caught:
        instrument(model)
    return caught.value


def test_qoperator_form_is_refused_with_the_way_out():
    sample = SAMPLES["residual"]
    error = refusal(quantised(sample.model, [sample.feeds], quant_format=QuantFormat.QOperator))
    assert error.op == "QLinearConv"
    assert "QOperator form" in error.reason
    assert "QDQ" in error.hint


def test_dynamic_quantisation_is_refused_with_the_way_out():
    error = refusal(quantised_as_it_runs(SAMPLES["residual"].model))
    assert error.op in ("DynamicQuantizeLinear", "ConvInteger")
    assert "QDQ" in error.hint


def test_pairs_of_a_domain_of_their_own_are_refused_with_the_way_out():
    """What the tool writes for 16 bits below opset 21."""
    sample = SAMPLES["residual"]
    model = quantised(sample.model, [sample.feeds], activation_type=QuantType.QUInt8)
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node.domain = "com.microsoft"
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    error = refusal(model)
    assert error.op == "QuantizeLinear"
    assert "com.microsoft" in error.reason
    assert "opset 21" in error.hint
