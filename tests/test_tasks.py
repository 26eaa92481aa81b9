"""What is explained beyond a class of a classifier: dense outputs, numbers, other inputs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import build, draw, everything, expose, noise

from fg_onnx import Session, instrument, region_seed
from fg_onnx.errors import InputError, UnsupportedModelError
from fg_onnx.manifest import EMITS, Manifest
from fg_onnx.regions import class_sums
from sample_models import tasks

TASKS = tasks.all_models()

# Sums of some hundred products in float32.
CLOSE = 1e-5


def feeds_of(session, count=2):
    """Images, and random values for the further inputs."""
    batch = session.input_shape[0]
    images = noise(batch if isinstance(batch, int) else count, *session.input_shape[1:])
    given = {"measured": noise(count, 4, seed=1), "site": np.array([3, 0])[:count]}
    given["right"] = noise(count, 3, 16, 16, seed=2)
    return images, {name: given[name] for name in session.further_inputs}


def explained_tensor(model, session, images, feeds):
    """The explained tensor's own value."""
    found = session.manifest
    exposed = expose(model, [found.output])
    return (
        Session(instrument(exposed), threads=1).explain(images, feeds=feeds).outputs[found.output]
    )


# --- every task -----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_score_and_completeness_of_every_task(task):
    session = everything(TASKS[task])
    images, feeds = feeds_of(session)
    found = session.explain(images, feeds=feeds)
    values = explained_tensor(TASKS[task], session, images, feeds).reshape(len(images), -1)
    assert session.manifest.scores == values.shape[1]
    np.testing.assert_array_equal(found.targets, values.argmax(1))
    np.testing.assert_allclose(found.scores, values.max(1), rtol=1e-6)
    assert found.residual.max() <= CLOSE
    assert np.ptp(found.saliency) > 0
    last = session.explain(images, values.shape[1] - 1, feeds=feeds)
    np.testing.assert_allclose(last.scores, values[:, -1], rtol=1e-5, atol=1e-6)
    assert last.residual.max() <= CLOSE


@pytest.mark.parametrize("task", TASKS)
def test_a_target_is_the_cotangent_of_one(task):
    by_target, by_seed = everything(TASKS[task]), everything(TASKS[task], seed=True)
    images, feeds = feeds_of(by_target)
    target = (by_target.manifest.scores - 1) // 2
    seed = np.zeros(by_target.manifest.scores, np.float32)
    seed[target] = 1
    seed = seed.reshape(by_seed.manifest.score_shape)
    one = by_target.explain(images, target, feeds=feeds)
    other = by_seed.explain(images, seed=seed, feeds=feeds)
    assert other.targets is None
    each = np.repeat(seed[None], len(images), axis=0)
    np.testing.assert_array_equal(
        by_seed.explain(images, seed=each, feeds=feeds).contributions, other.contributions
    )
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5, atol=1e-6)
    for name in one.bias_gradients:
        np.testing.assert_allclose(one.bias_gradients[name], other.bias_gradients[name], atol=1e-6)
    np.testing.assert_allclose(one.input_gradient, other.input_gradient, atol=1e-6)


def test_what_the_manifest_says_of_the_scores():
    found = {name: instrument(model).manifest for name, model in TASKS.items()}
    said = {
        name: (m.output, m.score_shape, m.class_axis, m.score_grid, m.classes, m.dense)
        for name, m in found.items()
    }
    assert said["multi_label"] == ("logits", (6,), 0, None, 6, False)
    assert said["class_pixels"] == ("logits", (5, 1, 1), 0, (1, 2), 5, False)
    assert said["regression"] == ("age", (), None, None, 1, False)
    assert said["regression_column"] == ("age", (1,), 0, None, 1, False)
    assert said["regression_scalar"] == ("age", (), None, None, 1, False)
    assert said["squeezed"] == ("logits", (5,), 0, None, 5, False)
    assert said["segmentation"] == ("logits", (4, 16, 16), 0, (1, 2), 4, True)
    assert said["segmentation_nhwc"] == ("logits", (16, 16, 4), 2, (0, 1), 4, True)
    assert said["label_map"] == ("logits", (4, 8, 8), 0, (1, 2), 4, True)
    assert said["detector"] == ("boxes", (128, 4), 1, None, 4, True)
    for manifest in found.values():
        assert Manifest.from_dict(manifest.to_dict()) == manifest
    assert "ArgMax" in found["label_map"].output_reason
    assert found["label_map"].ranking is None


def test_an_earlier_manifest_is_read():
    document = instrument(TASKS["multi_label"]).manifest.to_dict()
    for key in ("score_shape", "class_axis", "score_grid"):
        del document[key]
    for site in document["sites"]:
        del site["grid"], site["grid_start"]
    found = Manifest.from_dict(document)
    assert (found.classes, found.dense, found.class_of(3)) == (6, False, 3)
    assert found.sites[0].spatial


# --- dense outputs --------------------------------------------------------------------------------


def test_the_place_and_class_of_a_flat_index():
    nchw, nhwc = (instrument(TASKS[f"segmentation{end}"]).manifest for end in ("", "_nhwc"))
    assert nchw.place(2 * 256 + 5 * 16 + 7) == (2, 5, 7)
    assert nchw.class_of(2 * 256 + 5 * 16 + 7) == 2
    assert nhwc.place(5 * 64 + 7 * 4 + 3) == (5, 7, 3)
    assert nhwc.class_of(5 * 64 + 7 * 4 + 3) == 3
    detector = instrument(TASKS["detector"], output="logits").manifest
    assert (detector.place(100), detector.class_of(100)) == ((33, 1), 1)


@pytest.mark.parametrize("task", ["segmentation", "segmentation_nhwc", "label_map"])
def test_a_class_over_a_region(task):
    """f is the sum of the class's logits over the mask, and so are all its parts."""
    session = everything(TASKS[task], seed=True)
    images, _ = feeds_of(session)
    shape = session.manifest.score_shape
    grid = tuple(shape[axis] for axis in session.manifest.score_grid)
    weights = np.random.default_rng(0).integers(0, 2, (2, *grid)).astype(np.float32)
    seed = region_seed(session.manifest, [2, 0], weights)
    found = session.explain(images, seed=seed)
    logits = explained_tensor(TASKS[task], session, images, {})
    if task == "segmentation_nhwc":
        logits = logits.transpose(0, 3, 1, 2)
    expected = [(logits[i, k] * weights[i]).sum() for i, k in enumerate((2, 0))]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-4)
    assert found.residual.max() <= CLOSE
    dense = logits.transpose(0, 2, 3, 1) if task == "segmentation_nhwc" else logits
    sums = class_sums(session.manifest, dense, weights)
    np.testing.assert_allclose(sums[[0, 1], [2, 0]], expected, rtol=1e-4)


def test_a_region_is_the_sum_of_its_positions():
    by_seed, by_target = (
        everything(TASKS["segmentation"], seed=True),
        everything(TASKS["segmentation"]),
    )
    images, _ = feeds_of(by_seed)
    weights = np.zeros((1, 16, 16), np.float32)
    weights[0, 3, 4], weights[0, 9, 12] = 2, -1
    found = by_seed.explain(images, seed=region_seed(by_seed.manifest, [1], weights))
    parts = [by_target.explain(images, 256 + place) for place in (3 * 16 + 4, 9 * 16 + 12)]
    for get in (lambda a: a.input_gradient, lambda a: a.contributions, lambda a: a.scores):
        expected = 2 * get(parts[0]) - get(parts[1])
        np.testing.assert_allclose(get(found), expected, atol=1e-5)


def test_a_region_needs_a_grid():
    with pytest.raises(UnsupportedModelError, match="no grid") as caught:
        region_seed(instrument(TASKS["detector"]).manifest, [0], np.ones((1, 128)))
    assert caught.value.code == "no-region"


@pytest.mark.parametrize(("side", "across"), [(64, 64), (64, 65), (73, 73)])
def test_many_scores_have_one_hot_cotangents_too(side, across):
    """Beyond 4096 scores a one-hot is the product of two; 4096 itself is the last of the one kind.

    Each score is its own pixel, so that the gradient is the one-hot itself.
    """
    nodes = "logits = Conv (x, w)"
    shape = f"float[N,1,{side},{across}]"
    model = build(
        nodes, {"w": np.ones((1, 1, 1, 1))}, inputs=f"{shape} x", outputs=f"{shape} logits"
    )
    session = Session(instrument(model, emit=EMITS), threads=1)
    count = side * across
    for target in (0, 1, side - 1, side, count // 2, count - 2, count - 1):
        found = session.explain(noise(1, 1, side, across), target)
        flat = found.input_gradient.reshape(-1)
        assert flat[target] == 1
        assert np.count_nonzero(flat) == 1
        assert found.targets == [target]


# --- outputs by name, and those that do not fit ---------------------------------------------------


def test_every_output_can_be_explained_by_name():
    for name, count, of_class in (("boxes", 512, 4), ("scores", 384, 3), ("logits", 384, 3)):
        session = everything(TASKS["detector"], output=name)
        images, _ = feeds_of(session)
        found = session.explain(images, 100)
        assert session.manifest.scores == count
        assert session.manifest.classes == of_class
        assert found.residual.max() <= CLOSE
    scores = everything(TASKS["detector"], output="scores").explain(images, 100)
    logits = everything(TASKS["detector"], output="logits").explain(images, 100)
    np.testing.assert_allclose(scores.scores, 1 / (1 + np.exp(-logits.scores)), rtol=1e-5)


WEIGHTS = {"w": draw("w", 5, 3, 3, 3), "b": draw("b", 5)}


@pytest.mark.parametrize(
    ("inputs", "outputs", "nodes", "words"),
    [
        ("N", "float y", "c = Conv (x, w, b) y = ReduceSum <keepdims = 0> (c)", "one number for"),
        (
            "4",
            "float[20,9,9] y",
            """c = Conv (x, w, b) s = Constant <value_ints = [20,9,9]> ()
            y = Reshape (c, s)""",
            "its first dimension is 20, and the batch is 4",
        ),
    ],
)
def test_scores_that_belong_to_no_image_are_refused(inputs, outputs, nodes, words):
    model = build(nodes, WEIGHTS, inputs=f"float[{inputs},3,11,11] x", outputs=outputs)
    with pytest.raises(UnsupportedModelError, match=words) as caught:
        instrument(model)
    assert caught.value.code == "no-batch"
    assert "--output" in caught.value.hint


def test_several_images_through_a_batch_of_1_without_a_batch_dimension():
    """What has no batch dimension is stacked."""
    for task, shape in (("squeezed", (3, 5)), ("regression_scalar", (3,))):
        session = everything(TASKS[task])
        images = noise(3, 3, 16, 16)
        found = session.explain(images)
        (values,) = found.outputs.values()
        assert values.shape == shape
        np.testing.assert_allclose(found.scores, values.reshape(3, -1).max(1), rtol=1e-6)
        assert session.scores(images).shape == (3, shape[1] if len(shape) > 1 else 1)


# --- inputs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "other"), [("left", "right"), ("right", "left")])
def test_either_of_two_images_is_explained(name, other):
    """By finite differences along a random direction, within one linear region."""
    session = everything(TASKS["siamese"], input=name)
    assert session.manifest.input == name
    images, fed = noise(2, 3, 16, 16), {other: noise(2, 3, 16, 16, seed=5)}
    found = session.explain(images, feeds=fed)
    assert found.residual.max() <= CLOSE
    step = 1e-3 * noise(2, 3, 16, 16, seed=9)
    ahead = session.explain(images + step, feeds=fed).scores
    behind = session.explain(images - step, feeds=fed).scores
    slope = (found.input_gradient * step).sum((1, 2, 3))
    # the difference of two float32 scores near 1, and some of 1536 units crossing their kink
    np.testing.assert_allclose((ahead - behind) / 2, slope, atol=2e-2 * np.abs(slope).max())


def test_swapping_two_images_swaps_their_explanations():
    left, right = (
        everything(TASKS["siamese"], input="left"),
        everything(TASKS["siamese"], input="right"),
    )
    a, b = noise(2, 3, 16, 16), noise(2, 3, 16, 16, seed=5)
    one, other = left.explain(a, feeds={"right": b}), right.explain(a, feeds={"left": b})
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-6)
    np.testing.assert_allclose(one.saliency, other.saliency, atol=1e-5)


def test_a_row_that_is_fed_stands_for_all_images():
    session = everything(TASKS["image_with_metadata"])
    images, fed = feeds_of(session)
    assert session.further_inputs == {"measured": ("N", 4), "site": ("N",)}
    one_row = {"measured": fed["measured"][:1], "site": fed["site"][:1]}
    bare = {"measured": fed["measured"][0], "site": fed["site"][0]}
    repeated = {name: np.repeat(value, 2, axis=0) for name, value in one_row.items()}
    expected = session.explain(images, 1, feeds=repeated)
    for given in (one_row, bare, {**one_row, "site": np.int32([3])}):
        found = session.explain(images, 1, feeds=given)
        np.testing.assert_array_equal(found.contributions, expected.contributions)
    each = session.explain(images, 1, feeds=fed)
    assert not np.allclose(each.scores[1], expected.scores[1])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"measured": np.ones((3, 4))}, "wrong-shape"),
        ({"site": np.array([0.5, 1.0])}, "wrong-type"),
        ({"measured": np.array(["a"])}, "wrong-type"),
        ({"size": np.ones(1)}, "no-such-input"),
        ({"measured": np.ones((2, 5))}, "run-fails"),
    ],
)
def test_feeds_that_do_not_fit(change, code):
    session = everything(TASKS["image_with_metadata"])
    images, fed = feeds_of(session)
    with pytest.raises(InputError) as caught:
        session.explain(images, feeds={**fed, **change})
    assert caught.value.code == code
    assert "\n" not in caught.value.message


def test_rows_are_dealt_out_where_the_batch_is_fixed_to_1():
    model = onnx.ModelProto()
    model.CopyFrom(TASKS["siamese"])
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    images, others = noise(3, 3, 16, 16), noise(3, 3, 16, 16, seed=4)
    fixed = everything(model).explain(images, feeds={"right": others})
    free = everything(TASKS["siamese"]).explain(images, feeds={"right": others})
    np.testing.assert_allclose(fixed.contributions, free.contributions, atol=1e-5)
    shared = everything(model).explain(images, feeds={"right": others[:1]})
    assert shared.scores[0] == fixed.scores[0]
    assert shared.scores[1] != fixed.scores[1]


def test_images_come_before_volumes_and_volumes_before_signals():
    nodes = """
        c = Conv (x, w, b)
        p = GlobalAveragePool (c)
        f = Flatten (p)
        axes = Constant <value_ints = [2]> ()
        more = Constant <value_ints = [2,3,4]> ()
        s = ReduceSum <keepdims = 0> (signal, axes)
        t = ReduceSum <keepdims = 0> (scan, more)
        u = Add (s, t)
        logits = Add (f, u)
    """
    model = build(
        nodes,
        WEIGHTS,
        inputs="float[N,5,9] signal, float[N,5,2,3,4] scan, float[N,3,8,8] x",
        outputs="float[N,5] logits",
    )
    assert instrument(model).manifest.input == "x"
    del model.graph.input[2], model.graph.node[:3]
    model.graph.node[-1].input[0] = "s"
    assert instrument(model).manifest.input == "scan"
    assert instrument(model, input="signal").manifest.layout == "ncl"


def test_rows_that_raising_the_opset_writes_into_one_are_told_apart():
    """A Softmax below opset 13 over the last axis becomes Flatten, Softmax, Reshape."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 11]>
        letters (float[N,3,8,W] x) => (float[N,T,4] probabilities)
        <float[4,3,8,2] w, float[4] b> {
            c = Conv <strides = [1,2]> (x, w, b)
            line = Squeeze <axes = [2]> (c)
            scores = Transpose <perm = [0,2,1]> (line)
            probabilities = Softmax <axis = 2> (scores)
        }"""
    )
    del model.graph.initializer[:]
    for name, values in (("w", draw("w", 4, 3, 8, 2)), ("b", draw("b", 4))):
        array = values.astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    instrumented = instrument(model, seed=True, emit=EMITS)
    images = draw("images", 2, 3, 8, 12, scale=1.0).astype(np.float32)
    seed = np.zeros((2, 6, 4), np.float32)
    seed[0, 1, 2], seed[1, 5, 0] = 1, -2
    found = Session(instrumented).explain(images, seed=seed)
    scores = Session(instrument(model, output="scores", seed=True)).explain(images, seed=seed)
    assert found.contributions.shape == (2, 2)
    np.testing.assert_array_equal(found.scores, scores.scores)
    assert found.residual.max() <= 1e-5
