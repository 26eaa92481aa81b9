"""Every VJP rule under OpenVINO: the same numbers, a refusal, or its own operator fails there."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from vjps.cases import CASES
from vjps.harness import Case, cotangents, emit_vjp, evaluate_on_runtime, sample

from fg_onnx import instrument
from fg_onnx.deployment import RUNTIMES, drop_defaults, fit
from fg_onnx.errors import UnsupportedModelError
from fg_onnx.manifest import EMITS, INPUT_GRADIENT, TARGET
from tests.commands import FASHION_VGG, WEIGHTS, write_model

from .runners import RUNNERS, MissingError, openvino
from .test_deployment import STRIDED

pytestmark = pytest.mark.runtimes

ROUNDING = 1e-4
"""Of the largest entry: float32 sums of a few hundred products, and divisions by small numbers."""
FORWARD_FAILS = {
    "AveragePool-count-ceil-pads-opset19",
    "AveragePool-symbolic-count-pads-5-opset19",
    "Col2Im-1-D-opset18",
    "ConvTranspose-symbolic-same-opset17",
    "Dropout-inference-opset17",  # an output that is an input is known by one of its names alone
    "Dropout-one-output-opset17",
    "Dropout-ratio-opset26",
    "GatherElements-smaller-opset26",
    "GlobalLpPool-symbolic-opset17",
    "GridSample-3-D-active-bilinear-reflection-1-opset22",
    "GridSample-3-D-nearest-zeros-0-opset20",
    "LRN-2-D-opset17",
    "LayerNormalization-one-parameter-opset17",
    "Resize-axes-turned-opset18",
    "Resize-cubic-inside-opset17",
    "Resize-scale-beyond-size-opset17",
}
"""OpenVINO does not load the source's own operator, or computes it otherwise than ONNX says."""
DOES_NOT_LOAD = "ScatterElements-"
"""Some of its adjoints emit a GatherElements of fewer indices than data, which OpenVINO refuses."""


@pytest.fixture(scope="module", autouse=True)
def _here():
    try:
        openvino()
    except MissingError as error:
        pytest.skip(str(error))


def differences(model: onnx.ModelProto, feeds: dict) -> dict[str, float]:
    """Of every output from ONNX Runtime's, relative to the largest entry."""
    expected = evaluate_on_runtime(model, feeds)
    names = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    typed = {
        name: np.asarray(feeds[name], onnx.helper.tensor_dtype_to_np_dtype(kind))
        for name, kind in names.items()
        if name in feeds
    }
    found = RUNNERS["openvino"].run(model, typed)
    return {name: _difference(found[name], expected[name]) for name in expected}


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    if found.shape != expected.shape or not np.array_equal(np.isnan(found), np.isnan(expected)):
        return np.inf
    wide = np.nan_to_num(expected.astype(np.float64))
    apart = np.abs(np.nan_to_num(found.astype(np.float64)) - wide).max(initial=0.0)
    return float(apart / max(np.abs(wide).max(initial=0.0), 1e-3))


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.runtime], ids=lambda case: case.name
)
def test_a_rule_agrees_or_is_refused(case: Case) -> None:
    model = emit_vjp(case, dtype=np.float32).proto
    feeds = {**sample(case), **cotangents(case)}
    try:
        fit(RUNTIMES["openvino"], model.graph)
        found = differences(model, feeds)
    except UnsupportedModelError:
        return
    except RuntimeError:
        if case.name.startswith(DOES_NOT_LOAD):
            return
        found = {}
    if case.name in FORWARD_FAILS:
        assert not all(found.get(f"y{k}", np.inf) <= ROUNDING for k in range(case.outputs))
    else:
        assert found
        assert max(found.values()) <= ROUNDING, found


def test_a_convolution_and_its_adjoint_do_not_share_a_weight(tmp_path) -> None:
    """Of as many input as output channels: OpenVINO computes one by the other's order, unsaid."""
    text = STRIDED.replace("float[N,4]", "float[N,3]")
    weights = {name: array[:3] for name, array in WEIGHTS.items()}
    path = write_model(tmp_path / "strided.onnx", text, weights)
    draws = np.random.default_rng(0).standard_normal((1, 3, 9, 9)).astype(np.float32)
    feeds = {"x": draws, TARGET: np.array([1])}
    shared = instrument(str(path), emit=EMITS).model
    drop_defaults(shared.graph)
    assert differences(shared, feeds)[INPUT_GRADIENT] > 0.1
    separate = instrument(str(path), emit=EMITS, runtime="openvino").model
    assert max(differences(separate, feeds).values()) <= ROUNDING


def test_the_magnitude_of_a_folded_weight_is_kept() -> None:
    """OpenVINO drops Abs from a vector that is computed from constants; a row is none."""
    made = instrument(str(FASHION_VGG), emit=EMITS, freeze_biases=True)
    image = np.random.default_rng(0).random((1, 1, 28, 28), dtype=np.float32)
    assert max(differences(made.model, {made.manifest.fed: image}).values()) <= ROUNDING
