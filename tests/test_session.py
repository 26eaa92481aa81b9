"""Running an instrumented model: arrays in, attributions out, errors in one line."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import onnx
import pytest
from conftest import FASHION

from fg_onnx import FgOnnxError, Session
from fg_onnx.errors import InputError, ModelError, RuntimeMissingError, UnsupportedModelError
from fg_onnx.forward import forward_part
from fg_onnx.manifest import EMITS


@pytest.fixture(scope="module")
def everything(samples):
    """A session that emits all there is."""
    return Session(samples["bn_unfolded"].instrument(emit=EMITS))


def images(count=3, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 3, 16, 16)).astype(np.float32)


# --- what comes out -------------------------------------------------------------------------------


def test_an_attribution_has_all_that_was_emitted(everything):
    found = everything.explain(images())
    assert found.scores.shape == found.residual.shape == found.targets.shape == (3,)
    assert found.contributions.shape == (3, 5)
    assert found.saliency.shape == (3, 16, 16)
    assert found.input_gradient.shape == (3, 3, 16, 16)
    assert list(found.bias_gradients) == ["n1", "c2", "n2", "logits"]
    assert list(found.layer_maps) == ["n1", "c2", "n2"]
    assert found.layer_maps["n1"].shape == (3, 16, 16)
    assert list(found.outputs) == ["logits"]
    assert found.manifest == everything.manifest
    assert everything.input_shape == ("N", 3, 16, 16)


def test_what_was_not_emitted_is_none_or_empty(samples):
    found = Session(samples["bn_unfolded"].instrument(emit=())).explain(images())
    assert found.contributions is found.residual is found.saliency is found.input_gradient is None
    assert not found.layer_maps
    assert not found.bias_gradients
    assert found.named_contributions() == {}
    assert found.scores.shape == (3,)


def test_an_attribution_cannot_be_changed(everything):
    found = everything.explain(images())
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.scores = None
    with pytest.raises(TypeError):
        found.outputs["logits"] = None


def test_contributions_by_name(everything):
    found = everything.explain(images())
    named = found.named_contributions(1)
    assert list(named) == ["input", "n1", "c2", "n2", "logits"]
    np.testing.assert_array_equal(np.float32(list(named.values())), found.contributions[1])


def test_scores_are_what_ranks_the_classes(everything, samples):
    ranked = everything.scores(images())
    np.testing.assert_array_equal(ranked, everything.explain(images()).outputs["logits"])
    nhwc = samples["nhwc"]
    session = Session(nhwc.instrument())
    np.testing.assert_allclose(session.scores(nhwc.feeds["x"]).sum(1), 1, rtol=1e-6)  # Softmax


def test_scores_need_nothing_but_the_forward_part(samples, tmp_path):
    """No cotangent, and none of the adjoint's nodes; promoted biases are taken all the same."""
    sample = samples["bn_unfolded"]
    path = sample.instrument(seed=True).save(tmp_path / "seeded.fg.onnx")
    by_seed, plain = Session(path, threads=1), Session(sample.instrument(), threads=1)
    np.testing.assert_array_equal(by_seed.scores(images()), plain.scores(images()))
    changed = {"fg_bias/logits": np.zeros(5, np.float32)}
    gap = plain.scores(images()) - plain.scores(images(), changed)
    assert np.abs(gap).min() > 0.05
    part = forward_part(onnx.load(path), "logits")
    onnx.checker.check_model(part, full_check=True)
    own = [node for node in part.graph.node if not node.name.startswith("fg/")]
    assert [node.op_type for node in own] == [node.op_type for node in sample.model.graph.node]
    assert all(n.name.startswith("fg/forward/") for n in part.graph.node if n not in own)
    assert "fg_seed" not in [value.name for value in part.graph.input]


def test_the_forward_part_keeps_what_branches_read():
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[N,2] x, bool flag) => (float[N,2] y, float[N,2] z)
        <float a = {2.0}, float b = {3.0}, float c = {4.0}> {
            inner = Mul (x, a)
            y = If (flag) <
                then_branch = yes () => (float[N,2] t) { t = Add (inner, b) },
                else_branch = no () => (float[N,2] e) { e = Identity (inner) }
            >
            z = Mul (x, c)
        }
    """)
    part = forward_part(model, "y")
    onnx.checker.check_model(part, full_check=True)
    assert [tensor.name for tensor in part.graph.initializer] == ["a", "b"]
    assert [node.op_type for node in part.graph.node] == ["Mul", "If"]


def test_an_inner_tensor_has_no_ranking(samples):
    sample = samples["bn_unfolded"]
    session = Session(sample.instrument(output="features"))
    assert session.explain(images(), 2).targets.tolist() == [2, 2, 2]
    with pytest.raises(InputError, match="no ranking"):
        session.scores(images())


def test_a_file_and_the_object_are_the_same_model(samples, tmp_path):
    instrumented = samples["bn_unfolded"].instrument()
    path = instrumented.save(tmp_path / "m.fg.onnx")
    found = [
        Session(model, threads=1).explain(images()) for model in (path, str(path), instrumented)
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(other.contributions, found[0].contributions)
        np.testing.assert_array_equal(other.saliency, found[0].saliency)


def test_arrays_of_other_float_types_and_lists_are_taken(everything):
    expected = everything.explain(images(1)).scores
    for given in (images(1).astype(np.float64), images(1).tolist()):
        np.testing.assert_array_equal(everything.explain(given).scores, expected)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (None, None),
        (2, [2, 2, 2]),
        ([4], [4, 4, 4]),
        ([0, 4, 1], [0, 4, 1]),
        (np.int32(3), [3] * 3),
    ],
)
def test_targets(everything, target, expected):
    found = everything.explain(images(), target)
    expected = found.outputs["logits"].argmax(1) if expected is None else expected
    assert found.targets.tolist() == list(expected)


def test_promoted_biases_are_fed_by_name(everything):
    found = everything.explain(images(), 1)
    more = everything.explain(images(), 1, feeds={"fg_bias/logits": np.zeros(5, np.float32)})
    # f = pooled + b: exact up to the rounding of one addition
    gap = found.scores - more.scores
    np.testing.assert_allclose(gap, found.contributions[:, 4], atol=1e-6)
    assert np.abs(gap).min() > 0.1


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [
        (3, 16, 16),
        (1, 1, 16, 16),
        (1, 3, 17, 16),
        (1, 16, 16, 3),
        (0, 3, 16, 16),
        (1, 3, 16, 16, 1),
    ],
)
def test_an_array_of_another_shape(everything, shape):
    with pytest.raises(InputError, match=r"of shape \['N', 3, 16, 16\]") as caught:
        everything.explain(np.zeros(shape, np.float32))
    assert (caught.value.code, caught.value.exit_code) == ("wrong-shape", 2)
    assert str(list(shape)) in caught.value.message
    with pytest.raises(InputError):
        everything.scores(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("abc", "`x` is to be fed numbers of float32, not <U3"),
        (None, "`x` is to be fed numbers of float32, not object"),
        ([[1.0, 2.0], [3.0]], "`x` is no array"),
        (np.ones((1, 3, 16, 16), np.complex64), "numbers of float32, not complex64"),
        (np.full((1, 3, 16, 16), "1"), "numbers of float32, not <U1"),
    ],
    ids=["text", "nothing", "ragged", "complex", "digits"],
)
def test_what_is_no_array_of_numbers(everything, given, words):
    for run in (everything.explain, everything.explain_on_device, everything.scores):
        with pytest.raises(InputError, match=words) as caught:
            run(given)
        assert caught.value.hint
    with pytest.raises(InputError, match="`fg_bias/n1` is no array"):
        everything.explain(images(), feeds={"fg_bias/n1": [[1.0, 2.0], [3.0]]})


@pytest.mark.parametrize("target", ["x", 1.7, [0, 1.5, 2], True, 10**30, 1j, np.float32(2)])
def test_a_target_that_is_no_whole_number(everything, target):
    with pytest.raises(InputError, match="a target is the number of a score, not ") as caught:
        everything.explain(images(), target)
    assert caught.value.code == "wrong-targets"
    assert "whole numbers" in caught.value.hint
    with pytest.raises(InputError, match="`target` is no array"):
        everything.explain(images(), [[0, 1], [2]])


@pytest.mark.parametrize("target", [5, -2, [0, 5, 1], 10**12, np.uint64(2**64 - 1)])
def test_a_target_out_of_range(everything, target):
    with pytest.raises(InputError, match="out of range: the model has 5 scores") as caught:
        everything.explain(images(), target)
    assert caught.value.code == "target-range"
    assert "0 to 4" in caught.value.hint


@pytest.mark.parametrize("target", [[0, 1], [], [[0], [1], [2]]])
def test_another_number_of_targets_than_images(everything, target):
    with pytest.raises(InputError) as caught:
        everything.explain(images(), target)
    assert caught.value.code == "wrong-targets"


def test_a_seed_where_none_is_taken_and_none_where_it_is(everything, samples):
    with pytest.raises(InputError) as caught:
        everything.explain(images(), seed=np.ones((3, 5)))
    assert caught.value.code == "no-seed-input"
    by_seed = Session(samples["bn_unfolded"].instrument(seed=True))
    with pytest.raises(InputError) as caught:
        by_seed.explain(images())
    assert caught.value.code == "no-seed"
    assert by_seed.explain(images(), seed=np.ones((3, 5))).targets is None


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({"fg_bias/n1": np.zeros(7, np.float32)}, "does not run on this input"),
        ({"fg_bias/n1": np.full(6, "a")}, "`fg_bias/n1` is to be fed float32, not <U1"),
        ({"nothing": np.zeros(1, np.float32)}, "no input `nothing`"),
    ],
)
def test_a_feed_that_does_not_fit(everything, feeds, words):
    with pytest.raises(InputError, match=words) as caught:
        everything.explain(images(), feeds=feeds)
    assert "\n" not in caught.value.message


def test_a_missing_second_input(samples):
    session = Session(samples["two_inputs"].instrument())
    with pytest.raises(InputError, match="extra"):
        session.explain(images())


def test_a_provider_that_is_missing(samples):
    with pytest.raises(RuntimeMissingError, match="NoSuchProvider") as caught:
        Session(samples["residual"].instrument(), providers=["NoSuchProvider"])
    assert caught.value.code == "no-provider"
    assert "CPUExecutionProvider" in caught.value.hint


@pytest.mark.parametrize(
    "providers",
    ["CPUExecutionProvider", [1], [("CPUExecutionProvider",)], [("CPUExecutionProvider", "x")]],
)
def test_providers_that_are_no_list_of_them(samples, providers):
    with pytest.raises(InputError, match="is no sequence of execution providers") as caught:
        Session(samples["residual"].instrument(), providers=providers)
    assert caught.value.code == "not-providers"
    assert '["CPUExecutionProvider"]' in caught.value.hint


def test_no_runtime_at_all(samples, monkeypatch):
    def without(name, *rest):
        if name == "onnxruntime":
            raise ModuleNotFoundError("No module named 'onnxruntime'")
        return original(name, *rest)

    original = importlib.import_module
    instrumented = samples["residual"].instrument()
    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(RuntimeMissingError, match="cannot be imported") as caught:
        Session(instrumented)
    assert "fg-onnx[cpu]" in caught.value.hint
    assert "fg-onnx[gpu]" in caught.value.hint


def test_a_plain_model():
    with pytest.raises(UnsupportedModelError, match="not an instrumented model") as caught:
        Session(FASHION)
    assert caught.value.code == "not-instrumented"
    assert "fg-onnx instrument" in caught.value.hint


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_a_file_that_is_no_model(tmp_path, content):
    path = tmp_path / "m.fg.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        Session(path)
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message


def test_a_manifest_of_another_version(samples, tmp_path):
    instrumented = samples["residual"].instrument()
    (entry,) = instrumented.model.metadata_props
    entry.value = entry.value.replace('"schema_version": 1', '"schema_version": 99')
    path = instrumented.save(tmp_path / "m.fg.onnx")
    with pytest.raises(FgOnnxError, match="schema version 99"):
        Session(path)
    entry.value = "{"
    instrumented.save(path)
    with pytest.raises(FgOnnxError, match="not JSON"):
        Session(path)


def test_a_fixed_batch_above_one(samples):
    sample = samples["residual"]
    model = type(sample.model)()
    model.CopyFrom(sample.model)
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = 2
    import fg_onnx

    session = Session(fg_onnx.instrument(model))
    assert session.explain(images(2)).scores.shape == (2,)
    with pytest.raises(InputError, match="batches of 2, not 3"):
        session.explain(images(3))
