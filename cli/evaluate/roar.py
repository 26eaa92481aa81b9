"""``fg-onnx evaluate roar``: section 5.2 of the paper, and Hooker et al., 2019."""

# onnx and OpenCV are slow to import, and --help is not to wait for them
# ruff: noqa: PLC0415

from __future__ import annotations

import os
import sys
import time
from contextlib import redirect_stdout
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fg_onnx.errors import InputError

from ..console import counted, note
from ..options import (
    DeviceOption,
    InputOption,
    JsonOption,
    MethodsOption,
    ModelArgument,
    OutputOption,
    PreprocessOption,
    ResultsOption,
    SeedOption,
)

if TYPE_CHECKING:
    from fg_onnx.evaluate.roar import Retraining
    from fg_onnx.evaluate.training import Trainer
    from fg_onnx.manifest import LayoutName

_BUILT_IN = "vgg"


class Level(StrEnum):
    """What stands in the place of a pixel, in all images the same."""

    mean = "mean"
    black = "black"


def roar(
    model: ModelArgument,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            show_default=False,
            help="An .npz file with train_images, train_labels, test_images and test_labels, or a "
            "folder of these as .npy files, fed as they are; or a folder of images, train/CLASS/* "
            "and test/CLASS/*.",
        ),
    ],
    methods: MethodsOption = "fullgrad,input-gradient,integrated-gradients,smooth-grad-squared,"
    "grad-cam,random",
    percent: Annotated[
        str,
        typer.Option(
            metavar="A,B,...",
            help="Shares of the pixels that are removed, rising, from 0 to 100. Nothing removed is "
            "always measured too.",
        ),
    ] = "10,30,50,70,90",
    seeds: Annotated[
        int, typer.Option(min=1, metavar="N", help="How often everything is trained.")
    ] = 3,
    replace: Annotated[
        Level,
        typer.Option(
            help="By the mean colour of all images to train on, or by black, as the preprocessing "
            "makes it."
        ),
    ] = Level.mean,
    trainer: Annotated[
        str,
        typer.Option(
            metavar="vgg|MODULE:FUNCTION",
            help="What trains: the paper's 9-layer VGG, which needs torch, or "
            "FUNCTION(images, labels, seed, progress), which returns a function from images to "
            "classes.",
        ),
    ] = _BUILT_IN,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", show_default=False, help="Of the VGG. Default: 3."),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            show_default=False,
            help="Channels of the VGG's first stage; the last has four times as many. Default: 16.",
        ),
    ] = None,
    out: ResultsOption = Path("evaluation"),
    seed: SeedOption = 0,
    preprocess: PreprocessOption = None,
    input_: InputOption = None,
    output: OutputOption = None,
    device: DeviceOption = "auto",
    json_: JsonOption = False,
) -> None:
    """Remove the most salient pixels of a data set, train again, and measure the accuracy.

    MODEL is explained, and is to be trained on DATA. Another classifier is trained from scratch
    without the pixels that a method finds salient, for each method, share and seed; the lower its
    accuracy, the better the method. What is done is kept in DIR/roar.kept: the same command goes
    on where it was stopped.
    """
    from fg_onnx.evaluate.curves import Results
    from fg_onnx.evaluate.kept import Kept
    from fg_onnx.evaluate.labelled import read_labelled
    from fg_onnx.evaluate.roar import PARTS, Retraining, Roar
    from fg_onnx.evaluate.training import identity
    from fg_onnx.files import require_folder

    from ..explain import preprocessing_for
    from .judged import (
        Asked,
        Judged,
        circumstances,
        open_scorer,
        parse_percents,
        progress,
        split_methods,
    )
    from .notes import tell
    from .written import write_results

    names = split_methods(methods)
    chosen = Roar(parse_percents(percent), range(seed, seed + seeds), replace.value, seed)
    asked = Asked(model, (), input_, output, device, preprocess)
    require_folder(out)
    scorer = open_scorer(asked)
    training = _trainer(trainer, {"epochs": epochs, "width": width}, scorer.layout)

    def steps() -> Any:
        return preprocessing_for(model, scorer.manifest, preprocess)

    known = steps() if preprocess is not None or replace is Level.black else None
    read = read_labelled(data, scorer.session, steps)
    judged = Judged(asked, scorer, (), known)
    maps = judged.maps(names, seed)
    retraining = Retraining(scorer, maps, read, training, chosen, Kept(out / "roar.kept"), known)
    for each in maps.values():  # what methods say in words, they say of any image
        each(read.train.images[:1], scorer.predicted(read.train.images[:1]))
    said = {method: notes.lines for method, notes in judged.notes.items() if notes.lines}
    try:
        with progress("explaining", retraining.images_left) as tick:
            retraining.explain(tick)
        tell(judged.notes)
        left = len(retraining.cells_left())
        with progress(f"training {left} times", lambda: left * PARTS) as tick:
            told = tick or _Lines(len(retraining.cells()), left).tick
            with redirect_stdout(sys.stderr):  # a trainer may print
                retraining.train(told)
    except KeyboardInterrupt:
        _say_how_far(retraining)
        raise
    settings = {
        "methods": names,
        "seeds": list(chosen.seeds),
        "replace": replace.value,
        "colour": retraining.colour,
        "trainer": identity(training),
        "data": {
            "path": str(data),
            "sha256": read.digest,
            "train": len(read.train.labels),
            "test": len(read.test.labels),
        },
        "target": "predicted",
        "seed": seed,
        **circumstances(scorer, known),
        "notes": said,
    }
    rows = tuple(str(each) for each in chosen.seeds)
    results = Results("roar", str(model), settings, rows, (retraining.panel(),), "seed")
    write_results(results, out, as_json=json_)


def _trainer(name: str, options: dict[str, int | None], layout: LayoutName | None) -> Trainer:
    """What was asked for.

    Raises:
        InputError: ``bad-trainer`` or ``bad-training``.
        RuntimeMissingError: torch is not installed.
    """
    from fg_onnx.evaluate.training import load_trainer
    from fg_onnx.evaluate.vgg import Vgg, require_torch

    given = {key: value for key, value in options.items() if value is not None}
    if name == _BUILT_IN:
        require_torch()
        return Vgg(layout=layout or "nchw", **given)
    if given:
        raise InputError(
            "bad-trainer",
            f"{' and '.join(f'--{key}' for key in given)} is the VGG's own, not of `{name}`",
            "leave it out, and set it in the trainer",
        )
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)  # where a module of one's own lies
    return load_trainer(name)


class _Lines:
    """A line for every training that is done, where no bar is shown.

    Args:
        trainings: how many there are in all.
        left: how many of them are to be done.
    """

    def __init__(self, trainings: int, left: int) -> None:
        self._trainings = trainings
        self._left = left
        self._parts = 0
        self._start = time.monotonic()

    def tick(self, parts: int) -> None:
        """So many hundredths more are done."""
        from fg_onnx.evaluate.roar import PARTS

        before, self._parts = self._parts // PARTS, self._parts + parts
        done = self._parts // PARTS
        if done == before:
            return
        seconds = (time.monotonic() - self._start) / done * (self._left - done)
        done += self._trainings - self._left
        whole = counted(self._trainings, "training")
        note(f"{done} of {whole} done, about {timedelta(seconds=round(seconds))} left")


def _say_how_far(retraining: Retraining) -> None:
    done = len(retraining.cells()) - len(retraining.cells_left())
    whole = counted(len(retraining.cells()), "training")
    note(f"{done} of {whole} done; the same command goes on")
