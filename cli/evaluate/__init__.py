"""``fg-onnx evaluate``: the paper's experiments, one file each."""

from __future__ import annotations

import typer

from ..console import reported
from .flipping import flipping
from .perturbation import perturbation
from .randomization import randomization
from .roar import roar

evaluate = typer.Typer(
    name="evaluate",
    no_args_is_help=True,
    help="The paper's experiments, on a model and images of your own.",
)

for _command in (perturbation, roar, flipping, randomization):
    evaluate.command()(reported(_command))
