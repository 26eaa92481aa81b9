"""What an instrumented model promises (DESIGN, section 3), on every small sample and every export.

Unless an argument is given beside one, a tolerance is `ROUNDING`.
"""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from conftest import SAMPLES, noise, run
from onnx import helper, numpy_helper

from fg_onnx import FgOnnxError, Manifest, Session, instrument, manifest
from fg_onnx.manifest import EMITS

# Sums of at most some thousand float32 products, in another order: sqrt(1000) * 2^-24 = 2e-6 of the
# terms added, which cancel to a fifth at worst here. The issue's own bound for outputs. Measured:
# 6e-7 (dynamic_batch) on the samples, 2e-6 on the exports.
ROUNDING = 1e-5


def close(actual, expected, tolerance=ROUNDING):
    """Equal up to ``tolerance`` of the largest entry."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * max(np.abs(expected).max(), 1e-30)


def names(values):
    return [value.name for value in values]


def original_inputs(model):
    """Before IR 4 every weight was listed too, which meant nothing."""
    held = {weight.name for weight in model.graph.initializer} if model.ir_version < 4 else ()
    return [value for value in model.graph.input if value.name not in held]


def default(model, name):
    (weight,) = (weight for weight in model.graph.initializer if weight.name == name)
    return numpy_helper.to_array(weight)


# --- form ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"seed": True}, {"freeze_biases": True}, {"emit": EMITS}])
def test_checks_and_holds_standard_operators_only(sample, options):
    model = sample.instrument(**options).model
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert not model.functions
    run(model, {**sample.feeds, **_any_seed(sample, options)})


def _any_seed(sample, options):
    if not options.get("seed"):
        return {}
    (shape,) = (
        [
            dim.dim_value or len(sample.feeds[sample.image])
            for dim in value.type.tensor_type.shape.dim
        ]
        for value in sample.instrument(**options).model.graph.input
        if value.name == manifest.SEED
    )
    return {manifest.SEED: np.ones(shape, np.float32)}


def test_inputs_and_outputs_in_the_order_of_the_contract(sample):
    instrumented = sample.instrument()
    source, model, sites = sample.model, instrumented.model, instrumented.manifest.sites
    inputs, outputs = original_inputs(source), list(source.graph.output)
    assert list(model.graph.input)[: len(inputs)] == inputs
    assert list(model.graph.output)[: len(outputs)] == outputs
    promoted = [f"fg_bias/{site.name}" for site in sites if site.promoted_input]
    assert names(model.graph.input)[len(inputs) :] == [*promoted, "fg_target"]
    added = ["fg_score", "fg_contributions", "fg_saliency", "fg_explained"]
    assert names(model.graph.output)[len(outputs) :] == added


@pytest.mark.parametrize(
    "emit", [*itertools.combinations(EMITS, 1), (), EMITS, EMITS[::-1], EMITS[2:]]
)
def test_emits_what_was_asked_for_and_nothing_else(samples, emit):
    sample = samples["bn_unfolded"]
    instrumented = sample.instrument(emit=emit)
    sites = [site.name for site in instrumented.manifest.sites]
    spatial = [site.name for site in instrumented.manifest.sites if site.spatial]
    assert sites == ["n1", "c2", "n2", "logits"]
    assert spatial == ["n1", "c2", "n2"]
    groups = {
        "contributions": ["fg_contributions"],
        "saliency": ["fg_saliency"],
        "input-gradient": ["fg_input_gradient"],
        "layer-maps": [f"fg_layer_map/{name}" for name in spatial],
        "bias-gradients": [f"fg_bias_gradient/{name}" for name in sites],
    }
    wanted = [name for kind, group in groups.items() if kind in emit for name in group]
    outputs = names(instrumented.model.graph.output)
    assert outputs == ["logits", "fg_score", *wanted, "fg_explained"]
    assert instrumented.manifest.emits == tuple(kind for kind in EMITS if kind in emit)


def test_declared_shapes_and_types_are_those_that_come_out(sample):
    instrumented = sample.instrument(emit=EMITS)
    found = run(instrumented.model, sample.feeds)
    n = len(sample.feeds[sample.image])
    for value in instrumented.model.graph.output:
        array, kind = found[value.name], value.type.tensor_type
        assert helper.np_dtype_to_tensor_dtype(array.dtype) == kind.elem_type
        assert array.ndim == len(kind.shape.dim)
        for size, dim in zip(array.shape, kind.shape.dim, strict=True):
            assert dim.dim_value in (0, size)
            assert not dim.dim_param or size == n
    sites = {site.name: site for site in instrumented.manifest.sites}
    size = [sample.feeds[sample.image].shape[axis] for axis in _grid(instrumented.manifest)]
    assert found["fg_score"].shape == found["fg_explained"].shape == (n,)
    assert found["fg_explained"].dtype == np.int64
    assert found["fg_contributions"].shape == (n, 1 + len(sites))
    assert found["fg_saliency"].shape == (n, 1, *size)
    assert found["fg_input_gradient"].shape == sample.feeds[sample.image].shape
    for name, site in sites.items():
        array = found[f"fg_bias_gradient/{name}"]
        assert array.shape == tuple(n if isinstance(d, str) else d for d in site.shape)
        assert (f"fg_layer_map/{name}" in found) == site.spatial
        if site.spatial:
            grid = tuple(array.shape[axis] for axis in site.spatial_axes)
            assert found[f"fg_layer_map/{name}"].shape == (n, 1, *grid)


def _grid(found: Manifest) -> tuple[int, int]:
    return (2, 3) if found.layout == "nchw" else (1, 2)


def test_site_tensors_and_nodes_are_those_of_the_source(sample):
    made = {name: node for node in sample.model.graph.node for name in node.output}
    for site in sample.instrument().manifest.sites:
        assert made[site.tensor].op_type == site.op
        assert made[site.tensor].name == site.node


def test_source_keeps_its_documentation_and_is_not_changed(samples, tmp_path):
    source = onnx.ModelProto()
    source.CopyFrom(samples["residual"].model)
    source.metadata_props.add(key="author", value="someone")
    source.producer_version, source.model_version, source.domain = "3", 7, "org.example"
    source.graph.doc_string = "of the graph"
    source.graph.input[0].doc_string = "RGB"
    source.graph.output[0].doc_string = "before the softmax"
    source.opset_import.add(domain="org.example", version=4)
    source.graph.node[0].doc_string = "the stem"
    source.graph.node[0].metadata_props.add(key="scope", value="features.0")
    before = source.SerializeToString()
    model = instrument(source).model
    assert source.SerializeToString() == before
    for field in ("producer_name", "producer_version", "model_version", "domain", "doc_string"):
        assert getattr(model, field) == getattr(source, field)
    assert model.graph.name == source.graph.name
    assert model.graph.doc_string == "of the graph"
    assert model.graph.input[0].doc_string == "RGB"
    assert model.graph.output[0].doc_string == "before the softmax"
    assert list(model.opset_import) == list(source.opset_import)
    assert {p.key: p.value for p in model.metadata_props}["author"] == "someone"
    (stem,) = (node for node in model.graph.node if node.doc_string == "the stem")
    assert stem.op_type == "Conv"
    assert {p.key: p.value for p in stem.metadata_props} == {"scope": "features.0"}


def test_manifest_comes_back_from_the_file(sample, tmp_path):
    instrumented = sample.instrument(labels=["a", "ü", "c"], emit=("contributions",))
    path = instrumented.save(tmp_path / "model.fg.onnx")
    assert manifest.find(onnx.load(path)) == instrumented.manifest
    assert Session(path).manifest == instrumented.manifest
    assert Manifest.from_dict(instrumented.manifest.to_dict()) == instrumented.manifest
    assert list(tmp_path.iterdir()) == [path]


def test_instrumenting_twice_is_refused(samples):
    once = samples["residual"].instrument()
    with pytest.raises(FgOnnxError, match="instrumented already") as caught:
        instrument(once.model)
    assert caught.value.code == "already-instrumented"


# --- the original outputs -------------------------------------------------------------------------


def test_original_outputs_keep_their_values(sample):
    expected = run(sample.model, sample.feeds)
    found = run(sample.instrument().model, sample.feeds)
    for name, value in expected.items():
        close(found[name], value)


def test_original_outputs_are_bit_exact_where_the_forward_nodes_are_untouched(sample):
    # Without graph optimisation the runtime computes node by node. Promoting a bias leaves its node
    # as it is; promoting a shift rewrites BatchNormalization to mean 0.
    expected = run(sample.model, sample.feeds, optimise=False)
    frozen = run(sample.instrument(freeze_biases=True).model, sample.feeds, optimise=False)
    instrumented = sample.instrument()
    promoted = run(instrumented.model, sample.feeds, optimise=False)
    shifts = any(site.kind == "batchnorm" for site in instrumented.manifest.sites)
    for name, value in expected.items():
        np.testing.assert_array_equal(frozen[name], value)
        if shifts:
            close(promoted[name], value)
        else:
            np.testing.assert_array_equal(promoted[name], value)


def test_frozen_biases_give_the_same_numbers_without_inputs(sample):
    frozen, promoted = sample.instrument(freeze_biases=True), sample.instrument()
    assert names(frozen.model.graph.input) == [*names(original_inputs(sample.model)), "fg_target"]
    assert all(site.promoted_input is None for site in frozen.manifest.sites)
    assert frozen.manifest.frozen_biases
    found, expected = (run(each.model, sample.feeds) for each in (frozen, promoted))
    assert list(found) == list(expected)
    for name, value in expected.items():
        close(found[name], value)


# --- fg_target ------------------------------------------------------------------------------------


def test_target_defaults_to_the_predicted_class(sample):
    instrumented = sample.instrument(emit=EMITS)
    found = run(instrumented.model, sample.feeds)
    logits = _explained_tensor(sample, instrumented)
    np.testing.assert_array_equal(found["fg_explained"], logits.argmax(1))
    close(found["fg_score"], logits.max(1))
    for target in ([-1], [-1] * len(logits), found["fg_explained"]):
        again = run(instrumented.model, {**sample.feeds, "fg_target": np.int64(target)})
        for name, value in found.items():
            np.testing.assert_array_equal(again[name], value)


def _explained_tensor(sample, instrumented):
    model = onnx.ModelProto()
    model.CopyFrom(sample.model)
    name = instrumented.manifest.output
    if name not in names(model.graph.output):
        model.graph.output.append(helper.make_tensor_value_info(name, 1, None))
    return run(model, sample.feeds)[name]


def test_one_target_for_all_or_one_for_each(sample):
    instrumented = sample.instrument(emit=EMITS)
    n, classes = len(sample.feeds[sample.image]), instrumented.manifest.scores
    singles = [
        run(instrumented.model, {**sample.feeds, "fg_target": np.int64([k])})
        for k in range(classes)
    ]
    logits = _explained_tensor(sample, instrumented)
    targets = np.arange(n)[::-1] % classes
    each = run(instrumented.model, {**sample.feeds, "fg_target": targets})
    np.testing.assert_array_equal(each["fg_explained"], targets)
    for k, single in enumerate(singles):
        np.testing.assert_array_equal(single["fg_explained"], [k] * n)
        close(single["fg_score"], logits[:, k])
    for name in set(each) - set(names(sample.model.graph.output)):
        for image, target in enumerate(targets):
            np.testing.assert_array_equal(each[name][image], singles[target][name][image])


# --- inputs with a default of the source's own ----------------------------------------------------


def listed(source, reverse=False):
    """The model with all of its float initializers as default-valued inputs, before or after x."""
    model = onnx.ModelProto()
    model.CopyFrom(source)
    own = [
        helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
        for weight in source.graph.initializer
        if weight.data_type == onnx.TensorProto.FLOAT
    ]
    del model.graph.input[:]
    model.graph.input.extend(
        [*own, *source.graph.input] if reverse else [*source.graph.input, *own]
    )
    return model, [value.name for value in own]


def with_value(source, name, value):
    model = onnx.ModelProto()
    model.CopyFrom(source)
    (weight,) = (weight for weight in model.graph.initializer if weight.name == name)
    weight.CopyFrom(numpy_helper.from_array(value, name))
    return model


# The VGG holds nothing that the tiny models do not, and takes as long as all of them.
LISTABLE = [n for n, s in SAMPLES.items() if s.model.ir_version >= 4 and n != "fashion_vgg"]


@pytest.mark.parametrize("name", LISTABLE)
def test_inputs_with_a_default_stay_and_may_be_fed(samples, name):
    sample = samples[name]
    source, own = listed(sample.model, reverse=True)
    instrumented = instrument(source)
    count = len(source.graph.input)
    assert list(instrumented.model.graph.input[:count]) == list(source.graph.input)
    plain = run(instrument(sample.model, freeze_biases=True).model, sample.feeds)
    for output, value in run(instrumented.model, sample.feeds).items():
        close(value, plain[output])
    for weight in own:
        value = default(source, weight)
        changed = value * np.float32(1.25) + np.float32(0.05)
        found = run(instrumented.model, {**sample.feeds, weight: changed})
        edited = with_value(sample.model, weight, changed)
        for output, value in run(
            instrument(edited, freeze_biases=True).model, sample.feeds
        ).items():
            close(found[output], value)


def test_defaults_can_be_frozen(samples):
    sample = samples["bn_unfolded"]
    source, own = listed(sample.model)
    frozen = instrument(source, freeze_defaults=True)
    assert not set(own) & {value.name for value in frozen.model.graph.input}
    assert frozen.manifest.sites == sample.instrument().manifest.sites


# --- fg_bias --------------------------------------------------------------------------------------


def with_offset(source, site, change):
    """The source with ``change`` of the offset at one node, told apart by what it computes."""
    model = onnx.ModelProto()
    model.CopyFrom(source)
    weights = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    alias = {}
    for node in model.graph.node:
        if node.op_type == "Constant":
            (attribute,) = node.attribute
            value = helper.get_attribute_value(attribute)
            is_tensor = isinstance(value, onnx.TensorProto)
            weights[node.output[0]] = (
                numpy_helper.to_array(value) if is_tensor else np.float32(value)
            )
        if node.op_type == "Identity":
            alias[node.output[0]] = node.input[0]
    (node,) = (node for node in model.graph.node if site.tensor in node.output)
    operand = 2 if node.op_type in ("Conv", "Gemm", "BatchNormalization") else None
    if operand is None:
        (operand,) = (i for i, name in enumerate(node.input) if name in weights)
    trained = weights[alias.get(node.input[operand], node.input[operand])]
    changed = numpy_helper.from_array((trained + change).astype(np.float32), "changed")
    model.graph.initializer.append(changed)
    if model.ir_version < 4:
        model.graph.input.append(helper.make_tensor_value_info("changed", 1, changed.dims))
    node.input[operand] = "changed"
    return model, trained


def test_promoted_defaults_are_the_trained_values(sample):
    instrumented = sample.instrument()
    weights = {
        weight.name: numpy_helper.to_array(weight) for weight in sample.model.graph.initializer
    }
    for site in instrumented.manifest.sites:
        if site.promoted_input is None:
            continue
        promoted = default(instrumented.model, site.promoted_input)
        _, trained = with_offset(sample.model, site, 0)
        if site.kind == "bias":
            np.testing.assert_array_equal(promoted, trained)
        elif sample.name == "bn_unfolded":
            scale, bias, mean, var = (
                weights[f"b{site.name}_{part}"].astype(np.float64)
                for part in ("scale", "bias", "mean", "var")
            )
            epsilon = {"n1": 1e-3, "n2": 1e-5}[site.name]
            shift = bias - mean * scale / np.sqrt(var + epsilon)
            np.testing.assert_array_equal(promoted, shift.astype(np.float32))


def test_every_site_with_a_constant_offset_is_promoted(sample):
    for site in sample.instrument().manifest.sites:
        fed = (sample.name, site.name) == ("two_inputs", "joined")  # its offset is another input
        assert (site.promoted_input is None) == (site.kind == "implicit" or fed)


def test_feeding_a_bias_is_editing_the_source(sample):
    instrumented = sample.instrument()
    for site in instrumented.manifest.sites:
        if site.promoted_input is None:
            continue
        trained = default(instrumented.model, site.promoted_input)
        change = np.random.default_rng(1).uniform(-0.3, 0.3, trained.shape).astype(np.float32)
        edited, _ = with_offset(sample.model, site, change)
        expected = run(edited, sample.feeds)
        before = run(sample.model, sample.feeds)
        found = run(
            instrumented.model, {**sample.feeds, site.promoted_input: np.asarray(trained + change)}
        )
        for name, value in expected.items():
            close(found[name], value)
        changed = max(np.abs(expected[name] - before[name]).max() for name in expected)
        assert changed > 1e-3, f"{site.name} is of no effect: the test shows nothing"


def test_without_biases_the_score_is_the_input_term_alone(sample):
    # Degree-1 homogeneity needs all offsets gone: nets with implicit or fed ones are left out.
    instrumented = sample.instrument(emit=EMITS)
    sites = instrumented.manifest.sites
    if not all(site.promoted_input for site in sites):
        pytest.skip("an offset cannot be fed")
    zeros = {
        site.promoted_input: np.zeros_like(default(instrumented.model, site.promoted_input))
        for site in sites
    }
    target = {"fg_target": np.int64([0])}
    found = run(instrumented.model, {**sample.feeds, **zeros, **target})
    c = found["fg_contributions"]
    np.testing.assert_array_equal(c[:, 1:], 0)
    close(c[:, 0], found["fg_score"])
    doubled = {sample.image: 2 * sample.feeds[sample.image]}
    twice = run(instrumented.model, {**sample.feeds, **zeros, **target, **doubled})
    np.testing.assert_array_equal(twice["fg_score"], 2 * found["fg_score"])  # powers of two: exact
    np.testing.assert_array_equal(twice["fg_input_gradient"], found["fg_input_gradient"])


# --- fg_seed --------------------------------------------------------------------------------------


def test_a_one_hot_seed_is_a_target(sample):
    by_seed, by_target = sample.instrument(seed=True, emit=EMITS), sample.instrument(emit=EMITS)
    assert "fg_target" not in names(by_seed.model.graph.input)
    assert "fg_explained" not in names(by_seed.model.graph.output)
    n, classes = len(sample.feeds[sample.image]), by_seed.manifest.scores
    one_hot = np.zeros((n, classes), np.float32)
    one_hot[:, classes - 1] = 1
    found = run(by_seed.model, {**sample.feeds, "fg_seed": one_hot})
    expected = run(by_target.model, {**sample.feeds, "fg_target": np.int64([classes - 1])})
    assert {*expected} - {*found} == {"fg_explained"}
    for name, value in found.items():
        close(value, expected[name])


def test_gradients_are_linear_in_the_seed(sample):
    emit = ("contributions", "input-gradient", "bias-gradients")
    instrumented = sample.instrument(seed=True, emit=emit)
    n, classes = len(sample.feeds[sample.image]), instrumented.manifest.scores
    a, b = np.random.default_rng(2).standard_normal((2, n, classes)).astype(np.float32)
    of_a, of_b, of_both = (
        run(instrumented.model, {**sample.feeds, "fg_seed": seed}) for seed in (a, b, 2 * a - b)
    )
    for name in set(of_a) - set(names(sample.model.graph.output)):
        scale = np.abs(of_a[name]).max() + np.abs(of_b[name]).max()
        gap = np.abs(of_both[name] - (2 * of_a[name] - of_b[name])).max()
        assert gap <= ROUNDING * scale


# --- batches --------------------------------------------------------------------------------------


def test_n_images_at_once_give_what_single_runs_give(sample):
    # Not bit-exact: the runtime splits its matrix products by the batch size.
    instrumented = sample.instrument(emit=EMITS)
    session = Session(instrumented)
    together = sample.explain(session)
    n = len(together.scores)
    for image in range(n):
        feeds = {name: value[image : image + 1] for name, value in sample.feeds.items()}
        alone = run(instrumented.model, feeds)
        close(alone["fg_score"], together.scores[image : image + 1])
        close(alone["fg_contributions"][0], together.contributions[image])
        close(alone["fg_input_gradient"][0], together.input_gradient[image])
        close(alone["fg_saliency"][0, 0], together.saliency[image])
        for name, value in together.bias_gradients.items():
            close(alone[f"fg_bias_gradient/{name}"][0], value[image])
        for name, value in together.layer_maps.items():
            close(alone[f"fg_layer_map/{name}"][0, 0], value[image])


def test_dynamic_batch_stays_dynamic(sample):
    first = sample.model.graph.input[0].type.tensor_type.shape.dim[0]
    if not first.dim_param:
        pytest.skip("the batch is fixed")
    model = sample.instrument(emit=EMITS).model
    batch = {
        value.name: value.type.tensor_type.shape.dim[0]
        for value in [*model.graph.input, *model.graph.output]
        if value.name != "prior" and not value.name.startswith("fg_bias/")
    }
    assert batch.pop("fg_target").dim_param  # 1 or N
    assert {dim.dim_param for dim in batch.values()} == {first.dim_param}
    for n in (1, 2, 5):
        assert run(model, noise(sample.model, n))["fg_score"].shape == (n,)


def test_a_fixed_batch_of_one_is_run_image_by_image(samples):
    sample = samples["fixed_batch"]
    session = Session(sample.instrument(emit=EMITS))
    images = np.random.default_rng(3).standard_normal((3, 3, 16, 16)).astype(np.float32)
    targets = [2, -1, 0]
    together = session.explain(images, targets)
    assert together.saliency.shape == (3, 16, 16)
    for image in range(3):
        alone = session.explain(images[image : image + 1], targets[image])
        np.testing.assert_array_equal(together.targets[image], alone.targets[0])
        np.testing.assert_array_equal(together.contributions[image], alone.contributions[0])
        np.testing.assert_array_equal(together.saliency[image], alone.saliency[0])
    assert together.targets[[0, 2]].tolist() == [2, 0]


# --- hazards --------------------------------------------------------------------------------------


def sites(instrumented):
    return [(site.name, site.kind, site.op) for site in instrumented.manifest.sites]


def test_behind_a_softmax_the_logits_are_explained(samples):
    instrumented = samples["nhwc"].instrument()
    found = instrumented.manifest
    assert (found.output, found.ranking) == ("logits", "probabilities")
    assert "Softmax" in found.output_reason


def test_nhwc_gradient_in_the_layout_of_the_input_and_map_as_always(samples):
    sample = samples["nhwc"]
    instrumented = sample.instrument(emit=EMITS)
    found = run(instrumented.model, sample.feeds)
    assert instrumented.manifest.layout == "nhwc"
    assert found["fg_input_gradient"].shape == (3, 16, 16, 3)
    assert found["fg_saliency"].shape == (3, 1, 16, 16)
    assert sites(instrumented) == [("c1", "bias", "Conv"), ("logits", "bias", "Add")]
    # The same net written in NCHW has the same map.
    turned = _without_first_transpose(sample.model)
    expected = run(
        instrument(turned, emit=EMITS).model, {"nchw": sample.feeds["x"].transpose(0, 3, 1, 2)}
    )
    close(found["fg_saliency"], expected["fg_saliency"])
    close(found["fg_contributions"], expected["fg_contributions"])
    close(found["fg_input_gradient"].transpose(0, 3, 1, 2), expected["fg_input_gradient"])


def _without_first_transpose(source):
    model = onnx.ModelProto()
    model.CopyFrom(source)
    (transpose,) = (node for node in model.graph.node if node.op_type == "Transpose")
    model.graph.node.remove(transpose)
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info("nchw", 1, ["N", 3, 16, 16]))
    return model


def test_a_second_input_is_passed_through_and_counts_as_an_offset(samples):
    sample = samples["two_inputs"]
    instrumented = sample.instrument(emit=EMITS)
    assert instrumented.manifest.input == "x"
    found = run(instrumented.model, sample.feeds)
    # logits = W [features, extra] + b, so the term of `extra` is W[k, 6:] . extra
    weights = default(instrumented.model, "joint_weight")
    k = found["fg_explained"]
    close(found["fg_contributions"][:, 2], (weights[k][:, 6:] * sample.feeds["extra"]).sum(1))


def test_a_dead_branch_has_no_site(samples):
    instrumented = samples["dead_branch"].instrument()
    assert sites(instrumented) == [("c1", "bias", "Conv"), ("logits", "bias", "Gemm")]


def test_shared_weights_are_promoted_once_for_each_use(samples):
    sample = samples["shared_weights"]
    instrumented = sample.instrument(emit=EMITS)
    assert [name for name, *_ in sites(instrumented)] == ["c1", "c2", "c3", "logits"]
    base = run(instrumented.model, sample.feeds)
    shared = default(instrumented.model, "fg_bias/c2")
    np.testing.assert_array_equal(shared, default(instrumented.model, "fg_bias/c3"))
    # A change of the later use alone leaves the earlier one's activations alone: only the score and
    # cotangents move, and `test_feeding_a_bias_is_editing_the_source` has the values.
    changed = [
        run(instrumented.model, {**sample.feeds, f"fg_bias/{name}": shared + np.float32(0.1)})
        for name in ("c2", "c3")
    ]
    assert np.abs(changed[0]["logits"] - changed[1]["logits"]).max() > 1e-3
    assert not np.allclose(base["fg_bias_gradient/c2"].sum(), base["fg_bias_gradient/c3"].sum())


def test_aliases_are_promoted_apart(samples):
    instrumented = samples["aliasing_identity"].instrument()
    kinds = [(name, kind) for name, kind, _ in sites(instrumented)]
    assert kinds == [
        ("c1", "bias"), ("c2", "bias"), ("c3", "bias"), ("n3", "batchnorm"), ("logits", "bias"),
    ]  # fmt: skip


def test_constant_nodes_are_promoted_as_initializers_are(samples):
    found = sites(samples["constant_node_weights"].instrument())
    assert [kind for _, kind, _ in found] == ["bias", "batchnorm", "bias"]


def test_batchnorm_on_weights_is_no_site(samples):
    instrumented = samples["bn_on_weights"].instrument()
    assert sites(instrumented) == [("c1", "bias", "Conv"), ("logits", "bias", "Gemm")]


def test_an_old_opset_is_raised_to_17(samples):
    sample = samples["old_opset"]
    instrumented = sample.instrument()
    assert [(e.domain, e.version) for e in instrumented.model.opset_import] == [("", 17)]
    assert instrumented.model.ir_version >= 8
    expected, found = run(sample.model, sample.feeds), run(instrumented.model, sample.feeds)
    close(found["logits"], expected["logits"])
    assert [kind for _, kind, _ in sites(instrumented)] == ["bias", "batchnorm", "implicit", "bias"]


@pytest.mark.parametrize("opset", [18, 19, 20, 21])
def test_an_opset_can_be_asked_for(sample, opset):
    instrumented = sample.instrument(opset=opset, emit=EMITS)
    assert instrumented.model.opset_import[0].version == opset
    onnx.checker.check_model(instrumented.model, full_check=True)
    base, found = (
        run(each.model, sample.feeds) for each in (sample.instrument(emit=EMITS), instrumented)
    )
    assert list(base) == list(found)
    for name, value in base.items():
        close(found[name], value)


def test_a_subtraction_in_the_graph_is_a_site_with_its_sign():
    source = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[N,3,8,8] x) => (float[N,3] logits) {
            mean = Constant <value = float[1,3,1,1] {0.5, 0.4, -0.3}> ()
            std = Constant <value = float[1,3,1,1] {0.2, 0.3, 0.25}> ()
            centred = Sub (x, mean)
            scaled = Div (centred, std)
            r = Relu (scaled)
            p = GlobalAveragePool (r)
            logits = Flatten (p)
        }
    """)
    instrumented = instrument(source, emit=EMITS)
    assert sites(instrumented) == [("centred", "bias", "Sub")]
    mean = np.float32([0.5, 0.4, -0.3])
    np.testing.assert_array_equal(np.ravel(default(instrumented.model, "fg_bias/centred")), mean)
    feeds = {**noise(source), "fg_target": np.int64([1])}
    found = run(instrumented.model, feeds)
    on = feeds["x"][:, 1] > mean[1]
    # f = mean over positions of relu((x - 0.4) / 0.3), so the bias-gradient is -0.4 / 0.3 / 64
    close(found["fg_bias_gradient/centred"][:, 1], on * (-mean[1] / np.float32(0.3) / 64))
    close(found["fg_contributions"].sum(1), found["fg_score"])


def test_local_functions_are_inlined():
    source = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17, "local": 1]>
        net (float[N,3,8,8] x) => (float[N,4] logits)
        <float[4,3,3,3] w, float[4] b> {
            h = local.block <k = 3> (x, w, b)
            p = GlobalAveragePool (h)
            logits = Flatten (p)
        }
        <domain: "local", opset_import: ["": 17]>
        block <k> (x, w, b) => (y) {
            c = Conv <pads = [1,1,1,1]> (x, w, b)
            y = Relu (c)
        }
    """)
    draws = np.random.default_rng(0)
    for name, shape in {"w": (4, 3, 3, 3), "b": (4,)}.items():
        weight = draws.standard_normal(shape).astype(np.float32)
        source.graph.initializer.append(numpy_helper.from_array(weight, name))
    instrumented = instrument(source)
    onnx.checker.check_model(instrumented.model, full_check=True)
    assert not instrumented.model.functions
    assert [kind for _, kind, _ in sites(instrumented)] == ["bias"]
    feeds = noise(source)
    found = run(instrumented.model, feeds)
    close(found["logits"], run(source, feeds)["logits"])
    close(found["fg_contributions"].sum(1), found["fg_score"])


def test_external_data_is_read_and_its_absence_an_error(samples, tmp_path):
    sample = samples["residual"]
    path = tmp_path / "model.onnx"
    source = onnx.ModelProto()
    source.CopyFrom(sample.model)
    onnx.save_model(
        source, path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    assert (tmp_path / "weights.bin").exists()
    found = run(instrument(path).model, sample.feeds)
    expected = run(sample.instrument().model, sample.feeds)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(FgOnnxError, match=r"weights\.bin") as caught:
        instrument(path)
    assert caught.value.code == "external-data"
    assert caught.value.exit_code == 2


# --- exports --------------------------------------------------------------------------------------


def test_every_export_checks_and_keeps_its_outputs(net):
    onnx.checker.check_model(str(net.instrumented), full_check=True)
    source, model = (onnx.load(path) for path in (net.path, net.instrumented))
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert model.graph.input[0] == source.graph.input[0]
    assert model.graph.output[0] == source.graph.output[0]
    assert list(model.opset_import) == list(source.opset_import)
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.output] == [
        source.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    ] * len(model.graph.output)
    del source, model
    images = {"image": net.images}
    found = net.explained["predicted"].outputs["logits"]
    close(found, run(net.path, images)["logits"])


def test_every_export_explains_a_batch_as_it_does_single_images(net):
    # A batch may take other kernels, whose rounding moves a ReLU across 0 now and then: so scores,
    # which are continuous, at rounding, and contributions at 1e-3 of the largest.
    last, together = net.explained["last"], net.explained["predicted"]
    close(last.scores, together.scores[-1:])
    close(last.contributions[0], together.contributions[-1], 1e-3)
    close(last.saliency[0], together.saliency[-1], 1e-3)
