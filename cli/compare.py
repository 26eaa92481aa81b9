"""``fg-onnx compare``: two models and a data set in; a verdict, findings and an exit code out."""

# onnx and OpenCV are slow to import, and --help is not to wait for them
# ruff: noqa: PLC0415

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import CHECK_FAILED, counted, note, say, say_json, strong, table, to_json
from .options import (
    BatchOption,
    ClassesOption,
    DeviceOption,
    ImagesArgument,
    JsonOption,
    PreprocessOption,
    PsiOption,
    SeedOption,
    ShownOption,
    Tf32Option,
    TruthsOption,
)

if TYPE_CHECKING:
    from fg_onnx import Preprocessing
    from fg_onnx.audit.model import Opened
    from fg_onnx.audit.running import Timing
    from fg_onnx.comparison.comparing import Steps
    from fg_onnx.comparison.document import Comparison
    from fg_onnx.comparison.pair import Pair


def compare(
    a: Annotated[Path, typer.Argument(metavar="A.onnx", show_default=False, help="The reference.")],
    b: Annotated[
        Path,
        typer.Argument(metavar="B.onnx", show_default=False, help="What is compared with it."),
    ],
    images: ImagesArgument,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Where the results are written.")
    ] = Path("compare"),
    labels: TruthsOption = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="A YAML file of what passes; see docs/compare.md. Default: its defaults.",
        ),
    ] = None,
    least_agreement: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, metavar="X", help="Images of which both predict the same class."
        ),
    ] = None,
    least_spearman: Annotated[
        float | None,
        typer.Option(min=-1, max=1, metavar="X", help="Mean rank correlation of the maps."),
    ] = None,
    least_ssim: Annotated[
        float | None,
        typer.Option(min=-1, max=1, metavar="X", help="Mean structural similarity of the maps."),
    ] = None,
    least_top: Annotated[
        float | None,
        typer.Option(min=0, max=1, metavar="X", help="Mean overlap of the maps' top tenths."),
    ] = None,
    most_shift: Annotated[
        float | None,
        typer.Option(min=0, metavar="X", help="Mean shift of the maps' centres, in sides."),
    ] = None,
    most_score: Annotated[
        float | None,
        typer.Option(min=0, metavar="X", help="Mean relative change of the explained score."),
    ] = None,
    most_drift: Annotated[
        float | None,
        typer.Option(min=0, metavar="X", help="Mean relative drift of the contributions."),
    ] = None,
    classes: ClassesOption = None,
    shown: ShownOption = 48,
    batch: BatchOption = 8,
    seed: SeedOption = 0,
    psi: PsiOption = None,
    preprocess: PreprocessOption = None,
    preprocess_a: Annotated[
        str | None,
        typer.Option(metavar="PRESET|FILE", help="Of A, where it is another than of B."),
    ] = None,
    preprocess_b: Annotated[
        str | None,
        typer.Option(metavar="PRESET|FILE", help="Of B, where it is another than of A."),
    ] = None,
    input_a: Annotated[
        str | None, typer.Option(metavar="NAME", help="The explained input of A.")
    ] = None,
    input_b: Annotated[
        str | None, typer.Option(metavar="NAME", help="The explained input of B.")
    ] = None,
    output_a: Annotated[
        str | None, typer.Option(metavar="NAME", help="The explained tensor of A.")
    ] = None,
    output_b: Annotated[
        str | None, typer.Option(metavar="NAME", help="The explained tensor of B.")
    ] = None,
    device: DeviceOption = "auto",
    tf32: Tf32Option = False,
    json_: JsonOption = False,
) -> None:
    """Run the same IMAGEs through A and B: do they agree, and do they explain alike?

    Each is an instrumented model, or a plain one, which is instrumented in memory. In both the
    class is explained that A predicts. A comparison that was stopped goes on where it was when the
    same command is given again. Exit code 1 if a finding fails.
    """
    from fg_onnx.audit.places import LocalPlace, clear
    from fg_onnx.audit.records import require_parquet
    from fg_onnx.comparison import comparing
    from fg_onnx.comparison.pair import open_pair
    from fg_onnx.comparison.policy import Policy, read_policy
    from fg_onnx.comparison.report import write_reports
    from fg_onnx.samples import is_array

    from .evaluate.judged import progress
    from .given import find_samples
    from .labels import read_labels, require_count

    require_parquet()
    bounds = {
        "agreement": ("least", least_agreement),
        "spearman": ("least", least_spearman),
        "ssim": ("least", least_ssim),
        "top": ("least", least_top),
        "shift": ("most", most_shift),
        "score": ("most", most_score),
        "drift": ("most", most_drift),
    }
    given = {name: (key, value) for name, (key, value) in bounds.items() if value is not None}
    options = comparing.Options(
        policy=(Policy() if policy is None else read_policy(policy)).with_bounds(given),
        labels=labels,
        names=None if classes is None else read_labels(classes),
        seed=seed,
        shown=shown,
        batch=batch,
    )
    place = LocalPlace(out)
    with place.claimed():
        clear(place, comparing.WRITTEN)  # what was found before is not to be taken for the outcome
        pair = open_pair(
            a,
            b,
            inputs=(input_a, input_b),
            outputs=(output_a, output_b),
            psi=psi,
            device=device,
            tf32=tf32,
        )
        if options.names is not None and classes is not None:
            require_count(options.names, pair.a.session.manifest, classes)
        paths = find_samples(images, pair.a.session)
        asked = (preprocess_a or preprocess, preprocess_b or preprocess)
        needs_steps = any(asked) or not all(map(is_array, paths))
        steps = _steps(pair, asked) if needs_steps else None
        prepared = comparing.prepare(pair, paths, steps, out, options)
        document, timing = comparing.compare(prepared, progress)
        written = write_reports(document, place)
        found = document.to_dict()
        # last, for its presence says that all is written
        with place.write(comparing.DOCUMENT) as file:
            file.write(f"{to_json(found)}\n".encode())
    if json_:
        say_json(found)
    else:
        _print(document, timing, written[0])
    if document.verdict == "fail":
        raise typer.Exit(CHECK_FAILED)


def _steps(pair: Pair, asked: tuple[str | None, str | None]) -> Steps:
    """Of A and of B: what was asked for, else what the model holds."""
    from .explain import preprocessing_for

    def of(opened: Opened, chosen: str | None) -> Preprocessing:
        return preprocessing_for(opened.path, opened.session.manifest, chosen)

    return of(pair.a, asked[0]), of(pair.b, asked[1])


def _print(document: Comparison, timing: Timing, path: Path | str) -> None:
    from fg_onnx.audit.report.numbers import number
    from fg_onnx.errors import printable

    for finding in document.findings:
        say(f"{strong(finding.severity)}: {printable(finding.title)}")
        say(f"  {printable(finding.text)}")
        if finding.images:
            first = ", ".join(map(printable, finding.images[:3]))
            more = len(finding.images) - 3
            say(f"  {first}{f' and {more} more' if more > 0 else ''}")
    rows = [
        (each.name, number(each.distribution.mean), number(each.distribution.median),
         number(each.worst))
        for each in document.measures
    ]  # fmt: skip
    table(("measure", "mean", "median", "worst 5 %"), rows)
    say(
        f"{strong(document.verdict)}: {counted(document.images, 'image')}, "
        f"{document.broken} broken, {document.agreement:.1%} predicted alike, "
        f"{counted(len(document.findings), 'finding')}; {printable(str(path))}"
    )
    if timing.images:
        share = timing.busy / timing.whole
        note(
            f"{counted(timing.images, 'image')} compared in {timing.whole:.1f} s on "
            f"{document.settings.device}, the runtime busy {share:.0%} of it"
        )
