"""``fg-onnx explain --method``: other methods than full-gradients, by the same command."""

# onnx is slow to import, and --help is not to wait for it
# ruff: noqa: PLC0415

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from fg_onnx.errors import InputError, printable

from .console import CHECK_FAILED, note

if TYPE_CHECKING:
    from fg_onnx import Attribution, Manifest, Preprocessing, Session
    from fg_onnx.attribution import Array
    from fg_onnx.methods import Method, MethodMaps
    from fg_onnx.samples import Sample

    from .given import Feeds
    from .targets import Indices, Target

FULLGRAD = "fullgrad"

MethodOption: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="NAME[:OPTION=VALUE...]",
        help="fullgrad, simple-fullgrad, smooth-fullgrad, input-gradient, gradient-x-input, "
        "smooth-grad, smooth-grad-squared, integrated-gradients, grad-cam, guided-backprop, "
        "deconvnet, rise or random; with any of its options as in rise:cells=5:kept=0.3. Only "
        "fullgrad has a completeness certificate.",
    ),
]
SamplesOption: TypeAlias = Annotated[
    int | None,
    typer.Option(metavar="N", help="Of the smooth methods and rise: how often an image is run."),
]
NoiseOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Of the smooth methods: the noise's deviation, as a share of the image's range.",
    ),
]
BaselineOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Of integrated-gradients and rise: black, mean, blur or zero.",
    ),
]
StepsOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Of integrated-gradients: the number of steps. Default: as many as --tolerance needs.",
    ),
]
LayerOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Of grad-cam: a node or tensor. Default: the last convolution."
    ),
]
SeedNumberOption: TypeAlias = Annotated[
    int | None,
    typer.Option(metavar="N", help="Of methods that draw at random: the seed. Default: 0."),
]
SignedOption: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--signed", help="Of methods by gradients: keep the sign, as --psi signed of fullgrad does."
    ),
]


def parse_method(text: str, seed: int | None = None) -> tuple[str, dict[str, Any]]:
    """``NAME:OPTION=VALUE:...``: the name and the options.

    Args:
        text: as the command line has it.
        seed: of a method that draws and is given none there; None: the method's default.

    Raises:
        InputError: ``bad-methods``.
    """
    from fg_onnx.methods import METHODS

    name, *parts = text.split(":")
    kinds = METHODS[name].kinds() if name in METHODS else {}
    options: dict[str, Any] = {}
    for part in parts:
        option, equals, value = part.partition("=")
        if not equals or not option or not value:
            raise InputError(
                "bad-methods",
                f"`{part}` of the method `{text}` is no OPTION=VALUE",
                "such as fullgrad:psi=abs",
            )
        require_once(name, option, options)
        options[option] = _value(value, kinds.get(option, ()))
    if seed is not None and "seed" in kinds:
        options.setdefault("seed", seed)
    return name, options


def require_once(name: str, option: str, given: Mapping[str, Any]) -> None:
    """Fail for an option that was given already.

    Raises:
        InputError: ``bad-methods``.
    """
    if option in given:
        raise InputError("bad-methods", f"`{option}` of {name} is given twice", "give it once")


def _value(text: str, kinds: Sequence[type]) -> Any:
    """A number or a truth value as JSON has it, else the text; what is to be a text stays one."""
    if str in kinds and text != "null":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def choose_method(name: str, written: Mapping[str, Any], options: Mapping[str, Any]) -> Method:
    """A method by the options of the command line.

    Args:
        name: the method's.
        written: the options that stand beside the name.
        options: those of their own, None for what was not given.

    Raises:
        InputError: there is no such method, it has no such option, or one was given both ways.
    """
    from fg_onnx.methods.interface import make_method

    given = {k: v for k, v in options.items() if v is not None}
    for option in given:
        require_once(name, option, written)
    return make_method(name, {**written, **given})


def require_plain(method: Method, *, layers: bool, region: bool) -> None:
    """Fail for what only full-gradients have.

    Raises:
        InputError: ``fullgrad-only``.
    """
    for option, given in (("--layers", layers), ("--region", region)):
        if given and method.name != FULLGRAD:
            raise InputError(
                "fullgrad-only",
                f"{option} belongs to fullgrad, and not to {method.name}",
                "leave it out, or leave out --method",
            )


def is_signed(method: Method) -> bool:
    """Whether its maps keep the sign."""
    return bool(getattr(method, "signed", False)) or getattr(method, "psi", None) == "signed"


@dataclass(frozen=True)
class MethodTask:
    """What is explained of every sample, by another method than full-gradients.

    Attributes:
        session: the model, with what the method needs.
        method: and its options.
        steps: how images are prepared, None where there are none.
        aims: the targets.
        feeds: further inputs.
        notes: what the method has said so far of its numbers.
        not_finite: the samples and targets whose score or map is not finite.
    """

    session: Session
    method: Method
    steps: Preprocessing | None
    aims: Sequence[Target]
    feeds: Feeds
    notes: list[str] = field(default_factory=list)
    not_finite: list[str] = field(default_factory=list)
    region: None = None

    @property
    def is_slow(self) -> bool:
        """Whether one image is worth a progress bar."""
        return self.method.samples_inputs

    def explain(
        self, batch: Sequence[Sample], within: Callable[[float], None]
    ) -> list[tuple[Attribution, Indices, Array | None]]:
        """A batch's maps in the place of FullGrad's, the target of every sample, and its delta.

        ``within`` is told how much of the batch is done.
        """
        import numpy as np

        from fg_onnx.methods import Explainer

        explainer = Explainer(self.session, self.method, preprocessing=self.steps)
        array = np.concatenate([sample.array for sample in batch])
        fed = self.feeds.of(batch)
        scores = functools.cache(lambda: self.session.dense_scores(array, fed))
        axis = self.session.manifest.class_axis
        wanted = [i for aim in self.aims for i in aim.of(len(batch), scores, axis)]
        found = []
        for number, indices in enumerate(wanted):

            def told(done: int, total: int, number: int = number) -> None:
                within((number + done / total) / len(wanted))

            made = explainer.attribute(array, indices, feeds=fed, progress=told)
            found.append((_as_attribution(made, self.session), made.targets, made.delta))
            self._note(batch, made)
        return found

    def _note(self, batch: Sequence[Sample], made: MethodMaps) -> None:
        import numpy as np

        names = [
            f"{_source_text(sample)}, class {self.session.manifest.class_of(int(target))}"
            for sample, target in zip(batch, made.targets, strict=True)
        ]
        said = [*made.notes, *(f"{names[row]}: {text}" for row, text in made.image_notes.items())]
        self.notes.extend(text for text in said if text not in self.notes)
        axes = tuple(range(1, made.maps.ndim))
        finite = np.isfinite(made.scores) & np.isfinite(made.maps).all(axis=axes)
        lost = [name for name, is_finite in zip(names, finite, strict=True) if not is_finite]
        self.not_finite.extend(name for name in lost if name not in self.not_finite)

    def certify(self) -> None:
        """Say what the maps are not, and fail if a score or a map is not finite."""
        self._say_uncertified()
        self._require_finite()

    def _say_uncertified(self) -> None:
        """What the maps are not, and what is to be known of them, on stderr."""
        for text in self.notes:
            note(f"{self.method.name}: {text}")
        note(f"{self.method.name} has no completeness certificate")

    def _require_finite(self) -> None:
        """Say which scores and maps are not finite, and fail if any is not."""
        for name in self.not_finite:
            note(f"not finite: {name}: the score or the map of {self.method.name} holds NaN or inf")
        if self.not_finite:
            raise typer.Exit(CHECK_FAILED)


def _source_text(sample: Sample) -> str:
    name = printable(str(sample.path))
    return f"`{name}`" if sample.row is None else f"`{name} [{sample.row}]`"


def _as_attribution(found: MethodMaps, session: Session) -> Attribution:
    """A method's maps where those of full-gradients are; it has no contributions."""
    from fg_onnx import Attribution

    return Attribution(
        scores=found.scores,
        targets=found.targets,
        contributions=None,
        residual=None,
        saliency=found.maps,
        input_gradient=None,
        layer_maps={},
        bias_gradients={},
        outputs={},
        manifest=session.manifest,
        methods={},
    )


def describe_method(method: Method, manifest: Manifest) -> dict[str, Any]:
    """The method in the document that lists the explanations."""
    options = {name: getattr(method, name) for name in method.options()}
    if "psi" in options:
        options["psi"] = options["psi"] or manifest.psi
    if "layer" in options:
        options["layer"] = manifest.grad_cam_layer
    return {
        "name": method.name,
        "citation": method.citation,
        "options": options,
        "certified": method.name == FULLGRAD,
    }
