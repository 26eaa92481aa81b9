"""The page's folder: files of its own, the runtime's, the model, images, and view.json at last."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from fg_onnx.audit.report.shell import asset
from fg_onnx.errors import OutputError
from fg_onnx.files import replacing, require_folder
from fg_onnx.pictures.images import read_image
from fg_onnx.pictures.png import write_png
from fg_onnx.view import runtime
from fg_onnx.view.document import Viewed, describe
from fg_onnx.view.policy import POLICY

DOCUMENT = "view.json"
_IMAGES = "images"
_SLOT = b"{{policy}}"
_SHOWN = (".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".webp")  # by every browser


def write(folder: Path, model: Viewed, images: Sequence[Path]) -> Path:
    """Write the page.

    Args:
        folder: made if it is not there; a page that it holds is replaced, and nothing else.
        model: that the page runs.
        images: photographs that the page offers, as they are; a kind of file that browsers do not
            show is written as PNG.

    Returns:
        The path of the page.

    Raises:
        InputError: an image cannot be read.
        OutputError: the folder cannot be written, or holds something else.
        RuntimeMissingError: the runtime cannot be fetched.
    """
    require_folder(folder)
    _require_own(folder)
    runtime.fetch()  # before anything is written
    for path in images:
        read_image(path)
    (folder / DOCUMENT).unlink(missing_ok=True)
    for path in list(_offered(folder)):
        path.unlink()
    with contextlib.suppress(OSError):  # it is not there, or holds something else
        (folder / _IMAGES).rmdir()
    for name, data in runtime.members():
        _write(folder / "ort" / name, data)
    for name, data in assets():
        _write(folder / name, data)
    _write(folder / "model.onnx", model.data)
    offered = [_offer(folder, number, path) for number, path in enumerate(images, 1)]
    document = describe(model, offered)
    _write(folder / DOCUMENT, _to_json(document))
    return folder / "index.html"


def _require_own(folder: Path) -> None:
    """Fail where a folder holds files, and is no page's."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / "ort" / runtime.FILES[0]).is_file():  # what is written first
        raise OutputError(
            "not-empty",
            f"`{folder}` holds other files",
            "choose another place with -o: an empty folder, or one that is not there yet",
        )


def assets() -> Iterator[tuple[str, bytes]]:
    """The page's own files: names in its folder, and contents; one is that of reports too."""
    yield "base.css", asset("base.css").encode()
    yield from _below(resources.files("fg_onnx.view").joinpath("assets"), "")


def _below(folder: Traversable, within: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _below(entry, f"{within}{entry.name}/")
        else:
            yield within + entry.name, entry.read_bytes().replace(_SLOT, POLICY.encode())


def _offer(folder: Path, number: int, path: Path) -> tuple[str, Path]:
    suffix = path.suffix.lower()
    place = Path(_IMAGES) / f"{number}{suffix if suffix in _SHOWN else '.png'}"
    if suffix in _SHOWN:
        _write(folder / place, path.read_bytes())
    else:
        write_png(folder / place, read_image(path))
    return path.name, place


def _offered(folder: Path) -> Iterator[Path]:
    """The images that a page offers, of which only the names that `_offer` gives are known."""
    for path in (folder / _IMAGES).glob("*.*"):
        if path.stem.isdecimal() and path.suffix in _SHOWN:
            yield path


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _to_json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, allow_nan=False).encode()
