"""``fg-onnx verify MODEL --against SOURCE``: the checks of an instrumented model, told."""

# onnx is slow to import, and --help is not to wait for it
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

import fg_onnx
from fg_onnx.errors import EngineError, InputError, UnsupportedModelError

from .console import CHECK_FAILED, note, say, say_json, table

if TYPE_CHECKING:
    from fg_onnx.verification.report import Check, Verification


@dataclass(frozen=True)
class Wanted:
    """What the checks are to see.

    Attributes:
        images: files, folders or globs of photographs.
        array: a file of preprocessed images, or None.
        feed: further inputs, ``NAME=FILE`` each.
        preprocess: a preset or file, None for what the model holds.
        engines: whether the two engines are compared as well.
        tolerance: of the engines.
    """

    images: Sequence[str]
    array: Path | None
    feed: Sequence[str]
    preprocess: str | None
    engines: bool
    tolerance: float


def verify_against(model: Path, against: Path, wanted: Wanted, *, json_: bool) -> None:
    """Verify, print what was found, and exit 1 or 2 where it does not hold or cannot be told."""
    from fg_onnx.samples import read_array

    from .given import parse_feeds

    feeds = {name: read_array(path) for name, path in parse_feeds(wanted.feed).items()}
    found = fg_onnx.verify(str(model), str(against), _images(model, wanted), feeds=feeds)
    if wanted.engines:
        found = _with_engines(found, model, against, wanted, feeds)
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


def _images(model: Path, wanted: Wanted) -> Any:
    """The preprocessed images that are named, or None."""
    from fg_onnx.samples import read_array

    if wanted.images and wanted.array is not None:
        raise InputError("two-sources", "--images and --array exclude each other", "give one")
    if wanted.array is not None:
        return read_array(wanted.array)
    if not wanted.images:
        return None
    import onnx

    from fg_onnx import manifest
    from fg_onnx.pictures.images import find_images
    from fg_onnx.pictures.preprocess import Preprocessing

    proto = onnx.load(model, load_external_data=False)
    held = manifest.find(proto)
    if held is None:
        raise UnsupportedModelError(
            "not-instrumented",
            f"`{model}` is not an instrumented model",
            "give --against its source",
        )
    if wanted.preprocess is not None:
        steps = fg_onnx.load_preprocessing(wanted.preprocess)
    elif held.preprocessing is not None:
        steps = Preprocessing.from_dict(held.preprocessing)
    else:
        raise InputError(
            "no-preprocessing", "how to prepare images for the model is not known",
            "give --preprocess",
        )  # fmt: skip
    shape = next(
        tuple(d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim)
        for value in proto.graph.input
        if value.name == held.fed
    )
    arrays = [
        fg_onnx.prepare(fg_onnx.read_image(path), steps, shape, held.layout).array
        for path in find_images(wanted.images)
    ]
    if len({array.shape for array in arrays}) > 1:
        raise InputError(
            "sizes-differ", "the images are of several sizes", "preprocess them to one size"
        )
    return np.concatenate(arrays)


def _with_engines(
    found: Verification, model: Path, against: Path, wanted: Wanted, feeds: dict[str, Any]
) -> Verification:
    """The checks, and as one more the gradients of the source by two engines."""
    from dataclasses import replace

    from fg_onnx.verification.engines import compare_engines
    from fg_onnx.verification.report import Check

    array = _images(model, wanted)
    check: Check
    try:
        agreement = compare_engines(str(against), None if array is None else array[:1], feeds=feeds)
    except (EngineError, UnsupportedModelError) as error:
        check = Check("engines", "not run", error.message)
    else:
        failed = [d for d in agreement.differences if not d.holds(wanted.tolerance)]
        worst = max((d.difference for d in agreement.differences), default=0.0)
        detail = f"{len(agreement.differences)} tensors of the source by two engines"
        if agreement.unwitnessed:
            detail += f"; no independent kernels: {agreement.unwitnessed}"
        outcome = "failed" if failed else "passed"
        check = Check("engines", outcome, detail, worst, wanted.tolerance)  # type: ignore[arg-type]
    return replace(found, checks=(*found.checks, check))


def _print(found: Verification) -> None:
    rows = []
    for check in found.checks:
        figure = "" if check.figure is None else f"{check.figure:.1e}"
        tolerance = "" if check.tolerance is None else f"{check.tolerance:.0e}"
        rows.append([check.name, check.outcome, figure, tolerance, check.detail])
    table(["check", "outcome", "figure", "tolerance", "what"], rows)
    for check in found.checks:
        if check.outcome == "failed":
            note(f"does not hold: {check.name}: {check.detail}")
    images = f"{found.images} images of noise" if found.drawn else f"{found.images} images"
    say(f"{found.verdict}: {found.model} against {found.against}, on {images}")
