"""A fixed batch is made symbolic where every node keeps the images apart, and refused where not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from conftest import SAMPLES, run
from graphs import HEAD, build, draw, everything, noise, resized_input
from onnx import numpy_helper

from fg_onnx import Session, instrument
from fg_onnx.batching import walk
from fg_onnx.batching.free import free_batch
from fg_onnx.errors import InputError, ModelError, UnsupportedModelError

ROUNDING = 1e-5  # of the largest


def fixed(model, size):
    """A copy with a fixed batch, in the outputs' declared shapes too."""
    dims = model.graph.input[0].type.tensor_type.shape.dim[1:]
    changed = resized_input(model, size, *(dim.dim_value for dim in dims))
    for value in changed.graph.output:
        value.type.tensor_type.shape.dim[0].dim_value = size
    return changed


def dims(value):
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize(
    "name", sorted(SAMPLES.keys() - {"fixed_batch", "two_inputs", "dead_branch"})
)
def test_every_sample_is_explained_as_with_a_batch_of_its_own(name, size):
    source = SAMPLES[name].model
    instrumented = instrument(fixed(source, size), dynamic_batch=True)
    images = SAMPLES[name].feeds[SAMPLES[name].image]
    found, wanted = (Session(m).explain(images) for m in (instrumented, instrument(source)))
    assert Session(instrumented).input_shape[0] == "N"
    for key in ("scores", "contributions", "saliency"):
        theirs = getattr(wanted, key)
        np.testing.assert_allclose(
            getattr(found, key), theirs, atol=ROUNDING * np.abs(theirs).max(), err_msg=key
        )


def test_a_batch_written_into_a_reshape():
    sample = SAMPLES["fixed_batch"]
    instrumented = instrument(sample.model, dynamic_batch=True)
    assert dims(instrumented.model.graph.input[0]) == ["N", 3, 16, 16]
    assert dims(instrumented.model.graph.output[0]) == ["N", 5]
    images = noise(4, 3, 16, 16)
    at_once = Session(instrumented).explain(images, [0, 1, 2, 3])
    one_by_one = Session(sample.instrument()).explain(images, [0, 1, 2, 3])
    np.testing.assert_allclose(at_once.contributions, one_by_one.contributions, atol=1e-6)
    np.testing.assert_allclose(at_once.saliency, one_by_one.saliency, rtol=1e-4)


def test_a_symbolic_batch_stays_as_it_is():
    proto = SAMPLES["residual"].model
    assert free_batch(proto, "residual") is proto


def test_a_name_that_is_taken():
    model = build(
        "h = Conv (x, w) " + HEAD,
        {
            "w": draw("w", 6, 3, 3, 3),
            "fc_weight": draw("fc_weight", 5, 6),
            "fc_bias": draw("fc", 5),
        },
        inputs="float[1,3,N,16] x",
    )
    assert dims(free_batch(model, "net").graph.input[0]) == ["N_", 3, "N", 16]


def test_several_inputs_share_the_batch():
    source = SAMPLES["two_inputs"].model
    model = resized_input(source, 1, 3, 16, 16)
    with pytest.raises(UnsupportedModelError, match="1 for `x`, open for `extra`"):
        free_batch(model, "net")
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_value = 1
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    freed = free_batch(model, "net")
    assert [dims(value)[0] for value in freed.graph.input] == ["N", "N"]
    feeds = SAMPLES["two_inputs"].feeds
    np.testing.assert_allclose(
        run(freed, feeds)["logits"], run(source, feeds)["logits"], rtol=1e-5, atol=1e-6
    )


# --- operators ------------------------------------------------------------------------------------

# Each a body from x to y with the batch fixed to 2; W and the like are constants of these shapes.
CONSTANTS = {
    "matrix": (5, 7), "row": (5,), "one": (1, 5), "stack": (3, 5, 5), "batch": (2, 3, 4, 5),
    "four": (4,), "kernel": (3, 3, 1, 1), "image": (1, 3, 1, 5),
}  # fmt: skip
KEPT = {
    "broadcast": """a = Add (x, row) b = Mul (one, a) c = Where (yes, b, image)
        y = Clip (c, zero, top)""",
    "matmul": "y = MatMul (x, matrix)",
    "matmul stack": "y = MatMul (x, stack)",
    "matmul left": "t = Transpose <perm = [0,1,3,2]> (x) y = MatMul (stack, t)",
    "matmul rows": "f = Flatten (x) s = Slice (f, zeros, fives, ones) y = MatMul (s, matrix)",
    "matmul of two": "t = Transpose <perm = [0,1,3,2]> (x) y = MatMul (x, t)",
    "gemm": "f = Flatten (x) s = Slice (f, zeros, fives, ones) y = Gemm (s, matrix)",
    "gemm of columns": """f = Flatten (x) s = Slice (f, zeros, fives, ones)
        t = Transpose (s) y = Gemm <transA = 1> (t, matrix)""",
    "transposed": """t = Transpose <perm = [2,0,1,3]> (x) r = Relu (t)
        s = ReduceSum (r, zeros) y = Neg (s)""",
    "softmax": "y = Softmax (x)",
    "split": "a, b = Split <axis = 3> (x, parts) y = Concat <axis = -1> (b, a)",
    "argmax": "m = ArgMax <axis = 1, keepdims = 0> (x) y = Cast <to = 1> (m)",
    "topk": "y, i = TopK <axis = 2> (x, twos)",
    "layer norm": "y = LayerNormalization (x, row)",
    "reduce": "y = ReduceMean <axes = [1, -1], keepdims = 0> (x)",
    "squeeze": "m = ReduceMax <axes = [1], keepdims = 1> (x) s = Squeeze (m, ones) y = Neg (s)",
    "squeeze all": "m = ReduceMax <axes = [1, 2], keepdims = 1> (x) s = Squeeze (m) y = Neg (s)",
    "unsqueeze": """u = Unsqueeze (x, ones) s = Squeeze (u, ones) v = Unsqueeze (s, zeros)
        y = Neg (v)""",
    "reshape": "r = Reshape (x, flat) y = Neg (r)",
    "reshape with zeros": "r = Reshape (x, kept) y = Neg (r)",
    "reshape by its shape": "s = Shape (x) r = Reshape (x, s) y = Neg (r)",
    "expand": "m = ReduceMax <axes = [1]> (x) y = Expand (m, shape)",
    "expand more": "m = ReduceMax <axes = [1]> (x) y = Expand (m, short)",
    "tile": "y = Tile (x, repeats)",
    "slice": "y = Slice (x, from, to)",
    "gather": "y = Gather <axis = 2> (x, pair)",
    "gather one": "y = Gather <axis = 1> (x, index)",
    "pad": "y = Pad (x, pads)",
    "resize by sizes": "y = Resize <mode = \"nearest\"> (x, , , sizes)",
    "resize by scales": "y = Resize <mode = \"linear\"> (x, , scales)",
    "quantised": "q = QuantizeLinear (x, scale, point) y = DequantizeLinear (q, scale, point)",
    "convolution": """c = Conv (x, kernel) p = MaxPool <kernel_shape = [2,2]> (c)
        y = GlobalAveragePool (p)""",
    "dropout": "y, mask = Dropout (x)",
}  # fmt: skip
NUMBERS = {
    "zero": np.float32(-1), "top": np.float32(1), "yes": np.array([True, False, True, False, True]),
    "zeros": [0], "ones": [1], "twos": [2], "fives": [5], "parts": [2, 3], "flat": [2, 12, -1],
    "kept": [0, 0, 20], "shape": [2, 3, 4, 5], "short": [3, 1, 1], "repeats": [1, 1, 2, 1],
    "from": [0, 1], "to": [2, 3], "pair": [1, 3], "index": np.int64(1),
    "pads": [0, 0, 1, 0, 0, 0, 0, 2], "sizes": [2, 3, 8, 5], "scales": np.float32([1, 1, 2, 2]),
    "scale": np.float32(0.02), "point": np.uint8(100), "last": [-1], "firsts": [0, 0, 0, 0],
    "halves": [1, 3, 4, 5], "all": [2, -1], "mixed": [6, -1], "doubled": [2, 1, 1, 1],
    "fourths": [0, 0, 0, 0, 1, 0, 0, 0], "roi": np.float32([0] * 8),
}  # fmt: skip


def model_of(body, opset=17, inputs="float[2,3,4,5] x"):
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": {opset}]>\nnet ({inputs}) => (float y) {{{body}}}'
    )
    values = {name: draw(name, *shape).astype(np.float32) for name, shape in CONSTANTS.items()}
    for name, value in (values | NUMBERS).items():
        array = np.asarray(value) if not isinstance(value, list) else np.int64(value)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


@pytest.mark.parametrize("name", KEPT)
def test_operators_that_keep_images_apart(name):
    model = model_of(KEPT[name])
    freed = free_batch(model, "net")
    feeds = noise(6, 3, 4, 5)
    alone = [run(model, {"x": feeds[i : i + 2]})["y"] for i in (0, 2, 4)]
    together = run(freed, {"x": feeds})["y"]
    axis = next(i for i, size in enumerate(together.shape) if size != alone[0].shape[i])
    np.testing.assert_allclose(together, np.concatenate(alone, axis), atol=1e-5)


MIXED = {
    "Add": ("y = Add (x, batch)", "holds a batch of its own"),
    "Concat": ("y = Concat <axis = 1> (x, batch)", "holds a batch of its own"),
    "Concat of images": ("y = Concat <axis = 0> (x, x)", "along the batch"),
    "Mul": ("t = Transpose <perm = [1,0,2,3]> (x) y = Mul (t, x)", "different"),
    "Softmax": ("y = Softmax <axis = 0> (x)", "along the batch"),
    "LayerNormalization": ("y = LayerNormalization <axis = 0> (x, batch)", "along the batch"),
    "ReduceMean": ("y = ReduceMean (x)", "along the batch"),
    "CumSum": ("z = Constant <value = int64 {0}> () y = CumSum (x, z)", "along the batch"),
    "BatchNormalization": (
        "y, m, v = BatchNormalization <training_mode = 1> (x, three, three, three, three)",
        "statistics",
    ),
    "MaxPool": ("p, i = MaxPool <kernel_shape = [2,2]> (x) y = Cast <to = 1> (i)", "indices"),
    "GlobalAveragePool": (
        "t = Transpose <perm = [1,0,2,3]> (x) y = GlobalAveragePool (t)",
        "not the batch",
    ),
    "Reshape": ("y = Reshape (x, mixed)", "may mix"),
    "Reshape back": ("t = Transpose <perm = [1,0,2,3]> (x) y = Reshape (t, kept)", "may mix"),
    "Flatten": ("y = Flatten <axis = 2> (x)", "merges"),
    "Gather": ("y = Gather <axis = 0> (x, index)", "part of the batch"),
    "Slice": ("y = Slice (x, ones, twos)", "part of the batch"),
    "Pad": ("y = Pad (x, fourths)", "pads the batch"),
    "Tile": ("y = Tile (x, doubled)", "repeats"),
    "Gemm": ("f = Flatten (x) y = Gemm <transA = 1> (f, pairs)", "sums over the batch"),
    "MatMul": ("f = Flatten (x) y = MatMul (pairs, f)", "sums over the batch"),
    "Einsum": ('y = Einsum <equation = "abcd->abcd"> (x)', "not known to keep"),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXED)
def test_operators_that_mix_images_are_refused_by_name(name):
    body, reason = MIXED[name]
    inputs = "float[2,2,4,5] x" if name == "Mul" else "float[2,3,4,5] x"
    model = model_of(body, inputs=inputs)
    for constant, shape in (("three", (3,)), ("pairs", (2, 2))):
        values = np.ones(shape, np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, constant))
    with pytest.raises(UnsupportedModelError, match=reason) as caught:
        free_batch(model, "net")
    assert (caught.value.code, caught.value.op) == ("fixed-batch", name.split(" ")[0])
    assert "the batch stays 2" in caught.value.message


def test_a_single_image_may_not_lose_its_batch():
    for body, op in (("y = Squeeze (x, zeros)", "Squeeze"), ("y = Gather (x, index)", "Gather")):
        model = model_of(body.replace("index", "none"), inputs="float[1,3,4,5] x")
        model.graph.initializer.append(numpy_helper.from_array(np.int64(0), "none"))
        with pytest.raises(UnsupportedModelError) as caught:
            free_batch(model, "net")
        assert caught.value.op == op


def test_the_size_of_the_batch_is_no_number_to_reckon_with():
    body = """s = Shape (x) z = Constant <value = int64 {0}> () n = Gather (s, z)
        f = Cast <to = 1> (n) y = Div (x, f)"""
    # The batch is fixed to 1 and folded: one image alone has been divided by 1, and still is.
    model = model_of(body, inputs="float[1,3,4,5] x")
    assert not np.any(
        run(free_batch(model, "net"), {"x": noise(4, 3, 4, 5)})["y"] - noise(4, 3, 4, 5)
    )
    # With an open height the shape is known at run time only.
    with pytest.raises(UnsupportedModelError, match="computes with the size") as caught:
        free_batch(
            model_of(
                "s = Shape (x) f = Cast <to = 1> (s) y = ReduceSum (f)", inputs="float[1,3,H,5] x"
            ),
            "net",
        )
    assert caught.value.op == "Cast"


def test_an_open_height_and_width():
    body = """s = Shape (x) h = Slice (s, twos, fourth) c = Concat <axis = 0> (pair, h)
        r = Reshape (x, c) y = Resize <mode = "nearest"> (r, , , c)"""
    model = model_of(body, inputs="float[1,3,H,W] x")
    for name, values in (("fourth", [4]), ("pair", [1, 3])):
        kept = [t for t in model.graph.initializer if t.name != name]
        del model.graph.initializer[:]
        model.graph.initializer.extend([*kept, numpy_helper.from_array(np.int64(values), name)])
    feeds = noise(3, 3, 7, 9)
    np.testing.assert_array_equal(run(free_batch(model, "net"), {"x": feeds})["y"], feeds)


def test_what_the_walk_misses_the_comparison_finds(monkeypatch):
    model = model_of("y = Softmax <axis = 0> (x)")
    monkeypatch.setitem(walk.RULES, "Softmax", lambda *_: 0)
    with pytest.raises(ModelError, match="does not compute `y` alike") as caught:
        free_batch(model, "net")
    assert caught.value.code == "fixed-batch"


def test_without_the_option_a_fixed_batch_larger_than_one_is_said():
    session = Session(instrument(fixed(SAMPLES["residual"].model, 2)))
    assert session.explain(noise(2, 3, 16, 16)).scores.shape == (2,)
    with pytest.raises(InputError, match="batches of 2, not 3") as caught:
        session.explain(noise(3, 3, 16, 16))
    assert "--dynamic-batch" in caught.value.hint


def test_the_source_is_not_changed():
    model = fixed(SAMPLES["fixed_batch"].model, 1)
    before = model.SerializeToString()
    everything(model, dynamic_batch=True)
    assert model.SerializeToString() == before
