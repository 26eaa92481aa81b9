"""The model that ``fg-onnx explain`` is given: instrumented already, or instrumented in memory."""

# onnx is slow to import, and --help is not to wait for it
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fg_onnx
from fg_onnx.errors import UnsupportedModelError

from .describe import shape_text

if TYPE_CHECKING:
    from fg_onnx import Instrumented, Manifest, Session
    from fg_onnx.manifest import Emit
    from fg_onnx.methods import Method


@dataclass(frozen=True)
class Wanted:
    """What the model has to explain, and how.

    Attributes:
        psi: the post-processing, None for the default or the model's own.
        input: the explained input by name, or None.
        output: the explained tensor by name, or None.
        layers: whether layer maps are asked for.
        seed: whether a cotangent is to be fed in the place of a class.
        labels: class names, or None.
        method: that is to explain, None for full-gradients.
    """

    psi: str | None = None
    input: str | None = None
    output: str | None = None
    layers: bool = False
    seed: bool = False
    labels: tuple[str, ...] | None = None
    method: Method | None = None

    @property
    def emit(self) -> list[Emit]:
        """What the model has to compute."""
        if self.method is not None:
            return list(self.method.emit)
        return ["saliency", "contributions", *(["layer-maps"] if self.layers else [])]  # type: ignore[list-item]

    @property
    def in_graph(self) -> dict[str, Any]:
        """What `instrument` is told of the post-processing."""
        return (
            {"psi": self.psi or "reference"} if self.method is None else self.method.instrumenting
        )


def open_model(
    model: Path, wanted: Wanted, device: str, *, tf32: bool, threads: int | None = None
) -> Session:
    """The model, ready to explain on a device; a plain one is instrumented first.

    Raises:
        InputError: the device is none.
        ModelError: the model cannot be read.
        RuntimeMissingError: the device is not there.
        UnsupportedModelError: it cannot be instrumented, or was so without what is needed here.
    """
    from fg_onnx.devices import parse_device

    parse_device(device)
    made = instrumented(model, wanted) or model
    return fg_onnx.Session(made, device=device, threads=threads, tf32=tf32)


def instrumented(model: Path, wanted: Wanted) -> Instrumented | None:
    """The model, instrumented in memory; None if it is so as a file, as it is wanted.

    Raises:
        ModelError: the model cannot be read.
        UnsupportedModelError: it cannot be instrumented, or was so without what is needed here.
    """
    from fg_onnx import manifest
    from fg_onnx.source.model import read

    held = manifest.find(read(model).proto)
    if held is not None:
        _require(model, held, wanted)
        return None
    return fg_onnx.instrument(
        str(model),
        input=wanted.input,
        output=wanted.output,
        emit=wanted.emit,
        seed=wanted.seed,
        labels=wanted.labels,
        **wanted.in_graph,
    )


def require_feeds(model: Path, session: Session, fed: Collection[str]) -> None:
    """Fail where an input has no default and is not fed.

    Raises:
        UnsupportedModelError: ``more-inputs``.
    """
    missing = {k: v for k, v in session.further_inputs.items() if k not in fed}
    if missing:
        described = ", ".join(f"{name} {shape_text(shape)}" for name, shape in missing.items())
        raise UnsupportedModelError(
            "more-inputs",
            f"`{model}` is to be fed more than `{session.manifest.fed}`: {described}",
            f"give {' '.join(f'--feed {name}=FILE' for name in missing)}, a .npy file or an image",
        )


def _require(model: Path, manifest: Manifest, wanted: Wanted) -> None:
    chosen = (
        ("psi", wanted.psi, manifest.psi),
        ("input", wanted.input, manifest.fed),
        ("output", wanted.output, manifest.output),
    )
    for option, asked, held in chosen:
        if asked is not None and (asked != held or option == "psi"):
            raise UnsupportedModelError(
                f"{option}-in-graph",
                f"--{option} cannot be chosen any more: `{model}` is instrumented with {held}",
                f"give the source model, or run `fg-onnx instrument SOURCE --{option} {asked}`",
            )
    if manifest.seed and not wanted.seed:
        raise UnsupportedModelError(
            "seeded",
            f"`{model}` is instrumented with --seed, and takes a cotangent in place of a class",
            "give --region, run `fg-onnx instrument SOURCE` without --seed, or use "
            "fg_onnx.Session.explain(seed=)",
        )
    if wanted.seed and not manifest.seed:
        raise UnsupportedModelError(
            "not-seeded",
            f"`{model}` is instrumented without --seed, and takes no region",
            "give the source model, or run `fg-onnx instrument SOURCE --seed`",
        )
    missing = [name for name in wanted.emit if name not in manifest.emits]
    if missing:
        without = {
            "saliency": "the map",
            "contributions": "contributions, so that its completeness cannot be certified",
            "layer-maps": "layer maps",
        }
        raise UnsupportedModelError(
            "not-emitted",
            f"`{model}` is instrumented without {without.get(missing[-1], missing[-1])}",
            f"run `fg-onnx instrument SOURCE --emit {','.join(wanted.emit)}`, or give the source "
            "model",
        )
