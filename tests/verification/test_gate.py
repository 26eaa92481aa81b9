"""`fg_onnx.verify`: changed models fail. That good ones pass is in `test_good_models`."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from conftest import SAMPLES
from onnx import helper, numpy_helper

import fg_onnx
from fg_onnx import manifest
from fg_onnx.errors import ModelError


def test_what_cannot_be_seen_is_said():
    sample = SAMPLES["residual"]
    found = fg_onnx.verify(sample.instrument(emit=("saliency",)).model, sample.model)
    assert found.verdict == "undecided"
    assert found.check("saliency").outcome == "not run"
    assert found.to_dict()["verdict"] == "undecided"


# --- planted changes ------------------------------------------------------------------------------


@pytest.fixture
def model():
    return SAMPLES["bn_unfolded"].instrument().model


def failed(model: onnx.ModelProto) -> set[str]:
    found = fg_onnx.verify(model, SAMPLES["bn_unfolded"].model)
    return {check.name for check in found.checks if check.outcome == "failed"}


def weight(model, name):
    return next(w for w in model.graph.initializer if w.name == name)


def test_the_last_bit_of_a_weight(model):
    changed = weight(model, "conv2_weight")
    data = bytearray(changed.raw_data)
    data[0] ^= 1
    changed.raw_data = bytes(data)
    assert "forward" in failed(model)


@pytest.mark.parametrize("site", ["c2", "n1", "n2", "logits"])
def test_a_promoted_default(model, site):
    changed = weight(model, manifest.BIAS + site)
    array = numpy_helper.to_array(changed).copy()
    array.reshape(-1)[0] += 1e-3
    changed.CopyFrom(numpy_helper.from_array(array, changed.name))
    assert "defaults" in failed(model)


def added(model, op_type):
    return [n for n in model.graph.node if n.op_type == op_type and n.name.startswith("fg")]


@pytest.mark.parametrize(
    ("op_type", "other"),
    [("Greater", "Less"), ("Abs", "Relu"), ("ReduceMax", "ReduceMin")],
)
def test_an_operator_of_the_added_part(model, op_type, other):
    node = added(model, op_type)[-1 if op_type != "Greater" else 0]
    node.op_type = other
    assert failed(model)


def test_a_sign_in_the_adjoint(model):
    """Of every Conv or ConvTranspose that was added, its weight's sign."""
    for index, node in enumerate(model.graph.node):
        if not (node.name.startswith("fg") and node.op_type.startswith("Conv")):
            continue
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        operand = changed.graph.node[index].input[1]
        changed.graph.node[index].input[1] = "negated"
        changed.graph.node.insert(index, helper.make_node("Neg", [operand], ["negated"]))
        assert "gradients" in failed(changed), node.name


def test_an_original_output_that_is_changed(model):
    node = next(n for n in model.graph.node if "logits" in n.output)
    node.output[0] = "before"
    for other in model.graph.node:
        other.input[:] = ["before" if name == "logits" else name for name in other.input]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1.001), "by"))
    model.graph.node.append(helper.make_node("Mul", ["before", "by"], ["logits"]))
    assert "forward" in failed(model)


def test_an_attribute_where_a_newer_opset_has_others():
    """Attributes are not compared there, and what comes out is."""
    sample = SAMPLES["old_opset"]
    model = sample.instrument().model
    assert model.opset_import[0].version > sample.model.opset_import[0].version
    node = next(n for n in model.graph.node if n.op_type == "Conv")
    assert not node.name.startswith("fg")
    pads = next(a for a in node.attribute if a.name == "pads")
    pads.ints[:] = [2, 2, 0, 0]
    found = fg_onnx.verify(model, sample.model)
    failed = {check.name for check in found.checks if check.outcome == "failed"}
    assert "outputs" in failed
    assert "forward" not in failed


@pytest.mark.parametrize("names", [("fg_bias/n1", "fg_bias/c2"), ("fg_bias/n1", "fg_bias/n2")])
def test_promoted_inputs_that_are_swapped(model, names):
    swap = dict(zip(names, reversed(names), strict=True))
    for node in model.graph.node:
        node.input[:] = [swap.get(name, name) for name in node.input]
    assert failed(model) >= {"manifest"}


def test_an_output_that_is_missing(model):
    kept = [value for value in model.graph.output if value.name != manifest.SCORE]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    assert failed(model) == {"manifest"}


def test_a_model_that_does_not_load_still_fails_by_its_weights(model):
    changed = weight(model, "conv2_weight")
    array = numpy_helper.to_array(changed)
    changed.CopyFrom(numpy_helper.from_array(np.concatenate([array, array]), changed.name))
    found = fg_onnx.verify(model, SAMPLES["bn_unfolded"].model)
    assert found.verdict == "failed"
    assert found.check("forward").outcome == "failed"
    assert found.check("behaviour").outcome == "not run"


def test_a_model_that_does_not_load_for_what_was_added_is_broken(model):
    next(n for n in model.graph.node if manifest.SALIENCY in n.output).input[0] = "nowhere"
    with pytest.raises(ModelError, match="nowhere"):
        fg_onnx.verify(model, SAMPLES["bn_unfolded"].model)


def test_another_source(model):
    found = fg_onnx.verify(model, SAMPLES["batchnorm_preact"].model)
    assert found.check("source-hash").outcome == "failed"
