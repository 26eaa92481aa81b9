"""The commands, and where each leaves what it found."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path

from reproduction.inputs import Inputs, Subject
from reproduction.sizes import Size

FULLGRAD = "fullgrad"
STYLES = ("reference", "paper", "abs", "signed", "positive", "negative")


@dataclass(frozen=True)
class Experiment:
    """One command.

    Attributes:
        name: of the folder that it writes to.
        kind: the subcommand of `fg-onnx evaluate`, and the stem of its files.
        title: of what is judged.
        arguments: of the subcommand.
    """

    name: str
    kind: str
    title: str
    arguments: tuple[str, ...]


def command_of(experiment: Experiment) -> str:
    """What to type; files by their names alone."""
    shown = [Path(each).name if Path(each).exists() else each for each in experiment.arguments]
    return shlex.join(["fg-onnx", "evaluate", experiment.kind, *shown])


def styles(*names: str) -> list[str]:
    """FullGrad with each psi, as the command line has it."""
    return [f"{FULLGRAD}:psi={name}" for name in names]


def experiments(inputs: Inputs, size: Size) -> list[Experiment]:
    """All of them, in the order of the page."""
    path = f"integrated-gradients:steps={size.samples}"
    smooth = f"smooth-grad:samples={size.samples}"
    rivals = [FULLGRAD, "grad-cam", "input-gradient", smooth, path, "random"]
    every_style = [*styles(*STYLES), "random"]
    signed = [
        *styles("signed", "reference", "abs"),
        "gradient-x-input",
        path,
        "grad-cam",
        "random",
    ]
    checked = [FULLGRAD, "input-gradient", "gradient-x-input", "guided-backprop", "grad-cam"]
    fashion, digits = inputs.fashion, inputs.digits
    large = (inputs.squeezenet, inputs.efficientnet)
    found = []
    for subject, images, name in (
        (fashion, inputs.fashion_images, "fashion"),
        (large[0], inputs.photographs, "squeezenet"),
        (large[1], inputs.photographs, "efficientnet"),
    ):
        found += [
            _perturbation(f"least-{name}", subject, images, rivals, "least"),
            _perturbation(f"most-{name}", subject, images, rivals, "most"),
            _perturbation(f"psi-{name}", subject, images, every_style, "least"),
        ]
    found.append(_perturbation("psi-digits", digits, inputs.digit_images, every_style, "least"))
    cheap = [FULLGRAD, "grad-cam", "input-gradient", "random"]
    dear = [
        f"smooth-grad-squared:samples={size.samples_again}",
        f"integrated-gradients:steps={size.samples_again}",
    ]
    trained = ("--epochs", str(size.epochs), "--width", str(size.width))
    for replace, methods, percents in (
        ("black", [*cheap[:-1], *dear, cheap[-1]], size.percents),
        ("mean", cheap, size.percents_mean),
    ):
        some = ("--replace", replace, "--percent", percents, *trained)
        judged = dataclasses.replace(fashion, title=f"{fashion.title}, by {replace}")
        found.append(
            _experiment(f"roar-{replace}", "roar", judged, inputs.fashion_data, methods, *some)
        )
    for source, target in size.pairs:
        pair = ("--from", str(source), "--to", str(target))
        found.append(
            _experiment(
                f"flip-{source}-{target}", "flipping", digits, inputs.digit(source), signed, *pair
            )
        )
    found.append(
        _experiment("random-fashion", "randomization", fashion, inputs.fashion_few, checked)
    )
    # guided backpropagation is defined for ReLU, which SqueezeNet has
    some = ("--modes", "cascading,biases", "--layers", str(size.layers))
    found.append(
        _experiment(
            "random-squeezenet", "randomization", large[0], inputs.photographs, checked, *some
        )
    )
    return found


def _perturbation(
    name: str, subject: Subject, images: Path, methods: list[str], order: str
) -> Experiment:
    return _experiment(name, "perturbation", subject, images, methods, "--order", order)


def _experiment(
    name: str, kind: str, subject: Subject, images: Path, methods: list[str], *more: str
) -> Experiment:
    arguments = (
        str(subject.model),
        str(images),
        "--methods",
        ",".join(methods),
        "--preprocess",
        subject.preprocess,
        *more,
    )
    return Experiment(name, kind, subject.title, arguments)
