"""``fg-onnx audit``: a model and a data set in; a verdict, findings and an exit code out."""

# onnx and OpenCV are slow to import, and --help is not to wait for them
# ruff: noqa: PLC0415

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import CHECK_FAILED, counted, note, say, say_json, strong, to_json
from .options import (
    ClassesOption,
    DeviceOption,
    ImagesArgument,
    InputOption,
    JsonOption,
    ModelArgument,
    OutputOption,
    PaceOption,
    PreprocessOption,
    PsiOption,
    SeedOption,
    ShownOption,
    Tf32Option,
    ThreadsOption,
    TruthsOption,
    parse_batch,
)

if TYPE_CHECKING:
    from fg_onnx.audit.document import Document
    from fg_onnx.audit.running import Timing


class Engine(StrEnum):
    """What measures the images."""

    local = "local"
    ray = "ray"


def audit(
    model: ModelArgument,
    images: ImagesArgument,
    out: Annotated[
        str,
        typer.Option("-o", "--out", metavar="DIR|URL", help="Where the results are written."),
    ] = "audit",
    labels: TruthsOption = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR",
            show_default=False,
            help="What maps should lie in: a CSV of image,x0,y0,x1,y1 in pixels of the photograph, "
            "a JSON object of image: [[x0, y0, x1, y1], ...], or a folder of masks.",
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="A YAML file of what passes; see docs/audit.md. Default: its defaults.",
        ),
    ] = None,
    classes: ClassesOption = None,
    sample: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Images that are perturbed, and looked at with random parameters; 0: none.",
        ),
    ] = 16,
    shown: ShownOption = 64,
    batch: PaceOption = "auto",
    threads: ThreadsOption = None,
    engine: Annotated[
        Engine, typer.Option(help="What spreads the work: this process alone, or Ray.")
    ] = Engine.local,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            show_default=False,
            help="Of --engine ray: how many. Default: one for each CPU, or share of a GPU.",
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float,
        typer.Option(
            min=0, metavar="F", help="Of --engine ray: the share of GPUs of each, such as 0.5."
        ),
    ] = 0,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            show_default=False,
            help="Of --engine ray: a cluster that runs, such as auto or ray://head:10001. Default: "
            "one is started on this machine.",
        ),
    ] = None,
    seed: SeedOption = 0,
    psi: PsiOption = None,
    preprocess: PreprocessOption = None,
    input_: InputOption = None,
    output: OutputOption = None,
    device: DeviceOption = "auto",
    tf32: Tf32Option = False,
    json_: JsonOption = False,
) -> None:
    """Measure what drives MODEL's predictions on every IMAGE, and hold it to a policy.

    MODEL is an instrumented model, or a plain one, which is instrumented in memory. An audit that
    was stopped goes on where it was when the same command is given again. Exit code 1 if a finding
    fails.
    """
    from fg_onnx.audit import auditing
    from fg_onnx.audit.items import find_files
    from fg_onnx.audit.model import open_audited
    from fg_onnx.audit.places import clear, place_of
    from fg_onnx.audit.policy import Policy, read_policy
    from fg_onnx.audit.records import require_parquet
    from fg_onnx.audit.report import write_reports
    from fg_onnx.audit.running import run_pending
    from fg_onnx.pace import choose_pace
    from fg_onnx.samples import is_array

    from .evaluate.judged import progress
    from .explain import preprocessing_for
    from .labels import read_labels, require_count

    require_parquet()
    pace = choose_pace(parse_batch(batch), threads)
    options = auditing.Options(
        policy=Policy() if policy is None else read_policy(policy),
        labels=labels,
        boxes=boxes,
        names=None if classes is None else read_labels(classes),
        seed=seed,
        sample=sample,
        shown=shown,
    )
    place = place_of(out)
    with place.claimed():
        clear(place, auditing.WRITTEN)  # what was found before is not to be taken for the outcome
        opened = open_audited(
            model,
            input=input_,
            output=output,
            psi=psi,
            device=device,
            tf32=tf32,
            threads=pace.threads,
        )
        settled = pace.on(opened.session)
        options = replace(options, batch=settled.batch, runs=settled.runs)
        measure: auditing.Engine = run_pending
        if engine is Engine.ray:
            from fg_onnx.audit.distributed import Cluster, on_ray

            measure = on_ray(opened, Cluster(address, workers, gpus_per_worker), tf32=tf32)
        manifest = opened.session.manifest
        if options.names is not None and classes is not None:
            require_count(options.names, manifest, classes)
        paths = find_files(images, opened.session)
        needs_steps = preprocess is not None or not all(map(is_array, paths))
        steps = preprocessing_for(model, manifest, preprocess) if needs_steps else None
        prepared = auditing.prepare(opened, paths, steps, place, options)
        document, timing = auditing.audit(prepared, progress, measure)
        written = write_reports(document, place)
        found = document.to_dict()
        # last, for its presence says that all is written
        with place.write(auditing.DOCUMENT) as file:
            file.write(f"{to_json(found)}\n".encode())
    if json_:
        say_json(found)
    else:
        _print(document, timing, written[0])
    if document.verdict == "fail":
        raise typer.Exit(CHECK_FAILED)


def _print(document: Document, timing: Timing, path: Path | str) -> None:
    from fg_onnx.errors import printable

    for finding in document.findings:
        say(f"{strong(finding.severity)}: {printable(finding.title)}")
        say(f"  {printable(finding.text)}")
        if finding.images:
            first = ", ".join(map(printable, finding.images[:3]))
            more = len(finding.images) - 3
            say(f"  {first}{f' and {more} more' if more > 0 else ''}")
    say(
        f"{strong(document.verdict)}: {counted(document.images, 'image')}, "
        f"{document.broken} broken, {counted(len(document.findings), 'finding')}; "
        f"{printable(str(path))}"
    )
    if timing.images:
        share = timing.busy / timing.whole
        note(
            f"{counted(timing.images, 'image')} measured in {timing.whole:.1f} s on "
            f"{document.settings.device}, the runtime busy {share:.0%} of it"
        )
