"""Two forms of one net: other inputs, layouts, types and sizes; and what is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from audit.nets import UNIT, net, photographs, weights
from graphs import HEAD, build, draw

from comparison.models import checks_of, compared, means, saved
from fg_onnx import instrument
from fg_onnx.comparison.pair import open_pair
from fg_onnx.comparison.table import IMAGES
from fg_onnx.errors import InputError, UnsupportedModelError
from fg_onnx.pictures.preprocess import Preprocessing

BODY = """
    c1 = Conv <pads = [1,1,1,1]> (start, w1, b1)
    r1 = Relu (c1)
    c2 = Conv <pads = [1,1,1,1]> (r1, w2, b2)
    h = Relu (c2)
"""
# The same function in float32, from other inputs. Sums are taken in another order at most.
SAME = {
    "renamed": ("float[N,3,8,8] picture", "start = Identity (picture)", UNIT),
    "nhwc": ("float[N,8,8,3] x", "start = Transpose <perm = [0,3,1,2]> (x)", UNIT),
    "float16": ("float16[N,3,8,8] x", "start = Cast <to = 1> (x)", UNIT),
    "one at a time": ("float[1,3,8,8] x", "start = Identity (x)", UNIT),
    "of any size": ("float[N,3,h,w] x", "start = Identity (x)", UNIT),
    "scaled within": (
        "float[N,3,8,8] x",
        "start = Mul (x, factor)",
        Preprocessing(),
    ),
    "pixels": (
        "uint8[N,8,8,3] x",
        "f = Cast <to = 1> (x) n = Mul (f, factor) start = Transpose <perm = [0,3,1,2]> (n)",
        Preprocessing(),
    ),
}
# float16 rounds pixels by 2^-11, which the deepest numbers here take over
NEAR = {"float16": 5e-3}


@pytest.fixture
def place(tmp_path):
    """The net of all audits, and ten images for it."""
    return net(tmp_path / "a.onnx"), photographs(tmp_path / "images", 10)


def form(path, inputs, start, **changed):
    model = build(start + BODY + HEAD, {**weights(**changed), "factor": 1 / 255}, inputs=inputs)
    return saved(model, path)


@pytest.mark.parametrize("name", SAME)
def test_one_function_in_two_forms(tmp_path, place, name):
    a, paths = place
    inputs, start, steps = SAME[name]
    b = form(tmp_path / "b.onnx", inputs, start)
    document = compared(a, b, paths, tmp_path / "out", steps=(UNIT, steps))
    assert document.broken == 0
    assert document.verdict == "pass"
    near = NEAR.get(name, 1e-4)
    wanted = {"score": 0, "output": 0, "spearman": 1, "top": 1, "shift": 0}
    found = means(document)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=10 * near)
    assert document.agreement == 1
    there = compared(b, a, paths, tmp_path / "back", steps=(steps, UNIT))
    assert means(there)["score"] == pytest.approx(found["score"], rel=1e-3, abs=1e-9)


def test_arrays_are_as_a_takes_them(tmp_path, place):
    a, _ = place
    b = form(tmp_path / "b.onnx", *SAME["nhwc"][:2])
    images = np.random.default_rng(0).random((9, 3, 8, 8), dtype=np.float32)
    np.save(tmp_path / "nchw.npy", images)
    document = compared(a, b, [tmp_path / "nchw.npy"], tmp_path / "out", steps=None)
    assert (document.images, document.broken, document.verdict) == (9, 0, "pass")
    assert means(document)["spearman"] == pytest.approx(1, abs=1e-3)
    np.save(tmp_path / "nhwc.npy", images.transpose(0, 2, 3, 1))
    back = compared(b, a, [tmp_path / "nhwc.npy"], tmp_path / "back", steps=None)
    assert means(back)["score"] == pytest.approx(means(document)["score"], abs=1e-6)
    with pytest.raises(InputError, match="none of the images could be read"):
        compared(a, b, [tmp_path / "nhwc.npy"], tmp_path / "wrong", steps=None)


def test_maps_of_two_sizes_meet_on_the_coarser(tmp_path):
    """One net at twice the size, on photographs in which every pixel is four times itself."""
    a, b = net(tmp_path / "a.onnx"), net(tmp_path / "b.onnx", side=16)
    paths = photographs(tmp_path / "images", 10)
    document = compared(a, b, paths, tmp_path / "out")
    assert document.broken == 0
    found = {each.name: each.distribution.count for each in document.measures}
    assert found["spearman"] == found["shift"] == 10
    assert "ssim" not in found  # its window does not fit into 8 pixels
    assert means(document)["spearman"] > 0.3


def test_models_that_see_different_parts(tmp_path):
    a = net(tmp_path / "a.onnx")
    paths = photographs(tmp_path / "images", 4, side=16)
    cropped = Preprocessing(scale=1 / 255, size=(8, 8), resize=16)
    document = compared(a, a, paths, tmp_path / "out", steps=(UNIT, cropped))
    note = checks_of(document)["maps"]
    assert (note.severity, note.measured) == ("note", 0.25)
    assert "see different parts of 4 images" in note.title


# --- what does not go together --------------------------------------------------------------------


def other_classes(count):
    return weights(fc_weight=draw("fc_weight", count, 8), fc_bias=draw("fc_bias", count))


def test_another_number_of_classes_is_refused(tmp_path, place):
    b = build(
        "start = Identity (x)" + BODY + HEAD,
        other_classes(4),
        inputs="float[N,3,8,8] x",
        outputs="float[N,4] logits",
    )
    with pytest.raises(UnsupportedModelError) as caught:
        open_pair(place[0], saved(b, tmp_path / "b.onnx"))
    assert caught.value.code == "other-classes"
    assert "has 5 classes in `logits`" in caught.value.message
    assert "4 in `logits`" in caught.value.message


def dense(path, side):
    """Scores at every pixel."""
    model = build(
        "c1 = Conv <pads = [1,1,1,1]> (x, w1, b1) logits = Relu (c1)",
        {"w1": draw("w1", 6, 3, 3, 3), "b1": draw("b1", 6)},
        inputs=f"float[N,3,{side},{side}] x",
        outputs=f"float[N,6,{side},{side}] logits",
    )
    return saved(model, path)


def test_scores_at_pixels(tmp_path):
    a, b = dense(tmp_path / "a.onnx", 8), dense(tmp_path / "b.onnx", 16)
    paths = photographs(tmp_path / "images", 5)
    document = compared(a, a, paths, tmp_path / "out")
    assert means(document)["spearman"] == 1
    assert {row.index for row in document.classes} <= set(range(6))
    with pytest.raises(UnsupportedModelError) as caught:
        open_pair(a, b)
    assert caught.value.code == "other-scores"


def test_signals_have_maps_of_one_axis(tmp_path):
    nodes = """
        c1 = Conv <pads = [1,1]> (x, w1, b1)
        h = Relu (c1)
    """
    held = weights(w1=draw("w1", 8, 3, 3), b1=draw("b1", 8), fc_weight=draw("fc_weight", 5, 8))
    model = saved(build(nodes + HEAD, held, inputs="float[N,3,20] x"), tmp_path / "a.onnx")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(6, 3, 20)).astype("f"))
    document = compared(model, model, [tmp_path / "x.npy"], tmp_path / "out", steps=None, shown=2)
    assert document.verdict == "pass"
    assert means(document)["spearman"] == 1
    assert document.rows[0].overlay_a is None


def test_a_model_without_a_map(tmp_path, place):
    a, paths = place
    b = tmp_path / "b.onnx"
    instrument(a, emit=("contributions",)).save(b)
    document = compared(a, b, paths, tmp_path / "out", {"score": {"most": 0}}, shown=2)
    assert set(means(document)) == {"score", "output", "drift"}
    assert (document.verdict, checks_of(document)["maps"].severity) == ("pass", "warning")
    assert document.rows[0].overlay_a is None
    asked = compared(a, b, paths, tmp_path / "out", {"spearman": {"least": 0.5}})
    assert asked.verdict == "fail"
    assert checks_of(asked)["spearman"].title == "No image has the rank correlation of the maps"
    asked = compared(a, b, paths, tmp_path / "out", {"maps": {"most": 1}})
    assert [each.title for each in asked.findings if each.severity == "fail"] == [
        "The maps could not be compared"
    ]


# --- maps that tell nothing -----------------------------------------------------------------------


def test_a_map_in_one_model_alone_fails(tmp_path, place):
    a, paths = place
    dead = net(tmp_path / "dead.onnx", w1=np.zeros((6, 3, 3, 3)), b1=-np.ones(6))
    document = compared(a, dead, paths, tmp_path / "out")
    finding = checks_of(document)["maps"]
    assert finding.severity == "fail"
    assert finding.text.startswith("10 in A and 0 in B")
    assert "spearman" not in means(document)
    # the default limits cannot be held by nothing
    assert checks_of(document)["spearman"].severity == "fail"
    both = compared(dead, dead, paths, tmp_path / "both")
    assert both.mapless == 10
    assert both.verdict == "fail"
    assert "maps" not in checks_of(both)


def test_explanations_that_are_not_finite(tmp_path, place):
    a, paths = place
    b = net(tmp_path / "b.onnx", b2=np.full(8, np.inf))
    document = compared(a, b, paths, tmp_path / "out")
    finding = checks_of(document)["residual"]
    assert finding.title == "10 explanations of B not complete"
    assert document.verdict == "fail"


def test_names_of_classes_that_differ(tmp_path, place):
    a, paths = place
    for name, labels in (("x", "abcde"), ("y", "abdce")):
        instrument(a, labels=list(labels)).save(tmp_path / f"{name}.onnx")
    document = compared(tmp_path / "x.onnx", tmp_path / "y.onnx", paths, tmp_path / "out")
    finding = checks_of(document)["labels"]
    assert (finding.severity, finding.measured) == ("fail", 2)
    assert finding.text.startswith("2 is c in A and d in B, 3 is d in A and c in B")
    same = compared(tmp_path / "x.onnx", a, paths, tmp_path / "same")
    assert same.verdict == "pass"
    assert {row.label for row in same.classes} <= set("abcde")


def test_what_b_most_often_says_instead(tmp_path):
    """Of the images that A takes for a class, whatever order they come in."""
    a = net(tmp_path / "a.onnx")
    b = net(tmp_path / "b.onnx", fc_weight=3 * draw("other", 5, 8), fc_bias=np.zeros(5))
    document = compared(a, b, photographs(tmp_path / "images", 20), tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / IMAGES).to_pylist()
    several = 0
    for row in document.classes:
        own = [each["target_b"] for each in rows if each["target"] == row.index]
        others = [at for at in own if at != row.index]
        assert (row.images, row.agreement) == (len(own), 1 - len(others) / len(own))
        ((often, _), *rest) = Counter(others).most_common()
        assert row.other == often
        several += len(rest)
    assert several
