"""Images on their way from file to file: order, batches, threads, and what fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fg_onnx import streaming
from fg_onnx.streaming import AHEAD, Stages, stream

RUNS = 2
WAYS = pytest.mark.parametrize(("batch", "cores"), [(1, RUNS), (1, RUNS + 1), (3, RUNS)])
"""Single images that keep every core busy; with a core to spare; and batches."""


def in_pairs(read: Iterator[int]) -> Iterator[list[int]]:
    for one in read:
        yield [one] + [two for two in [next(read, None)] if two is not None]


def one_each(read: Iterator[int]) -> Iterator[list[int]]:
    for one in read:
        yield [one]


def stages(**changed: Any) -> Stages[Any, Any, Any, Any]:
    """Every image is itself, however it goes."""
    given: dict[str, Any] = {
        "read": lambda place: place,
        "group": one_each,
        "run": lambda batch: batch,
        "finish": lambda ran: ran,
    }
    return Stages(**{**given, **changed})


@pytest.fixture(autouse=True)
def _cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    params = getattr(getattr(request.node, "callspec", None), "params", {})
    monkeypatch.setattr(streaming, "available_cores", lambda: params.get("cores", RUNS))


@WAYS
def test_what_comes_is_in_order_whatever_takes_longest(batch: int, cores: int) -> None:
    def read(place: int) -> int:
        time.sleep(0.01 * (place % 3 == 0))
        return place

    def run(images: list[int]) -> list[int]:
        time.sleep(0.01 * (images[0] % 2 == 0))
        return images

    found = stream(stages(read=read, run=run), range(12), batch, RUNS)
    assert list(found) == [[i] for i in range(12)]


@WAYS
def test_no_image_is_nothing(batch: int, cores: int) -> None:
    assert list(stream(stages(), [], batch, RUNS)) == []


def test_a_batch_is_what_is_grouped() -> None:
    assert list(stream(stages(group=in_pairs), range(5), 2, RUNS)) == [[0, 1], [2, 3], [4]]


def threads_of(batch: int) -> tuple[list[tuple[int, int, int]], int]:
    """The threads in which each of some images is read, run and finished; and how many ran them."""
    seen: dict[int, list[int]] = {}

    def at(images: list[int]) -> list[int]:
        time.sleep(0.002)
        for image in images:
            seen.setdefault(image, []).append(threading.get_ident())
        return images

    list(stream(stages(read=lambda i: at([i])[0], run=at, finish=at), range(20), batch, RUNS))
    return [(a, b, c) for a, b, c in seen.values()], len({ran for _, ran, _ in seen.values()})


def test_where_every_core_has_a_run_an_image_stays_in_one_thread() -> None:
    of_images, runners = threads_of(batch=1)
    assert all(read == ran == finished for read, ran, finished in of_images)
    assert runners == RUNS


def test_images_of_a_batch_are_read_and_finished_beside_the_runs() -> None:
    of_images, runners = threads_of(batch=3)
    assert all(len({read, ran, finished}) == 3 for read, ran, finished in of_images)
    assert runners == RUNS


@WAYS
def test_few_images_are_in_memory(batch: int, cores: int) -> None:
    read: list[int] = []

    def reading(place: int) -> int:
        read.append(place)
        return place

    found = stream(stages(read=reading), range(1000), batch, RUNS)
    next(found)
    # of three queues, each with as many as wait at most, and the images that are being worked at
    assert len(read) <= AHEAD * batch * RUNS + 2 * RUNS + AHEAD * RUNS + 2


@WAYS
@pytest.mark.parametrize("where", ["read", "run", "finish"])
def test_what_fails_ends_it_after_what_came_before(where: str, batch: int, cores: int) -> None:
    def fail(given: Any) -> Any:
        if given in (3, [3]):
            raise ValueError("the third")
        return given

    before = threading.active_count()
    came: list[Any] = []
    found = stream(stages(**{where: fail}), range(1000), batch, RUNS)
    with pytest.raises(ValueError, match="the third"):
        came.extend(each for each in found)
    assert came == [[0], [1], [2]][: len(came)]
    assert threading.active_count() == before
