"""What judges a runtime: that it fails what is wrong, and that the page is of this version."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fg_onnx import manifest

from .__main__ import PAGE
from .agreement import BOUNDS, agreement
from .models import fed_to, instrumented
from .runners import RUNNERS
from .table import Line, deployments, page, refusals


@pytest.fixture(scope="module")
def explained():
    made = instrumented("fashion_vgg", "default", "ort")
    found = RUNNERS["ort"].run(made.model, fed_to(made, "fashion_vgg", "default"))
    return found, made.manifest


def judged(explained, **changed):
    found, held = explained
    return agreement({**found, **changed}, found, held).failures


def first(found, beginning):
    return next(name for name in found if name.startswith(beginning))


def test_nothing_is_apart_from_itself(explained):
    assert judged(explained) == []


@pytest.mark.parametrize(
    ("beginning", "word"),
    [
        ("logits", "outputs"),
        (manifest.SCORE, "outputs"),
        (manifest.CONTRIBUTIONS, "contributions"),
        (manifest.SALIENCY, "saliency"),
        (manifest.INPUT_GRADIENT, "input_gradient"),
        (manifest.LAYER_MAP, "layer_maps"),
        (manifest.BIAS_GRADIENT, "bias_gradients"),
    ],
)
@pytest.mark.parametrize(
    "change",
    [np.negative, lambda array: array.astype(np.float64), lambda array: array[None], np.zeros_like],
    ids=["sign", "type", "shape", "zero"],
)
def test_a_wrong_result_is_seen(explained, beginning, word, change):
    name = first(explained[0], beginning)
    found = judged(explained, **{name: change(explained[0][name])})
    assert any(failure.startswith(word) for failure in found), found


def test_a_part_that_is_wrong_is_seen(explained):
    """A quarter of a map, whose sign was dropped in one layer alone."""
    name = first(explained[0], manifest.BIAS_GRADIENT)
    wrong = explained[0][name].copy()
    wrong[:, ::4] *= -1
    assert judged(explained, **{name: wrong})


def test_another_class_and_another_set_of_outputs_are_seen(explained):
    found, held = explained
    assert judged(explained, fg_explained=found["fg_explained"] + 1)
    assert agreement(dict(list(found.items())[1:]), found, held).failures
    assert judged(explained, **{manifest.SALIENCY: np.full_like(found[manifest.SALIENCY], np.nan)})


def test_what_does_not_add_up_is_seen(explained):
    terms = explained[0][manifest.CONTRIBUTIONS].copy()
    terms[0, 0] += 1e-3 * np.abs(terms).sum()
    found = judged(explained, **{manifest.CONTRIBUTIONS: terms})
    assert [failure.split()[0] for failure in found] == ["residual"]


def test_the_page_tells_what_failed(explained):
    found, held = explained
    right = agreement(found, found, held)
    lines = [
        Line("ort", "fashion_vgg", "default", right),
        Line("openvino", "fashion_vgg", "own", replace(right, saliency=0.5)),
        Line("node", "fashion_vgg", "frozen", "fails: no memory"),
    ]
    assert [line.failed for line in lines] == [False, True, True]
    text = page(lines, {"ort": "1", "openvino": "2", "node": "3"}, {"cuda": "no device"})
    assert "| OpenVINO, CPU 2 | Fashion VGG with BN (trained) | `--runtime openvino` |" in text
    assert "5e-01" in text
    assert "fails: no memory" in text
    assert "- ONNX Runtime, CUDA: no device." in text


def test_the_page_in_the_docs_is_of_this_version():
    text = PAGE.read_text()
    for row in (*deployments(), *refusals()):
        assert row in text
    assert all(f"{bound:.0e}" in text for bound in BOUNDS.values())
    for runner in RUNNERS.values():
        assert runner.title in text
