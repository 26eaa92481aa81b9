"""Images on their way from file to file: read, run with others, and finished."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from fg_onnx.cores import available_cores

READERS = 3
"""Threads that decode and resize."""

AHEAD = 4
"""Batches that are read before they are run, and that wait to be finished; for each run."""

T = TypeVar("T")
U = TypeVar("U")
Place = TypeVar("Place")
Read = TypeVar("Read")
Ran = TypeVar("Ran")
Done = TypeVar("Done")


@dataclass(frozen=True)
class Stages(Generic[Place, Read, Ran, Done]):
    """What is done to images; all but ``group`` may be called in several threads.

    Attributes:
        read: one image.
        group: those that were read into batches, in order; where one is run at a time, each is one.
        run: a batch; in as many threads as batches are run side by side.
        finish: what was found in it.
    """

    read: Callable[[Place], Read]
    group: Callable[[Iterator[Read]], Iterable[list[Read]]]
    run: Callable[[list[Read]], Ran]
    finish: Callable[[Ran], Done]


def stream(
    stages: Stages[Place, Read, Ran, Done],
    given: Iterable[Place],
    batch: int,
    runs: int,
    *,
    waits: bool,
) -> Iterator[Done]:
    """What every batch comes to, in order; whatever the number of images, few are in memory.

    Images are read and finished in threads of their own while others run. But where single images
    keep every core busy, each goes all its way in one thread: more threads than cores would only
    take turns (docs/performance.md).

    Args:
        stages: what is done.
        given: where the images are.
        batch: how many are run at once, at most.
        runs: how many batches are run side by side.
        waits: whether images have to come from elsewhere, or are run elsewhere, while cores idle.
    """
    if batch == 1 and runs >= available_cores() and not waits:
        return _one_by_one(stages, given, runs)
    return _in_batches(stages, given, batch, runs)


def _one_by_one(
    stages: Stages[Place, Read, Ran, Done], given: Iterable[Place], runs: int
) -> Iterator[Done]:
    def through(place: Place) -> Done:
        return stages.finish(stages.run([stages.read(place)]))

    with threads(runs) as runners:
        yield from ahead(runners, through, given, AHEAD * runs)


def _in_batches(
    stages: Stages[Place, Read, Ran, Done], given: Iterable[Place], batch: int, runs: int
) -> Iterator[Done]:
    with threads(READERS) as readers, threads(runs) as runners, threads(1) as finisher:
        read = ahead(readers, stages.read, given, AHEAD * batch * runs)
        ran = ahead(runners, stages.run, stages.group(read), 2 * runs)
        yield from ahead(finisher, stages.finish, ran, AHEAD * runs, early=True)


@contextmanager
def threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that are not waited for longer than what they are at, whatever goes wrong."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def ahead(
    pool: Executor,
    function: Callable[[T], U],
    given: Iterable[T],
    most: int,
    *,
    early: bool = False,
) -> Iterator[U]:
    """``map`` in threads, in order, with at most so many begun and not yet taken.

    ``early``: what is done is given although there could be more begun, lest it be lost.
    """
    waiting: deque[Future[U]] = deque()
    for one in given:
        waiting.append(pool.submit(function, one))
        while waiting and (len(waiting) >= most or (early and waiting[0].done())):
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
