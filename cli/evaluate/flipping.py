"""``fg-onnx evaluate flipping``: section 6 of the paper."""

# onnx and OpenCV are slow to import, and --help is not to wait for them
# ruff: noqa: PLC0415

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import counted, note
from ..options import (
    DeviceOption,
    ImagesArgument,
    InputOption,
    JsonOption,
    LabelsOption,
    MethodsOption,
    ModelArgument,
    OutputOption,
    PercentOption,
    PreprocessOption,
    ReplaceOption,
    Replacing,
    ResultsOption,
    SeedOption,
)

if TYPE_CHECKING:
    from fg_onnx.evaluate.curves import Panel


def flipping(
    model: ModelArgument,
    images: ImagesArgument,
    source: Annotated[
        str, typer.Option("--from", metavar="N|LABEL", help="The class that the images are of.")
    ],
    target: Annotated[
        str, typer.Option("--to", metavar="N|LABEL", help="The class to turn them into.")
    ],
    methods: MethodsOption = "fullgrad:psi=signed,fullgrad,gradient-x-input,random",
    replace: ReplaceOption = Replacing.black,
    percent: PercentOption = None,
    out: ResultsOption = Path("evaluation"),
    seed: SeedOption = 0,
    labels: LabelsOption = None,
    preprocess: PreprocessOption = None,
    input_: InputOption = None,
    output: OutputOption = None,
    device: DeviceOption = "auto",
    json_: JsonOption = False,
) -> None:
    """Remove from every IMAGE what speaks for one class against another.

    Measured are the change of the log-odds between them and the share of images that flip: the
    higher the better. FullGrad explains the difference of the two scores; of other methods the
    maps of both classes are subtracted, signed where they have a sign. Pixels that do not speak for
    the first class stay.
    """
    from fg_onnx.evaluate.curves import Results
    from fg_onnx.evaluate.flipping import PERCENTS, Flipping, flip, require_classes
    from fg_onnx.files import require_folder

    from ..labels import find_label, read_labels
    from .judged import Asked, circumstances, open_judged, parse_percents, progress, split_methods
    from .notes import tell
    from .written import write_results

    names = split_methods(methods)
    known = read_labels(labels) if labels else None
    classes = tuple(
        int(text) if text.lstrip("+-").isdecimal() else find_label(text, known)
        for text in (source, target)
    )
    percents = PERCENTS if percent is None else parse_percents(percent)
    chosen = Flipping(classes[0], classes[1], replace.value, percents, seed)
    asked = Asked(model, images, input_, output, device, preprocess)
    require_folder(out)
    judged = open_judged(asked, needs_steps=replace is Replacing.black)
    require_classes(judged.scorer.manifest, classes)
    contrasts = judged.contrasts(names, seed)
    with progress("flipping", lambda: judged.count() * len(names)) as tick:
        panels = flip(judged.scorer, contrasts, judged.batches(), chosen, judged.steps, tick)
    _say_who_cannot_flip(panels[1], classes)
    settings = {
        "methods": names,
        "from": classes[0],
        "to": classes[1],
        "replace": replace.value,
        "seed": seed,
        **circumstances(judged.scorer, judged.steps),
        "notes": tell(judged.notes),
    }
    results = Results("flipping", str(model), settings, tuple(judged.names), tuple(panels))
    write_results(results, out, as_json=json_)


def _say_who_cannot_flip(flipped: Panel, classes: tuple[int, ...]) -> None:
    """How many images the model does not take for what they are said to be."""
    import numpy as np

    values = flipped.curves[0].values
    count = int(np.isnan(values).all(axis=1).sum())
    if count:
        source, target = classes
        note(
            f"{count} of {counted(len(values), 'image')} not taken for class {source} rather than "
            f"{target} to begin with: left out of the share that flip"
        )
