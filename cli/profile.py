"""``fg-onnx profile``: where the time of a model goes, by part, operator and site."""

# onnx is slow to import, and --help is not to wait for it
# ruff: noqa: PLC0415

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from fg_onnx.errors import InputError

from .console import counted, fields, note, say, say_json, strong, table
from .options import (
    DeviceOption,
    InputOption,
    JsonOption,
    ModelArgument,
    OutputOption,
    PsiOption,
    Tf32Option,
)

if TYPE_CHECKING:
    import onnx

    from fg_onnx.manifest import Emit
    from fg_onnx.profiling.document import Line, Profile

_BLOCKING = "CUDA_LAUNCH_BLOCKING"


def profile(
    model: ModelArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="FILE", show_default=False, help="Write a chart, as HTML."
        ),
    ] = None,
    forward: Annotated[
        bool,
        typer.Option("--forward", help="The forward pass alone, of any model that runs."),
    ] = False,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", show_default=False, help="Images that are run at once. Default: 1."
        ),
    ] = None,
    runs: Annotated[
        int, typer.Option(min=1, max=200, metavar="N", help="Runs that medians are over.")
    ] = 20,
    target: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            show_default=False,
            help="The class that is explained. Default: the predicted one.",
        ),
    ] = None,
    feed: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            show_default=False,
            help="An input, a .npy array; may be repeated. Default: normal noise.",
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(min=1, metavar="N", help="Lines that are shown, the dearest.")
    ] = 15,
    psi: PsiOption = None,
    emit: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            show_default=False,
            help="As `instrument` has it. Default: saliency,contributions.",
        ),
    ] = None,
    input_: InputOption = None,
    output: OutputOption = None,
    device: DeviceOption = "auto",
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            show_default=False,
            help="Within an operator on the CPU. Default: the runtime's choice.",
        ),
    ] = None,
    tf32: Tf32Option = False,
    json_: JsonOption = False,
) -> None:
    """Show where the time of MODEL goes: by part, by operator, and by site.

    MODEL is an instrumented model, or a plain one, which is instrumented in memory. The parts are
    the forward pass, the adjoint, the aggregation, and what the runtime adds of its own: reorders
    of tensors, and copies. Times are those of ONNX Runtime's own profiler; all of them add up to
    the time in which kernels ran.
    """
    from fg_onnx.files import replacing, require_folder
    from fg_onnx.profiling import profile as profiled
    from fg_onnx.samples import read_array

    from .given import parse_feeds
    from .instrument import require_other_file

    if out is not None:
        require_other_file(model, out)
        require_folder(out.parent)
    proto, how = _opened(
        model,
        forward=forward,
        options={
            "psi": psi,
            "emit": emit,
            "input": input_,
            "output": output,
        },
    )
    found = profiled(
        proto,
        model=str(model),
        batch=batch,
        target=target,
        feeds={name: read_array(path) for name, path in parse_feeds(feed or ()).items()},
        runs=runs,
        device=device,
        threads=threads,
        tf32=tf32,
    )
    if out is not None:
        from fg_onnx.profiling.chart import page

        with replacing(out) as temporary:
            temporary.write_text(page(found), encoding="utf-8")
    if json_:
        say_json(found.to_dict())
    else:
        _print(found, how, top, out)


def _opened(
    model: Path, *, forward: bool, options: Mapping[str, Any]
) -> tuple[onnx.ModelProto, str]:
    """What is run, and in words how it came about.

    Raises:
        ModelError: the model cannot be read.
        UnsupportedModelError: it cannot be instrumented.
        InputError: an option that comes too late, or is of no use.
    """
    import fg_onnx
    from fg_onnx import manifest
    from fg_onnx.forward import forward_part
    from fg_onnx.source.model import read

    from .describe import own_outputs

    proto = read(model).proto
    held = manifest.find(proto)
    chosen = {name: value for name, value in options.items() if value is not None}
    if chosen and (forward or held is not None):
        option = f"--{next(iter(chosen)).replace('_', '-')}"
        raise InputError(
            "no-choice",
            f"{option} has no use with --forward"
            if forward
            else f"{option} cannot be chosen any more: `{model}` is instrumented already",
            "leave it out" if forward else "give the source model",
        )
    if forward:
        if held is None:
            return proto, "the forward pass alone"
        own = (value.name for value in own_outputs(proto))
        return forward_part(proto, *own), "the forward part of the instrumented model"
    if held is not None:
        return proto, "instrumented"
    words = chosen.pop("emit", None)
    if words is not None:
        chosen["emit"] = cast("tuple[Emit, ...]", tuple(map(str.strip, words.split(","))))
    return fg_onnx.instrument(str(model), **chosen).model, "instrumented in memory"


# --- for people ---------------------------------------------------------------------------------


def _print(found: Profile, how: str, top: int, out: Path | None) -> None:
    threads = f", {counted(found.threads, 'thread')}" if found.threads else ""
    batch = "" if found.batch is None else f", batch {found.batch}"
    rows = [
        ("model", f"{found.model}  ({how})"),
        ("on", f"{found.device}{threads}{batch}, ONNX Runtime {found.runtime}"),
        ("a run", f"{_ms(found.alone)} ms, the median of {found.runs}"),
        (
            "profiled",
            f"{_ms(found.profiled)} ms, in {found.busy:.1%} of which kernels ran; "
            f"they add up to {_ms(found.seconds)} ms",
        ),
    ]
    fields([*rows, ("wrote", str(out))] if out is not None else rows)
    whole = (("all",), found.seconds, 1.0, len(found.rows))
    _table(("part",), [*_cells(found.parts), whole])
    _table(("part", "operator"), _cells(found.operators[:top]), len(found.operators))
    _table(("part", "site", "operator"), _cells(found.lines[:top]), len(found.lines))
    if found.device.startswith("cuda") and os.environ.get(_BLOCKING, "") != "1":
        note(
            f"on CUDA a kernel's time ends when it is launched; set {_BLOCKING}=1 for that in "
            "which it is done"
        )


_Cells = tuple[tuple[str, ...], float, float, int]


def _cells(lines: Sequence[Line]) -> list[_Cells]:
    return [(line.key, line.seconds, line.share, line.kernels) for line in lines]


def _table(head: tuple[str, ...], rows: Sequence[_Cells], of: int | None = None) -> None:
    """Names, then numbers that are set flush right."""
    numbers = [(_ms(seconds), f"{share:.1%}", str(count)) for _, seconds, share, count in rows]
    titles = ("ms", "share", "kernels")
    widths = [max(map(len, column)) for column in zip(titles, *numbers, strict=True)]
    say()
    table(
        [*head, *(title.rjust(width) for title, width in zip(titles, widths, strict=True))],
        [
            [*key, *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))]
            for (key, *_), cells in zip(rows, numbers, strict=True)
        ],
    )
    if of is not None and of > len(rows):
        say(strong(f"and {of - len(rows)} more"))


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}"
