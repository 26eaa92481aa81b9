"""Files that lie, contradict themselves or ask for too much: each refused by name, or right.

What the mutants of `tests.fuzz` found, as small as it can be.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from graphs import HEAD, build, draw, resized_input
from onnx import ModelProto, TensorProto, TensorShapeProto, helper, numpy_helper

from fg_onnx import Session, instrument
from fg_onnx.errors import FgOnnxError, ModelError, UnsupportedModelError, printable
from fg_onnx.manifest import METADATA_KEY
from fg_onnx.source.soundness import MOST_NESTED, require_sound
from sample_models import tiny
from tests.fuzz import verdict

Dimension = TensorShapeProto.Dimension

_Change = Callable[[ModelProto], None]
_CHANGES: dict[str, tuple[_Change, str, str]] = {}


def refused(code: str, says: str) -> Callable[[_Change], _Change]:
    """Enter a change of a sound model into the table: the error that it leads to."""

    def enter(change: _Change) -> _Change:
        _CHANGES[change.__name__] = change, code, says
        return change

    return enter


def sound() -> ModelProto:
    """Conv, ReLU, pool, Gemm."""
    nodes = "c1 = Conv <pads = [1,1,1,1]> (x, w1, b1) h = Relu (c1)" + HEAD
    weights = {
        "w1": draw("w1", 6, 3, 3, 3),
        "b1": draw("b1", 6),
        "fc_weight": draw("fc_weight", 5, 6),
        "fc_bias": draw("fc_bias", 5),
    }
    return build(nodes, weights)


def weight(model: ModelProto, name: str) -> TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def rename(model: ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.name = new if value.name == old else value.name


def judged(model: ModelProto, tmp_path) -> tuple[str, str]:
    """The fuzzer's own verdict."""
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return verdict.judge(path, lambda stage: None, commands=True)


# --- weights --------------------------------------------------------------------------------------


@refused("broken-model", "`w1` do not fit its shape")
def data_cut_short(model):
    weight(model, "w1").raw_data = weight(model, "w1").raw_data[:-4]


@refused("broken-model", "`b1` do not fit its shape")
def data_of_another_type(model):
    weight(model, "b1").data_type = TensorProto.DOUBLE


@refused("broken-model", "`b1` do not fit its shape")
def huge_dims_without_data(model):
    weight(model, "b1").dims[:] = [2**40, 2**20]


@refused("broken-model", "`w1` do not fit its shape")
def dims_whose_product_overflows(model):
    weight(model, "w1").dims[:] = [2**32, 2**32]


@refused("broken-model", "impossible shape")
def negative_dims(model):
    weight(model, "b1").dims[:] = [-6]


@refused("broken-model", "impossible shape")
def more_dims_than_arrays_have(model):
    weight(model, "b1").dims[:] = [6, *[1] * 64]


@refused("broken-model", "65 dimensions")
def a_declared_rank_beyond_arrays(model):
    model.graph.value_info.append(helper.make_tensor_value_info("h", 1, [1] * 65))


@refused("broken-model", "more entries than can be counted")
def a_declared_size_beyond_integers(model):
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2**40
    model.graph.output[0].type.tensor_type.shape.dim.add(dim_value=2**40)


@refused("broken-model", "several types")
def data_twice(model):
    weight(model, "b1").float_data.extend([1.0] * 6)


@refused("broken-model", "no known type")
def an_unknown_type(model):
    weight(model, "b1").data_type = 999


@refused("sparse-weights", "`b1` is stored sparsely")
def sparse_data(model):
    dense = weight(model, "b1")
    values = numpy_helper.from_array(np.ones(1, np.float32), "b1")
    indices = numpy_helper.from_array(np.array([3]), "places")
    model.graph.sparse_initializer.add(values=values, indices=indices, dims=[6])
    model.graph.initializer.remove(dense)


@refused("broken-model", "has 0 values")
def a_constant_without_a_value(model):
    model.graph.node.insert(0, helper.make_node("Constant", [], ["c"], name="empty"))


@refused("broken-model", "`w1` is listed as an input of another type")
def a_weight_listed_with_another_type(model):
    model.graph.input.append(helper.make_tensor_value_info("w1", TensorProto.DOUBLE, [6, 3, 3, 3]))


# --- names and text -------------------------------------------------------------------------------


@refused("reserved-name", "`fg_score`")
def a_tensor_of_the_contract_s_name(model):
    rename(model, "h", "fg_score")


@refused("reserved-name", "`fg_bias/c1`")
def a_weight_of_the_contract_s_name(model):
    rename(model, "fc_bias", "fg_bias/c1")


@refused("reserved-name", "`fg_saliency`")
def a_node_of_the_contract_s_name(model):
    model.graph.node[0].name = "fg_saliency"


@refused("reserved-name", "`fg_seed`")
def a_name_of_the_contract_s_in_a_branch(model):
    (relu,) = (node for node in model.graph.node if node.op_type == "Relu")
    inner = helper.make_node("Relu", ["c1"], ["fg_seed"])
    branch = helper.make_graph(
        [inner], "branch", [], [helper.make_tensor_value_info("fg_seed", 1, None)]
    )
    relu.CopyFrom(helper.make_node("If", ["which"], ["h"], then_branch=branch, else_branch=branch))
    model.graph.input.append(helper.make_tensor_value_info("which", TensorProto.BOOL, []))


# --- versions and functions -----------------------------------------------------------------------


@refused("broken-model", "opset 11 and 17")
def two_opsets_of_one_domain(model):
    model.opset_import.append(helper.make_opsetid("ai.onnx", 11))


@refused("broken-model", "opset -1")
def an_opset_below_all(model):
    model.opset_import[0].version = -1


@refused("opset", "newer than the installed onnx")
def an_opset_beyond_all(model):
    model.opset_import[0].version = 999


def call(model: ModelProto, calls: Sequence[Sequence[str]]) -> None:
    """Make the ReLU call F0, the first of several functions, each of which calls others."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    model.opset_import.append(imports[1])
    (relu,) = (node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type, relu.domain = "F0", "local"
    for index, names in enumerate(calls):
        tensors = ["a", *(f"t{i}" for i in range(len(names) - 1)), "b"]
        nodes = [
            helper.make_node(name, [old], [new], domain="local" if name[0] == "F" else "")
            for name, (old, new) in zip(names, itertools.pairwise(tensors), strict=True)
        ]
        model.functions.append(
            helper.make_function("local", f"F{index}", ["a"], ["b"], nodes, imports)
        )


@refused("broken-model", "`F0` calls itself")
def a_function_that_calls_itself(model):
    call(model, [["F0"]])


@refused("broken-model", "calls itself")
def functions_that_call_each_other(model):
    call(model, [["Relu", "F1"], ["F0"]])


@refused("broken-model", "its functions are 1000000004 nodes")
def functions_of_a_billion_nodes(model):
    call(model, [*([f"F{i + 1}"] * 10 for i in range(9)), ["Relu"]])


# --- shapes and attributes ------------------------------------------------------------------------


@refused("refused-node", "do not fit each other")
def parameters_of_a_batchnorm_of_other_sizes(model):
    (relu,) = (node for node in model.graph.node if node.op_type == "Relu")
    relu.CopyFrom(
        helper.make_node("BatchNormalization", ["c1", "b1", "w1", "fc_bias", "b1"], ["h"])
    )


@refused("refused-node", "not the same to all runtimes")
def same_padding_of_less_than_nothing(model):
    conv = model.graph.node[0]
    del conv.attribute[:]
    conv.attribute.extend(
        [helper.make_attribute("auto_pad", "SAME_UPPER"), helper.make_attribute("strides", [8, 8])]
    )


@refused("refused-node", "rank of `h` is unknown")
def a_kernel_of_another_rank(model):
    weight(model, "w1").dims[:] = [1, *weight(model, "w1").dims]


@refused("unknown-channels", "does not say how many channels")
def open_channels(model):
    (conv,) = (node for node in model.graph.node if node.op_type == "Conv")
    conv.op_type = "Sigmoid"
    del conv.attribute[:], conv.input[1:]
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "C"
    (gemm,) = (node for node in model.graph.node if node.op_type == "Gemm")
    gemm.CopyFrom(helper.make_node("Identity", ["features"], ["logits"]))


@pytest.mark.parametrize("name", _CHANGES)
def test_refused_by_name(name):
    change, code, says = _CHANGES[name]
    model = sound()
    change(model)
    with pytest.raises((ModelError, UnsupportedModelError)) as caught:
        instrument(model)
    assert caught.value.code == code
    assert says in caught.value.message
    assert caught.value.hint


def test_text_that_is_not_utf_8(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(sound().SerializeToString().replace(b"fc_weight", b"fc_\xe7eight"))
    with pytest.raises(ModelError, match="not UTF-8"):
        instrument(path)


@pytest.mark.parametrize("depth", [MOST_NESTED // 3 + 1, 1000])
def test_graphs_within_graphs(depth):
    model = sound()
    graph = model.graph
    for _ in range(depth):
        graph = graph.node.add(op_type="If").attribute.add(name="then_branch").g
    with pytest.raises(ModelError, match="nested too deeply"):
        instrument(model)


def test_a_file_of_graphs_within_graphs(tmp_path):
    def field(number: int, data: bytes) -> bytes:
        size = bytearray()
        rest = len(data)
        while rest > 127:
            size.append(rest & 127 | 128)
            rest >>= 7
        return bytes([number << 3 | 2, *size, rest]) + data

    graph = b""
    for _ in range(1000):  # graph > node > attribute > graph
        graph = field(1, field(5, field(6, graph)))
    path = tmp_path / "deep.onnx"
    path.write_bytes(field(7, graph))
    with pytest.raises(ModelError) as caught:
        instrument(path)
    assert caught.value.code == "not-onnx"


@pytest.mark.parametrize(
    "kind", ["UINT4", "INT4", "FLOAT4E2M1", "BFLOAT16", "FLOAT8E4M3FN", "BOOL", "COMPLEX64"]
)
@pytest.mark.parametrize("raw", [True, False])
def test_sound_weights_of_every_width(kind, raw):
    model = sound()
    values = [1, 0, 1, 1, 0]
    dtype = getattr(TensorProto, kind)
    if raw:
        array = np.array(values).astype(helper.tensor_dtype_to_np_dtype(dtype))
        tensor = numpy_helper.from_array(array, "odd")
        assert tensor.HasField("raw_data")
    else:
        tensor = helper.make_tensor("odd", dtype, [5], values)
        assert not tensor.HasField("raw_data")
    model.graph.initializer.append(tensor)
    require_sound(model, "model")
    tensor.dims[0] = 9
    model.graph.initializer[-1].CopyFrom(tensor)
    with pytest.raises(ModelError, match="do not fit"):
        require_sound(model, "model")


def test_noise_that_does_not_fit_into_memory(samples):
    model = resized_input(samples["old_opset"].model, "N", 3, 2**20, 2**20)
    with pytest.raises(ModelError, match="cannot be fed") as caught:
        instrument(model)
    assert caught.value.code == "opset"


def test_a_kernel_of_another_rank_in_an_old_model(samples):
    # ONNX Runtime 1.23 does not survive the attempt to run it.
    model = ModelProto()
    model.CopyFrom(samples["old_opset"].model)
    for held in (*model.graph.input, *model.graph.initializer):
        if held.name == "conv1_weight":
            dims = held.dims if isinstance(held, TensorProto) else held.type.tensor_type.shape.dim
            dims.insert(0, 1 if isinstance(held, TensorProto) else Dimension(dim_value=1))
    with pytest.raises(ModelError, match="contradict each other"):
        instrument(model)


# --- right all the same ---------------------------------------------------------------------------


@pytest.mark.parametrize("transposed", [1, 2, -1])
def test_a_truth_value_that_is_not_1(transposed, tmp_path):
    model = sound()
    (gemm,) = (node for node in model.graph.node if node.op_type == "Gemm")
    gemm.attribute[0].i = transposed
    assert judged(model, tmp_path) == (verdict.RIGHT, "")


def test_sizes_of_another_day(tmp_path):
    model = sound()
    for name in ("c1", "h"):
        shape = helper.make_tensor_value_info(name, 1, [1, 6, 16, 16])
        model.graph.value_info.append(shape)
    assert judged(model, tmp_path) == (verdict.RIGHT, "")


@pytest.mark.parametrize("name", ["x", "logits"])
def test_an_input_or_output_described_twice(name, tmp_path):
    model = sound()
    model.graph.value_info.append(helper.make_tensor_value_info(name, 1, [3, 1, 7]))
    assert judged(model, tmp_path) == (verdict.RIGHT, "")


def test_one_output_twice(tmp_path):
    model = sound()
    model.graph.output.append(model.graph.output[0])
    assert judged(model, tmp_path) == (verdict.RIGHT, "")


def test_a_map_of_classes_and_a_sequence_beside_the_scores(tmp_path):
    # As Azure's Custom Vision writes it, and scikit-learn's converters.
    model = sound()
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    labels = helper.make_attribute("classlabels_strings", list("abcde"))
    zipped = helper.make_node("ZipMap", ["logits"], ["loss"], domain="ai.onnx.ml")
    zipped.attribute.append(labels)
    model.graph.node.extend([zipped, helper.make_node("SequenceConstruct", ["h", "h"], ["hs"])])
    loss = model.graph.output.add(name="loss").type.sequence_type.elem_type.map_type
    loss.key_type = TensorProto.STRING
    loss.value_type.tensor_type.elem_type = TensorProto.FLOAT
    model.graph.output.append(helper.make_tensor_sequence_value_info("hs", 1, None))
    assert judged(model, tmp_path) == (verdict.RIGHT, "")


def test_an_output_that_may_be_none(tmp_path):
    model = sound()
    kind = helper.make_optional_type_proto(model.graph.output[0].type)
    model.graph.node.append(helper.make_node("Optional", ["h"], ["maybe"]))
    model.graph.output.append(helper.make_value_info("maybe", kind))
    made = instrument(model).model
    assert made.graph.output[1] == model.graph.output[1]


def test_all_nodes_of_one_name(tmp_path):
    model = sound()
    for node in model.graph.node:
        node.name = "fg/Relu_1"
    outcome, _ = judged(model, tmp_path)
    assert outcome == verdict.INCOMPARABLE  # which the runtime itself refuses


NAMES = [
    "../../../etc/passwd",
    "/abs/olute",
    "..\\x",
    "quo\"te'`",
    "new\nline",
    "nul\0byte",
    "\x1b[31mred\x1b[0m",
    "<script>alert(1)</script>",
    "\u202egnp.exe",
    "桃",
    "x" * 5000,
    "fg/Mul_1",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_any_kind(name, tmp_path):
    model = sound()
    rename(model, "c1", name)
    model.graph.node[0].name = name
    assert judged(model, tmp_path) == (verdict.RIGHT, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.onnx", "model.onnx"]


def test_messages_are_one_line_that_no_terminal_obeys():
    error = ModelError("code", "a\nb \x1b[31m\u202e", "do\tthis\0")
    assert error.message == "a b \\x1b[31m\\u202e"
    assert error.hint == "do this\\x00"
    assert printable("déjà vu, 桃, as it is") == "déjà vu, 桃, as it is"
    assert len(printable("x" * 10**6)) < 2000


# --- sizes ----------------------------------------------------------------------------------------


def chain(length: int, *, name: str | None = None) -> ModelProto:
    """``length`` additions of a bias, one after the other: as many sites."""
    tensors = ["x", *(f"t{i}" for i in range(length))]
    nodes = [
        helper.make_node("Add", [old, "bias"], [new], name=name)
        for old, new in itertools.pairwise(tensors)
    ]
    nodes.append(helper.make_node("Flatten", [tensors[-1]], ["y"]))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", 1, ["N", 2, 2, 2])],
        [helper.make_tensor_value_info("y", 1, ["N", 8])],
        [numpy_helper.from_array(np.ones((1, 2, 1, 1), np.float32), "bias")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def fan(count: int) -> ModelProto:
    """One tensor with ``count`` readers."""
    nodes = [helper.make_node("Relu", ["x"], ["r"])]
    nodes += [helper.make_node("Neg", ["r"], [f"t{i}"]) for i in range(count)]
    nodes.append(helper.make_node("Sum", [f"t{i}" for i in range(count)], ["s"]))
    nodes.append(helper.make_node("Flatten", ["s"], ["y"]))
    model = chain(1)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def calls(model: ModelProto) -> int:
    """How many functions are called, of Python and of C: the same on any machine, however busy."""
    count = 0

    def counted(_frame, event, _argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        instrument(model, emit=("contributions",))
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "make", [chain, fan, lambda length: chain(length, name="same")], ids=["chain", "fan", "names"]
)
def test_the_work_grows_with_the_nodes_and_no_faster(make):
    # Eight times the nodes: eight times the calls, and 64 times for what is quadratic.
    instrument(make(10), emit=("contributions",))
    assert calls(make(2000)) < 9 * calls(make(250))


def test_shape_arithmetic_is_not_carried_out_at_any_size(tmp_path):
    nodes = """
        huge = Constant <value_ints = [1099511627776, 1048576]> ()
        one = Constant <value_float = 1.0> ()
        nought = Constant <value_float = 0.0> ()
        most = Constant <value_float = 1e18> ()
        filled = ConstantOfShape (huge)
        spread = Expand (one, huge)
        counted = Range (nought, most, one)
        a = ReduceMax <keepdims = 0> (filled)
        b = ReduceMax <keepdims = 0> (spread)
        c = ReduceMax <keepdims = 0> (counted)
        ab = Add (a, b)
        abc = Add (ab, c)
        c1 = Conv <pads = [1,1,1,1]> (x, w1, b1)
        h = Add (c1, abc)
    """
    model = sound()
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert judged(build(nodes + HEAD, weights), tmp_path)[0] == verdict.INCOMPARABLE


# --- manifests ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def instrumented():
    return instrument(sound())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"input": "x"', '"input": "y"'),
        ('"input": "x"', '"input": 7'),
        ('"emits": ["saliency"', '"emits": ["input-gradient"'),
        ('"emits": ["saliency"', '"emits": ["everything"'),
        ('"scores": 5', '"scores": "5"'),
        ('"scores": 5', '"scores": true'),
        ('"sites": [', '"sites": [7, '),
        ('"sites": [', '"sites": 7, "more": ['),
        ('"kind": "bias"', '"kind": "gift"'),
        ('"labels": null', '"labels": [1, 2]'),
        ('"schema_version": 1', '"schema_version": 2'),
        ('{"schema_version"', '[{"schema_version"'),
        ("{", "[" * 100_000),
    ],
)
def test_a_manifest_that_is_not_the_model_s(instrumented, tmp_path, old, new):
    model = ModelProto()
    model.CopyFrom(instrumented.model)
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    assert old in entry.value
    entry.value = entry.value.replace(old, new, 1)
    path = tmp_path / "forged.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError) as caught:
        Session(path)
    assert caught.value.code in ("broken-manifest", "manifest-version")


def test_contributions_that_are_not_the_manifest_s(instrumented, tmp_path):
    model = ModelProto()
    model.CopyFrom(instrumented.model)
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    start = entry.value.index('"sites": [') + len('"sites": [')
    site = entry.value[start : entry.value.index("}", start) + 1]
    entry.value = entry.value[:start] + f"{site}, " + entry.value[start:]
    path = tmp_path / "forged.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FgOnnxError, match="fg_contributions"):
        Session(path).explain(np.zeros((1, 3, 16, 16), np.float32))


def test_the_sound_model_is_right(tmp_path):
    # Else every refusal above might have another reason.
    assert judged(sound(), tmp_path) == (verdict.RIGHT, "")
    assert judged(tiny.all_models()["two_inputs"], tmp_path) == (verdict.RIGHT, "")
