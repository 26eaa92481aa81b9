"""Reading and writing that go on in threads while the model runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

READERS = 3
"""Threads that decode and resize."""

AHEAD = 4
"""Batches that are read before they are run, and that wait to be written."""

T = TypeVar("T")
U = TypeVar("U")


@contextmanager
def threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that are not waited for longer than what they are at, whatever goes wrong."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def ahead(pool: Executor, function: Callable[[T], U], given: Iterable[T], most: int) -> Iterator[U]:
    """``map`` in threads, in order, with at most so many begun and not yet taken."""
    waiting: deque[Future[U]] = deque()
    for one in given:
        waiting.append(pool.submit(function, one))
        if len(waiting) >= most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
