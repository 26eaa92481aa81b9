"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from fg_onnx.errors import InputError

ModelArgument: TypeAlias = Annotated[
    Path, typer.Argument(metavar="MODEL", show_default=False, help="An .onnx file.")
]
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document and nothing else.")
]
PsiOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="STYLE",
        help="The map's post-processing: reference (default), paper, abs, signed, positive or "
        "negative.",
    ),
]
EmitOption: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="A,B,...",
        help="What is computed beyond the score: saliency, contributions, input-gradient, "
        "layer-maps, bias-gradients; and of other methods: simple-saliency, grad-cam, "
        "guided-backprop, deconvnet, probability.",
    ),
]
PreprocessOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="PRESET|FILE",
        help="From photograph to input: imagenet, caffe-bgr, tf, unit, efficientnet-lite, none, "
        "or a YAML or JSON file.",
    ),
]
InputOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--input", metavar="NAME", help="The explained input. Default: the first image."),
]
OutputOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--output", metavar="NAME", help="The explained tensor. Default: the logits."),
]
LabelsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Class names, one a line, the first for index 0."),
]
DeviceOption: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        help="auto (CUDA where it is there, else the CPU), cpu, cuda[:N] or tensorrt[:N].",
    ),
]
MethodsOption: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="A,B,...",
        help="The methods that are compared, of: fullgrad, simple-fullgrad, smooth-fullgrad, "
        "input-gradient, gradient-x-input, smooth-grad, smooth-grad-squared, integrated-gradients, "
        "grad-cam, guided-backprop, deconvnet, rise, random. Each takes options of its own, as "
        "fullgrad:psi=abs.",
    ),
]
ShownOption: TypeAlias = Annotated[
    int,
    typer.Option(
        min=0, max=1000, metavar="N", help="Images that have pictures, at most; 1000 at the most."
    ),
]
BatchOption: TypeAlias = Annotated[
    int, typer.Option(min=1, metavar="N", help="Images that are run at once.")
]
PaceOption: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="N|auto", help="Images that are taken at once. auto: one on the CPU, else 8."
    ),
]
ThreadsOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        show_default=False,
        help="Threads of one run on the CPU; as many runs go on side by side as cores are left. "
        "Default: one where there are many images.",
    ),
]
TruthsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="CSV",
        show_default=False,
        help="The true classes: image,label a line, a label being a class's number or name.",
    ),
]
ClassesOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        show_default=False,
        help="Class names, one a line, the first for index 0. Default: those in the model.",
    ),
]
Tf32Option: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--tf32",
        help="Let CUDA round the factors of float32 products to TF32: faster, less exact.",
    ),
]
SeedOption: TypeAlias = Annotated[
    int, typer.Option(min=0, help="Of all that is drawn by chance: the same gives the same.")
]
ResultsOption: TypeAlias = Annotated[
    Path, typer.Option("-o", "--out", metavar="DIR", help="Where the results are written.")
]
PercentOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        show_default=False,
        help="Shares of the pixels that are removed, rising, from 0 to 100. Default: 1 to 90, or "
        "to 20 of flipping.",
    ),
]


def parse_batch(text: str) -> int | None:
    """Images that are run at once; None for ``auto``.

    Raises:
        InputError: ``bad-batch``.
    """
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(
            "bad-batch", f"`--batch {text}` is no number of images", "such as 8, or auto"
        )
    return int(text)


class Replacing(StrEnum):
    """What stands in the place of a pixel that is removed."""

    black = "black"
    mean = "mean"
    blur = "blur"


ReplaceOption: TypeAlias = Annotated[
    Replacing,
    typer.Option(
        help="By black, as the preprocessing makes it, by the image's mean colour, or by the image "
        "blurred."
    ),
]
ImagesArgument: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE",
        show_default=False,
        help="Files, folders or globs; .npy arrays are fed as they are.",
    ),
]
