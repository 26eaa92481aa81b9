"""``fg-onnx view``: a page that runs the model in the browser and explains there."""

# onnx is slow to import, and --help is not to wait for it
# ruff: noqa: PLC0415

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fg_onnx.errors import InputError

from .console import fields, in_units, note, say
from .labels import read_labels, require_count
from .options import (
    InputOption,
    LabelsOption,
    ModelArgument,
    OutputOption,
    PreprocessOption,
    PsiOption,
)

if TYPE_CHECKING:
    from fg_onnx.view.document import Viewed


def view(
    model: ModelArgument,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[IMAGE]...",
            show_default=False,
            help="Photographs that the page offers: files, folders or globs.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="DIR",
            show_default=False,
            help="Where the page is written. Default: view, or nowhere with --serve.",
        ),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Show the page on this machine until interrupted.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, metavar="N", help="Of --serve. Default: 0, any that is free."
        ),
    ] = None,
    input_: InputOption = None,
    output: OutputOption = None,
    psi: PsiOption = None,
    preprocess: PreprocessOption = None,
    labels: LabelsOption = None,
) -> None:
    """Write a page on which the browser runs MODEL and explains photographs.

    MODEL is an instrumented model, or a plain one, which is instrumented in memory. The page is a
    folder of files for any web server; it fetches nothing else, and photographs that it is given
    stay in the browser.
    """
    import contextlib

    from fg_onnx.pictures.images import find_images
    from fg_onnx.view import folder
    from fg_onnx.view.document import LARGE

    if port is not None and not serve:
        raise InputError("port-unserved", "--port is the server's", "add --serve")
    with contextlib.ExitStack() as stack:
        shown = _open(model, input_, output, psi, preprocess, labels)
        offered = find_images(images) if images else []
        place = out or Path("view")
        if serve and out is None:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fg-onnx-view-")))
        page = folder.write(place, shown, offered)
        if out is not None or not serve:
            _print(page, shown, len(offered))
        if len(shown.data) > LARGE:
            note(
                f"`{model.name}` has {in_units(len(shown.data))}, and a browser gives it at most "
                "4 GB: the page asks before it loads it"
            )
        if serve:
            _serve(place, port or 0)


def _open(
    model: Path,
    input_: str | None,
    output: str | None,
    psi: str | None,
    preprocess: str | None,
    labels: Path | None,
) -> Viewed:
    from fg_onnx import manifest
    from fg_onnx.source.model import read
    from fg_onnx.view.document import viewed

    from .explain import preprocessing_for
    from .opening import Wanted, instrumented

    names = read_labels(labels) if labels else None
    proto = read(model).proto
    held = manifest.find(proto)
    made = instrumented(model, Wanted(psi, input_, output, layers=held is None))
    if made is not None:
        proto, held = made.model, made.manifest
    assert held is not None
    if names is not None and labels is not None:
        require_count(names, held, labels)
    return viewed(proto, held, model.name, preprocessing_for(model, held, preprocess), names)


def _print(page: Path, shown: Viewed, images: int) -> None:
    size = sum(file.stat().st_size for file in page.parent.rglob("*") if file.is_file())
    fields(
        [
            ("wrote", f"{page}  ({in_units(size)} in its folder)"),
            ("model", f"{shown.name}  ({in_units(len(shown.data))})"),
            ("images", str(images)),
            ("to see it", "put the folder on a web server, or add --serve"),
        ]
    )


def _serve(place: Path, port: int) -> None:
    import contextlib

    from fg_onnx.view.serving import HOST, server

    with server(place, port) as running, contextlib.suppress(KeyboardInterrupt):
        say(f"http://{HOST}:{running.server_port}/")
        note("press Ctrl+C to end")
        running.serve_forever()
