"""Small maps reach the size of the input by two products, which say the same as a Resize."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from graphs import noise, resized_input, two_stages

from fg_onnx import Session, instrument
from fg_onnx.fullgrad import resizing
from fg_onnx.fullgrad.psi import STYLES

SIZE = (16, 12)


@pytest.mark.parametrize("psi", STYLES)
def test_products_say_what_resize_says(monkeypatch, psi):
    images = noise(2, 3, *SIZE)
    model = resized_input(two_stages(*SIZE), "N", 3, *SIZE)
    by_products = Session(instrument(model, psi=psi), device="cpu").explain(images).saliency
    monkeypatch.setattr(resizing, "_MOST_BY_MATRICES", 0)
    by_resize = Session(instrument(model, psi=psi), device="cpu").explain(images).saliency
    # Four products of a weight and a value each, weights and sums rounded to float32.
    np.testing.assert_allclose(by_products, by_resize, rtol=0, atol=1e-6 * by_resize.max())


@pytest.mark.parametrize(
    ("shape", "products"),
    [(("N", 3, *SIZE), True), (("N", 3, "H", "W"), False), (("N", 3, 480, 12), False)],
)
def test_where_there_is_a_resize(tmp_path, shape, products):
    """It is folded as the runtime loads the model, where it is of the identity alone."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    height, width = (size if isinstance(size, int) else 16 for size in shape[2:])
    made = instrument(resized_input(two_stages(height, width), *shape), emit=("saliency",))
    assert any(node.op_type == "Resize" for node in made.model.graph.node)
    ort.InferenceSession(made.model.SerializeToString(), options)
    left = onnx.load(options.optimized_model_filepath).graph.node
    assert products != any(node.op_type in ("Resize", "Upsample") for node in left)


def test_grad_cam_of_a_float64_model_is_of_one_type():
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (double[N,2,8,8] x) => (double[N,2] y) '
        "<double[2,2,2,2] k = {1,0,0,1,1,0,0,1,1,0,0,1,1,0,0,1}> { "
        "h = Conv <strides = [2,2]> (x, k) p = GlobalAveragePool (h) y = Flatten (p) }"
    )
    made = instrument(model, emit=("grad-cam",)).model
    onnx.checker.check_model(made, full_check=True)
    assert any(node.op_type == "MatMul" for node in made.graph.node)
