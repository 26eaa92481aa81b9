"""``fg-onnx explain``: a model and photographs in; pictures, arrays and a certificate out."""

# onnx and OpenCV are slow to import, and --help is not to wait for them
# ruff: noqa: PLC0415

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import fg_onnx
from fg_onnx.errors import InputError, UnsupportedModelError, printable

from .console import CHECK_FAILED, counted, faint, note, say, say_json, strong
from .describe import inputs_of
from .labels import read_labels, require_count
from .options import JsonOption, LabelsOption, ModelArgument, PreprocessOption, PsiOption

if TYPE_CHECKING:
    import onnx

    from fg_onnx import Manifest, Preprocessing, Session
    from fg_onnx.images import Prepared
    from fg_onnx.manifest import Emit

    from .results import Explanation, Folder
    from .targets import Target

_BATCH = 8  # images at once: enough to keep two cores busy, little enough for any memory
_FEW = 4  # images that need no progress bar


def explain(
    model: ModelArgument,
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE", show_default=False, help="Files, folders or globs."),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Where the results are written.")
    ] = Path("explanations"),
    target: Annotated[
        str | None,
        typer.Option(
            metavar="N|LABEL|topK",
            help="A class by number or label, or the best K. Default: the predicted class.",
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
            "float16 model.",
        ),
    ] = None,
    psi: PsiOption = None,
    preprocess: PreprocessOption = None,
    labels: LabelsOption = None,
) -> None:
    """Draw and certify what MODEL sees in every IMAGE.

    MODEL is an instrumented model, or a plain one, which is instrumented in memory. Every image is
    read before anything is written: one that cannot be read stops it all. Exit code 1 if the
    contributions of any image do not add up to its score.
    """
    from .results import Folder, to_document
    from .targets import parse_target

    paths = fg_onnx.find_images(images)
    names = read_labels(labels) if labels else None
    session = open_model(model, psi, layers, tuple(names) if names else None)
    manifest = session.manifest
    if names is not None and labels is not None:
        require_count(names, manifest.scores, labels)
    names = names or manifest.labels
    aim = parse_target(target, names, manifest.scores)
    steps = preprocessing_for(model, manifest, preprocess)
    for path in paths:
        _prepared(path, steps, session)
    folder = Folder(out, paths, signed=manifest.psi == "signed")
    explanations = list(_explained(session, steps, paths, aim, folder, names, layers))
    document = to_document(str(model), explanations)
    written = folder.finish(document)
    if json_:
        say_json(document)
    else:
        _print(explanations, written)
    _certify(explanations, session.tolerance if tolerance is None else tolerance)


# --- the model ----------------------------------------------------------------------------------


def open_model(
    model: Path, psi: str | None, layers: bool, labels: tuple[str, ...] | None
) -> Session:
    """The model, ready to explain; a plain one is instrumented first.

    Raises:
        ModelError: it cannot be read.
        UnsupportedModelError: it cannot be instrumented, or was so without what is needed here.
    """
    from fg_onnx import manifest
    from fg_onnx.model import read

    proto = read(model).proto
    held = manifest.find(proto)
    if held is not None:
        _require(model, held, psi, layers)
        session = fg_onnx.Session(model)
    else:
        emit: list[Emit] = ["saliency", "contributions"]
        if layers:
            emit.append("layer-maps")
        session = fg_onnx.Session(
            fg_onnx.instrument(str(model), psi=psi or "reference", emit=emit, labels=labels)
        )
    _require_image_alone(model, proto, session.manifest)
    return session


def _require_image_alone(model: Path, proto: onnx.ModelProto, manifest: Manifest) -> None:
    others = [v.name for v in inputs_of(proto) if v.name != manifest.input]
    if others:
        raise UnsupportedModelError(
            "more-inputs",
            f"`{model}` is to be fed more than an image: {', '.join(others)}",
            "use the library, fg_onnx.Session(...).explain(array, feeds={...})",
        )


def _require(model: Path, manifest: Manifest, psi: str | None, layers: bool) -> None:
    if psi is not None:
        raise UnsupportedModelError(
            "psi-in-graph",
            f"--psi cannot be chosen any more: `{model}` is instrumented with {manifest.psi}",
            f"give the source model, or run `fg-onnx instrument SOURCE --psi {psi}`",
        )
    if manifest.seed:
        raise UnsupportedModelError(
            "seeded",
            f"`{model}` is instrumented with --seed, and takes a cotangent in place of a class",
            "run `fg-onnx instrument SOURCE` without --seed, or use fg_onnx.Session.explain(seed=)",
        )
    wanted = ["saliency", "contributions", *(["layer-maps"] if layers else [])]
    missing = [name for name in wanted if name not in manifest.emits]
    if missing:
        without = {
            "saliency": "the map",
            "contributions": "contributions, so that its completeness cannot be certified",
            "layer-maps": "layer maps",
        }
        raise UnsupportedModelError(
            "not-emitted",
            f"`{model}` is instrumented without {without[missing[-1]]}",
            f"run `fg-onnx instrument SOURCE --emit {','.join(wanted)}`, or give the source model",
        )


def preprocessing_for(model: Path, manifest: Manifest, chosen: str | None) -> Preprocessing:
    """What was asked for, else what the model holds.

    Raises:
        InputError: neither, or what was asked for makes no sense.
    """
    from fg_onnx.preprocess import PRESETS, Preprocessing

    if chosen is not None:
        return fg_onnx.load_preprocessing(chosen)
    if manifest.preprocessing is None:
        raise InputError(
            "no-preprocessing",
            f"`{model}` does not say how its images are prepared",
            f"give --preprocess with a YAML or JSON file or one of: {', '.join(PRESETS)}",
        )
    return Preprocessing.from_dict(manifest.preprocessing)


# --- the images ---------------------------------------------------------------------------------


def _prepared(path: Path, steps: Preprocessing, session: Session) -> Prepared:
    return fg_onnx.prepare(
        fg_onnx.read_image(path), steps, session.input_shape, session.manifest.layout
    )


def _batches(
    paths: Sequence[Path], steps: Preprocessing, session: Session
) -> Iterator[list[tuple[Path, Prepared]]]:
    """Neighbouring images of one size, some at once."""
    pairs = ((path, _prepared(path, steps, session)) for path in paths)
    for _, equals in itertools.groupby(pairs, key=lambda pair: pair[1].array.shape):
        while batch := list(itertools.islice(equals, _BATCH)):
            yield batch


def _explained(
    session: Session,
    steps: Preprocessing,
    paths: Sequence[Path],
    aim: Target,
    folder: Folder,
    labels: Sequence[str] | None,
    layers: bool,
) -> Iterator[Explanation]:
    import numpy as np

    shown = len(paths) > _FEW and sys.stderr.isatty()
    progress = typer.progressbar(length=len(paths), label="explaining", file=sys.stderr)
    with progress if shown else nullcontext() as bar:
        for batch in _batches(paths, steps, session):
            array = np.concatenate([prepared.array for _, prepared in batch])
            found = [session.explain(array, indices) for indices in aim.of(session, array)]
            for row, (path, prepared) in enumerate(batch):
                for attribution in found:
                    assert attribution.targets is not None
                    label = labels[int(attribution.targets[row])] if labels else None
                    yield folder.write(path, prepared.view, attribution, row, label, layers=layers)
            if bar is not None:
                bar.update(len(batch))


# --- what is said -------------------------------------------------------------------------------


def _print(explanations: Sequence[Explanation], document: Path) -> None:
    for image, group in itertools.groupby(explanations, key=lambda e: e.image):
        say(strong(image))
        for found in group:
            say(
                f"  {_class_text(found)}  score {found.score:.6g}  residual {found.residual:.1e}\n"
                f"    {faint(_files_text(found))}"
            )
    say(f"{counted(len(explanations), 'explanation')} listed in {printable(str(document))}")


def _class_text(found: Explanation) -> str:
    if found.label is None:
        return f"class {found.target}"
    return f"{printable(found.label)} ({found.target})"


def _files_text(found: Explanation) -> str:
    """The first name in full, of the others the ending."""
    first, *others = found.files.values()
    start = first.removesuffix("overlay.png").removesuffix(".")
    return ", ".join([first, *(other.removeprefix(start) for other in others)])


def _certify(explanations: Sequence[Explanation], tolerance: float) -> None:
    """Say which explanations are not complete, and fail if any is not."""
    failed = [found for found in explanations if not found.complete(tolerance)]
    for found in failed:
        note(
            f"not complete: `{printable(found.image)}`, {_class_text(found)}: the contributions do "
            f"not add up to the score; residual {found.residual:.1e}, tolerance {tolerance:g}"
        )
    if failed:
        raise typer.Exit(CHECK_FAILED)
