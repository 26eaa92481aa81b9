"""``fg-onnx verify MODEL --against SOURCE``: the checks of an instrumented model, told."""

# onnx is slow to import, and --help is not to wait for it
# ruff: noqa: PLC0415

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

import fg_onnx
from fg_onnx.errors import FgOnnxError, InputError, OutputError, UnsupportedModelError, printable

from .console import CHECK_FAILED, counted, note, say, say_json, table

if TYPE_CHECKING:
    from fg_onnx.manifest import Manifest
    from fg_onnx.verification.report import Check, ImageResult, Verification

_MOST_SHOWN = 10


@dataclass(frozen=True)
class Wanted:
    """What the checks are to see.

    Attributes:
        images: files, folders or globs of photographs.
        array: a file of preprocessed images, or None.
        feed: further inputs, ``NAME=FILE`` each.
        preprocess: a preset or file, None for what the model holds.
        engines: whether the two engines are compared as well; None: where both are installed.
        tolerance: of the engines.
    """

    images: Sequence[str]
    array: Path | None
    feed: Sequence[str]
    preprocess: str | None
    engines: bool | None
    tolerance: float


@dataclass(frozen=True, eq=False)
class _Given:
    """Preprocessed images and their names, None for noise; and why others could not be read."""

    array: Any = None
    names: list[str] | None = None
    unread: tuple[str, ...] = ()


def verify_against(model: Path, against: Path, wanted: Wanted, *, json_: bool) -> None:
    """Verify, print what was found, and exit 1 or 2 where it does not hold or cannot be told."""
    from fg_onnx.samples import read_array

    from .given import parse_feeds

    feeds = {name: read_array(path) for name, path in parse_feeds(wanted.feed).items()}
    given = _given(model, wanted)
    found = fg_onnx.verify(str(model), str(against), given.array, feeds=feeds, names=given.names)
    if given.unread:
        found = _and(found, _unread_images(given))
    if _compares_engines(wanted) and found.per_image:
        found = _and(found, _engines(model, against, wanted, given, feeds))
    if json_:
        say_json(found.to_dict())
    else:
        _print(found)
    if found.verdict == "failed":
        raise typer.Exit(CHECK_FAILED)
    if found.verdict == "undecided":
        names = [check.name for check in found.checks if check.outcome == "not run"]
        raise UnsupportedModelError(
            "undecided",
            f"no check failed, and {', '.join(names)} could not be run",
            "the table says why; see docs/verify.md",
        )


def _and(found: Verification, check: Check) -> Verification:
    return replace(found, checks=(*found.checks, check))


# --- images ---------------------------------------------------------------------------------------


def _given(model: Path, wanted: Wanted) -> _Given:
    """The preprocessed images that are named.

    Raises:
        InputError: none can be read, or they are of several sizes.
    """
    import numpy as np

    from fg_onnx.pictures.images import find_images
    from fg_onnx.samples import read_array

    if wanted.images and wanted.array is not None:
        raise InputError("two-sources", "--images and --array exclude each other", "give one")
    if wanted.array is not None:
        array = read_array(wanted.array)
        rows = range(len(array)) if array.ndim else ()
        return _Given(array, [f"{wanted.array}[{row}]" for row in rows])
    if not wanted.images:
        return _Given()
    held, shape = _instrumented(model)
    steps = _preprocessing(held, wanted.preprocess)
    arrays: dict[str, Any] = {}
    unread: list[InputError] = []
    for path in find_images(wanted.images):
        try:
            prepared = fg_onnx.prepare(fg_onnx.read_image(path), steps, shape, held.layout)
            arrays[str(path)] = prepared.array
        except InputError as error:
            unread.append(error)
    if not arrays:
        raise unread[0]
    if len({array.shape for array in arrays.values()}) > 1:
        raise InputError(
            "sizes-differ", "the images are of several sizes", "preprocess them to one size"
        )
    array = np.concatenate(list(arrays.values()))
    return _Given(array, list(arrays), tuple(error.message for error in unread))


def _instrumented(model: Path) -> tuple[Manifest, tuple[int | str, ...]]:
    """The manifest, and the shape of the input that images are fed to.

    Raises:
        ModelError: the file is no model, or its manifest is none.
        UnsupportedModelError: the model is not instrumented.
    """
    from fg_onnx import manifest
    from fg_onnx.verification.graphs import read

    graph = read(model)
    held = manifest.find(graph.proto)
    if held is None or held.fed not in graph.inputs:
        raise UnsupportedModelError(
            "not-instrumented",
            f"`{model}` is not an instrumented model",
            "give the model that `fg-onnx instrument` wrote, and its source with --against",
        )
    dims = graph.inputs[held.fed].type.tensor_type.shape.dim
    return held, tuple(dim.dim_value or dim.dim_param for dim in dims)


def _preprocessing(held: Manifest, given: str | None) -> fg_onnx.Preprocessing:
    if given is not None:
        return fg_onnx.load_preprocessing(given)
    if held.preprocessing is not None:
        return fg_onnx.Preprocessing.from_dict(held.preprocessing)
    raise InputError(
        "no-preprocessing", "how to prepare images for the model is not known", "give --preprocess"
    )


def _unread_images(given: _Given) -> Check:
    from fg_onnx.verification.report import Check

    count = len(given.unread) + len(given.names or ())
    detail = f"{len(given.unread)} of {count} images: {'; '.join(given.unread[:3])}"
    return Check("images", "not run", detail)


# --- engines --------------------------------------------------------------------------------------


def _compares_engines(wanted: Wanted) -> bool:
    if wanted.engines is not None:
        return wanted.engines
    from fg_onnx.ort_training import environment

    try:
        return environment.folder().exists()
    except OutputError:  # where no cache can be made, there is none
        return False


def _engines(
    model: Path, against: Path, wanted: Wanted, given: _Given, feeds: Mapping[str, Any]
) -> Check:
    """The gradients of the source by two engines, which may not know all of its operators."""
    from fg_onnx.verification.engines import compare_engines
    from fg_onnx.verification.report import Check, largest

    held, shape = _instrumented(model)
    count = shape[0] if isinstance(shape[0], int) and shape[0] else 1
    array = None if given.array is None else given.array[:count]
    try:
        agreement = compare_engines(
            str(against), array, input=held.input, output=held.output, feeds=feeds
        )
    except FgOnnxError as error:
        # who asked for it by name gets no verdict without it
        return Check("engines", "not run" if wanted.engines else "not applicable", error.message)
    differences = agreement.differences
    holds = all(each.holds(wanted.tolerance) for each in differences)
    detail = f"{len(differences)} tensors of the source by two engines"
    if agreement.unwitnessed:
        detail += f"; no independent kernels: {agreement.unwitnessed}"
    figure = largest(each.difference for each in differences)
    return Check("engines", "passed" if holds else "failed", detail, figure, wanted.tolerance)


# --- telling --------------------------------------------------------------------------------------


def _print(found: Verification) -> None:
    rows = []
    for check in found.checks:
        figure = "" if check.figure is None else f"{check.figure:.1e}"
        tolerance = "" if check.tolerance is None else f"{check.tolerance:.0e}"
        rows.append([check.name, check.outcome, figure, tolerance, check.detail])
    table(["check", "outcome", "figure", "tolerance", "what"], rows)
    if not found.drawn and found.per_image:
        say()
        _print_images(found.per_image)
    for check in found.checks:
        if check.outcome == "failed":
            note(printable(f"does not hold: {check.name}: {check.detail}"))
    images = counted(found.images, "image") + (" of noise" if found.drawn else "")
    models = f"{printable(found.model)} against {printable(found.against)}"
    say(f"{found.verdict}: {models}, on {images}")


def _print_images(images: Sequence[ImageResult]) -> None:
    """A line an image, of many those that are least complete."""
    shown = sorted(images, key=_order, reverse=True)[:_MOST_SHOWN]
    rows = [
        [
            each.image,
            "" if each.target is None else str(each.target),
            f"{each.score:.6g}",
            "" if each.total is None else f"{each.total:.6g}",
            "" if each.residual is None else f"{each.residual:.1e}",
        ]
        for each in images
        if each in shown
    ]
    table(["image", "target", "score", "contributions", "residual"], rows)
    if len(images) > len(rows):
        note(f"and {len(images) - len(rows)} images with smaller residuals; --json has them all")


def _order(each: ImageResult) -> float:
    """Not a number is worst."""
    residual = each.residual or 0.0
    return math.inf if math.isnan(residual) else residual
