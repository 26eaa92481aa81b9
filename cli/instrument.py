"""``fg-onnx instrument``: a model in, the same model with its own explanation out."""

# onnx is slow to import, and --help is not to wait for it
# ruff: noqa: PLC0415

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

import fg_onnx
from fg_onnx.errors import OutputError
from fg_onnx.files import instrumented_path

from . import describe
from .console import fields, in_units
from .labels import read_labels, require_count
from .options import (
    EmitOption,
    InputOption,
    LabelsOption,
    ModelArgument,
    OutputOption,
    PreprocessOption,
    PsiOption,
)

if TYPE_CHECKING:
    from fg_onnx import Instrumented
    from fg_onnx.manifest import Emit, Engine, RuntimeName


def instrument(
    model: ModelArgument,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="OUT", help="Default: MODEL.fg.onnx beside MODEL."),
    ] = None,
    input_: InputOption = None,
    output: OutputOption = None,
    psi: PsiOption = None,
    emit: EmitOption = "saliency,contributions",
    freeze_biases: Annotated[
        bool,
        typer.Option(
            "--freeze-biases", help="Leave biases as initializers, not inputs with a default."
        ),
    ] = False,
    freeze_defaults: Annotated[
        bool,
        typer.Option(
            "--freeze-defaults",
            help="Make constants of MODEL's own inputs that have a default.",
        ),
    ] = False,
    dynamic_batch: Annotated[
        bool,
        typer.Option("--dynamic-batch", help="Make a fixed batch symbolic, where that is sound."),
    ] = False,
    seed: Annotated[
        bool, typer.Option("--seed", help="Take a cotangent fg_seed instead of a class fg_target.")
    ] = False,
    runtime: Annotated[
        str,
        typer.Option(
            metavar="RUNTIME",
            help="What runs it: ort, openvino, tensorrt or web (ONNX Runtime in JavaScript).",
        ),
    ] = "ort",
    opset: Annotated[
        int | None,
        typer.Option(metavar="N", help="Raise the opset to N. Below 17 it is raised to 17."),
    ] = None,
    gradients: Annotated[
        str,
        typer.Option(
            metavar="ENGINE",
            help="What derives the gradients: standard, or ort-training, an independent witness "
            "(see `fg-onnx engine`).",
        ),
    ] = "standard",
    preprocess: PreprocessOption = None,
    labels: LabelsOption = None,
) -> None:
    """Write MODEL with its own explanation in the graph.

    What MODEL computes already stays as it is. The preprocessing and the labels are kept in the
    new model, so that `explain` needs no options.
    """
    place = out or instrumented_path(model)
    require_other_file(model, place)
    names = read_labels(labels) if labels else None
    instrumented = fg_onnx.instrument(
        str(model),
        input=input_,
        output=output,
        psi=psi or "reference",
        emit=cast("tuple[Emit, ...]", tuple(name.strip() for name in emit.split(","))),
        freeze_biases=freeze_biases,
        freeze_defaults=freeze_defaults,
        dynamic_batch=dynamic_batch,
        seed=seed,
        runtime=cast("RuntimeName", runtime),
        opset=opset,
        gradients=cast("Engine", gradients),
        preprocessing=fg_onnx.load_preprocessing(preprocess) if preprocess else None,
        labels=names,
    )
    if names is not None and labels is not None:
        require_count(names, instrumented.manifest, labels)
    instrumented.save(place)
    _print(model, place, instrumented)


def require_other_file(model: Path, place: Path) -> None:
    """Fail where ``place`` is the model itself, by whatever name.

    Raises:
        OutputError: ``over-source``.
    """
    try:
        same = place.resolve() == model.resolve() or place.samefile(model)
    except OSError:  # one of the two is not there
        same = False
    if same:
        raise OutputError(
            "over-source",
            f"`{place}` is the source model itself, which is never overwritten",
            f"choose another place with -o, such as `{instrumented_path(model)}`",
        )


def _print(model: Path, place: Path, instrumented: Instrumented) -> None:
    import onnx

    source = onnx.load(str(model), load_external_data=False)
    manifest = instrumented.manifest
    added = [value.name for value in instrumented.model.graph.output[len(source.graph.output) :]]
    fed = next(v for v in instrumented.model.graph.input if v.name == manifest.fed)
    fields(
        [
            ("input", describe.value_text(fed)),
            *describe.gradient_rows(manifest.input, manifest.pixels),
            ("explained", f"{manifest.output}  ({manifest.output_reason})"),
            ("operators", describe.operators_text(source.graph.node)),
            ("sites", describe.sites_text(manifest.sites)),
            ("biases", describe.promotion_text(manifest)),
            *describe.runtime_rows(manifest),
            ("psi", manifest.psi),
            ("gradients", manifest.gradients),
            ("computes", _shortened(added)),
            ("wrote", f"{place}  ({in_units(place.stat().st_size)})"),
        ]
    )


def _shortened(outputs: list[str]) -> str:
    """The outputs' names, those of a family as one: ``fg_layer_map/<17 sites>``."""
    families: dict[str, int] = {}
    for name in outputs:
        family, slash, _ = name.partition("/")
        families[family + slash] = families.get(family + slash, 0) + 1
    return ", ".join(
        f"{family}<{count} sites>" if family.endswith("/") else family
        for family, count in families.items()
    )
