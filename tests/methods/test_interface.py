"""What holds for every method, whatever it computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import build, draw, noise, two_stages
from plain import MODELS, SMALL, close, inputs

from fg_onnx import Session, instrument
from fg_onnx.errors import InputError, UnsupportedModelError
from fg_onnx.methods import METHODS, Explainer, explainer
from fg_onnx.methods.interface import make_method

DRAWING = [name for name, method in METHODS.items() if "seed" in method.options()]
SIGNED = [name for name, method in METHODS.items() if "signed" in method.options()]
# A batch changes the order of some float32 sums in the runtime's kernels, at most.
ROUNDING = 1e-5


def of(name, model, **options):
    return explainer(model, name, threads=1, **{**SMALL.get(name, {}), **options})


def test_the_names_in_order():
    assert list(METHODS) == [
        "fullgrad",
        "simple-fullgrad",
        "smooth-fullgrad",
        "input-gradient",
        "gradient-x-input",
        "smooth-grad",
        "smooth-grad-squared",
        "integrated-gradients",
        "grad-cam",
        "guided-backprop",
        "deconvnet",
        "rise",
        "random",
    ]
    for name, method in METHODS.items():
        assert method.name == name
        assert method.summary
        assert method.citation


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", METHODS)
def test_maps_lie_on_the_grid_of_the_input(name, kind):
    model, images = inputs(kind)
    found = of(name, model).attribute(images)
    assert found.maps.shape == (3, *MODELS[kind][2])
    assert found.maps.dtype == np.float32
    assert np.isfinite(found.maps).all()
    assert not found.signed
    assert found.maps.min() >= 0
    assert np.ptp(found.maps, axis=tuple(range(1, found.maps.ndim))).max() > 0
    plain = Session(instrument(model), threads=1).explain(images)
    assert found.targets.tolist() == plain.targets.tolist()
    close(found.scores, plain.scores, ROUNDING)


@pytest.mark.parametrize("name", METHODS)
def test_an_image_has_the_same_map_in_whatever_batch(name):
    model, images = inputs("images", 4)
    expected = of(name, model).explain(images)
    for batch in (1, 3, 64):
        close(of(name, model, batch=batch).explain(images), expected, ROUNDING)
    alone = of(name, model).explain(images[2:3])
    close(alone, expected[2:3], ROUNDING)
    assert np.abs(expected[1] - expected[2]).max() > 100 * ROUNDING * expected.max()


@pytest.mark.parametrize("name", METHODS)
def test_the_target_is_what_is_explained(name):
    model, images = inputs("images")
    explain = of(name, model)
    first, second = explain.attribute(images, 1), explain.attribute(images, [1, 3, 1])
    assert first.targets.tolist() == [1, 1, 1]
    assert second.targets.tolist() == [1, 3, 1]
    close(second.maps[[0, 2]], first.maps[[0, 2]], ROUNDING)
    same = np.array_equal(first.maps[1], second.maps[1])
    assert same == (name == "random")


@pytest.mark.parametrize("name", DRAWING)
def test_draws_follow_from_the_seed(name):
    model, images = inputs("images", 2)
    assert np.array_equal(of(name, model).explain(images), of(name, model).explain(images))
    other = of(name, model, seed=1).explain(images)
    assert not np.allclose(of(name, model).explain(images), other)


@pytest.mark.parametrize("name", DRAWING)
@pytest.mark.parametrize("dtype", [np.float64, np.uint8])
def test_draws_do_not_follow_from_the_type_that_an_image_is_given_in(name, dtype):
    model, _ = inputs("images")
    images = np.random.default_rng(0).integers(0, 9, (2, 3, 16, 12))
    found = of(name, model).explain(images.astype(dtype))
    assert np.array_equal(found, of(name, model).explain(images.astype(np.float32)))


@pytest.mark.parametrize("name", SIGNED)
def test_a_signed_map_has_both_signs(name):
    model, images = inputs("images")
    found = of(name, model, signed=True).attribute(images)
    assert found.signed
    assert found.maps.min() < 0 < found.maps.max()


def test_maps_say_nothing_of_a_constant_score():
    """The bias of the last layer moves a score, not what a gradient says of it."""
    weights = {"w": draw("w", 4, 3, 3, 3), "b": draw("b", 4)}
    model = build("c = Conv (x, w, b)\nr = Relu (c)\n"
                  "p = GlobalAveragePool (r)\nlogits = Flatten (p)", weights,
                  inputs="float[N,3,8,8] x", outputs="float[N,4] logits")  # fmt: skip
    dead = onnx.ModelProto()
    dead.CopyFrom(model)
    for weight in dead.graph.initializer:
        if weight.name == "b":
            weight.CopyFrom(onnx.numpy_helper.from_array(np.full(4, -1e3, np.float32), "b"))
    for name in ("input-gradient", "smooth-grad", "integrated-gradients", "grad-cam"):
        assert not of(name, dead).explain(noise(2, 3, 8, 8)).any()


@pytest.mark.parametrize("name", METHODS)
def test_progress_ends_at_the_whole(name):
    model, images = inputs("images")
    told = []
    of(name, model, batch=2).attribute(images, progress=lambda *at: told.append(at))
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_integrated_gradients_take_no_steps_for_what_is_no_number():
    model, images = inputs("images")
    images = images.copy()
    images[1, 0, 0, 0] = np.nan
    told = []
    explain = explainer(model, "integrated-gradients", threads=1, tolerance=10.0)
    found = explain.attribute(images, 1, progress=lambda *at: told.append(at))
    assert told[-1] == (3 + 3 * 16,) * 2  # the images, and 16 intervals of each
    assert np.isnan(found.residual).tolist() == [False, True, False]
    assert np.isnan(found.delta[1])
    assert found.image_notes == {}


def test_integrated_gradients_say_which_images_missed_the_tolerance():
    model, images = inputs("images")
    images = images.copy()
    images[1] = 0  # the baseline itself
    explain = of("integrated-gradients", model, steps=1, tolerance=1e-9)
    found = explain.attribute(images, 1)
    assert set(found.image_notes) == {0, 2}
    for row, text in found.image_notes.items():
        assert text.startswith(f"after 1 intervals {found.residual[row]:.2g} of ")


def test_further_inputs_are_fed_by_image():
    nodes = """
        c = Conv (x, w, b)
        r = Relu (c)
        scaled = Mul (r, gain)
        p = GlobalAveragePool (scaled)
        logits = Flatten (p)
    """
    weights = {"w": draw("w", 4, 3, 3, 3), "b": draw("b", 4)}
    model = build(nodes, weights, inputs="float[N,3,8,8] x, float[N,4,1,1] gain",
                  outputs="float[N,4] logits")  # fmt: skip
    images, gain = noise(3, 3, 8, 8), np.abs(noise(3, 4, 1, 1, seed=1))
    for name in METHODS:
        explain = of(name, model, batch=2)
        together = explain.explain(images, 1, feeds={"gain": gain})
        alone = explain.explain(images[2:], 1, feeds={"gain": gain[2:]})
        close(together[2:], alone, ROUNDING)


@pytest.mark.parametrize("name", METHODS)
def test_a_model_that_is_instrumented_already(name, tmp_path):
    model, images = inputs("images")
    method = make_method(name, SMALL.get(name, {}))
    ready = instrument(model, emit=method.emit)
    expected = of(name, model).explain(images)
    for source in (ready, ready.model, ready.save(tmp_path / "ready.onnx")):
        close(of(name, source).explain(images), expected, ROUNDING)


# --- refusals -----------------------------------------------------------------------------------


def test_an_unknown_method_or_option():
    with pytest.raises(InputError, match="no method `gradcam`"):
        explainer(two_stages(8, 8), "gradcam")
    with pytest.raises(InputError, match="random has no option `steps`") as caught:
        explainer(two_stages(8, 8), "random", steps=3)
    assert caught.value.hint == "its options: seed"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fullgrad", {"psi": "absolute"}),
        ("smooth-fullgrad", {"psi": "absolute"}),
        ("input-gradient", {"channels": "mean"}),
        ("smooth-grad", {"samples": 0}),
        ("smooth-grad", {"noise": -0.1}),
        ("smooth-grad-squared", {"channels": "mean"}),
        ("integrated-gradients", {"baseline": "grey"}),
        ("integrated-gradients", {"steps": 0}),
        ("integrated-gradients", {"tolerance": 0.0}),
        ("integrated-gradients", {"most_steps": 1}),
        ("rise", {"kept": 1.0}),
        ("rise", {"cells": 0}),
        ("rise", {"samples": 0}),
        ("rise", {"baseline": "grey"}),
        ("rise", {"confidence": "logit"}),
        ("random", {"seed": -1}),
    ],
)
def test_an_option_that_makes_no_sense(name, options):
    with pytest.raises(InputError):
        make_method(name, options)


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("smooth-grad", {"samples": "abc"}, "a whole number"),
        ("smooth-grad", {"samples": 2.5}, "a whole number"),
        ("smooth-grad", {"samples": None}, "a whole number"),
        ("smooth-grad", {"samples": True}, "a whole number"),
        ("smooth-grad", {"noise": "nan"}, "a number"),
        ("smooth-grad", {"noise": False}, "a number"),
        ("smooth-grad", {"signed": 1}, "true or false"),
        ("fullgrad", {"psi": [1]}, "a text or nothing"),
        ("integrated-gradients", {"steps": "4"}, "a whole number or nothing"),
        ("rise", {"seed": 1.5}, "a whole number"),
        ("rise", {"baseline": 0}, "a text"),
    ],
)
def test_an_option_of_another_type(name, options, wanted):
    with pytest.raises(InputError, match="cannot be") as caught:
        make_method(name, options)
    assert caught.value.code == "bad-option"
    assert caught.value.hint == f"give {wanted}"


def test_options_are_taken_in_the_types_of_numpy():
    options = {"samples": np.int64(2), "noise": np.float32(0.5), "seed": np.uint8(1)}
    assert make_method("smooth-grad", {**options, "signed": np.bool_(True)}).samples == 2
    assert make_method("smooth-grad", {"noise": 0}).noise == 0
    assert make_method("integrated-gradients", {"steps": None}).steps is None


def test_a_batch_of_none():
    with pytest.raises(InputError, match="`batch` cannot be 0"):
        explainer(two_stages(8, 8), "random", batch=0)


def test_images_and_targets_that_do_not_fit():
    explain = of("random", two_stages(16, 12))
    for images in (noise(3, 16, 12), noise(0, 3, 16, 12), noise(2, 4, 16, 12)):
        with pytest.raises(InputError):
            explain.explain(images)
    for targets in ([0, 1], 7, 1.5, [[0, 1, 2]]):
        with pytest.raises(InputError):
            explain.explain(noise(3, 3, 16, 12), targets)


def test_an_instrumented_model_without_what_is_needed():
    ready = instrument(two_stages(16, 12), psi="abs")
    with pytest.raises(UnsupportedModelError, match="without input-gradient"):
        explainer(ready, "smooth-grad")
    with pytest.raises(UnsupportedModelError, match="with psi abs, not paper"):
        explainer(ready, "fullgrad", psi="paper")
    assert isinstance(explainer(ready, "fullgrad"), Explainer)
    seeded = instrument(two_stages(16, 12), seed=True)
    with pytest.raises(UnsupportedModelError, match="with a seed"):
        explainer(seeded, "fullgrad")


def test_integer_images_cannot_be_mixed():
    nodes = """
        f = Cast <to = 1> (x)
        c = Conv (f, w, b)
        r = Relu (c)
        p = GlobalAveragePool (r)
        logits = Flatten (p)
    """
    weights = {"w": draw("w", 4, 3, 3, 3), "b": draw("b", 4)}
    model = build(nodes, weights, inputs="uint8[N,3,8,8] x", outputs="float[N,4] logits")
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), dtype=np.uint8)
    for name, method in METHODS.items():
        if method.samples_inputs:
            with pytest.raises(UnsupportedModelError, match="takes integers as `x`"):
                of(name, model)
        else:
            assert of(name, model).explain(images).shape == (2, 8, 8)
