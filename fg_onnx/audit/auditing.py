"""All of an audit on one screen: measure, sum up, check, draw."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx._version import __version__
from fg_onnx.audit import pictures
from fg_onnx.audit.document import Check, ClassRow, Document, Finding, ImageRow, Settings
from fg_onnx.audit.findings import Facts, find
from fg_onnx.audit.inside import Inside, read_inside
from fg_onnx.audit.items import list_items, require_fit
from fg_onnx.audit.measures import shares
from fg_onnx.audit.model import Opened
from fg_onnx.audit.pictures import Pictures
from fg_onnx.audit.places import Place, place_of
from fg_onnx.audit.policy import Policy
from fg_onnx.audit.records import PART, Measured, Records, versions
from fg_onnx.audit.remote import RemoteFile
from fg_onnx.audit.report import FILES
from fg_onnx.audit.running import BATCH, Subject, Tick, Timing, run_pending
from fg_onnx.audit.sampled import Sampling, choose, look
from fg_onnx.audit.summary import Summary
from fg_onnx.audit.table import IMAGES, write_table
from fg_onnx.audit.truths import UNKNOWN, Truths, read_truths
from fg_onnx.errors import InputError
from fg_onnx.pictures.preprocess import Preprocessing
from fg_onnx.samples import is_array

DOCUMENT = "audit.json"
WRITTEN = (DOCUMENT, *FILES, IMAGES)
"""What an audit leaves for others; the first says that all of it is there."""

Array = npt.NDArray[Any]
Progress = Callable[[str, Callable[[], int]], AbstractContextManager[Tick | None]]
Engine = Callable[[Subject, Records[Measured], Tick | None], Timing]


@dataclass(frozen=True)
class Options:
    """How an audit is made.

    Attributes:
        policy: what passes.
        labels: a CSV of image,label.
        boxes: a file of boxes or a folder of masks.
        names: of the classes; None: the model's own, if it has any.
        seed: of what is drawn by chance.
        sample: images that are perturbed, and whose maps are compared with a random model's; 0:
            neither is done.
        listed: how many images a finding names at most.
        shown: how many images have pictures at most.
        batch: how many images are run at once.
        runs: how many batches are run side by side.
        part: how many images are kept together.
    """

    policy: Policy = Policy()  # noqa: RUF009  # it is frozen
    labels: Path | None = None
    boxes: Path | None = None
    names: tuple[str, ...] | None = None
    seed: int = 0
    sample: int = 16
    listed: int = 20
    shown: int = 64
    batch: int = BATCH
    runs: int = 1
    part: int = PART


@dataclass(frozen=True, eq=False)
class Prepared:
    """An audit of which everything that is given has been read, and nothing has been run."""

    opened: Opened
    subject: Subject
    truths: Truths | None
    records: Records[Measured]
    options: Options
    place: Place
    names: tuple[str, ...] | None


def prepare(
    opened: Opened,
    paths: Sequence[Path | RemoteFile],
    steps: Preprocessing | None,
    folder: str | Path | Place,
    options: Options,
) -> Prepared:
    """Read labels and boxes, and see what is done already.

    Args:
        opened: the model.
        paths: of the images.
        steps: how photographs are prepared; None where all are arrays.
        folder: where everything is written, a path or a URL.
        options: how.

    Raises:
        InputError: labels, boxes, images or a URL that make no sense.
        OutputError: the folder cannot be written.
        RuntimeMissingError: ``no-pyarrow`` or ``no-fsspec``.
    """
    place = place_of(folder)
    session = opened.session
    held = session.manifest
    if steps is not None and not all(map(is_array, paths)):
        require_fit(session, steps)
    items = list_items(paths, session)
    names = options.names or held.labels
    truths = options.labels and read_truths(options.labels, items, names, held.classes)
    inside = options.boxes and read_inside(
        options.boxes, items, steps, session.input_shape, held.layout
    )
    subject = Subject(session, steps, items, inside or None, options.batch, options.runs)
    key = _key(opened, steps, inside or None, options)
    records = Records(Measured, place, key, items, options.part)
    records.require_writable()
    return Prepared(opened, subject, truths or None, records, options, place, names)


def _key(
    opened: Opened, steps: Preprocessing | None, inside: Inside | None, options: Options
) -> Mapping[str, Any]:
    """All that the numbers of an image depend on beside the image."""
    model = opened.instrumented.model.SerializeToString(deterministic=True)
    return {
        "versions": versions(),
        "model": hashlib.sha256(model).hexdigest(),
        "device": opened.session.device,
        "tolerance": opened.session.tolerance,  # it differs under TF32
        "preprocessing": steps.to_dict() if steps else None,
        "inside": inside.digest if inside else None,
        "batch": options.batch,
    }


def audit(
    prepared: Prepared, progress: Progress | None = None, engine: Engine = run_pending
) -> tuple[Document, Timing]:
    """Measure what is not measured yet, and judge.

    Args:
        prepared: what is audited.
        progress: gives what is told of how far it is.
        engine: measures the parts that are not there yet: here, unless another one is given.

    Raises:
        InputError: ``nothing-read``: all images are broken.
        OutputError: the folder cannot be written.
    """
    progress = progress or (lambda _, __: nullcontext(None))
    opened, subject, records = prepared.opened, prepared.subject, prepared.records
    options, items = prepared.options, subject.items
    with progress("auditing", records.images_left) as tick:
        timing = engine(subject, records, tick)
    records.discard_others()
    reasons = records.reasons()
    if len(reasons) == len(items):
        raise InputError(
            "nothing-read",
            f"none of the images could be read or run; the first: {reasons[0]}",
            "check the images, --preprocess and the model with `fg-onnx explain`",
        )
    settings = options.policy.checks
    truths = prepared.truths
    summary = Summary(
        records,
        opened.session.manifest,
        opened.activations,
        None if truths is None else truths.classes,
    )
    limits = settings.get("outliers", Policy().checks["outliers"])
    outliers = summary.outliers(limits["distance"], limits["images"])
    scores = summary.column("score")
    chosen = choose(np.isfinite(scores) & (scores != 0), options.sample, options.seed)
    facts = Facts(
        items=items,
        card=opened.card(),
        without_bias=opened.without_bias,
        summary=summary,
        outliers=outliers,
        reasons=reasons,
        tolerance=opened.session.tolerance,
        sampled=look(
            Sampling(opened, subject, chosen, options.seed),
            settings.get("perturbation", {}).get("percent"),
            randomised="randomization" in settings,
        ),
        labels_unused=truths.unused if truths else (),
        boxes_unused=subject.inside.unused if subject.inside else (),
        marked=summary.sound & (subject.inside.marked(len(items)) if subject.inside else False),
        listed=options.listed,
    )
    checks, findings = find(facts, options.policy)
    document = _document(prepared, facts, checks, findings, progress)
    write_table(prepared.place, records, summary, outliers, prepared.names)
    return document, timing


def _document(
    prepared: Prepared,
    facts: Facts,
    checks: tuple[Check, ...],
    findings: tuple[Finding, ...],
    progress: Progress,
) -> Document:
    options, summary = prepared.options, facts.summary
    residual = options.policy.checks.get("residual", {})
    return Document(
        tool_version=__version__,
        verdict="fail" if any(each.severity == "fail" for each in findings) else "pass",
        model=facts.card,
        settings=Settings(
            tolerance=float(residual.get("most", facts.tolerance)),
            device=prepared.opened.session.device,
            policy=options.policy.given,
            labels=None if options.labels is None else str(options.labels),
            boxes=None if options.boxes is None else str(options.boxes),
            seed=options.seed,
            listed=options.listed,
            shown=options.shown,
        ),
        images=len(facts.items),
        broken=len(facts.reasons),
        accuracy=summary.accuracy,
        findings=findings,
        checks=checks,
        distributions=summary.distributions(facts.outliers),
        layers=summary.layers(),
        classes=_classes(facts, prepared.names),
        rows=_rows(prepared, facts, findings, progress),
    )


def _classes(facts: Facts, names: Sequence[str] | None) -> tuple[ClassRow, ...]:
    summary = facts.summary
    counts = np.bincount(summary.targets[summary.sound])
    order = sorted(np.flatnonzero(counts), key=lambda target: (-counts[target], target))
    found = []
    for at, target in enumerate(map(int, order)):
        own = summary.targets == target
        labelled = int((own & summary.labelled).sum())
        drawn = target in summary.mean_maps and at < pictures.MEAN_MAPS
        found.append(
            ClassRow(
                index=target,
                label=label_of(names, target),
                images=int(counts[target]),
                right=int((own & summary.right).sum()) / labelled if labelled else None,
                outliers=_beyond(facts.outliers[own]),
                mean_map=pictures.draw_mean(summary.mean_maps[target]) if drawn else None,
            )
        )
    return tuple(found)


def _beyond(outliers: Array) -> int | None:
    """How many images of a class lie beyond the limit; None of a class that is too small."""
    return int((outliers > 1).sum()) if np.isfinite(outliers).any() else None


def _rows(
    prepared: Prepared, facts: Facts, findings: Sequence[Finding], progress: Progress
) -> tuple[ImageRow, ...]:
    options, summary = prepared.options, facts.summary
    shown = pictures.choose_shown(facts.items, findings, summary.sound, options.shown, options.seed)
    if not shown:
        return ()
    held = prepared.records.rows(shown)
    kinds = [site.kind for site in prepared.opened.session.manifest.sites]
    rows = []
    with progress("drawing", lambda: len(shown)) as tick:
        session = prepared.opened.with_layers()
        drawn = pictures.draw(prepared.subject, session, shown)
        for number, one in zip(shown, drawn, strict=True):
            truth = UNKNOWN if summary.truths is None else int(summary.truths[number])
            rows.append(
                _row(
                    held[number],
                    kinds,
                    prepared.names,
                    None if truth == UNKNOWN else truth,
                    float(facts.outliers[number]),
                    one,
                )
            )
            if tick is not None:
                tick(1)
    return tuple(rows)


def _row(
    measured: Measured,
    kinds: Sequence[str],
    names: Sequence[str] | None,
    truth: int | None,
    outlier: float,
    drawn: Pictures,
) -> ImageRow:
    assert measured.target is not None
    assert measured.contributions is not None
    row, column = measured.centre_row, measured.centre_column
    return ImageRow(
        name=measured.name,
        broken=None,
        target=measured.target,
        label=label_of(names, measured.target),
        truth=truth,
        truth_label=None if truth is None else label_of(names, truth),
        score=measured.score,
        residual=measured.residual,
        shares=shares(np.asarray(measured.contributions), kinds),
        concentration=measured.concentration,
        centre=None if row is None or column is None else (row, column),
        border=measured.border,
        inside=measured.inside,
        pointing=measured.pointing,
        outlier=outlier if np.isfinite(outlier) else None,
        picture=drawn.picture,
        overlay=drawn.overlay,
        layers=drawn.layers,
    )


def label_of(names: Sequence[str] | None, target: int) -> str | None:
    """The name of a class, None where that is not known."""
    return names[target] if names is not None and target < len(names) else None
