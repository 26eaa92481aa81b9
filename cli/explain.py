"""``fg-onnx explain``: a model and photographs in; pictures, arrays and a certificate out."""

# onnx and OpenCV are slow to import, and --help is not to wait for them
# ruff: noqa: PLC0415

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

import fg_onnx
from fg_onnx.errors import InputError, printable

from .console import CHECK_FAILED, counted, faint, note, say, say_json, strong
from .labels import read_labels, require_count
from .method import (
    FULLGRAD,
    BaselineOption,
    LayerOption,
    MethodOption,
    NoiseOption,
    SamplesOption,
    SeedNumberOption,
    SignedOption,
    StepsOption,
)
from .options import (
    DeviceOption,
    InputOption,
    JsonOption,
    LabelsOption,
    ModelArgument,
    OutputOption,
    PaceOption,
    PreprocessOption,
    PsiOption,
    Tf32Option,
    ThreadsOption,
    parse_batch,
)
from .progress import Bar

if TYPE_CHECKING:
    from fg_onnx import Attribution, DeviceArray, Manifest, Preprocessing, Session
    from fg_onnx.attribution import Array
    from fg_onnx.pace import Pace, Settled
    from fg_onnx.samples import Sample

    from .given import Feeds, Place
    from .method import MethodTask
    from .regions import Region
    from .results import Explanation, Folder
    from .targets import Indices, Target

    Found: TypeAlias = tuple[Attribution, Indices, Array | None]
    Ran: TypeAlias = tuple[list[Sample], Sequence[Found]]

_FEW = 4  # images that need no progress bar


def explain(
    model: ModelArgument,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE",
            show_default=False,
            help="Files, folders or globs; .npy arrays are fed as they are.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Where the results are written.")
    ] = Path("explanations"),
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N|LABEL|topK",
            show_default=False,
            help="A class by number or label, or the best K; may be repeated. Default: the "
            "predicted class. Of a dense output: a score by its flat index, or the largest of a "
            "label.",
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            metavar="MASK|all|predicted",
            help="Of a segmentation: explain a class's scores summed over what is not black in "
            "MASK, everywhere, or where the class wins.",
        ),
    ] = None,
    input_: InputOption = None,
    output: OutputOption = None,
    feed: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            show_default=False,
            help="A further input: a .npy array or an image, one row for all or one for each; may "
            "be repeated.",
        ),
    ] = None,
    json_: JsonOption = False,
    layers: Annotated[
        bool, typer.Option("--layers", help="Draw the maps of single layers too.")
    ] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="The largest residual of completeness that passes. Default: 1e-4, or 1e-2 for a "
            "float16 model and TF32. Of integrated-gradients: the share of f(x) - f(baseline) that "
            "may be missing where steps end; default 0.01.",
        ),
    ] = None,
    psi: PsiOption = None,
    method: MethodOption = FULLGRAD,
    samples: SamplesOption = None,
    noise: NoiseOption = None,
    baseline: BaselineOption = None,
    steps: StepsOption = None,
    layer: LayerOption = None,
    seed_number: SeedNumberOption = None,
    signed: SignedOption = None,
    preprocess: PreprocessOption = None,
    labels: LabelsOption = None,
    device: DeviceOption = "auto",
    batch: PaceOption = "auto",
    threads: ThreadsOption = None,
    tf32: Tf32Option = False,
) -> None:
    """Draw and certify what MODEL sees in every IMAGE.

    MODEL is an instrumented model, or a plain one, which is instrumented in memory. What is
    written appears when all is done: an image that cannot be read stops it all, and leaves
    nothing. Exit code 1 if the contributions of any image do not add up to its score, which is
    known of fullgrad alone; of the other methods if a score or map is not finite.
    """
    from fg_onnx.samples import is_array

    from .given import Feeds, find_samples, list_places, parse_feeds
    from .method import (
        MethodTask,
        choose_method,
        describe_method,
        is_signed,
        parse_method,
        require_plain,
    )
    from .opening import Wanted, open_model, require_feeds
    from .regions import read_region
    from .results import DOCUMENT, Folder, to_document, write_document
    from .staging import Staging
    from .targets import parse_target

    names = read_labels(labels) if labels else None
    name, beside = parse_method(method)
    by_fullgrad = name == FULLGRAD
    options = {
        "psi": psi,
        "samples": samples,
        "noise": noise,
        "baseline": baseline,
        "steps": steps,
        "layer": layer,
        "seed": seed_number,
        "signed": signed,
        "tolerance": None if by_fullgrad else tolerance,
    }
    chosen = choose_method(name, beside, options)
    require_plain(chosen, layers=layers, region=region is not None)
    where = read_region(region) if region is not None else None
    named = parse_feeds(feed or ())
    wanted = Wanted(
        getattr(chosen, "psi", None) if by_fullgrad else None,
        input_,
        output,
        layers,
        where is not None,
        tuple(names) if names else None,
        None if by_fullgrad else chosen,
    )
    pace = _pace(batch, threads, images, by_fullgrad=by_fullgrad)
    session = open_model(model, wanted, device, tf32=tf32, threads=pace.threads)
    manifest = session.manifest
    require_feeds(model, session, named)
    paths = find_samples(images, session)
    if names is not None and labels is not None:
        require_count(names, manifest, labels)
    names = names or manifest.labels
    texts: Sequence[str | None] = target or [None]
    aims = [parse_target(text, names, manifest, region=where is not None) for text in texts]
    needs_steps = not all(map(is_array, [*paths, *named.values()]))
    prepare = preprocessing_for(model, manifest, preprocess) if needs_steps else None
    feeds = Feeds(named, session, prepare)
    feeds.require_count(len(places := list_places(paths, session)))
    task: Task | MethodTask
    if by_fullgrad:
        task, has_sign = Task(session, prepare, aims, where, feeds), manifest.psi == "signed"
    else:
        task, has_sign = MethodTask(session, chosen, prepare, aims, feeds), is_signed(chosen)
    with Staging(out, DOCUMENT) as staging:
        folder = Folder(out, staging, paths, signed=has_sign)
        explanations = list(_explained(task, places, pace.on(session), folder, names, layers))
    document = to_document(str(model), session, describe_method(chosen, manifest), explanations)
    written = write_document(out, document)
    if json_:
        say_json(document)
    else:
        _print(explanations, session.device, written)
    if isinstance(task, MethodTask):
        task.certify()
    else:
        _certify(explanations, session.tolerance if tolerance is None else tolerance)


def _pace(batch: str, threads: int | None, images: Sequence[str], *, by_fullgrad: bool) -> Pace:
    """How many images are run at once; another method has many variants of each to run."""
    from fg_onnx.pace import METHOD_BATCH, Pace, choose_pace

    from .given import count_named

    size = parse_batch(batch)
    if by_fullgrad:
        return choose_pace(size, threads, count_named(images))
    return Pace(size or METHOD_BATCH, threads)


def preprocessing_for(model: Path, manifest: Manifest, chosen: str | None) -> Preprocessing:
    """What was asked for, else what the model holds.

    Raises:
        InputError: neither, or what was asked for makes no sense.
    """
    from fg_onnx.pictures.preprocess import PRESETS, Preprocessing

    if chosen is not None:
        return fg_onnx.load_preprocessing(chosen)
    if manifest.preprocessing is None:
        raise InputError(
            "no-preprocessing",
            f"`{model}` does not say how its images are prepared",
            f"give --preprocess with a YAML or JSON file or one of: {', '.join(PRESETS)}",
        )
    return Preprocessing.from_dict(manifest.preprocessing)


# --- the explanations ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """What is explained of every sample.

    Attributes:
        session: the model.
        steps: how images are prepared, None where there are none.
        aims: the targets.
        region: over which a class's scores are summed, or None.
        feeds: further inputs.
    """

    session: Session
    steps: Preprocessing | None
    aims: Sequence[Target]
    region: Region | None
    feeds: Feeds
    is_slow = False

    def explain(
        self, batch: Sequence[Sample], _: Callable[[float], None]
    ) -> list[tuple[Attribution, Indices, None]]:
        """The attributions of a batch, each with the target of every sample."""
        from fg_onnx.samples import joined

        array: Array | DeviceArray = joined([sample.array for sample in batch])
        if self.session.device != "cpu":
            array = self.session.put(array)  # once for all targets
        fed = self.feeds.of(batch)
        if self.region is not None:
            return self._explain_region(batch, array, fed, self.region)
        class_axis = self.session.manifest.class_axis
        scores = functools.cache(lambda: self.session.dense_scores(array, fed))
        found = []
        for aim in self.aims:
            for indices in aim.of(len(batch), scores, class_axis):
                attribution = self.session.explain(array, indices, feeds=fed)
                assert attribution.targets is not None
                found.append((attribution, attribution.targets, None))
        return found

    def _explain_region(
        self,
        batch: Sequence[Sample],
        array: Array | DeviceArray,
        fed: dict[str, Array],
        region: Region,
    ) -> list[tuple[Attribution, Indices, None]]:
        scores = functools.cache(lambda: self.session.dense_scores(array, fed))
        size = region.size(self.session.manifest, scores)
        weights = region.weights(self.session, batch, self.steps, size)
        found = []
        for aim in self.aims:
            for classes in aim.of(len(batch), lambda: region.sums(self.session, scores(), weights)):
                seed = region.seed(self.session, scores, weights, classes)
                found.append((self.session.explain(array, seed=seed, feeds=fed), classes, None))
        return found


def _explained(
    task: Task | MethodTask,
    places: Sequence[Place],
    pace: Settled,
    folder: Folder,
    labels: Sequence[str] | None,
    layers: bool,
) -> Iterator[Explanation]:
    """Images are read, and pictures drawn and written, while the model runs."""
    from fg_onnx.streaming import Stages, stream

    from .given import batches

    def run(batch: list[Sample]) -> Ran:
        found = task.explain(batch, functools.partial(bar.within, len(batch)))
        bar.finish(len(batch))
        return batch, found

    stages: Stages[Place, Sample, Ran, list[Explanation]] = Stages(
        read=lambda place: place.read(task.session, task.steps),
        group=lambda read: batches(read, pace.batch),
        run=run,
        finish=lambda ran: list(_written(task, *ran, folder, labels, layers)),
    )
    waits = task.session.device != "cpu"
    with Bar(len(places), wanted=task.is_slow or len(places) > _FEW) as bar:
        for explanations in stream(stages, places, pace.batch, pace.runs, waits=waits):
            yield from explanations


def _written(
    task: Task | MethodTask,
    batch: Sequence[Sample],
    found: Sequence[Found],
    folder: Folder,
    labels: Sequence[str] | None,
    layers: bool,
) -> Iterator[Explanation]:
    manifest = task.session.manifest
    region = task.region.text if task.region else None
    for row, sample in enumerate(batch):
        done = set()
        for attribution, targets, delta in found:
            index = int(targets[row])
            if index in done:
                continue  # two ways to name one target
            done.add(index)
            kind = index if region else manifest.class_of(index)
            label = labels[kind] if labels else None
            yield folder.write(
                sample,
                attribution,
                row,
                index,
                label,
                layers=layers,
                region=region,
                delta=None if delta is None else float(delta[row]),
            )


# --- what is said -------------------------------------------------------------------------------


def _print(explanations: Sequence[Explanation], device: str, document: Path) -> None:
    for image, group in itertools.groupby(explanations, key=_source_text):
        say(strong(image))
        for found in group:
            say(
                f"  {_class_text(found)}  score {found.score:.6g}{_check_text(found)}\n"
                f"    {faint(_files_text(found))}"
            )
    count = counted(len(explanations), "explanation")
    say(f"{count} listed in {printable(str(document))}, computed on {device}")


def _source_text(found: Explanation) -> str:
    name = printable(found.image)
    return name if found.row is None else f"{name} [{found.row}]"


def _class_text(found: Explanation) -> str:
    label = None if found.label is None else printable(found.label)
    name = f"class {found.target}" if label is None else f"{label} ({found.target})"
    if found.region is not None:
        return f"{name} over {printable(found.region)}"
    return name if found.place is None else f"{name} at {list(found.place)}"


def _check_text(found: Explanation) -> str:
    """What is known of completeness."""
    if found.residual is not None:
        return f"  residual {found.residual:.1e}"
    return "" if found.delta is None else f"  delta {found.delta:.2g}"


def _files_text(found: Explanation) -> str:
    """The first name in full, of the others the ending."""
    first, *others = found.files.values()
    start = found.files["array"].removesuffix(".npy")
    return ", ".join([first, *(other.removeprefix(start) for other in others)])


def _certify(explanations: Sequence[Explanation], tolerance: float) -> None:
    """Say which explanations are not complete, and fail if any is not."""
    failed = [found for found in explanations if not found.complete(tolerance)]
    for found in failed:
        note(
            f"not complete: `{_source_text(found)}`, {_class_text(found)}: the contributions do "
            f"not add up to the score; residual {found.residual:.1e}, tolerance {tolerance:g}"
        )
    if failed:
        raise typer.Exit(CHECK_FAILED)
