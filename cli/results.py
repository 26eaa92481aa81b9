"""What ``fg-onnx explain`` leaves: pictures, arrays, and last the document that lists them."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx import Attribution, Session
from fg_onnx.files import replacing
from fg_onnx.pictures import png, render
from fg_onnx.pictures.colours import Coloured, coloured
from fg_onnx.pictures.images import Image, Readable
from fg_onnx.samples import Sample

from .console import to_json
from .staging import Staging

SCHEMA_VERSION = 1
DOCUMENT = "explanations.json"
_SMALLEST_SIDE = 224  # pixels; what is smaller is drawn larger, so that it can be seen

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Explanation:
    """One image and one target, as the document holds it.

    Attributes:
        image: the path as it was found.
        target: index of the explained score; over a region, of the class.
        label: the class's name, None where that is not known.
        score: the explained scalar.
        residual: of completeness, 0 is complete; None for methods other than fullgrad.
        contributions: of the input and of every site.
        files: what was written: the array, for an image and a flat map pictures too, and on request
            the layers.
        row: of an array that holds several samples, else None.
        place: of a dense output: the target's position among an image's scores, else None.
        region: over which the class's scores are summed, else None.
        delta: of integrated gradients, what the attributions sum to beyond f(x) - f(baseline);
            else None.
    """

    image: str
    target: int
    label: str | None
    score: float
    residual: float | None
    contributions: Mapping[str, float]
    files: Mapping[str, str]
    row: int | None = None
    place: tuple[int, ...] | None = None
    region: str | None = None
    delta: float | None = None

    def complete(self, tolerance: float) -> bool:
        """Whether the contributions add up to the score; a NaN does not."""
        return self.residual is not None and self.residual <= tolerance

    def to_dict(self) -> dict[str, Any]:
        """The fields, in the order of the document."""
        return {**vars(self), "contributions": {**self.contributions}, "files": {**self.files}}


def to_document(
    model: str, session: Session, method: Mapping[str, Any], explanations: Sequence[Explanation]
) -> dict[str, Any]:
    """The JSON document; a site that is not spatial counts, but is not in the map."""
    manifest = session.manifest
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "device": session.device,
        "input": manifest.input,
        "output": manifest.output,
        "method": method,
        "sites": [
            {"name": site.name, "kind": site.kind, "op": site.op, "spatial": site.spatial}
            for site in manifest.sites
        ],
        "explanations": [explanation.to_dict() for explanation in explanations],
    }


class Folder:
    """Where results are written.

    Args:
        path: of the folder.
        staging: of that folder; takes the files.
        images: all that are explained.
        signed: whether the maps keep the sign.
    """

    def __init__(self, path: Path, staging: Staging, images: Sequence[Path], signed: bool) -> None:
        self._path = path
        self._staging = staging
        names = _unique_stems(images)
        self._names: dict[Readable, str] = dict(zip(images, names, strict=True))
        self._signed = signed

    def write(
        self,
        sample: Sample,
        found: Attribution,
        row: int,
        target: int,
        label: str | None,
        *,
        layers: bool,
        region: str | None = None,
        delta: float | None = None,
    ) -> Explanation:
        """Write the files of one sample and target: row ``row`` of ``found``.

        Raises:
            OutputError: the folder cannot be written.
        """
        assert found.saliency is not None
        name = self._names[sample.path]
        stem = f"{name}.{target}" if sample.row is None else f"{name}.{sample.row}.{target}"
        written = {
            **self._write_pictures(stem, sample, found.saliency[row]),
            "array": self._write_array(stem, found.saliency[row]),
        }
        if layers:
            maps = {name: maps[row] for name, maps in found.layer_maps.items()}
            written["layers"] = self._write_layers(stem, sample, found.saliency[row], maps)
        held = found.manifest
        return Explanation(
            image=str(sample.path),
            target=target,
            label=label,
            score=float(found.scores[row]),
            residual=None if found.residual is None else float(found.residual[row]),
            contributions=found.named_contributions(row),
            files={kind: str(path) for kind, path in written.items()},
            row=sample.row,
            place=held.place(target) if held.dense and region is None else None,
            region=region,
            delta=delta,
        )

    def _write_pictures(self, stem: str, sample: Sample, saliency: Array) -> dict[str, Path]:
        """The overlay where there is a picture to lay it over, and the map where it is flat."""
        if saliency.ndim != 2:
            return {}
        if sample.view is None:
            return {"map": self._write_map(stem, coloured(saliency, self._signed))}
        seen = _enlarged(sample.view)
        over, heat = render.overlay_and_colours(seen, saliency, signed=self._signed)
        return {
            "overlay": self._write_picture(f"{stem}.overlay.png", over),
            "map": self._write_map(stem, heat),
        }

    def _write_map(self, stem: str, heat: Coloured) -> Path:
        return self._write(f"{stem}.map.png", png.to_indexed_png(heat.levels, heat.scale.colours))

    def _write_picture(self, name: str, picture: Image) -> Path:
        return self._write(name, png.to_png(picture))

    def _write_array(self, stem: str, saliency: Array) -> Path:
        data = io.BytesIO()
        np.save(data, saliency.astype(np.float32, copy=False))
        return self._write(f"{stem}.npy", data.getbuffer())

    def _write_layers(
        self, stem: str, sample: Sample, saliency: Array, maps: Mapping[str, Array]
    ) -> Path:
        """A picture of some layers, or without a picture to see them on, the arrays of all."""
        if sample.view is None:
            data = io.BytesIO()
            with zipfile.ZipFile(data, "w") as archive:
                # as numpy.savez does, which takes no name for a layer that it has itself
                for name, array in maps.items():
                    with archive.open(f"{name}.npy", "w") as file:
                        np.save(file, array.astype(np.float32))
            return self._write(f"{stem}.layers.npz", data.getvalue())
        seen = _enlarged(sample.view)
        grid = render.layer_grid(seen, saliency, list(maps.items()), signed=self._signed)
        return self._write_picture(f"{stem}.layers.png", grid)

    def _write(self, name: str, data: bytes | memoryview) -> Path:
        self._staging.write(name, data)
        return self._path / name


def write_document(folder: Path, document: Mapping[str, Any]) -> Path:
    """Write the document, whose presence says that all is written.

    Raises:
        OutputError: the folder cannot be written.
    """
    path = folder / DOCUMENT
    with replacing(path) as temporary:
        temporary.write_text(to_json(dict(document)) + "\n", encoding="utf-8")
    return path


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
