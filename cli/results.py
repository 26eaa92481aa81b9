"""What ``fg-onnx explain`` leaves: pictures, arrays, and last the document that lists them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx import Attribution, render
from fg_onnx.files import replacing
from fg_onnx.images import Image

from .console import to_json

SCHEMA_VERSION = 1
DOCUMENT = "explanations.json"
_SMALLEST_SIDE = 224  # pixels; what is smaller is drawn larger, so that it can be seen

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Explanation:
    """One image and one target, as the document holds it.

    Attributes:
        image: the path as it was found.
        target: index of the explained class.
        label: its name, None where that is not known.
        score: the explained scalar.
        residual: of completeness; 0 is complete.
        contributions: of the input and of every site.
        files: what was written: overlay, map, array and, on request, layers.
    """

    image: str
    target: int
    label: str | None
    score: float
    residual: float
    contributions: Mapping[str, float]
    files: Mapping[str, str]

    def complete(self, tolerance: float) -> bool:
        """Whether the contributions add up to the score; a NaN does not."""
        return self.residual <= tolerance

    def to_dict(self) -> dict[str, Any]:
        """The fields, in the order of the document."""
        return {**vars(self), "contributions": {**self.contributions}, "files": {**self.files}}


def to_document(model: str, explanations: Sequence[Explanation]) -> dict[str, Any]:
    """The JSON document."""
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "explanations": [explanation.to_dict() for explanation in explanations],
    }


class Folder:
    """Where results are written; it is made when the first one is.

    A document that an earlier run left is removed then: it would list files that are replaced.
    """

    def __init__(self, path: Path, images: Sequence[Path], signed: bool) -> None:
        self._path = path
        self._names = dict(zip(images, _unique_stems(images), strict=True))
        self._signed = signed
        self._started = False

    def write(
        self,
        image: Path,
        view: Image,
        found: Attribution,
        row: int,
        label: str | None,
        *,
        layers: bool,
    ) -> Explanation:
        """Write the files of one image and target: row ``row`` of ``found``.

        Raises:
            OutputError: the folder cannot be written.
        """
        assert found.targets is not None
        assert found.residual is not None
        assert found.saliency is not None
        target, saliency = int(found.targets[row]), found.saliency[row]
        stem = f"{self._names[image]}.{target}"
        seen = _enlarged(view)
        files = {
            "overlay": self._path / f"{stem}.overlay.png",
            "map": self._path / f"{stem}.map.png",
            "array": self._path / f"{stem}.npy",
        }
        self._write_array(files["array"], saliency)
        size = (seen.shape[0], seen.shape[1])
        render.write_png(files["overlay"], render.overlay(seen, saliency, signed=self._signed))
        render.write_png(files["map"], render.heat_map(saliency, self._signed, size=size))
        if layers:
            files["layers"] = self._path / f"{stem}.layers.png"
            maps = [(name, maps[row]) for name, maps in found.layer_maps.items()]
            grid = render.layer_grid(seen, saliency, maps, signed=self._signed)
            render.write_png(files["layers"], grid)
        return Explanation(
            image=str(image),
            target=target,
            label=label,
            score=float(found.scores[row]),
            residual=float(found.residual[row]),
            contributions=found.named_contributions(row),
            files={kind: str(path) for kind, path in files.items()},
        )

    def finish(self, document: Mapping[str, Any]) -> Path:
        """Write the document, whose presence says that all is written.

        Raises:
            OutputError: the folder cannot be written.
        """
        path = self._path / DOCUMENT
        with replacing(path) as temporary:
            temporary.write_text(to_json(dict(document)) + "\n", encoding="utf-8")
        return path

    def _write_array(self, path: Path, saliency: Array) -> None:
        with replacing(path) as temporary:
            if not self._started:
                (self._path / DOCUMENT).unlink(missing_ok=True)
                self._started = True
            with temporary.open("wb") as file:
                np.save(file, saliency.astype(np.float32))


def _unique_stems(images: Sequence[Path]) -> Iterator[str]:
    """The file name without its suffix; a number makes it unique where several have it."""
    stems = [image.stem for image in images]
    # some file systems hold two names for one that differ in case only
    taken: set[str] = set()
    own = {stem.casefold() for stem in stems}
    for stem in stems:
        name, count = stem, 1
        while name.casefold() in taken or (count > 1 and name.casefold() in own):
            count += 1
            name = f"{stem}_{count}"
        taken.add(name.casefold())
        yield name


def _enlarged(view: Image) -> Image:
    factor = math.ceil(_SMALLEST_SIDE / min(view.shape[:2]))
    return view if factor == 1 else view.repeat(factor, axis=0).repeat(factor, axis=1)
