"""Models in float16, bfloat16 and float64: types of the contract, gradients, sums."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from conftest import SAMPLES, run
from graphs import HEAD, build, draw
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from precision import in_type

from fg_onnx import Session, instrument
from fg_onnx.attribution import TOLERANCES, completeness_residual
from fg_onnx.errors import ModelError
from fg_onnx.fullgrad.psi import STYLES
from fg_onnx.manifest import EMITS

NAMES = {
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.DOUBLE: "float64",
}
# These take the same side of every kink in float16 as in float64.
NETS = ("grouped", "dead_branch", "nhwc", "fixed_batch", "bias_free", "two_inputs")
GRADIENT = (
    1e-2  # the bound of the project; measured at most 6e-4: a rounding of the weights is 2^-12
)


def by_reference(model, feeds):
    """All outputs by onnx.reference, which computes in any type, in that very type."""
    evaluator = ReferenceEvaluator(model)
    found = evaluator.run(None, {"fg_target": np.array([-1]), **feeds})
    return dict(zip(evaluator.output_names, found, strict=True))


def fed(sample, kind):
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    return {name: value.astype(dtype) for name, value in sample.feeds.items()}


def in_float64(sample, **options):
    """Everything about a sample, in float64."""
    model = instrument(in_type(sample.model, TensorProto.DOUBLE), emit=EMITS, **options).model
    return by_reference(model, fed(sample, TensorProto.DOUBLE))


def worst(found, wanted):
    gap = np.abs(found.astype(np.float64) - wanted.astype(np.float64)).max()
    return gap / np.abs(wanted.astype(np.float64)).max()


@pytest.mark.parametrize("keep_io", [False, True], ids=["float16", "float32 at both ends"])
@pytest.mark.parametrize("name", NETS)
def test_float16_in_the_runtime(name, keep_io):
    sample = SAMPLES[name]
    model = in_type(sample.model, TensorProto.FLOAT16, keep_io=keep_io)
    feeds = sample.feeds if keep_io else fed(sample, TensorProto.FLOAT16)
    instrumented = instrument(model, emit=EMITS)
    assert instrumented.manifest.precision == "float16"
    plain, found = run(model, feeds, optimise=False), run(instrumented.model, feeds, optimise=False)
    for output, value in plain.items():
        # On the CPU the runtime computes in float32, and a rounding to float16 that nothing but a
        # cast back reads is left out; there are more readers now.
        np.testing.assert_allclose(found[output], value, rtol=2**-9, atol=2**-12)
    wanted = in_float64(sample)
    for output in ("fg_input_gradient", "fg_saliency", "fg_contributions", "fg_score"):
        assert worst(found[output], wanted[output]) <= GRADIENT
    for output in found:
        own = output.removesuffix("/narrow")
        if output.startswith("fg_bias_gradient/") and np.abs(wanted[own]).max() > 0:
            assert worst(found[output], wanted[own]) <= GRADIENT


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("psi", STYLES)
def test_types_of_the_contract(kind, psi):
    sample = SAMPLES["residual"]
    model = in_type(sample.model, kind)
    graph = instrument(model, emit=EMITS, psi=psi).model.graph
    for value in graph.output[1:]:
        own = value.name.startswith(("fg_input_gradient", "fg_bias_gradient/"))
        wanted = kind if own else TensorProto.FLOAT
        if value.name == "fg_explained":
            wanted = TensorProto.INT64
        assert value.type.tensor_type.elem_type == wanted, value.name
    biases = [value for value in graph.input if value.name.startswith("fg_bias/")]
    assert biases
    assert {value.type.tensor_type.elem_type for value in biases} == {kind}


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("name", ["residual", "batchnorm_preact", "bias_free", "dead_branch"])
def test_every_type_is_sound_and_complete(name, kind):
    """In the type's own arithmetic, which ONNX Runtime has on few devices."""
    sample = SAMPLES[name]
    instrumented = instrument(in_type(sample.model, kind), emit=EMITS)
    onnx.checker.check_model(instrumented.model, full_check=True)
    found = by_reference(instrumented.model, fed(sample, kind))
    residual = completeness_residual(found["fg_score"], found["fg_contributions"])
    assert instrumented.manifest.precision == NAMES[kind]
    assert np.all(residual <= TOLERANCES[instrumented.manifest.precision])
    assert np.all(np.isfinite(found["fg_saliency"]))
    assert np.ptp(found["fg_saliency"]) > 0


def test_float64_is_the_mathematics_of_float32():
    sample = SAMPLES["residual"]
    double, single = in_float64(sample), run(sample.instrument(emit=EMITS).model, sample.feeds)
    assert double["fg_input_gradient"].dtype == np.float64
    for name, value in single.items():
        if value.dtype.kind == "f":
            assert worst(value, double[name]) <= 1e-5, name  # float32 rounding


def test_a_seed_is_of_the_type_of_the_scores():
    sample = SAMPLES["grouped"]
    model = in_type(sample.model, TensorProto.FLOAT16, keep_io=False)
    instrumented = instrument(model, seed=True)
    (seed,) = [value for value in instrumented.model.graph.input if value.name == "fg_seed"]
    assert seed.type.tensor_type.elem_type == TensorProto.FLOAT16
    session = Session(instrumented)
    images = sample.feeds["x"]
    weights = np.random.default_rng(0).standard_normal((len(images), session.manifest.scores))
    found = session.explain(images, seed=weights)
    assert session.tolerance == TOLERANCES["float16"] == 1e-2
    assert np.all(found.residual <= session.tolerance)
    wanted = (found.outputs["logits"].astype(np.float64) * weights).sum(1)
    np.testing.assert_allclose(found.scores, wanted, rtol=5e-3)  # the seed is rounded to float16


@pytest.mark.parametrize("psi", STYLES)
def test_neither_overflow_nor_underflow(psi):
    """Sums beyond float16's 65504, and gradients below its 6e-8."""
    nodes = """
        c1 = Conv <pads = [1,1,1,1]> (x, w1, b1)
        r1 = Relu (c1)
        c2 = Conv <pads = [1,1,1,1]> (r1, w2, b2)
        h = Relu (c2)
    """
    weights = {
        "w1": np.abs(draw("w1", 6, 3, 3, 3)),
        "b1": np.full(6, 300.0),
        "w2": draw("w2", 8, 6, 3, 3),
        "b2": draw("b2", 8) * 1e3,
        "fc_weight": draw("fc_weight", 5, 8),
        "fc_bias": draw("fc_bias", 5),
    }
    model = build(nodes + HEAD, weights, inputs="float[N,3,64,64] x")
    x = np.random.default_rng(0).uniform(0, 1, (2, 3, 64, 64)).astype(np.float32)
    narrow = instrument(in_type(model, TensorProto.FLOAT16), emit=EMITS, psi=psi, seed=True).model
    single = instrument(model, emit=EMITS, psi=psi, seed=True).model
    for scale in (2.0**13, 2.0**-15):
        seed = scale * np.ones((2, 5), np.float32)
        wanted = run(single, {"x": x, "fg_seed": seed})
        feeds = {"x": x.astype(np.float16), "fg_seed": seed.astype(np.float16)}
        found = run(narrow, feeds)
        for name in ("fg_score", "fg_contributions", "fg_saliency"):
            assert np.all(np.isfinite(found[name]))
            assert worst(found[name], wanted[name]) <= GRADIENT, name
        assert (np.abs(wanted["fg_contributions"]).max() > 65504) == (scale > 1)
        assert (np.abs(wanted["fg_input_gradient"]).max() < 6e-8) == (scale < 1)


def test_what_the_runtime_cannot_load_is_said_in_a_line():
    model = instrument(in_type(SAMPLES["residual"].model, TensorProto.BFLOAT16))
    with pytest.raises(ModelError, match="ONNX Runtime does not load"):
        Session(model)


def test_onnxruntime_s_own_converter():
    float16 = pytest.importorskip("onnxruntime.transformers.float16")
    sample = SAMPLES["residual"]
    for keep_io in (False, True):
        model = float16.convert_float_to_float16(sample.model, keep_io_types=keep_io)
        found = Session(instrument(model)).explain(sample.feeds["x"])
        assert np.all(found.residual <= TOLERANCES["float16"])
        assert found.scores.dtype == found.saliency.dtype == np.float32
