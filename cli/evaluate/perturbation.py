"""``fg-onnx evaluate perturbation``: section 5.1 of the paper."""

# onnx and OpenCV are slow to import, and --help is not to wait for them
# ruff: noqa: PLC0415

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..console import note
from ..options import (
    DeviceOption,
    ImagesArgument,
    InputOption,
    JsonOption,
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


class Order(StrEnum):
    """Which pixels go first."""

    least = "least"
    most = "most"
    random = "random"


def perturbation(
    model: ModelArgument,
    images: ImagesArgument,
    methods: MethodsOption = "fullgrad,input-gradient,random",
    order: Annotated[
        Order, typer.Option(help="Remove the least or the most salient pixels first, or any.")
    ] = Order.least,
    replace: ReplaceOption = Replacing.black,
    percent: PercentOption = None,
    out: ResultsOption = Path("evaluation"),
    seed: SeedOption = 0,
    preprocess: PreprocessOption = None,
    input_: InputOption = None,
    output: OutputOption = None,
    device: DeviceOption = "auto",
    json_: JsonOption = False,
) -> None:
    """Remove pixels of every IMAGE by their salience, and measure how the score moves.

    The score is MODEL's own for the class that it predicts for the whole image; measured is the
    absolute fractional change. With the least salient pixels removed the lower curve is better,
    with the most salient the higher one.
    """
    import numpy as np

    from fg_onnx.errors import printable
    from fg_onnx.evaluate.curves import Results
    from fg_onnx.evaluate.perturbation import PERCENTS, Perturbation, perturb
    from fg_onnx.files import require_folder

    from .judged import Asked, circumstances, open_judged, parse_percents, progress, split_methods
    from .notes import tell
    from .written import write_results

    names = split_methods(methods)
    percents = PERCENTS if percent is None else parse_percents(percent)
    chosen = Perturbation(order.value, replace.value, percents, seed)
    asked = Asked(model, images, input_, output, device, preprocess)
    require_folder(out)
    judged = open_judged(asked, needs_steps=replace is Replacing.black)
    maps = judged.maps(names, seed)
    with progress("perturbing", lambda: judged.count() * len(names)) as tick:
        panel = perturb(judged.scorer, maps, judged.batches(), chosen, judged.steps, tick)
    without = np.flatnonzero(np.isnan(panel.curves[0].values).all(axis=1))
    if len(without):
        named = ", ".join(judged.names[at] for at in without)
        note(f"left out, as no change is a fraction of a score of 0 or NaN: {printable(named)}")
    settings = {
        "methods": names,
        "order": order.value,
        "replace": replace.value,
        "seed": seed,
        **circumstances(judged.scorer, judged.steps),
        "notes": tell(judged.notes),
    }
    results = Results("perturbation", str(model), settings, tuple(judged.names), (panel,))
    write_results(results, out, as_json=json_)
