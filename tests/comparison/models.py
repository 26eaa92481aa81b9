"""The VGG of the samples and what may become of it; small nets and images of any layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from audit.nets import UNIT
from commands import FASHION, FASHION_VGG
from onnx import helper, numpy_helper, version_converter
from onnxruntime.quantization import QuantType
from quantising import quantised

from fg_onnx import load_preprocessing, prepare, read_image
from fg_onnx.comparison import comparing
from fg_onnx.comparison.pair import open_pair
from fg_onnx.comparison.policy import Policy

STEPS = FASHION / "preprocess.yaml"
LABELS = FASHION / "labels.txt"


def vgg():
    """The plain model."""
    return onnx.load(FASHION_VGG)


def int8():
    """Quantised by ONNX Runtime's tool, calibrated on the samples."""
    model = vgg()
    steps = load_preprocessing(str(STEPS))
    images = [read_image(path) for path in sorted(FASHION.glob("*.png"))]
    feeds = [{"image": prepare(image, steps, (None, 1, 28, 28)).array} for image in images]
    return quantised(model, feeds, activation_type=QuantType.QUInt8)


def later_opset():
    """Converted from opset 17."""
    return version_converter.convert_version(vgg(), 21)


def noisy(share=0.3):
    """With noise in all kernels, in shares of each one's deviation."""
    model, draws = vgg(), np.random.default_rng(0)
    for tensor in model.graph.initializer:
        held = numpy_helper.to_array(tensor)
        if held.ndim > 1:
            noise = draws.normal(size=held.shape) * held.std() * share
            tensor.CopyFrom(numpy_helper.from_array((held + noise).astype("f"), tensor.name))
    return model


def turned_classes():
    """The last layer's rows in another order, so that class n is what n - 1 was."""
    model = vgg()
    (gemm,) = [node for node in model.graph.node if node.op_type == "Gemm"]
    for tensor in model.graph.initializer:
        if tensor.name in gemm.input[1:]:
            held = np.roll(numpy_helper.to_array(tensor), 1, axis=0)
            tensor.CopyFrom(numpy_helper.from_array(held, tensor.name))
    return model


def probabilities():
    """With a Softmax behind the scores."""
    model = vgg()
    model.graph.node.append(helper.make_node("Softmax", ["logits"], ["softmax"], "soft", axis=1))
    model.graph.output[0].name = "softmax"
    return model


def saved(model, path):
    """The model in a file."""
    onnx.save(model, path)
    return path


def compared(a, b, paths, out, policy=None, steps=(UNIT, UNIT), **options):
    """The document of a comparison, without pictures unless these are asked for."""
    models = {key: options.pop(key) for key in ("inputs", "outputs", "psi") if key in options}
    chosen = comparing.Options(Policy(policy or {}), **{"shown": 0, **options})
    pair = open_pair(Path(a), Path(b), **models)
    prepared = comparing.prepare(pair, list(map(Path, paths)), steps, out, chosen)
    return comparing.compare(prepared)[0]


def means(document):
    """The mean of every measure."""
    return {each.name: each.distribution.mean for each in document.measures}


def checks_of(document):
    """The findings by their checks."""
    return {finding.check: finding for finding in document.findings}
