"""Reading, checking, raising and writing ONNX files."""

from __future__ import annotations

import os
import stat

import numpy as np
import onnx
import pytest
from conftest import FASHION, run
from onnx import helper

from fg_onnx import files
from fg_onnx.errors import ModelError, OutputError
from fg_onnx.graph import working
from fg_onnx.source import model as models
from fg_onnx.source import old_forms


def parsed(body, inputs="float[N,3,4,4] x", outputs="float[N,3,4,4] y", opset=17, ir=8):
    return onnx.parser.parse_model(
        f'<ir_version: {ir}, opset_import: ["": {opset}]> net ({inputs}) => ({outputs}) {{{body}}}'
    )


# --- reading --------------------------------------------------------------------------------------


def test_a_path_and_its_proto_are_the_same_model():
    by_path, by_text = models.read(FASHION), models.read(str(FASHION))
    assert by_path.sha256 == by_text.sha256
    assert by_path.proto == onnx.load(FASHION)
    assert models.read(by_path.proto).proto is by_path.proto


@pytest.mark.parametrize(
    ("make", "code", "says"),
    [
        (lambda path: None, "unreadable", "No such file"),
        (lambda path: path.mkdir(), "unreadable", "directory"),
        (lambda path: path.write_bytes(b""), "not-onnx", "no ONNX graph"),
        (lambda path: path.write_text("<!doctype html>" * 9), "not-onnx", "not an ONNX file"),
        (lambda path: path.write_bytes(FASHION.read_bytes()[:5000]), "not-onnx", "truncated"),
        (lambda path: path.write_bytes(b"\x08\x08"), "not-onnx", "no ONNX graph"),
    ],
)
def test_what_is_no_model_is_said_in_one_line(tmp_path, make, code, says):
    path = tmp_path / "model.onnx"
    make(path)
    with pytest.raises(ModelError, match=says) as caught:
        models.read(path)
    assert (caught.value.code, caught.value.exit_code) == (code, 2)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_file_without_permission(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(FASHION.read_bytes())
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read anything")
    with pytest.raises(ModelError, match="Permission denied"):
        models.read(path)


@pytest.mark.parametrize(
    "body",
    ["y = Relu (missing)", "y = NoSuchOperator (x)", "h = Relu (x) h = Relu (x) y = Relu (h)"],
)
def test_a_model_that_does_not_check(body):
    with pytest.raises(ModelError, match="does not pass ONNX's checker") as caught:
        models.read(parsed(body))
    assert caught.value.code == "broken-model"
    assert "\n" not in caught.value.message


# --- normalising ----------------------------------------------------------------------------------


def test_the_source_is_never_changed(sample):
    before = sample.model.SerializeToString()
    working.to_graph(models.normalise(models.read(sample.model), 18))
    assert sample.model.SerializeToString() == before


@pytest.mark.parametrize("opset", [9, 11, 13, 16])
def test_an_opset_below_17_is_raised_with_equal_outputs(samples, opset):
    source = onnx.ModelProto()
    source.CopyFrom(samples["old_opset"].model)
    if opset > 9:
        source = onnx.version_converter.convert_version(source, opset)
    raised = models.normalise(models.read(source))
    assert models.opset_of(raised) == 17
    assert raised.ir_version >= 8
    feeds = samples["old_opset"].feeds
    expected = run(source, feeds, optimise=False)["logits"]
    np.testing.assert_array_equal(run(raised, feeds, optimise=False)["logits"], expected)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(
    ("opset", "node"),
    [
        (7, "Upsample <mode = {mode}, scales = [1.0, 1.0, 2.0, 1.5]> (x)"),
        (9, "Upsample <mode = {mode}> (x, scales)"),
        (10, "Resize <mode = {mode}> (x, scales)"),
    ],
)
def test_upsampling_before_its_coordinates_could_be_chosen(opset, node, mode):
    scales = "scales = Constant <value = float[4] {1.0, 1.0, 2.0, 1.5}> ()"
    quoted = '"' + mode + '"'
    body = f"{scales if opset > 7 else ''} up = {node.format(mode=quoted)} y = Sigmoid (up)"
    source = parsed(body, outputs="float[N,3,8,6] y", opset=opset, ir=6)
    feeds = {"x": np.random.default_rng(0).random((2, 3, 4, 4)).astype(np.float32)}
    raised = models.normalise(models.read(source))
    assert models.opset_of(raised) == 17
    np.testing.assert_array_equal(run(raised, feeds)["y"], run(source, feeds)["y"])


def test_raising_that_changes_the_outputs_is_an_error(samples, monkeypatch):
    def wrong(proto, target):
        raised = onnx.version_converter.convert_version(proto, target)
        for weight in raised.graph.initializer:
            if weight.name == "fc_bias":
                values = onnx.numpy_helper.to_array(weight) * np.float32(1.001)
                weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        return raised

    converter = type("Converter", (), {"convert_version": staticmethod(wrong)})
    monkeypatch.setattr(old_forms, "version_converter", converter)
    with pytest.raises(ModelError, match="changes `logits`") as caught:
        models.normalise(models.read(samples["old_opset"].model))
    assert caught.value.code == "opset"


def test_an_opset_cannot_be_lowered(samples):
    source = models.read(samples["residual"].model)
    raised = models.read(models.normalise(source, 19))
    with pytest.raises(ModelError, match="opset 19") as caught:
        models.normalise(raised, 18)
    assert caught.value.code == "opset"


def test_an_opset_newer_than_onnx(samples):
    source = models.read(samples["residual"].model)
    with pytest.raises(ModelError, match="newer than the installed onnx"):
        models.normalise(source, 99)


def test_an_operator_that_cannot_be_raised(samples, monkeypatch):
    def fails(proto, target):
        raise RuntimeError("no adapter for Upsample\nmore of it")

    converter = type("Converter", (), {"convert_version": staticmethod(fails)})
    monkeypatch.setattr(old_forms, "version_converter", converter)
    with pytest.raises(ModelError, match="no adapter for Upsample") as caught:
        models.normalise(models.read(samples["old_opset"].model))
    assert caught.value.code == "opset"
    assert "\n" not in caught.value.message


def test_listed_initializers_of_old_models_are_no_inputs(samples):
    source = samples["old_opset"].model
    assert len(source.graph.input) > 1
    graph = working.to_graph(models.normalise(models.read(source)))
    assert [tensor.name for tensor in graph.inputs] == ["x"]


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("value = float[2] {1.5, -2.0}", np.float32([1.5, -2])),
        ("value_float = 1.5", np.float32(1.5)),
        ("value_floats = [1.5, 2.5]", np.float32([1.5, 2.5])),
        ("value_int = 3", np.int64(3)),
        ("value_ints = [3, 4]", np.int64([3, 4])),
    ],
)
def test_constant_nodes_of_every_kind_become_constants(attribute, expected):
    graph = working.to_graph(
        parsed(f"c = Constant <{attribute}> () f = CastLike (c, x) y = Relu (x)")
    )
    values = graph.tensors()["c"].values
    assert values.dtype == expected.dtype
    np.testing.assert_array_equal(values, expected)


def test_shapes_are_inferred_with_the_batch_s_own_name(samples):
    graph = working.to_graph(samples["residual"].model)
    tensors = graph.tensors()
    assert tensors["c1"].shape == ["N", 6, 16, 16]
    assert tensors["features"].shape == ["N", 6]
    assert tensors["c1"].dtype == np.float32


def test_declared_shapes_are_given_back_as_they_were():
    source = parsed("y = Relu (x)", "float[batch,3,h,w] x", "float[batch,3,h,w] y")
    graph = working.to_graph(source)
    again = working.to_proto(graph, source, 1)
    assert again.graph.input == source.graph.input
    assert again.graph.output == source.graph.output


# --- writing --------------------------------------------------------------------------------------


def test_writing_makes_folders_and_one_file(tmp_path, samples):
    path = tmp_path / "a" / "b" / "model.onnx"
    models.write(samples["residual"].model, path)
    assert onnx.load(path) == samples["residual"].model
    assert list(path.parent.iterdir()) == [path]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_writing_takes_the_place_of_an_older_file(tmp_path, samples):
    path = tmp_path / "model.onnx"
    path.write_text("old")
    models.write(samples["residual"].model, path)
    assert onnx.load(path).graph.name == "residual"


def test_a_place_that_cannot_be_written(tmp_path, samples):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match="cannot write") as caught:
        models.write(samples["residual"].model, tmp_path / "file" / "model.onnx")
    assert (caught.value.code, caught.value.exit_code) == ("not-writable", 2)
    assert "\n" not in caught.value.message


def test_a_folder_of_that_name(tmp_path, samples):
    path = tmp_path / "model.onnx"
    path.mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        models.write(samples["residual"].model, path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_half_written(tmp_path, failure):
    path = tmp_path / "model.onnx"
    path.write_text("old")

    def fail():
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise failure

    with pytest.raises(failure):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_model_too_large_for_one_file_keeps_its_weights_beside_it(tmp_path, samples, monkeypatch):
    monkeypatch.setattr(models, "_PROTO_LIMIT", 1000)
    path = tmp_path / "model.onnx"
    sample = samples["residual"]
    # onnx moves tensors of 1 KiB and more out of the file; this one's kernel has 1296 bytes.
    proto = onnx.ModelProto()
    proto.CopyFrom(sample.model)
    models.write(proto, path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    expected = run(sample.model, sample.feeds)["logits"]
    np.testing.assert_array_equal(run(path, sample.feeds)["logits"], expected)
    assert helper.make_opsetid("", 17) in list(models.read(path).proto.opset_import)
