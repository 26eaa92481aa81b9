"""How many images are run at once, and how many such batches side by side."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fg_onnx.cores import available_cores
from fg_onnx.errors import InputError
from fg_onnx.pace import Pace, Settled, choose_pace


@pytest.fixture
def cores(monkeypatch):
    """Says how many cores there are."""
    return lambda count: monkeypatch.setattr("fg_onnx.cores.available_cores", lambda: count)


@pytest.mark.parametrize(
    ("count", "threads", "runs"),
    [(1, 1, 1), (2, 1, 2), (8, 1, 8), (20, 2, 8), (64, 8, 8)],
)
def test_many_images_take_a_core_each(cores, count, threads, runs):
    cores(count)
    assert choose_pace() == Pace(None, threads, runs)
    assert choose_pace(images=2 * runs) == choose_pace(images=10_000) == Pace(None, threads, runs)


def test_few_images_take_all_cores(cores):
    cores(4)
    assert choose_pace(images=7) == Pace(None, None, 1)


@pytest.mark.parametrize(("threads", "runs"), [(1, 6), (2, 3), (4, 1), (6, 1), (12, 1)])
def test_threads_that_are_given_leave_the_other_cores(cores, threads, runs):
    cores(6)
    assert choose_pace(5, threads) == choose_pace(5, threads, images=1) == Pace(5, threads, runs)


@pytest.mark.parametrize(
    ("device", "first", "asked", "settled"),
    [
        ("cpu", "N", None, Settled(1, 3)),
        ("cpu", None, 4, Settled(4, 3)),
        ("cpu", 5, None, Settled(5, 3)),
        ("cuda:0", "N", None, Settled(8, 1)),
        ("cuda:0", 1, None, Settled(1, 1)),
        ("cuda:0", "N", 32, Settled(32, 1)),
    ],
)
def test_the_device_decides(device, first, asked, settled):
    session = SimpleNamespace(device=device, input_shape=(first, 3, 8, 8))
    assert Pace(asked, 1, 3).on(session) == settled


@pytest.mark.parametrize(("batch", "threads"), [(0, None), (None, 0), (-1, 1)])
def test_what_is_below_one(batch, threads):
    with pytest.raises(InputError, match="give 1 or more") as refused:
        choose_pace(batch, threads)
    assert refused.value.code == "bad-pace"


def test_there_is_a_core():
    assert available_cores() >= 1
