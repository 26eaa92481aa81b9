"""No false alarm: models that are as they were made pass, with every option and in every precision.

That is as much asked of a gate as catching what was changed.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from commands import FASHION, FASHION_VGG, write_model
from conftest import SAMPLES, engine_is_ready
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import QuantType
from precision import in_type
from quantising import quantised

import fg_onnx
from fg_onnx.manifest import EMITS, METHOD_EMITS
from sample_models import tasks

MODELS = {**{name: sample.model for name, sample in SAMPLES.items()}, **tasks.all_models()}
STYLES = ("reference", "paper", "abs", "signed", "positive", "negative")


def passes(source, images=None, **options):
    found = fg_onnx.verify(fg_onnx.instrument(source, **options).model, source, images)
    assert found.verdict == "passed", found
    return found


@pytest.mark.parametrize("name", MODELS)
def test_every_sample_with_all_that_can_be_emitted(name):
    passes(MODELS[name], emit=EMITS)


@pytest.mark.parametrize("psi", STYLES)
def test_every_style_with_frozen_biases(psi):
    passes(MODELS["nhwc"], psi=psi, emit=EMITS, freeze_biases=True)


@pytest.mark.parametrize("word", EMITS)
def test_contributions_with_anything(word):
    passes(MODELS["grouped"], emit=("contributions", word))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("residual", {"emit": (*EMITS, *METHOD_EMITS)}),
        ("fixed_batch", {"dynamic_batch": True}),
        ("old_opset", {"freeze_defaults": True}),
        ("dynamic_batch", {"seed": True, "emit": EMITS}),
        ("two_inputs", {"seed": True}),
        ("bn_unfolded", {"opset": 21}),
        ("nhwc", {"opset": 22, "emit": EMITS}),
        ("residual", {"labels": list("abcde")}),
    ],
    ids=str,
)
def test_options(name, options):
    passes(MODELS[name], **options)


@pytest.mark.parametrize("keep_io", [False, True])
@pytest.mark.parametrize("name", ["bn_unfolded", "grouped"])
def test_half_precision(name, keep_io):
    passes(in_type(MODELS[name], TensorProto.FLOAT16, keep_io=keep_io), emit=EMITS)


@pytest.mark.parametrize("kind", [QuantType.QUInt8, QuantType.QInt8])
def test_quantised(kind):
    sample = SAMPLES["fixed_batch"]
    source = quantised(sample.model, [sample.feeds], activation_type=kind)
    found = passes(source, emit=EMITS)
    assert found.check("bias-slopes").outcome == "not applicable"


@pytest.mark.parametrize("seed", range(1, 5))
def test_other_noise_and_directions(seed):
    source = MODELS["saturation"]
    found = fg_onnx.verify(fg_onnx.instrument(source).model, source, random_seed=seed)
    assert found.verdict == "passed", found


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-20, 1e4])
def test_images_of_one_value(value):
    """Every neighbour ties, and units lie on their kinks: as PyTorch has them."""
    sample = SAMPLES["residual"]
    passes(sample.model, np.full((2, 3, 16, 16), value, np.float32))


@pytest.mark.engine
def test_the_other_engine():
    engine_is_ready()
    passes(MODELS["bn_unfolded"], emit=EMITS, gradients="ort-training")


def test_kinks_of_a_constant_background_are_no_fault(tmp_path):
    """All positions of a black background meet a kink at once; a large bias hides small steps."""
    model = onnx.load(FASHION_VGG)
    (bias,) = (t for t in model.graph.initializer if t.name == "classifier.bias")
    values = numpy_helper.to_array(bias) + 100 * np.eye(10, dtype=np.float32)[0]
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    steps = fg_onnx.load_preprocessing(str(FASHION / "preprocess.yaml"))
    images = np.concatenate(
        [
            fg_onnx.prepare(fg_onnx.read_image(path), steps, ("N", 1, 28, 28)).array
            for path in sorted(FASHION.glob("*.png"))
        ]
    )
    found = passes(model, images)
    assert found.check("bias-slopes").outcome == "passed"


GELU = """g (float[N,3,8,8] x) => (float[N,4] logits) {
    c = Conv (x, w, b)
    root = Constant <value = float {1.41421356}> ()
    one = Constant <value = float {1.0}> ()
    half = Constant <value = float {0.5}> ()
    d = Div (c, root)
    e = Erf (d)
    a = Add (e, one)
    m = Mul (c, a)
    r = Mul (m, half)
    p = GlobalAveragePool (r)
    logits = Flatten (p)
}"""


def test_gelu_by_erf(tmp_path):
    """Which neither the runtime nor onnx's evaluator has in float64."""
    passes(onnx.load(write_model(tmp_path / "gelu.onnx", GELU)), emit=EMITS)
