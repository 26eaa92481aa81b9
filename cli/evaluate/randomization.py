"""``fg-onnx evaluate randomization``: section 4.1 of the paper, and Adebayo et al., 2018."""

# onnx and OpenCV are slow to import, and --help is not to wait for them
# ruff: noqa: PLC0415

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fg_onnx.errors import InputError, UnsupportedModelError

from ..console import note
from ..options import (
    DeviceOption,
    ImagesArgument,
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
    from fg_onnx.evaluate.randomization import FedMaps, Mode

_MODES = "cascading,independent,biases"


def randomization(
    model: ModelArgument,
    images: ImagesArgument,
    methods: MethodsOption = "fullgrad,input-gradient,grad-cam",
    modes: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            show_default=False,
            help="Randomise layer after layer from the output down, one layer at a time, or the "
            "biases alone, by noise of rising size and without another file. Default: "
            f"{_MODES}, the last where there are biases that can be fed.",
        ),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            show_default=False,
            help="Look at N layers, evenly spread. Default: all.",
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
    """Randomise MODEL's parameters, and measure how alike the maps of every IMAGE stay.

    A map that stays the same whatever the parameters does not explain them. The class is the one
    that the trained model predicts.
    """
    from fg_onnx.evaluate.curves import Results
    from fg_onnx.evaluate.maps import spatial_axes
    from fg_onnx.evaluate.parameters import parameters
    from fg_onnx.evaluate.randomization import (
        Subject,
        count_of_changes,
        randomize,
        require_biases,
    )
    from fg_onnx.files import require_folder

    from .judged import Asked, circumstances, open_judged, progress, split_methods
    from .notes import tell
    from .written import write_results

    names = split_methods(methods)
    chosen = _parse_modes(_MODES if modes is None else modes)
    require_folder(out)
    judged = open_judged(Asked(model, images, input_, output, device, preprocess))
    held = parameters(str(model))

    def open_maps(method: str, proto: Any) -> FedMaps:
        return judged.listened(method, seed, proto)

    for name in names:
        open_maps(name, held.proto)  # before any image is read
    if "biases" in chosen:
        try:
            require_biases(judged.open_scores(held.proto)[0])
        except UnsupportedModelError as error:
            if modes is not None or error.code != "no-biases":
                raise
            chosen.remove("biases")
            note(f"{error.message}: the mode `biases` is left out")
    layout = judged.scorer.layout
    spatial_axes(layout)
    assert layout is not None
    batches = tuple(judged.batches())
    subject = Subject(held, open_maps, judged.open_scores, names, batches, layout)

    def count(mode: Mode) -> int:
        return len(judged.names) * len(names) * count_of_changes(held, mode, layers)

    panels = []
    for mode in chosen:
        with progress(mode, partial(count, mode)) as tick:
            panels += randomize(subject, mode, seed, most=layers, tick=tick)
    settings = {
        "methods": names,
        "modes": list(chosen),
        "seed": seed,
        **circumstances(judged.scorer, judged.steps),
        "notes": tell(judged.notes),
        "layers": [{"name": each.name, "op": each.op} for each in held.layers],
    }
    names_read = tuple(judged.names)
    results = Results("randomization", str(model), settings, names_read, tuple(panels))
    write_results(results, out, as_json=json_)


def _parse_modes(text: str) -> list[Mode]:
    """Those that are named, each once.

    Raises:
        InputError: ``bad-modes``.
    """
    from fg_onnx.evaluate.randomization import MODES

    named = [part.strip() for part in text.split(",")]
    found = [mode for mode in MODES if mode in named]
    if len(found) < len(named):
        raise InputError(
            "bad-modes", f"`--modes {text}` is no list of modes, each once", f"any of: {_MODES}"
        )
    return found
