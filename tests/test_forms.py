"""The same network in the forms that exporters and people give it: each is explained alike.

A form is compared with the plain model that it amounts to, whose gradients other tests hold against
differences and torch: scores, contributions, gradient and map have to be the same numbers, but for
float32's rounding where the runtime fuses differently.
"""

from __future__ import annotations

import copy
import os

import numpy as np
import onnx
import pytest
from graphs import HEAD, build, draw, everything, noise
from onnx import ModelProto, helper, numpy_helper

from fg_onnx import Session, instrument
from fg_onnx.errors import InputError, ModelError, UnsupportedModelError
from fg_onnx.graph.branches import take_branches
from fg_onnx.manifest import EMITS
from fg_onnx.plan import make_plan
from fg_onnx.source import model as models
from fg_onnx.source.dimensions import name_dimensions
from fg_onnx.source.results import name_results

WEIGHTS = {
    "w1": draw("w1", 6, 3, 3, 3),
    "b1": draw("b1", 6),
    "fc_weight": draw("fc_weight", 5, 6),
    "fc_bias": draw("fc_bias", 5),
}
CONV = "c1 = Conv <pads = [1,1,1,1]> (x, w1, b1) "
PLAIN = build(CONV + "h = LeakyRelu <alpha = 0.2> (c1)" + HEAD, WEIGHTS)
X = noise(2, 3, 16, 16)
ROUNDING = 1e-5  # of the largest; float32 and some thousand terms


def weighted(model: ModelProto, **more: np.ndarray) -> ModelProto:
    """The model with the plain weights, and more; checked."""
    for name, values in (WEIGHTS | more).items():
        array = np.asarray(values, dtype=np.float32 if name in WEIGHTS else None)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(model)
    return model


def parsed(body, inputs="float[N,3,16,16] x", opset=17, ir=8, domains="", functions="", **more):
    return weighted(
        onnx.parser.parse_model(
            f'<ir_version: {ir}, opset_import: ["": {opset}{domains}]>\n'
            f"form ({inputs}) => (float[N,5] logits) {{{body}}}{functions}"
        ),
        **more,
    )


def assert_same(form, plain=PLAIN, images=X, plain_images=None):
    """Both models explain the images alike."""
    found = everything(form).explain(images, 2)
    wanted = everything(plain).explain(images if plain_images is None else plain_images, 2)
    for name in ("scores", "contributions", "saliency", "input_gradient"):
        ours, theirs = getattr(found, name), getattr(wanted, name)
        assert ours.shape == theirs.shape, name
        np.testing.assert_allclose(ours, theirs, atol=ROUNDING * np.abs(theirs).max(), err_msg=name)
    assert np.all(found.residual <= ROUNDING)
    return found


# --- local functions ------------------------------------------------------------------------------

NESTED = """
<opset_import: ["": 17, "own": 1], domain: "own">
block <slope: float = 0.9> (x, w, b) => (y) {
    c = Conv <pads = [1,1,1,1]> (x, w, b)
    y = own.activation <alpha: float = @slope> (c)
}
<opset_import: ["": %d], domain: "own">
activation <alpha> (x) => (y) { y = LeakyRelu <alpha: float = @alpha> (x) }
"""


def nested(opset: int) -> ModelProto:
    body = "h = own.block <slope = 0.2> (x, w1, b1)" + HEAD
    return parsed(body, domains=', "own": 1', functions=NESTED % opset)


def test_nested_functions_with_attributes_that_refer_to_others():
    form = nested(17)
    assert len(form.functions) == 2
    found = assert_same(form)
    assert not instrument(form).model.functions
    assert [site.kind for site in found.manifest.sites] == ["bias", "bias"]


def test_a_function_of_another_opset_than_the_model():
    assert_same(nested(16))


def test_a_function_whose_operator_changed_since_does_not_check():
    form = nested(18)
    (activation,) = (f for f in form.functions if f.name == "activation")
    split = helper.make_node("Split", ["x"], ["p"], num_outputs=1)  # num_outputs came with 18
    activation.node[0].input[0] = "p"
    activation.node.insert(0, split)
    with pytest.raises(ModelError, match=r"Split.*not compatible"):
        instrument(form)


def test_a_function_that_cannot_be_brought_to_the_model_s_opset():
    """Its operand is of unknown type, being an unknown operator's."""
    body = "c1 = strange.op (x) h = own.activation <alpha = 0.2> (c1)" + HEAD
    domains = ', "own": 1, "strange": 1'
    form = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17{domains}]>\n'
        f"form (float[N,3,16,16] x) => (float[N,5] logits) {{{body}}}{NESTED % 16}"
    )
    with pytest.raises(ModelError, match=r"`activation`.*opset 17") as caught:
        instrument(weighted(form))
    assert (caught.value.code, "\n" in caught.value.message) == ("functions", False)


def test_a_function_as_torch_writes_them():
    """A default attribute, an If on the rank of an operand, a Constant of an attribute."""
    functions = """
    <opset_import: ["": 17], domain: "aten">
    leaky_relu <negative_slope: float = 0.2> (self) => (out) {
        shape = Shape (self)
        rank = Size (shape)
        zero = Constant <value_int = 0> ()
        scalar = Equal (rank, zero)
        out = If (scalar) <
            then_branch = of_scalar () => (same) { same = Identity (self) },
            else_branch = of_tensor () => (leaky) {
                alpha = Constant <value_float: float = @negative_slope> ()
                below = Mul (self, alpha)
                leaky = Max (self, below)
            }
        >
    }"""
    form = parsed(
        CONV + "h = aten.leaky_relu (c1)" + HEAD, domains=', "aten": 1', functions=functions
    )
    assert_same(form)


# --- If -------------------------------------------------------------------------------------------

BRANCHES = """ h = If (condition) <
    then_branch = leaky () => (float[N,6,16,16] t) {
        half = Constant <value_float = 0.2> ()
        below = Mul (c1, half)
        t = Max (c1, below)
    },
    else_branch = negative () => (float[N,6,16,16] e) { half = Neg (c1) e = Relu (half) }
>"""
CONDITIONS = {
    "constant node": (" condition = Constant <value = bool {1}> () ", {}),
    "initializer": ("", {"condition": np.array(True)}),
    "negation": (" condition = Not (wrong) ", {"wrong": np.array(False)}),
    "static shape": (
        " shape = Shape (c1) channels = Gather (shape, one) condition = Equal (channels, six) ",
        {"one": np.int64(1), "six": np.int64(6)},
    ),
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_branch_of_known_condition_is_taken(condition):
    nodes, constants = CONDITIONS[condition]
    form = parsed(CONV + nodes + BRANCHES + HEAD, **constants)
    before = form.SerializeToString()
    assert_same(form)
    assert form.SerializeToString() == before
    assert not any(node.op_type == "If" for node in instrument(form).model.graph.node)


def test_the_other_branch():
    other = build(CONV + "n = Neg (c1) h = Relu (n)" + HEAD, WEIGHTS)
    assert_same(parsed(CONV + BRANCHES + HEAD, condition=np.array(False)), other)


def test_branches_within_branches_and_twice_the_same_names():
    inner = """If (condition) <
        then_branch = a () => (float[N,6,16,16] t) { u = Mul (c1, two) t = Identity (u) },
        else_branch = b () => (float[N,6,16,16] e) { e = Neg (c1) }
    >"""
    body = f"""
        d = {inner}
        h = If (condition) <
            then_branch = g () => (float[N,6,16,16] t) {{
                u = {inner}
                s = Add (u, d)
                t = Mul (s, quarter)
            }},
            else_branch = k () => (float[N,6,16,16] e) {{ e = Neg (d) }}
        >
    """
    form = parsed(
        CONV + body.replace("quarter", "fourth") + HEAD,
        condition=np.array(True),
        two=np.float32(2),
        fourth=np.float32(0.25),
    )
    assert_same(form, build(CONV + "h = Identity (c1)" + HEAD, WEIGHTS))


def test_a_branch_that_holds_its_weights_is_taken_before_the_opset_is_raised():
    """torch's squeeze of an open dimension, opset 11: Squeeze has its axes as an attribute."""
    squeeze = """
        p = GlobalAveragePool (c1)
        shape = Shape (p) two = Constant <value = int64 {2}> () size = Gather (shape, two)
        one = Constant <value = int64 {1}> () condition = Equal (size, one)
        flat = If (condition) <
            then_branch = g () => (t) { t = Squeeze <axes = [2, 3]> (p) },
            else_branch = k () => (e) { e = Identity (p) }
        >
        logits = Gemm <transB = 1> (flat, fc_weight, fc_bias)
    """
    form = onnx.parser.parse_model(
        '<ir_version: 6, opset_import: ["": 11]>\n'
        f"form (float[N,3,16,16] x) => (float[N,5] logits) {{{CONV} {squeeze}}}"
    )
    for name, values in WEIGHTS.items():
        form.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    assert_same(form, build(CONV + "h = Identity (c1)" + HEAD, WEIGHTS))


DYNAMIC = " top = ReduceMax <keepdims = 0> (c1) condition = Greater (top, zero) "


def test_a_branch_known_only_at_run_time_is_refused_by_name():
    form = parsed(CONV + DYNAMIC + BRANCHES + HEAD, zero=np.float32(0))
    with pytest.raises(UnsupportedModelError, match="known only at run time") as caught:
        instrument(form)
    assert (caught.value.op, caught.value.node) == ("If", "h")


def test_a_branch_beside_the_main_path_is_refused_too():
    """Without a look into its branches, an If would be taken for a constant."""
    branches = BRANCHES.replace(" h = If", " side = If")
    form = parsed(CONV + DYNAMIC + branches + " h = Add (c1, side)" + HEAD, zero=np.float32(0))
    with pytest.raises(UnsupportedModelError, match="known only at run time") as caught:
        instrument(form)
    assert caught.value.op == "If"


def test_a_condition_that_a_caller_may_override_is_not_known():
    form = parsed(CONV + BRANCHES + HEAD, condition=np.array(True))
    form.graph.input.append(helper.make_tensor_value_info("condition", onnx.TensorProto.BOOL, []))
    assert take_branches(form) is form
    with pytest.raises(UnsupportedModelError, match="known only at run time"):
        instrument(form)


# --- results without a name -----------------------------------------------------------------------

PARTS = {"parts": np.array([2, 1, 3]), "one": np.array([1])}
# The channels that were split off gate all of them, so that those without a name count too.
GATE = " s = ReduceSum <keepdims = 1> (j, one) h = Mul (c1, s)" + HEAD


def renamed(form: ModelProto, names: dict[str, str]) -> ModelProto:
    """The same with other names; the parser takes only identifiers, and no nameless last one."""
    for node in form.graph.node:
        for held in (node.input, node.output):
            held[:] = [names.get(name, name) for name in held]
    onnx.checker.check_model(form)
    return form


@pytest.mark.parametrize("unnamed", ["w", "v", "u", "uv", "uw"])
def test_a_part_of_a_split_that_has_no_name(unnamed):
    used = ", ".join(name for name in "uvw" if name not in unnamed)
    body = f"{CONV} u, v, w = Split <axis = 1> (c1, parts) j = Concat <axis = 1> ({used})" + GATE
    form = renamed(parsed(body, opset=18, **PARTS), dict.fromkeys(unnamed, ""))
    assert_same(form, parsed(body, opset=18, **PARTS))
    model = instrument(form).model
    onnx.checker.check_model(model, full_check=True)
    (split,) = (node for node in model.graph.node if node.op_type == "Split")
    assert all(split.output)


def test_a_constant_that_is_split_and_has_a_part_without_a_name():
    """ONNX Runtime itself crashes where it folds such a node."""
    body = f"u, v, w = Split <axis = 0> (b1, parts) {CONV} j = ReduceSum (w) h = Mul (c1, j)"
    full, form = (parsed(body + HEAD, opset=18, **PARTS) for _ in range(2))
    assert_same(renamed(form, {"v": ""}), full)


def test_a_name_for_a_result_is_a_free_one():
    body = f"{CONV} u, v, w = Split <axis = 1> (c1, parts) r = Relu (v) j = Add (r, v)" + GATE
    full, form = (parsed(body, opset=18, **PARTS) for _ in range(2))
    assert_same(renamed(form, {"u": "", "r": "v/0"}), full)


PARTED = """
    then_branch = t () => (float[N,2,16,16] a1, float[N,3,16,16] a2)
        { a1, , a2 = Split <axis = 1> (c1, parts) },
    else_branch = e () => (float[N,2,16,16] e1, float[N,3,16,16] e2)
        { e1, , e0 = Split <axis = 1> (c1, parts) e2 = Tanh (e0) }
"""


def test_branches_whose_first_result_has_no_name():
    """Of two, neither is taken for the other."""
    body = f"{CONV} p, a = If (yes) <{PARTED}> q, b = If (no) <{PARTED}> j = Add (a, b)" + GATE
    more = {"yes": np.array(True), "no": np.array(False), **PARTS}
    full = CONV + "p, q, a = Split <axis = 1> (c1, parts) b = Tanh (a) j = Add (a, b)" + GATE
    form = renamed(parsed(body, opset=18, **more), {"p": "", "q": ""})
    assert_same(form, parsed(full, opset=18, **PARTS))


def test_an_optional_result_stays_left_out():
    """A kernel computes what has a name."""
    pooled = "MaxPool <kernel_shape = [2, 2]> (c1)"
    form = parsed(f"{CONV} m, i = {pooled} h, k = Dropout (m)" + HEAD)
    assert_same(renamed(form, {"i": "", "k": ""}), parsed(f"{CONV} h = {pooled}" + HEAD))
    nodes = instrument(form).model.graph.node
    assert [[*node.output][1:] for node in nodes if "m" in node.output] in ([[]], [[""]])
    assert name_results(PLAIN) is PLAIN


# --- left over from training ----------------------------------------------------------------------

LEAKY = " r = LeakyRelu <alpha = 0.2> (c1) "


@pytest.mark.parametrize(
    "dropout",
    [
        "h = Dropout (r)",
        "h, mask = Dropout (r, ratio)",
        "h = Dropout (r, ratio, no)",
        "d, mask = Dropout (r, ratio, no) m = Cast <to = 1> (mask) h = Mul (d, m)",
        "a = Identity (r) b = Dropout (a) c = Identity (b) h = Identity (c)",
    ],
)
def test_dropout_and_identity_are_passed(dropout):
    assert_same(parsed(CONV + LEAKY + dropout + HEAD, ratio=np.float32(0.5), no=np.array(False)))


def test_dropout_whose_mask_is_an_output():
    form = parsed(CONV + LEAKY + "h, mask = Dropout (r)" + HEAD)
    form.graph.output.append(
        helper.make_tensor_value_info("mask", onnx.TensorProto.BOOL, ["N", 6, 16, 16])
    )
    assert np.all(assert_same(form).outputs["mask"])


def test_dropout_in_training_mode_is_refused():
    form = parsed(
        CONV + LEAKY + "h = Dropout (r, ratio, yes)" + HEAD,
        ratio=np.float32(0.5),
        yes=np.array(True),
    )
    with pytest.raises(UnsupportedModelError, match="training mode") as caught:
        instrument(form)
    assert (caught.value.op, caught.value.node) == ("Dropout", "h")


# --- external data --------------------------------------------------------------------------------


def test_external_data_in_several_files_and_folders(tmp_path, monkeypatch):
    """Read as the format says: relative to the model, whatever the working directory is."""
    form = copy.deepcopy(PLAIN)
    folder = tmp_path / "models" / "one"
    (folder / "weights" / "deep").mkdir(parents=True)
    places = ["weights/conv.bin", "weights/deep/rest.bin", "weights/conv.bin", "head.bin"]
    for tensor, place in zip(form.graph.initializer, places, strict=True):
        data = tensor.raw_data
        path = folder / place
        offset = path.stat().st_size if path.exists() else 0
        with path.open("ab") as file:
            file.write(data)
        onnx.external_data_helper.set_external_data(tensor, place, offset, len(data))
        tensor.ClearField("raw_data")
    source = folder / "net.onnx"
    source.write_bytes(form.SerializeToString())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = instrument(source, emit=EMITS).save("net.fg.onnx")
    assert os.listdir() == ["net.fg.onnx"]
    found, wanted = Session(result).explain(X), everything(PLAIN).explain(X)
    np.testing.assert_allclose(found.saliency, wanted.saliency, rtol=1e-6)
    (folder / "head.bin").unlink()
    with pytest.raises(ModelError, match=r"head\.bin"):
        instrument(source)


# --- preprocessing in the graph -------------------------------------------------------------------

MEAN, DEVIATION = np.float32([120, 115, 100]), np.float32([59, 57, 60])
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3))
NORMALISE = """
    centred = Sub (floats, mean) scaled = Div (centred, deviation)
    x = Transpose <perm = [0,3,1,2]> (scaled)
"""
AFTER = CONV + "h = LeakyRelu <alpha = 0.2> (c1)" + HEAD
FLOATS = parsed(
    "floats = Identity (pixels)" + NORMALISE + AFTER,
    "float[N,16,16,3] pixels",
    mean=MEAN,
    deviation=DEVIATION,
)


@pytest.mark.parametrize("kind", ["uint8", "int32", "int64"])
def test_the_first_float_tensor_of_an_integer_image_is_explained(kind):
    form = parsed(
        "floats = Cast <to = 1> (pixels)" + NORMALISE + AFTER,
        f"{kind}[N,16,16,3] pixels",
        mean=MEAN,
        deviation=DEVIATION,
    )
    found = assert_same(form, FLOATS, PIXELS)
    assert (found.manifest.input, found.manifest.pixels) == ("floats", "pixels")
    assert (found.manifest.fed, found.manifest.layout) == ("pixels", "nhwc")
    assert found.input_gradient.shape == PIXELS.shape
    assert [site.op for site in found.manifest.sites] == ["Sub", "Conv", "Gemm"]


def test_integers_that_are_moved_before_they_are_cast():
    form = parsed(
        """moved = Transpose <perm = [0,3,1,2]> (pixels) floats = Cast <to = 1> (moved)
        centred = Sub (floats, mean) x = Div (centred, deviation)"""
        + AFTER,
        "uint8[N,16,16,3] pixels",
        mean=MEAN[:, None, None],
        deviation=DEVIATION[:, None, None],
    )
    found = everything(form).explain(PIXELS, 2)
    wanted = everything(FLOATS).explain(PIXELS, 2)
    assert found.manifest.layout == "nhwc"
    np.testing.assert_allclose(found.saliency, wanted.saliency, rtol=1e-5)
    np.testing.assert_allclose(
        found.input_gradient, wanted.input_gradient.transpose(0, 3, 1, 2), rtol=1e-4, atol=1e-8
    )


def test_a_float_input_may_be_normalised_and_resized_in_the_graph():
    resize = """
        roi = Constant <value_floats = [0.0]> ()
        big = Resize <mode = "linear"> (floats, , scales)
    """
    form = parsed(
        resize + NORMALISE.replace("(floats", "(big") + AFTER.replace("float[N,6,16,16]", ""),
        "float[N,8,8,3] floats",
        mean=MEAN,
        deviation=DEVIATION,
        scales=np.float32([1, 2, 2, 1]),
    )
    session = everything(form)
    found = session.explain(PIXELS[:, :8, :8], 2)
    assert found.saliency.shape == (2, 8, 8)
    assert np.all(found.residual <= ROUNDING)
    step = 1e-2 * noise(*found.input_gradient.shape)
    above, below = (session.explain(PIXELS[:, :8, :8] + s * step, 2).scores for s in (1, -1))
    slope = (step * found.input_gradient).reshape(2, -1).sum(1)
    # two steps of 1e-2 in 255 and 3,072 pixels; the kinks of a leaky ReLU are 0.8 of a slope apart
    np.testing.assert_allclose(slope, (above - below) / 2, rtol=0.02)


@pytest.mark.parametrize("wrong", [PIXELS + 0.5, PIXELS - 300.0, PIXELS + 200, PIXELS * np.nan])
def test_what_is_no_pixel_is_not_rounded_into_one(wrong):
    form = parsed(
        "floats = Cast <to = 1> (pixels)" + NORMALISE + AFTER,
        "uint8[N,16,16,3] pixels",
        mean=MEAN,
        deviation=DEVIATION,
    )
    session = Session(instrument(form))
    np.testing.assert_array_equal(
        session.explain(PIXELS * 1.0).scores, session.explain(PIXELS.astype(np.uint8)).scores
    )
    with pytest.raises(InputError, match="whole numbers from 0 to 255") as caught:
        session.explain(wrong)
    assert caught.value.code == "not-pixels"


def test_a_seed_for_an_integer_image_is_a_float():
    form = parsed(
        "floats = Cast <to = 1> (pixels)" + NORMALISE + AFTER,
        "uint8[N,16,16,3] pixels",
        mean=MEAN,
        deviation=DEVIATION,
    )
    seed = noise(2, 5)
    found = Session(instrument(form, seed=True)).explain(PIXELS, seed=seed)
    np.testing.assert_allclose(found.scores, (seed * found.outputs["logits"]).sum(1), rtol=1e-5)


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ("a = Cast <to = 1> (pixels) b = Cast <to = 1> (pixels) floats = Add (a, b)", "2 places"),
        ("floats = Gather (table, pixels)", "`Gather` at `floats` does not keep"),
        ("f = Cast <to = 1> (pixels) floats = Identity (zeros)", "0 places"),
    ],
)
def test_integers_that_are_no_image_are_refused(nodes, says):
    form = parsed(
        nodes + NORMALISE.replace("perm = [0,3,1,2]", "perm = [0,3,1,2]") + AFTER,
        "uint8[N,16,16,3] pixels",
        mean=MEAN,
        deviation=DEVIATION,
        table=np.float32(np.arange(256)),
        zeros=np.zeros((1, 16, 16, 3), np.float32),
    )
    with pytest.raises(UnsupportedModelError, match=says) as caught:
        instrument(form)
    assert caught.value.code == "integer-input"
    assert "`pixels` is uint8" in caught.value.message


# --- open dimensions ------------------------------------------------------------------------------


def opened(model: ModelProto, *dims: int | str | None) -> ModelProto:
    """A copy whose input has these dimensions; None is neither a number nor named."""
    changed = copy.deepcopy(model)
    for dim, size in zip(changed.graph.input[0].type.tensor_type.shape.dim, dims, strict=True):
        dim.Clear()
        if isinstance(size, str):
            dim.dim_param = size
        elif size is not None:
            dim.dim_value = size
    for value in changed.graph.output:
        value.type.tensor_type.shape.dim[0].dim_value = -1
    return changed


NET = build(
    CONV
    + """
    n1 = BatchNormalization (c1, scale, shift, mean, var)
    r1 = Relu (n1)
    c2 = Conv <strides = [2,2]> (r1, w2, b2)
    h = Sigmoid (c2)
    """
    + HEAD,
    WEIGHTS
    | {
        "w2": draw("w2", 6, 6, 3, 3),
        "b2": draw("b2", 6),
        "scale": 1 + draw("scale", 6),
        "shift": draw("shift", 6),
        "mean": draw("mean", 6),
        "var": np.full(6, 0.7),
    },
)
SIZES = [(16, 16), (21, 12), (12, 33)]


@pytest.mark.parametrize(
    "dims",
    [
        ("N", 3, "H", "W"),
        (-1, 3, -1, -1),
        (None, 3, None, None),
        ("N", 3, "?", "?"),
        ("a", 3, "b", "b"),
    ],
    ids=str,
)
def test_any_height_and_width_on_one_model(dims):
    session = everything(opened(NET, *dims))
    for height, width in SIZES:
        images = noise(2, 3, height, width, seed=height)
        found = session.explain(images, [1, 4])
        fixed = everything(opened(NET, "N", 3, height, width)).explain(images, [1, 4])
        assert found.saliency.shape == (2, height, width)
        assert found.layer_maps["c2"].shape[1:] == ((height - 1) // 2, (width - 1) // 2)
        for name in ("scores", "contributions", "saliency", "input_gradient"):
            theirs = getattr(fixed, name)
            np.testing.assert_allclose(
                getattr(found, name), theirs, atol=ROUNDING * np.abs(theirs).max(), err_msg=name
            )


def test_an_open_number_of_channels_is_refused():
    with pytest.raises(UnsupportedModelError, match="how many channels") as caught:
        instrument(opened(NET, "N", "C", "H", "W"))
    assert caught.value.code == "unknown-channels"


def test_open_dimensions_get_names_of_their_own():
    form = opened(NET, None, 3, "?", "?")
    before = form.SerializeToString()
    (dims,) = (
        [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in name_dimensions(form).graph.input
    )
    assert dims == ["x_0", 3, "x_2", "x_3"]
    assert form.SerializeToString() == before
    assert name_dimensions(NET) is NET


# --- old files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12])
@pytest.mark.parametrize("listed", [True, False], ids=["listed", "unlisted"])
def test_old_files_are_explained_as_new_ones(opset, listed):
    """IR 3, whose initializers are listed as inputs; then IR 4, where they need not be."""
    drop = "<ratio = 0.5> (r1)" if opset < 12 else "(r1)"
    form = onnx.parser.parse_model(
        f'<ir_version: {3 if listed else 4}, opset_import: ["": {opset}]>\n'
        f"""form (float[N,3,16,16] x) => (float[N,5] logits) {{{CONV}
        n1 = BatchNormalization (c1, scale, shift, mean, var)
        r1 = Relu (n1)
        d1 = Dropout {drop}
        c2 = Conv <strides = [2,2]> (d1, w2, b2)
        s2 = Sigmoid (c2)
        squares = Mul (s2, s2)
        total = ReduceMean <axes = [2, 3], keepdims = 1> (squares)
        features = Squeeze <axes = [2, 3]> (total)
        product = MatMul (features, fc)
        logits = Add (product, fc_bias)
        }}"""
    )
    weights = {w.name: numpy_helper.to_array(w) for w in NET.graph.initializer}
    weights["fc"] = weights.pop("fc_weight").T.copy()
    for name, values in weights.items():
        form.graph.initializer.append(numpy_helper.from_array(values, name))
        if listed:
            info = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, values.shape)
            form.graph.input.append(info)
    onnx.checker.check_model(form, full_check=True)
    new = build(
        CONV
        + """
        n1 = BatchNormalization (c1, scale, shift, mean, var)
        r1 = Relu (n1)
        c2 = Conv <strides = [2,2]> (r1, w2, b2)
        s2 = Sigmoid (c2)
        squares = Mul (s2, s2)
        total = GlobalAveragePool (squares)
        features = Flatten (total)
        product = MatMul (features, fc)
        logits = Add (product, fc_bias)
        """,
        weights,
    )
    found = assert_same(form, new)
    own = [name for name in found.manifest.sites if name.promoted_input is None]
    assert [site.kind for site in own] == ["implicit", "implicit"]
    plan = make_plan(models.read(form))
    assert [tensor.name for tensor in plan.graph.inputs] == ["x"]
