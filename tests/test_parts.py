"""Images of one call go into runs of their own on the CPU, and what they give is put together."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from conftest import run
from graphs import convolutions, noise, resized_input, two_stages

from fg_onnx import Session, instrument
from fg_onnx import session as session_module
from fg_onnx.cores import Shares, shares
from fg_onnx.errors import InputError
from fg_onnx.loading import Loader
from fg_onnx.manifest import BIAS, EMITS
from fg_onnx.parts import PIXELS, are_light, images_of_a_run, parts, pixels_of
from fg_onnx.runs import Runs

LAYER = "h{i} = Conv <pads=[1,1,1,1]> ({x}, w{i}, b{i}) a{i} = Relu (h{i})"
LARGE = 224


@pytest.fixture(scope="module")
def large():
    """Of images of which one is a run's."""
    return instrument(convolutions(2, 3, LARGE, LAYER), emit=EMITS)


def images(count, size=LARGE):
    return np.random.default_rng(0).standard_normal((count, 3, size, size)).astype(np.float32)


@pytest.fixture
def ran(monkeypatch):
    """The images and the threads of every run from now on."""
    seen, inner = [], Runs.at_once

    def at_once(self, images, *given, threads=None, **options):
        seen.append((len(images), threads))
        return inner(self, images, *given, threads=threads, **options)

    monkeypatch.setattr(Runs, "at_once", at_once)
    return seen


def changed(model, old, new):
    """A model in ONNX's text with other nodes, its weights as they are."""
    text = onnx.printer.to_text(model)
    assert old in text
    return onnx.parser.parse_model(text.replace(old, new))


# --- the rule -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threads", "wanted"),
    [(1, (1, 1)), (2, (2, 1)), (8, (8, 1)), (9, (8, 1)), (20, (8, 2)), (64, (8, 8))],
)
def test_runs_share_threads(threads, wanted):
    assert shares(threads) == Shares(*wanted)


def test_without_a_number_all_cores_are_shared(monkeypatch):
    monkeypatch.setattr("fg_onnx.cores.available_cores", lambda: 12)
    assert shares() == Shares(8, 1)


@pytest.mark.parametrize(
    ("layout", "shape", "wanted"),
    [
        ("nchw", (5, 3, 20, 30), 600),
        ("nhwc", (5, 20, 30, 3), 600),
        ("ncl", (5, 2, 40), 40),
        ("ndhwc", (5, 4, 5, 6, 1), 120),
        (None, (5, 7, 9), 63),
        (None, (5,), 1),
    ],
)
def test_pixels_are_those_of_one_image(layout, shape, wanted):
    assert pixels_of(shape, layout) == wanted


@pytest.mark.parametrize(
    ("side", "mebibytes", "wanted"),
    [
        *((224, 0, 1), (2000, 0, 1), (112, 0, 4), (32, 0, 49), (0, 0, PIXELS)),
        *((224, 100, 1), (224, 130, 2), (224, 240, 3), (224, 5000, 4), (32, 5000, 49)),
    ],
)
def test_images_of_a_run_are_a_photograph_or_as_many_as_the_weights_pay_for(
    side, mebibytes, wanted
):
    assert images_of_a_run(side * side, mebibytes * 2**20) == wanted


@pytest.mark.parametrize(
    ("inputs", "mebibytes", "light"),
    [
        ([[None, 3, 224, 224]], 100, True),
        ([[None, 299, 299, 3]], 100, True),
        ([[None, 3, 480, 480]], 100, False),
        ([[None, 3, 224, 224]], 140, False),
        ([[None, 3, None, None]], 10, False),
        ([[None, 3, 224, 224], [None, None]], 10, False),
        ([[None, 3, 224, 224], []], 10, True),
        ([[8, 3, 224, 224]], 10, False),
        ([[8, 3, 64, 64]], 10, True),
        ([[None, 3, 224, 224], None], 10, False),
        ([], 10, False),
    ],
)
def test_runs_take_little_memory_where_images_are_known_to_be_small(inputs, mebibytes, light):
    assert are_light(inputs, mebibytes * 2**20) == light


@pytest.mark.parametrize("from_file", [True, False])
@pytest.mark.parametrize(("size", "light"), [((3, 16, 16), True), ((3, "H", "W"), False)])
def test_memory_patterns_are_for_small_images(monkeypatch, tmp_path, size, light, from_file):
    given, inner = [], session_module.open_on
    monkeypatch.setattr(
        session_module,
        "open_on",
        lambda *plain, **named: given.append(named["patterns"]) or inner(*plain, **named),
    )
    made = instrument(resized_input(two_stages(16, 16), "N", *size))
    session = Session(made.save(tmp_path / "net.onnx") if from_file else made, device="cpu")
    session.explain(noise(2, 3, 16, 16), feeds={f"{BIAS}c1": np.zeros(6, np.float32)})
    assert given == [light, light]


@pytest.mark.parametrize(
    ("count", "most", "runs", "sizes"),
    [
        (1, 1, 2, [1]),
        (2, 1, 2, [1, 1]),
        (5, 1, 2, [1] * 5),
        (7, 1, 8, [7]),  # fewer than there are runs
        (8, 1, 8, [1] * 8),
        (3, 1, 1, [1] * 3),
        (16, 4, 2, [4] * 4),
        (10, 4, 2, [2, 3, 2, 3]),  # and not 4, 4 and 2
        (7, 4, 2, [7]),
        (16, 3, 2, [2, 3, 3, 2, 3, 3]),
        (97, 49, 1, [48, 49]),
    ],
)
def test_parts_are_as_even_as_can_be(count, most, runs, sizes):
    found = parts(count, most, runs)
    assert [rows.stop - rows.start for rows in found] == sizes
    assert [i for rows in found for i in range(rows.start, rows.stop)] == list(range(count))


# --- what comes of it -----------------------------------------------------------------------------


def test_parts_put_together_are_what_one_run_gives(large, ran):
    """To the rounding of convolutions of another batch; of single images to the bit."""
    targets = [2, 0, 1]
    session = Session(large, threads=2)
    found = session.explain(images(3), targets)
    assert ran == [(1, 1)] * 3
    bare = run(large.model, {"x": images(3), "fg_target": np.array(targets)})
    np.testing.assert_allclose(found.scores, bare["fg_score"], rtol=1e-5)
    for name in ("contributions", "saliency", "input_gradient"):
        ours, wanted = getattr(found, name), bare[f"fg_{name}"]
        gap = np.abs(ours - wanted.reshape(ours.shape)).max()
        assert gap <= 1e-5 * np.abs(wanted).max(), name
    for site, ours in (*found.bias_gradients.items(), *found.layer_maps.items()):
        assert len(ours) == 3, site
    np.testing.assert_array_equal(found.targets, targets)
    np.testing.assert_allclose(found.outputs["y"], bare["y"], rtol=1e-5)
    alone = Session(large, threads=1)
    for i, target in enumerate(targets):
        one = alone.explain(images(3)[i : i + 1], target)
        np.testing.assert_array_equal(one.saliency, found.saliency[i : i + 1])
        np.testing.assert_array_equal(one.contributions, found.contributions[i : i + 1])


def test_scores_are_of_parts_too(large, ran):
    session = Session(large, threads=2)
    found = session.scores(images(4))
    assert ran == [(1, 1)] * 4
    np.testing.assert_allclose(found, run(large.model, {"x": images(4)})["y"], rtol=1e-5)


def test_one_thread_takes_one_image_after_the_other(large, ran, monkeypatch):
    loaded, inner = [], Loader._source
    monkeypatch.setattr(
        Loader, "_source", lambda self, *form: loaded.append(form) or inner(self, *form)
    )
    session = Session(large, threads=1)
    session.explain(images(3))
    assert ran == [(1, 1)] * 3
    assert len(loaded) == 1


def test_fewer_images_than_runs_share_all_threads(large, ran):
    Session(large, threads=3).explain(images(2))
    assert ran == [(2, None)]


@pytest.mark.parametrize("from_file", [True, False])
def test_large_weights_bring_images_together(large, ran, monkeypatch, tmp_path, from_file):
    size = len(large.model.SerializeToString())
    session = Session(large.save(tmp_path / "net.onnx") if from_file else large, threads=2)
    for wanted in (1, 3):
        ran.clear()
        monkeypatch.setattr("fg_onnx.parts.WEIGHTS", size // wanted)
        session.explain(images(6))
        assert ran == [(wanted, 1)] * (6 // wanted)


def test_runs_side_by_side_load_one_session(large, monkeypatch):
    """Beside that of all threads."""
    loaded, inner = [], Loader._source
    monkeypatch.setattr(
        Loader, "_source", lambda self, *form: loaded.append(form) or inner(self, *form)
    )
    session = Session(large, threads=4)
    for _ in range(2):
        session.explain(images(4))
        assert len(loaded) == 2


@pytest.mark.parametrize(("count", "size", "parts"), [(3, LARGE, [1] * 3), (400, 16, [100] * 4)])
def test_arrays_in_the_session_s_memory_are_parted_too(samples, large, ran, count, size, parts):
    session = Session(large if size == LARGE else samples["bn_unfolded"].instrument(), threads=2)
    found = session.explain(session.put(images(count, size)))
    assert [together for together, _ in ran] == parts
    wanted = session.explain(images(count, size))
    np.testing.assert_array_equal(found.saliency, wanted.saliency)
    np.testing.assert_array_equal(found.contributions, wanted.contributions)


def test_small_images_stay_together(samples, ran):
    session = Session(samples["bn_unfolded"].instrument(), threads=2)
    found = session.explain(images(400, 16))
    assert [count for count, _ in ran] == [100] * 4
    assert found.residual.max() < 1e-5
    assert found.saliency.shape == (400, 16, 16)


def test_a_bias_is_fed_to_every_part(large):
    fed = {f"{BIAS}h1": np.full(3, 0.5, np.float32)}
    found = Session(large, threads=2).explain(images(3), feeds=fed)
    wanted = run(large.model, {"x": images(3), **fed})
    np.testing.assert_allclose(found.scores, wanted["fg_score"], rtol=1e-5)


def test_what_is_fed_for_each_image_goes_with_it():
    """Factors of a second input, and seeds."""
    model = changed(
        convolutions(1, 3, LARGE, LAYER),
        f"{LARGE},{LARGE}] x)",
        f"{LARGE},{LARGE}] x, float[N,3] k)",
    )
    model = changed(model, "y = Flatten (g)", "f = Flatten (g) y = Mul (f, k)")
    factors = np.arange(12, dtype=np.float32).reshape(4, 3) - 5
    seeded = instrument(model, input="x", seed=True)
    seeds = np.eye(3, dtype=np.float32)[[2, 0, 1, 2]]
    found = Session(seeded, threads=2).explain(images(4), seed=seeds, feeds={"k": factors})
    wanted = run(seeded.model, {"x": images(4), "fg_seed": seeds, "k": factors})
    np.testing.assert_allclose(found.scores, wanted["fg_score"], rtol=1e-5)
    np.testing.assert_allclose(found.scores, (found.outputs["y"] * seeds).sum(1), rtol=1e-6)


def test_what_has_no_row_for_each_image_is_of_one_run(ran):
    """Where scores are not zero: the rows that parts would give count from each part's first."""
    model = changed(convolutions(1, 3, LARGE, LAYER), "] y)", "] y, int64[R,P] where)")
    model = changed(model, "y = Flatten (g)", "y = Flatten (g) where = NonZero (y)")
    session = Session(instrument(model, output="y"), threads=2)
    found = session.explain(images(4))
    assert ran == [(4, None)]
    np.testing.assert_array_equal(found.outputs["where"], np.nonzero(found.outputs["y"]))
    session.explain(images(4), outputs=["saliency"])
    assert ran[1:] == [(1, 1)] * 4


def test_another_name_for_the_batch_of_the_scores_is_no_hindrance(ran):
    model = changed(convolutions(1, 3, LARGE, LAYER), "(float[N,3] y)", "(float[unk__1,3] y)")
    found = Session(instrument(model), threads=2).explain(images(3))
    assert ran == [(1, 1)] * 3
    assert found.outputs["y"].shape == (3, 3)


def test_a_fixed_batch_of_one_goes_side_by_side_too(ran):
    model = changed(convolutions(1, 3, LARGE, LAYER), "float[N,3,", "float[1,3,")
    fixed = instrument(changed(model, "float[N,3] y", "float[1,3] y"))
    found = Session(fixed, threads=2).explain(images(3))
    assert ran == [(1, 1)] * 3
    assert found.residual.max() < 1e-5
    Session(fixed, threads=4).explain(images(3))
    assert ran[3:] == [(1, None)] * 3


def test_one_image_that_does_not_run_is_said():
    """The third one's index is beyond the table."""
    model = changed(
        convolutions(1, 3, LARGE, LAYER),
        f"{LARGE},{LARGE}] x)",
        f"{LARGE},{LARGE}] x, int64[N,1] at)",
    )
    model = changed(
        model, "y = Flatten (g)", "f = Flatten (g) row = Gather (b0, at) y = Add (f, row)"
    )
    session = Session(instrument(model, input="x"), threads=2)
    fed = np.array([[0], [1], [7], [2]])
    with pytest.raises(InputError, match="does not run on this input") as refused:
        session.explain(images(4), feeds={"at": fed})
    assert refused.value.code == "run-fails"
    assert session.explain(images(4), feeds={"at": fed % 3}).residual.max() < 1e-5
