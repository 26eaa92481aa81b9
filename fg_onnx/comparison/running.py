"""One image in both models: read once, run in one after the other, and measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.attribution import Attribution
from fg_onnx.audit.items import Broken, Item, are_here, attempt, read_row
from fg_onnx.audit.running import BATCH
from fg_onnx.comparison import frames
from fg_onnx.comparison.frames import Frame
from fg_onnx.comparison.measures import (
    MapAgreement,
    compare_maps,
    drift,
    output_change,
    score_change,
    tells,
)
from fg_onnx.comparison.pair import Pair, relaid
from fg_onnx.errors import InputError
from fg_onnx.pictures.images import read_image
from fg_onnx.pictures.preprocess import Preprocessing
from fg_onnx.samples import Sample, is_array, joined, photograph_sample
from fg_onnx.session import Session

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Compared:
    """What was measured of one image; all but the name is None where it is broken.

    Attributes:
        number: among all, from 0.
        name: of the image.
        broken: why it could not be read or run, None if it could.
        target: the class that A predicts, which is explained in both.
        target_b: the class that B predicts.
        score_a: the explained scalar in A.
        score_b: that of the same class in B.
        residual_a: of completeness in A.
        residual_b: likewise, of B.
        contributions_a: of A's input and of every site of A.
        contributions_b: likewise, of B.
        map_a: whether A's map tells pixels apart; None where a model has no maps.
        map_b: likewise, of B.
        seen: the area that both models see over that which either sees.
        score: how far the scores are apart; this and what follows as docs/compare.md defines them.
        output: how far the outputs are apart.
        spearman: of the maps.
        ssim: of the maps.
        top: of the maps.
        shift: of the maps.
        drift: of the contributions.
    """

    number: int
    name: str
    broken: str | None = None
    target: int | None = None
    target_b: int | None = None
    score_a: float | None = None
    score_b: float | None = None
    residual_a: float | None = None
    residual_b: float | None = None
    contributions_a: Sequence[float] | None = None
    contributions_b: Sequence[float] | None = None
    map_a: bool | None = None
    map_b: bool | None = None
    seen: float | None = None
    score: float | None = None
    output: float | None = None
    spearman: float | None = None
    ssim: float | None = None
    top: float | None = None
    shift: float | None = None
    drift: float | None = None


@dataclass(frozen=True, eq=False)
class Both:
    """An image as either model is fed it.

    Attributes:
        number: among all, from 0.
        a: for A.
        b: for B.
        frame_a: what A sees of the image.
        frame_b: what B sees of it.
    """

    number: int
    a: Sample
    b: Sample
    frame_a: Frame
    frame_b: Frame


Read = Both | Broken


@dataclass(frozen=True, eq=False)
class Found:
    """What one model gives for one image.

    Attributes:
        target: the flat index that it predicts itself.
        score: of the one that is explained.
        residual: of completeness.
        contributions: [1 + S].
        saliency: [*grid], None without.
        output: of what ranks the classes, None where it is not compared.
    """

    target: int
    score: float
    residual: float
    contributions: Array
    saliency: Array | None
    output: Array | None


@dataclass(frozen=True, eq=False)
class Pairs:
    """What is compared.

    Attributes:
        pair: the models.
        steps: how photographs are prepared for A and for B, None where all are arrays.
        items: the images.
        batch: how many are run at once.
        runs: how many batches are run side by side.
    """

    pair: Pair
    steps: tuple[Preprocessing, Preprocessing] | None
    items: Sequence[Item]
    batch: int = BATCH
    runs: int = 1

    @property
    def waits(self) -> bool:
        """Whether images are behind URLs, or are run on another device."""
        on_cpu = all(session.device == "cpu" for session in self._sessions)
        return not (on_cpu and are_here(self.items))

    @property
    def seconds(self) -> float:
        """How long ONNX Runtime has run both models so far."""
        return sum(session.seconds for session in self._sessions)

    def read(self, number: int) -> Read:
        """An image as either model is fed it."""
        item = self.items[number]
        read = self._row if is_array(item.path) else self._photograph
        return attempt(number, lambda: read(item, number))

    def _row(self, item: Item, number: int) -> Both:
        """An array is as A takes it, and is laid out anew where B takes another layout."""
        a, b = self.pair.a.session, self.pair.b.session
        own = read_row(item, number, a)
        array = relaid(own.array, a.manifest.layout, b.manifest.layout)
        other = Sample(number, item.path, item.row, np.ascontiguousarray(array), None, None)
        frame = frames.whole(len(a.manifest.layout or "") - 2)
        return Both(number, own, other, frame, frame)

    def _photograph(self, item: Item, number: int) -> Both:
        assert self.steps is not None
        image = read_image(item.path)
        size = (image.shape[0], image.shape[1])
        made = []
        for session, steps in zip(self._sessions, self.steps, strict=True):
            sample = photograph_sample(item.path, number, image, session, steps)
            layout = session.manifest.layout
            made.append((sample, frames.frame_of(size, steps, session.input_shape, layout)))
        (a, frame_a), (b, frame_b) = made
        return Both(number, a, b, frame_a, frame_b)

    @property
    def _sessions(self) -> tuple[Session, Session]:
        return self.pair.a.session, self.pair.b.session

    def shape(self, read: Read) -> Any:
        """Of what the models are fed."""
        return None if isinstance(read, Broken) else (read.a.array.shape, read.b.array.shape)

    def run(self, batch: list[Read]) -> list[tuple[Read, tuple[Found, Found] | None]]:
        """Every image with what either model gives; where a run fails, one image at a time."""
        both = [one for one in batch if isinstance(one, Both)]
        if not both:
            return [(one, None) for one in batch]
        try:
            return list(zip(both, self.explain(both), strict=True))
        except InputError as error:
            if len(both) == 1:
                return [(Broken(both[0].number, error.message), None)]
            return [each for one in both for each in self.run([one])]

    def explain(self, batch: Sequence[Both]) -> list[tuple[Found, Found]]:
        """What either model gives for the class that A predicts.

        B is run for the class that it predicts itself, and again where that is another one.
        """
        a, b = self._sessions
        fed = joined([one.b.array for one in batch])
        of_a = list(_found(a, joined([one.a.array for one in batch]), None, self.pair))
        of_b = list(_found(b, fed, None, self.pair))
        rows = [at for at in range(len(batch)) if of_b[at].target != of_a[at].target]
        if rows:
            targets = np.array([of_a[at].target for at in rows])
            again = _found(b, fed[rows], targets, self.pair)
            for at, found in zip(rows, again, strict=True):
                of_b[at] = dataclasses.replace(found, target=of_b[at].target)
        return list(zip(of_a, of_b, strict=True))

    def measured(self, read: Read, found: tuple[Found, Found] | None) -> Compared:
        """The numbers of one image."""
        name = self.items[read.number].name
        if isinstance(read, Broken) or found is None:
            reason = read.reason if isinstance(read, Broken) else "it was not run"
            return Compared(read.number, name, reason)
        a, b = found
        held = self.pair.a.session.manifest
        return Compared(
            number=read.number,
            name=name,
            target=held.class_of(a.target),
            target_b=held.class_of(b.target),
            score_a=a.score,
            score_b=b.score,
            residual_a=a.residual,
            residual_b=b.residual,
            contributions_a=a.contributions.tolist(),
            contributions_b=b.contributions.tolist(),
            seen=frames.seen_by_both(read.frame_a, read.frame_b),
            score=score_change(a.score, b.score),
            output=_output_change(a.output, b.output),
            drift=drift(a.contributions, b.contributions, self.pair.matches),
            **_of_maps(read, a.saliency, b.saliency),
        )


def _of_maps(read: Both, a: Array | None, b: Array | None) -> dict[str, Any]:
    if a is None or b is None:
        return {}
    told = {"map_a": tells(a), "map_b": tells(b)}
    placed = frames.to_one_grid(a, read.frame_a, b, read.frame_b) if all(told.values()) else None
    agreement = compare_maps(*placed) if placed else MapAgreement(None, None, None, None)
    return {**told, **vars(agreement)}


def _output_change(a: Array | None, b: Array | None) -> float | None:
    return None if a is None or b is None or a.size != b.size else output_change(a, b)


def _found(session: Session, fed: Array, targets: Array | None, pair: Pair) -> Iterator[Found]:
    held = session.manifest
    wanted = ["saliency"] if pair.has_maps else []
    if pair.outputs_compare and held.ranking is not None:
        wanted.append(held.ranking)
    found = session.explain(fed, targets, outputs=wanted)
    yield from (_row_of(found, row, wanted) for row in range(len(fed)))


def _row_of(found: Attribution, row: int, wanted: Sequence[str]) -> Found:
    assert found.targets is not None
    assert found.contributions is not None
    assert found.residual is not None
    ranking = found.manifest.ranking or ""
    asked = ranking in wanted
    return Found(
        target=int(found.targets[row]),
        score=float(found.scores[row]),
        residual=float(found.residual[row]),
        contributions=found.contributions[row].astype(np.float64),
        saliency=None if found.saliency is None else found.saliency[row],
        # a model of one image may give its scores without a batch dimension
        output=found.outputs[ranking].reshape(len(found.scores), -1)[row] if asked else None,
    )
