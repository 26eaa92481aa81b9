"""The model that is audited, opened once, and what is said of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from fg_onnx import manifest
from fg_onnx.audit import probes
from fg_onnx.audit.document import ModelCard, SiteCard
from fg_onnx.audit.probes import Activation
from fg_onnx.devices import AUTO
from fg_onnx.errors import UnsupportedModelError
from fg_onnx.graph.stages import EMITTED
from fg_onnx.instrumentation import Instrumented, instrument
from fg_onnx.manifest import DEFAULT_EMITS, Emit, is_reserved
from fg_onnx.session import Session
from fg_onnx.source import model
from fg_onnx.source.model import Source


@dataclass(frozen=True, eq=False)
class Opened:
    """A model, ready to be audited.

    Attributes:
        path: as it was given.
        source: what was read: plain, or instrumented.
        plain: whether it was plain.
        instrumented: with what an audit needs.
        session: with the counts of its activations.
        activations: that are counted.
        without_bias: sites whose trained offset is 0, so that they never contribute.
        options: how a plain one was instrumented.
        device: as it was asked for.
    """

    path: Path
    source: Source
    plain: bool
    instrumented: Instrumented
    session: Session
    activations: Sequence[Activation]
    without_bias: frozenset[str]
    options: dict[str, str | None]
    device: str

    @property
    def chosen(self) -> dict[str, Any]:
        """What `instrument` is told of input and output."""
        return _strings(self.options)

    def with_layers(self) -> Session:
        """The same model with the maps of its layers, as far as they can be had."""
        held = self.instrumented.manifest
        if not self.plain or "saliency" not in held.emits:
            return self.session
        emit: list[Emit] = [*DEFAULT_EMITS, "layer-maps"]
        made = instrument(self.source.proto, emit=emit, psi=held.psi, **self.chosen)
        return Session(made, device=self.device)

    def card(self) -> ModelCard:
        """The model in the document."""
        held, proto = self.instrumented.manifest, self.source.proto
        nodes = [node for node in proto.graph.node if self.plain or not _is_own(node)]
        opsets = {entry.domain: entry.version for entry in proto.opset_import}
        return ModelCard(
            path=str(self.path),
            sha256=self.source.sha256 if self.plain else held.source_sha256,
            opset=opsets.get("", opsets.get("ai.onnx", 0)),
            ir_version=proto.ir_version,
            producer=" ".join(filter(None, [proto.producer_name, proto.producer_version])),
            operators=dict(Counter(node.op_type for node in nodes).most_common()),
            input=held.input,
            output=held.output,
            classes=held.classes,
            psi=held.psi,
            sites=tuple(SiteCard(s.name, s.kind, s.op, s.spatial) for s in held.sites),
        )


def open_audited(
    path: Path,
    *,
    input: str | None = None,
    output: str | None = None,
    psi: str | None = None,
    device: str = AUTO,
    tf32: bool = False,
    threads: int | None = None,
    probed: bool = True,
) -> Opened:
    """Read a model; a plain one is instrumented in memory, an instrumented one taken as it is.

    Args:
        path: of the file.
        input: the explained input, None for the first image.
        output: the explained tensor, None for the logits.
        psi: the post-processing of the map, None for the model's own or the default.
        device: where it runs.
        tf32: as of `Session`.
        threads: likewise.
        probed: whether its activations are counted.

    Raises:
        ModelError: the model cannot be read.
        RuntimeMissingError: there is no ONNX Runtime, or it lacks the device.
        UnsupportedModelError: it cannot be instrumented, or was so without what is needed here.
    """
    source = model.read(path)
    held = manifest.find(source.proto)
    options = {"input": input, "output": output}
    if held is None:
        made = _instrumented(source, psi, options)
    else:
        made = Instrumented(source.proto, held)
        _require(path, made, psi, options)
    running, activations = probes.add_probes(made) if probed else (made, ())
    session = Session(running, device=device, threads=threads, tf32=tf32)
    if session.further_inputs:
        raise UnsupportedModelError(
            "more-inputs",
            f"`{path}` is to be fed more than `{session.manifest.fed}`: "
            f"{', '.join(session.further_inputs)}",
            "audit a model of images alone: give those inputs a default value",
        )
    fixed = session.input_shape[0]
    if isinstance(fixed, int) and fixed != 1:
        raise UnsupportedModelError(
            "fixed-batch",
            f"`{path}` takes batches of {fixed} and no others",
            "instrument it with --dynamic-batch, or export it with a dynamic batch",
        )
    return Opened(
        path, source, held is None, made, session, activations, _without_bias(made), options, device
    )


def _instrumented(source: Source, psi: str | None, options: dict[str, str | None]) -> Instrumented:
    """With a map where the input has a grid."""
    style = psi or "reference"
    try:
        made = instrument(source.proto, emit=DEFAULT_EMITS, psi=style, **_strings(options))
    except UnsupportedModelError as error:
        if error.code != "no-grid":
            raise
        made = instrument(source.proto, emit=("contributions",), psi=style, **_strings(options))
    return made


def _strings(options: dict[str, str | None]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _require(
    path: Path, made: Instrumented, psi: str | None, options: dict[str, str | None]
) -> None:
    """Fail where an instrumented model is not what is asked for."""
    held = made.manifest
    for option, asked in (*options.items(), ("psi", psi)):
        if asked is not None:
            raise UnsupportedModelError(
                f"{option}-in-graph",
                f"--{option} cannot be chosen any more: `{path}` is instrumented",
                f"give the source model, or run `fg-onnx instrument SOURCE --{option} {asked}`",
            )
    if held.seed:
        raise UnsupportedModelError(
            "seeded",
            f"`{path}` is instrumented with --seed, and takes a cotangent in place of a class",
            "give the source model, or instrument it without --seed",
        )
    if "contributions" not in held.emits:
        raise UnsupportedModelError(
            "not-emitted",
            f"`{path}` is instrumented without contributions, so that nothing can be certified",
            "give the source model, or instrument it with --emit saliency,contributions",
        )


def _without_bias(made: Instrumented) -> frozenset[str]:
    names = {site.promoted_input: site.name for site in made.manifest.sites}
    return frozenset(
        names[tensor.name]
        for tensor in made.model.graph.initializer
        if tensor.name in names and not np.any(numpy_helper.to_array(tensor))
    )


def _is_own(node: onnx.NodeProto) -> bool:
    """Whether a node of an instrumented model was put there by the tool."""
    return node.name.startswith(EMITTED) or is_reserved(node.name)
