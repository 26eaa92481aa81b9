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
WAYS = pytest.mark.parametrize(
    ("batch", "cores", "waits"),
    [(1, RUNS, False), (1, RUNS + 1, False), (1, RUNS, True), (3, RUNS, False)],
    ids=["every-core-busy", "a-core-to-spare", "waited-for", "batches"],
)


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
def test_what_comes_is_in_order_whatever_takes_longest(batch: int, cores: int, waits: bool) -> None:
    def read(place: int) -> int:
        time.sleep(0.01 * (place % 3 == 0))
        return place

    def run(images: list[int]) -> list[int]:
        time.sleep(0.01 * (images[0] % 2 == 0))
        return images

    found = stream(stages(read=read, run=run), range(12), batch, RUNS, waits=waits)
    assert list(found) == [[i] for i in range(12)]


@WAYS
def test_no_image_is_nothing(batch: int, cores: int, waits: bool) -> None:
    assert list(stream(stages(), [], batch, RUNS, waits=waits)) == []


def test_a_batch_is_what_is_grouped() -> None:
    assert list(stream(stages(group=in_pairs), range(5), 2, RUNS, waits=False)) == [
        [0, 1],
        [2, 3],
        [4],
    ]


def threads_of(batch: int, *, waits: bool = False) -> tuple[list[tuple[int, int, int]], int]:
    """The threads in which each of some images is read, run and finished; and how many ran them."""
    seen: dict[int, list[int]] = {}

    def at(images: list[int]) -> list[int]:
        time.sleep(0.002)
        for image in images:
            seen.setdefault(image, []).append(threading.get_ident())
        return images

    all_at = stages(read=lambda i: at([i])[0], run=at, finish=at)
    list(stream(all_at, range(20), batch, RUNS, waits=waits))
    return [(a, b, c) for a, b, c in seen.values()], len({ran for _, ran, _ in seen.values()})


def test_where_every_core_has_a_run_an_image_stays_in_one_thread() -> None:
    of_images, runners = threads_of(batch=1)
    assert all(read == ran == finished for read, ran, finished in of_images)
    assert runners == RUNS


@pytest.mark.parametrize(
    ("batch", "waits", "cores"), [(3, False, RUNS), (1, True, RUNS), (1, False, RUNS + 1)]
)
def test_others_are_read_and_finished_beside_the_runs(batch: int, waits: bool, cores: int) -> None:
    of_images, runners = threads_of(batch, waits=waits)
    assert all(len({read, ran, finished}) == 3 for read, ran, finished in of_images)
    assert runners == RUNS


@WAYS
def test_few_images_are_in_memory(batch: int, cores: int, waits: bool) -> None:
    read: list[int] = []

    def reading(place: int) -> int:
        read.append(place)
        return place

    found = stream(stages(read=reading), range(1000), batch, RUNS, waits=waits)
    next(found)
    # of three queues, each with as many as wait at most, and the images that are being worked at
    assert len(read) <= AHEAD * batch * RUNS + 2 * RUNS + AHEAD * RUNS + 2


@WAYS
@pytest.mark.parametrize("where", ["read", "run", "finish"])
def test_what_fails_ends_it_after_what_came_before(
    where: str, batch: int, cores: int, waits: bool
) -> None:
    def fail(given: Any) -> Any:
        if given in (3, [3]):
            raise ValueError("the third")
        return given

    before = threading.active_count()
    came: list[Any] = []
    found = stream(stages(**{where: fail}), range(1000), batch, RUNS, waits=waits)
    with pytest.raises(ValueError, match="the third"):
        came.extend(each for each in found)
    # of batches, what is read or run ahead fails before what came earlier is all finished
    alone = batch == 1 and cores == RUNS and not waits
    assert came == [[0], [1], [2]][: 3 if alone or where == "finish" else len(came)]
    assert threading.active_count() == before


def test_what_is_finished_is_given_before_more_is_begun() -> None:
    begun: list[int] = []

    def run(images: list[int]) -> list[int]:
        begun.extend(images)
        time.sleep(0.01)
        return images

    found = stream(stages(run=run), range(1000), 3, RUNS, waits=False)
    next(found)
    assert len(begun) < AHEAD * RUNS  # which would all have to be there first otherwise
