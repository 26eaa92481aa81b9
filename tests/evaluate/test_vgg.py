"""The trainer that comes along: it learns, always the same, and leaves torch as it was."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from fg_onnx.errors import FgOnnxError
from fg_onnx.evaluate.vgg import Vgg, network, require_torch


def blobs(count, seed=0):
    """A bright square in one of three places: float32 [N, 1, 16, 16], and where."""
    draws = np.random.default_rng(seed)
    images = draws.normal(size=(count, 1, 16, 16)).astype(np.float32)
    labels = np.arange(count) % 3
    for image, label in zip(images, labels, strict=True):
        image[0, 5 * label : 5 * label + 5, 4:9] += 2
    return images, labels


def trained(seed=0, told=None, **options):
    images, labels = blobs(192)
    vgg = Vgg(**{"width": 4, "batch": 16, "epochs": 3, **options})
    return vgg(images, labels, seed, (lambda share: None) if told is None else told.append)


@pytest.mark.torch
def test_it_learns_and_tells_how_far_it_is():
    told = []
    classify = trained(told=told)
    images, labels = blobs(96, seed=1)
    found = classify(images)
    assert found.dtype.kind == "i"
    assert (found == labels).mean() > 0.9
    assert np.allclose(told, np.arange(1, 37) / 36)


@pytest.mark.torch
def test_the_seed_decides_and_nothing_else():
    torch = pytest.importorskip("torch")
    images, _ = blobs(300, seed=1)
    # after one epoch it still errs, so that two nets differ
    one = trained(seed=1, epochs=1)(images)
    torch.manual_seed(99)
    torch.rand(7)
    same, other = (trained(seed=seed, epochs=1)(images) for seed in (1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.torch
def test_torch_is_left_as_it_was():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        state = torch.get_rng_state()
        trained(epochs=1)(blobs(3)[0])
        assert torch.get_num_threads() == 1
        assert not torch.are_deterministic_algorithms_enabled()
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        torch.set_num_threads(before)


@pytest.mark.torch
def test_channels_may_come_last():
    images, labels = blobs(192)
    last = Vgg(width=4, batch=16, epochs=3, layout="nhwc")
    one = last(images.transpose(0, 2, 3, 1), labels, 0, lambda share: None)
    doubtful = blobs(300, seed=1)[0] / 2 + blobs(300, seed=2)[0].transpose(0, 1, 3, 2) / 2
    found = one(doubtful.transpose(0, 2, 3, 1))
    assert np.array_equal(found, trained()(doubtful))
    assert len(np.unique(found)) == 3


@pytest.mark.torch
def test_an_image_is_classified_by_itself():
    classify = trained()
    images = 3 * np.random.default_rng(0).normal(size=(40, 1, 16, 16)).astype(np.float32)
    assert [classify(images[at : at + 1])[0] for at in range(40)] == classify(images).tolist()


@pytest.mark.torch
def test_nine_layers_as_the_paper_has_them():
    torch = pytest.importorskip("torch")
    net = network(3, (35, 32), 7, 4)
    assert net(torch.zeros(2, 3, 35, 32)).shape == (2, 7)
    layers = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert [layer.weight.shape[0] for layer in layers] == [4, 4, 8, 8, 8, 16, 16, 16, 7]


@pytest.mark.torch
@pytest.mark.parametrize("shape", [(9, 1, 7, 16), (9, 1, 16), (9, 1, 8, 8, 8)])
def test_images_that_do_not_fit(shape):
    with pytest.raises(FgOnnxError, match="flat images of 8 pixels"):
        Vgg()(np.zeros(shape, np.float32), np.arange(9), 0, lambda share: None)


@pytest.mark.parametrize(
    "options",
    [{"width": 0}, {"epochs": 0}, {"batch": 0}, {"threads": 0}, {"rate": 0.0}, {"layout": "ncl"}],
)
def test_settings_that_make_no_sense(options):
    with pytest.raises(FgOnnxError) as caught:
        Vgg(**options)
    assert caught.value.code == "bad-training"


def test_without_torch_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(FgOnnxError, match="fg-onnx\\[train\\]"):
        require_torch()
