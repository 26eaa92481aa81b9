"""The streaming loop: images are read ahead in threads while the model runs, and rows written."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from fg_onnx.attribution import Attribution
from fg_onnx.audit import probes
from fg_onnx.audit.inside import Inside
from fg_onnx.audit.items import Broken, Item, read_item
from fg_onnx.audit.measures import inside_share, measure_map, points_inside
from fg_onnx.audit.records import Measured, Records
from fg_onnx.errors import InputError
from fg_onnx.pictures.preprocess import Preprocessing
from fg_onnx.samples import Sample
from fg_onnx.session import Session

BATCH = 8
_READERS = 3  # threads that decode and resize
_AHEAD = 4  # batches that are read before they are run, and that wait to be written

T = TypeVar("T")
U = TypeVar("U")
Tick = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Subject:
    """What is audited.

    Attributes:
        session: the model.
        steps: how photographs are prepared, None where all are arrays.
        items: the images.
        inside: the boxes or masks, None without.
        batch: how many images are run at once.
    """

    session: Session
    steps: Preprocessing | None
    items: Sequence[Item]
    inside: Inside | None
    batch: int = BATCH

    def read(self, number: int) -> Sample | Broken:
        """An image as the model is fed it."""
        return read_item(self.items[number], number, self.session, self.steps)


@dataclass(frozen=True)
class Timing:
    """How long a loop took.

    Attributes:
        whole: seconds from the first image to the last row.
        busy: seconds of these in which the model ran.
        images: how many were read.
    """

    whole: float
    busy: float
    images: int


def run_pending(subject: Subject, records: Records, tick: Tick | None = None) -> Timing:
    """Measure the parts that are not there yet; whatever the number of images, few are in memory.

    Args:
        subject: what is audited.
        records: where its rows are kept.
        tick: is told how many images are done since the last call.

    Raises:
        OutputError: the folder cannot be written.
    """
    loop = _Loop(subject, records, tick)
    began = time.perf_counter()
    pending = records.pending()
    with _threads(_READERS) as readers, _threads(1) as writer:
        numbers = (number for part in pending for number in records.numbers(part))
        part_of = {number: part for part in pending for number in records.numbers(part)[:1]}
        read = _ahead(readers, subject.read, numbers, _AHEAD * subject.batch)
        ran = (loop.run(batch) for batch in _batches(read, part_of, subject.batch))
        for _ in _ahead(writer, loop.keep, ran, _AHEAD):
            pass
    whole = time.perf_counter() - began
    return Timing(whole, loop.busy, sum(len(records.numbers(part)) for part in pending))


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that are not waited for longer than what they are at, whatever goes wrong."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ahead(
    pool: Executor, function: Callable[[T], U], given: Iterable[T], most: int
) -> Iterator[U]:
    """``map`` in threads, in order, with at most so many begun and not yet taken."""
    waiting: deque[Future[U]] = deque()
    for one in given:
        waiting.append(pool.submit(function, one))
        if len(waiting) >= most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


Read = Sample | Broken


def _batches(read: Iterable[Read], starts: dict[int, int], size: int) -> Iterator[list[Read]]:
    """Neighbours of one shape within a part, some at once: the same in whatever run."""
    part = -1

    def group(one: Read) -> Any:
        nonlocal part
        part = starts.get(one.number, part)
        return part, None if isinstance(one, Broken) else one.array.shape

    for _, equals in itertools.groupby(read, key=group):
        while batch := list(itertools.islice(equals, size)):
            yield batch


@dataclass(eq=False)
class _Loop:
    """Runs batches, and keeps the rows of the part at hand."""

    subject: Subject
    records: Records
    tick: Tick | None
    busy: float = 0.0

    def __post_init__(self) -> None:
        self._rows: list[Measured] = []
        self._failed = False

    def run(self, batch: list[Read]) -> list[tuple[Read, Attribution | None, int]]:
        """The batch with what was found of each, and its row there."""
        began = time.perf_counter()
        try:
            return list(_run(self.subject.session, batch))
        finally:
            self.busy += time.perf_counter() - began

    def keep(self, ran: list[tuple[Read, Attribution | None, int]]) -> None:
        """Measure what was found, and write the part when it is full; nothing after a failure."""
        if self._failed:
            return
        self._failed = True
        for read, found, row in ran:
            self._rows.append(_measured(self.subject, read, found, row))
            part, last = self._place(read.number)
            if last:
                self.records.write(part, self._rows)
                self._rows = []
        self._failed = False
        if self.tick is not None:
            self.tick(len(ran))

    def _place(self, number: int) -> tuple[int, bool]:
        part = number // self.records.size
        return part, number == self.records.numbers(part)[-1]


def _run(session: Session, batch: list[Read]) -> Iterator[tuple[Read, Attribution | None, int]]:
    """One run; where it fails, one for each image, so that only those that fail are broken."""
    samples = [one for one in batch if isinstance(one, Sample)]
    if not samples:
        yield from ((one, None, 0) for one in batch)
        return
    try:
        found = session.explain(
            np.concatenate([sample.array for sample in samples]), outputs=_wanted(session)
        )
    except InputError as error:
        if len(samples) == 1:
            yield Broken(samples[0].number, error.message), None, 0
        for sample in samples if len(samples) > 1 else ():
            yield from _run(session, [sample])
        return
    yield from ((sample, found, row) for row, sample in enumerate(samples))


def _wanted(session: Session) -> list[str]:
    wanted = ["saliency"] if "saliency" in session.manifest.emits else []
    return [*wanted, *probes.outputs(session)]


def _measured(subject: Subject, read: Read, found: Attribution | None, row: int) -> Measured:
    """The numbers of one image, broken where what was marked in it cannot be had."""
    try:
        return measure(subject, read, found, row)
    except InputError as error:
        return Measured(read.number, subject.items[read.number].name, error.message)


def measure(subject: Subject, read: Read, found: Attribution | None, row: int) -> Measured:
    """The numbers of one image."""
    item = subject.items[read.number]
    if isinstance(read, Broken) or found is None:
        reason = read.reason if isinstance(read, Broken) else "it was not run"
        return Measured(read.number, item.name, reason)
    assert found.targets is not None
    assert found.contributions is not None
    assert found.residual is not None
    values: dict[str, Any] = {}
    if found.saliency is not None and found.saliency.ndim == 3:
        saliency = found.saliency[row]
        measured = measure_map(saliency)
        if measured is not None:
            values = {
                "concentration": measured.concentration,
                "centre_row": measured.centre[0],
                "centre_column": measured.centre[1],
                "border": measured.border,
                "small": measured.small.ravel(),
            }
        if subject.inside is not None:
            inside = subject.inside.of(item, read, saliency.shape)
            if inside is not None:
                values["inside"] = inside_share(saliency, inside)
                values["pointing"] = points_inside(saliency, inside)
    activity = probes.activity(found, row)
    if activity is not None:
        values["activity"] = activity
    return Measured(
        number=read.number,
        name=item.name,
        target=found.manifest.class_of(int(found.targets[row])),
        score=float(found.scores[row]),
        residual=float(found.residual[row]),
        contributions=found.contributions[row].astype(np.float64),
        **values,
    )
