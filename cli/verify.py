"""``fg-onnx verify``: hold what a model says of itself against other witnesses."""

# onnx is slow to import, and --help is not to wait for it
# ruff: noqa: PLC0415

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fg_onnx.errors import EngineError, InputError

from .against import Wanted, verify_against
from .console import CHECK_FAILED, counted, note, say, say_json, table
from .options import InputOption, JsonOption, ModelArgument, OutputOption, PreprocessOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fg_onnx.verification.engines import Agreement, Difference

_MOST_SHOWN = 10


def verify(
    model: ModelArgument,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="SOURCE",
            show_default=False,
            help="The source model that MODEL, an instrumented one, is verified against.",
        ),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IMAGE",
            show_default=False,
            help="With --against: photographs, a folder or a glob; may be repeated. Default: "
            "normal noise.",
        ),
    ] = None,
    preprocess: PreprocessOption = None,
    engines: Annotated[
        bool | None,
        typer.Option(
            "--engines/--no-engines",
            show_default=False,
            help="Hold the two engines for gradients against each other, and against the kernels "
            "of onnxruntime-training. With --against: by default where both are installed.",
        ),
    ] = None,
    array: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="A .npy array of preprocessed images. Default: normal noise.",
        ),
    ] = None,
    feed: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            show_default=False,
            help="A further input, a .npy array; may be repeated.",
        ),
    ] = None,
    input_: InputOption = None,
    output: OutputOption = None,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0.0, help="Of --engines: the largest difference that passes, of the largest entry."
        ),
    ] = 1e-5,
    json_: JsonOption = False,
) -> None:
    """Check an instrumented MODEL --against its source, or a source MODEL by two --engines.

    --against SOURCE: manifest, weights, outputs, completeness, gradients and map, without any code
    of what built MODEL; and the gradients of SOURCE by two engines where both are there. Exit code
    1 if any check does not hold, 2 if none failed and one could not be run.

    --engines alone: what is explained is a random linear functional of the explained tensor, so
    that all of it takes part. Exit code 1 if any check does not hold; 2 if none was independent,
    since the kernels of onnxruntime-training are no witness for a node of MODEL.
    """
    if against is not None:
        if input_ is not None or output is not None:
            raise InputError(
                "no-choice",
                "--input and --output go with --engines alone",
                "with --against, the manifest of MODEL says what is explained",
            )
        verify_against(
            model,
            against,
            Wanted(images or (), array, feed or (), preprocess, engines, tolerance),
            json_=json_,
        )
        return
    if not engines:
        raise InputError(
            "nothing-to-verify",
            "there is nothing to verify",
            "give --against SOURCE for an instrumented model, or --engines for a source model",
        )
    if images or preprocess is not None:
        raise InputError(
            "no-source", "--images and --preprocess go with --against", "give --array to --engines"
        )
    from fg_onnx.samples import read_array
    from fg_onnx.verification.engines import compare_engines

    from .given import parse_feeds

    found = compare_engines(
        str(model),
        None if array is None else read_array(array),
        feeds={name: read_array(path) for name, path in parse_feeds(feed or ()).items()},
        input=input_,
        output=output,
    )
    failed = [difference for difference in found.differences if not difference.holds(tolerance)]
    if json_:
        say_json(_document(model, found, tolerance))
    else:
        _print(found, failed, tolerance)
    if failed:
        raise typer.Exit(CHECK_FAILED)
    if found.unwitnessed:
        raise EngineError(
            "no-witness",
            f"no independent witness was heard: {found.unwitnessed}",
            "see docs/engines.md; name an --output before that node",
        )


def _document(model: Path, found: Agreement, tolerance: float) -> dict[str, object]:
    return {
        "schema_version": 1,
        "model": str(model),
        "tolerance": tolerance,
        "holds": _verdict(found, tolerance),
        "unwitnessed": found.unwitnessed or None,
        "differences": [
            {
                "against": difference.against,
                "quantity": difference.quantity,
                "name": difference.name,
                "largest": difference.largest,
                "difference": difference.difference,
                "holds": difference.holds(tolerance),
            }
            for difference in found.differences
        ],
    }


def _verdict(found: Agreement, tolerance: float) -> bool | None:
    """None where all that was compared agrees, and nothing of it is independent."""
    if not all(difference.holds(tolerance) for difference in found.differences):
        return False
    return None if found.unwitnessed else True


def _print(found: Agreement, failed: Sequence[Difference], tolerance: float) -> None:
    groups: dict[tuple[str, str], list[Difference]] = {}
    for difference in found.differences:
        groups.setdefault((difference.against, difference.quantity), []).append(difference)
    rows = []
    for (against, quantity), group in groups.items():
        worst = max(group, key=_order)
        rows.append([against, quantity, str(len(group)), f"{worst.difference:.1e}", worst.name])
    table(["standard against", "quantity", "count", "largest difference", "at"], rows)
    for difference in failed[:_MOST_SHOWN]:
        note(
            f"does not hold: {difference.quantity} `{difference.name}` against "
            f"{difference.against}: {difference.difference:.1e}, tolerance {tolerance:g}"
        )
    if len(failed) > _MOST_SHOWN:
        note(f"and {len(failed) - _MOST_SHOWN} more")
    if not failed and not found.unwitnessed:
        say(f"{counted(len(found.differences), 'tensor')} agree to {tolerance:g}")


def _order(difference: Difference) -> float:
    """Not a number is worst."""
    return math.inf if math.isnan(difference.difference) else difference.difference
