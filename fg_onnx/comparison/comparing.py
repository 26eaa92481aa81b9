"""All of a comparison on one screen: run both, sum up, check, draw."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fg_onnx._version import __version__
from fg_onnx.audit.auditing import Progress, label_of
from fg_onnx.audit.document import Check, Finding
from fg_onnx.audit.items import list_items, require_fit
from fg_onnx.audit.model import Opened
from fg_onnx.audit.pictures import choose_shown
from fg_onnx.audit.places import LocalPlace
from fg_onnx.audit.records import PART, Records, versions
from fg_onnx.audit.running import BATCH, Timing, run_pending
from fg_onnx.audit.truths import UNKNOWN, Truths, read_truths
from fg_onnx.comparison.document import (
    ClassPair,
    Comparison,
    Measure,
    PairRow,
    Settings,
    Side,
)
from fg_onnx.comparison.findings import Facts, find
from fg_onnx.comparison.measures import MEASURES
from fg_onnx.comparison.pair import Pair
from fg_onnx.comparison.pictures import Pictures, draw
from fg_onnx.comparison.policy import Policy
from fg_onnx.comparison.report import FILES
from fg_onnx.comparison.running import Compared, Pairs
from fg_onnx.comparison.summary import Summary
from fg_onnx.comparison.table import IMAGES, write_table
from fg_onnx.errors import InputError
from fg_onnx.pictures.preprocess import Preprocessing
from fg_onnx.samples import is_array

DOCUMENT = "compare.json"
WRITTEN = (DOCUMENT, *FILES, IMAGES)
"""What a comparison leaves for others; the first says that all of it is there."""
FOLDER = "pairs"
"""Of the parts; an audit in the same place has others."""

Steps = tuple[Preprocessing, Preprocessing]


@dataclass(frozen=True)
class Options:
    """How a comparison is made.

    Attributes:
        policy: what passes.
        labels: a CSV of image,label.
        names: of the classes; None: those of A, else of B, if either has any.
        seed: of what is drawn by chance.
        listed: how many images a finding names at most.
        shown: how many images have pictures at most.
        batch: how many images are run at once.
        part: how many images are kept together.
    """

    policy: Policy = Policy()  # noqa: RUF009  # it is frozen
    labels: Path | None = None
    names: tuple[str, ...] | None = None
    seed: int = 0
    listed: int = 20
    shown: int = 48
    batch: int = BATCH
    part: int = PART


@dataclass(frozen=True, eq=False)
class Prepared:
    """A comparison of which everything that is given has been read, and nothing has been run."""

    pairs: Pairs
    truths: Truths | None
    records: Records[Compared]
    options: Options
    folder: Path
    names: tuple[str, ...] | None


def prepare(
    pair: Pair, paths: Sequence[Path], steps: Steps | None, folder: Path, options: Options
) -> Prepared:
    """Read labels, and see what is done already.

    Args:
        pair: the models.
        paths: of the images; arrays are as A takes them.
        steps: how photographs are prepared for A and for B; None where all are arrays.
        folder: where everything is written.
        options: how.

    Raises:
        InputError: labels or images that make no sense.
        OutputError: the folder cannot be written.
        RuntimeMissingError: ``no-pyarrow``.
    """
    if steps is not None and not all(map(is_array, paths)):
        for opened, own in zip((pair.a, pair.b), steps, strict=True):
            require_fit(opened.session, own)
    items = list_items(paths, pair.a.session)
    names = options.names or pair.names
    classes = pair.a.session.manifest.classes
    truths = options.labels and read_truths(options.labels, items, names, classes)
    key = _key(pair, steps, options)
    records = Records(Compared, LocalPlace(folder), key, items, options.part, FOLDER)
    records.require_writable()
    pairs = Pairs(pair, steps, items, options.batch)
    return Prepared(pairs, truths or None, records, options, folder, names)


def _key(pair: Pair, steps: Steps | None, options: Options) -> Mapping[str, Any]:
    """All that the numbers of an image depend on beside the image."""
    return {
        "versions": versions(),
        "models": [_digest(opened) for opened in (pair.a, pair.b)],
        "preprocessing": [each.to_dict() for each in steps or ()],
        "batch": options.batch,
    }


def _digest(opened: Opened) -> list[Any]:
    model = opened.instrumented.model.SerializeToString(deterministic=True)
    session = opened.session
    return [hashlib.sha256(model).hexdigest(), session.device, session.tolerance]


def compare(prepared: Prepared, progress: Progress | None = None) -> tuple[Comparison, Timing]:
    """Measure what is not measured yet, and judge.

    Args:
        prepared: what is compared.
        progress: gives what is told of how far it is.

    Raises:
        InputError: ``nothing-read``: all images are broken.
        OutputError: the folder cannot be written.
    """
    progress = progress or (lambda _, __: nullcontext(None))
    pairs, records, options = prepared.pairs, prepared.records, prepared.options
    with progress("comparing", records.images_left) as tick:
        timing = run_pending(pairs, records, tick)
    records.discard_others()
    reasons = records.reasons()
    if len(reasons) == len(pairs.items):
        raise InputError(
            "nothing-read",
            f"none of the images could be read or run; the first: {reasons[0]}",
            "check the images, --preprocess and both models with `fg-onnx explain`",
        )
    truths = prepared.truths
    facts = Facts(
        items=pairs.items,
        pair=pairs.pair,
        summary=Summary(records, pairs.pair, None if truths is None else truths.classes),
        reasons=reasons,
        names=prepared.names,
        labels_unused=truths.unused if truths else (),
        listed=options.listed,
    )
    checks, findings = find(facts, options.policy)
    document = _document(prepared, facts, checks, findings, progress)
    write_table(prepared.folder, records, facts.summary, prepared.names)
    return document, timing


def _document(
    prepared: Prepared,
    facts: Facts,
    checks: tuple[Check, ...],
    findings: tuple[Finding, ...],
    progress: Progress,
) -> Comparison:
    options, summary, pair = prepared.options, facts.summary, facts.pair
    measures = _measures(facts)
    return Comparison(
        tool_version=__version__,
        verdict="fail" if any(each.severity == "fail" for each in findings) else "pass",
        a=_side(pair.a, 0, prepared, summary),
        b=_side(pair.b, 1, prepared, summary),
        settings=Settings(
            device=pair.a.session.device,
            psi=pair.psi,
            policy=options.policy.given,
            labels=None if options.labels is None else str(options.labels),
            seed=options.seed,
            listed=options.listed,
            shown=options.shown,
        ),
        images=len(facts.items),
        broken=len(facts.reasons),
        agreement=summary.agreement,
        mapless=int(summary.mapless.sum()),
        matched=len(pair.matches) - 1,
        covered=summary.covered,
        findings=findings,
        checks=checks,
        measures=measures,
        layers=summary.layers(),
        classes=_classes(facts),
        rows=_rows(prepared, facts, findings, progress),
    )


def _side(opened: Opened, at: int, prepared: Prepared, summary: Summary) -> Side:
    limit = prepared.options.policy.checks.get("residual", {}).get("most")
    return Side(
        model=opened.card(),
        tolerance=float(opened.session.tolerance if limit is None else limit),
        accuracy=summary.accuracy(at),
        shares=summary.kind_shares(at),
    )


def _measures(facts: Facts) -> tuple[Measure, ...]:
    summary = facts.summary
    return tuple(
        Measure(
            name=name,
            better=MEASURES[name],
            worst=summary.worst(name),
            images=facts.of(summary.worst_images(name, facts.listed)),
            distribution=summary.distribution(name),
        )
        for name in summary.measured
    )


def _classes(facts: Facts) -> tuple[ClassPair, ...]:
    summary = facts.summary
    spearman, targets_b = summary.column("spearman"), summary.targets[1]
    found = []
    for target, own in summary.by_class():
        others = Counter(map(int, targets_b[own & ~summary.same]))
        other = min(others, key=lambda each: (-others[each], each)) if others else None
        known = spearman[own & np.isfinite(spearman)]
        labelled = int((own & summary.labelled).sum())
        right = [int((own & summary.right(side)).sum()) for side in (0, 1)]
        found.append(
            ClassPair(
                index=target,
                label=label_of(facts.names, target),
                images=int(own.sum()),
                agreement=float(summary.same[own].mean()),
                other=other,
                other_label=None if other is None else label_of(facts.names, other),
                spearman=float(known.mean()) if len(known) else None,
                right_a=right[0] / labelled if labelled else None,
                right_b=right[1] / labelled if labelled else None,
            )
        )
    return tuple(found)


def _rows(
    prepared: Prepared, facts: Facts, findings: Sequence[Finding], progress: Progress
) -> tuple[PairRow, ...]:
    options, summary = prepared.options, facts.summary
    worst = [summary.worst_images(name, facts.listed) for name in summary.measured]
    shown = choose_shown(
        facts.items, findings, summary.sound, options.shown, options.seed, further=worst
    )
    held = prepared.records.rows(shown)
    rows = []
    with progress("drawing", lambda: len(shown)) as tick:
        for number, drawn in zip(shown, draw(prepared.pairs, shown), strict=True):
            truth = UNKNOWN if summary.truths is None else int(summary.truths[number])
            known = None if truth == UNKNOWN else truth
            rows.append(_row(held[number], facts.names, known, drawn))
            if tick is not None:
                tick(1)
    return tuple(rows)


def _row(
    measured: Compared, names: Sequence[str] | None, truth: int | None, drawn: Pictures
) -> PairRow:
    assert measured.target is not None
    assert measured.target_b is not None
    values = {name: getattr(measured, name) for name in MEASURES}
    return PairRow(
        name=measured.name,
        target=measured.target,
        label=label_of(names, measured.target),
        target_b=measured.target_b,
        label_b=label_of(names, measured.target_b),
        truth=truth,
        truth_label=None if truth is None else label_of(names, truth),
        score_a=measured.score_a,
        score_b=measured.score_b,
        residual_a=measured.residual_a,
        residual_b=measured.residual_b,
        values={name: value for name, value in values.items() if value is not None},
        picture_a=drawn.picture_a,
        overlay_a=drawn.overlay_a,
        picture_b=drawn.picture_b,
        overlay_b=drawn.overlay_b,
        difference=drawn.difference,
    )
