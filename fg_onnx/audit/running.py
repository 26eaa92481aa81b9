"""The streaming loop: images are read and measured while the model runs, and rows written."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from fg_onnx.attribution import Attribution
from fg_onnx.audit import probes
from fg_onnx.audit.inside import Inside
from fg_onnx.audit.items import Broken, Item, are_here, read_item
from fg_onnx.audit.measures import inside_share, measure_map, points_inside
from fg_onnx.audit.records import Measured, Records
from fg_onnx.errors import InputError
from fg_onnx.pictures.preprocess import Preprocessing
from fg_onnx.samples import Sample, joined
from fg_onnx.session import Session
from fg_onnx.streaming import Stages, stream

BATCH = 8

U = TypeVar("U")
Row = TypeVar("Row", bound="Numbered")
Tick = Callable[[int], None]
Read = Sample | Broken


class Numbered(Protocol):
    """An image that was read, or could not be, or what was measured of it."""

    @property
    def number(self) -> int:
        """Among all, from 0."""


In = TypeVar("In", bound=Numbered)
Row_co = TypeVar("Row_co", bound="Numbered", covariant=True)


class Work(Protocol[In, U, Row_co]):
    """What is done to every image: it is read, run with others, and measured."""

    @property
    def batch(self) -> int:
        """How many images are run at once."""

    @property
    def runs(self) -> int:
        """How many batches are run side by side."""

    @property
    def waits(self) -> bool:
        """Whether images have to come from elsewhere, or are run elsewhere, while cores idle."""

    @property
    def seconds(self) -> float:
        """How long ONNX Runtime has run models so far."""

    def read(self, number: int) -> In:
        """An image in memory; called in several threads."""

    def shape(self, read: In) -> Any:
        """Only images of which this is equal are run at once."""

    def run(self, batch: list[In]) -> list[tuple[In, U]]:
        """Every image of the batch, with what was found of it."""

    def measured(self, read: In, found: U) -> Row_co:
        """Its row; called in several threads."""


Found = tuple[Attribution | None, int]
"""What was found in a batch, and the row of an image there."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What is audited.

    Attributes:
        session: the model.
        steps: how photographs are prepared, None where all are arrays.
        items: the images.
        inside: the boxes or masks, None without.
        batch: how many images are run at once.
        runs: how many batches are run side by side.
    """

    session: Session
    steps: Preprocessing | None
    items: Sequence[Item]
    inside: Inside | None
    batch: int = BATCH
    runs: int = 1

    @property
    def waits(self) -> bool:
        """Whether images are behind URLs, or are run on another device."""
        return self.session.device != "cpu" or not are_here(self.items)

    @property
    def seconds(self) -> float:
        """How long ONNX Runtime has run the model so far."""
        return self.session.seconds

    def read(self, number: int) -> Sample | Broken:
        """An image as the model is fed it."""
        return read_item(self.items[number], number, self.session, self.steps)

    def shape(self, read: Read) -> Any:
        """Of what the model is fed."""
        return None if isinstance(read, Broken) else read.array.shape

    def run(self, batch: list[Read]) -> list[tuple[Read, Found]]:
        """Every image with what was found in its batch, and its row there."""
        return list(_run(self.session, batch))

    def measured(self, read: Read, found: Found) -> Measured:
        """The numbers of one image, broken where what was marked in it cannot be had."""
        try:
            return measure(self, read, *found)
        except InputError as error:
            return Measured(read.number, self.items[read.number].name, error.message)


@dataclass(frozen=True)
class Timing:
    """How long a loop took.

    Attributes:
        whole: seconds from the first image to the last row.
        busy: seconds of these in which ONNX Runtime ran the model; of several runs side by side,
            and of several workers, the mean.
        images: how many were read.
    """

    whole: float
    busy: float
    images: int


def run_pending(work: Work[In, U, Row], records: Records[Row], tick: Tick | None = None) -> Timing:
    """Measure the parts that are not there yet.

    Args:
        work: what is done.
        records: where its rows are kept.
        tick: is told how many images are done since the last call.

    Raises:
        OutputError: the folder cannot be written.
    """
    return run_parts(work, records, records.pending(), tick)


def run_parts(
    work: Work[In, U, Row],
    records: Records[Row],
    parts: Sequence[int],
    tick: Tick | None = None,
) -> Timing:
    """Measure some parts, rising; whatever the number of images, few are in memory.

    Args:
        work: what is done.
        records: where its rows are kept.
        parts: which.
        tick: is told how many images are done since the last call.

    Raises:
        OutputError: the folder cannot be written.
    """
    numbers = (number for part in parts for number in records.numbers(part))
    part_of = {number: part for part in parts for number in records.numbers(part)[:1]}
    stages: Stages[int, In, list[tuple[In, U]], list[Row]] = Stages(
        read=work.read,
        group=lambda read: _batches(work, read, part_of),
        run=work.run,
        finish=lambda ran: [work.measured(read, found) for read, found in ran],
    )
    began, ran_before = time.perf_counter(), work.seconds
    rows: list[Row] = []
    for measured in stream(stages, numbers, work.batch, work.runs, waits=work.waits):
        rows += measured
        part = rows[0].number // records.size
        if rows[-1].number == records.numbers(part)[-1]:
            records.write(part, rows)
            rows = []
        if tick is not None:
            tick(len(measured))
    return Timing(
        whole=time.perf_counter() - began,
        busy=(work.seconds - ran_before) / work.runs,
        images=sum(len(records.numbers(part)) for part in parts),
    )


def _batches(
    work: Work[In, U, Row], read: Iterable[In], starts: dict[int, int]
) -> Iterator[list[In]]:
    """Neighbours of one shape within a part, some at once: the same in whatever run."""
    part = -1

    def group(one: In) -> Any:
        nonlocal part
        part = starts.get(one.number, part)
        return part, work.shape(one)

    for _, equals in itertools.groupby(read, key=group):
        while batch := list(itertools.islice(equals, work.batch)):
            yield batch


def _run(session: Session, batch: list[Read]) -> Iterator[tuple[Read, Found]]:
    """One run; where it fails, one for each image, so that only those that fail are broken."""
    samples = [one for one in batch if isinstance(one, Sample)]
    if not samples:
        yield from ((one, (None, 0)) for one in batch)
        return
    try:
        found = session.explain(
            joined([sample.array for sample in samples]), outputs=_wanted(session)
        )
    except InputError as error:
        if len(samples) == 1:
            yield Broken(samples[0].number, error.message), (None, 0)
        for sample in samples if len(samples) > 1 else ():
            yield from _run(session, [sample])
        return
    yield from ((sample, (found, row)) for row, sample in enumerate(samples))


def _wanted(session: Session) -> list[str]:
    wanted = ["saliency"] if "saliency" in session.manifest.emits else []
    return [*wanted, *probes.outputs(session)]


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
