"""What an instrumented model says of itself: frozen records, kept as JSON in its metadata.

The names in this file are the contract of an instrumented model; other tools rely on them.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import onnx

from fg_onnx.errors import ModelError, first_line

SCHEMA_VERSION = 1
METADATA_KEY = "fg_onnx.manifest"

TARGET = "fg_target"
SEED = "fg_seed"
SCORE = "fg_score"
EXPLAINED = "fg_explained"
CONTRIBUTIONS = "fg_contributions"
SALIENCY = "fg_saliency"
INPUT_GRADIENT = "fg_input_gradient"
BIAS = "fg_bias/"
LAYER_MAP = "fg_layer_map/"
BIAS_GRADIENT = "fg_bias_gradient/"

SIMPLE_SALIENCY = "fg_simple_saliency"
GRAD_CAM = "fg_grad_cam"
GUIDED_BACKPROP = "fg_guided_backprop"
DECONVNET = "fg_deconvnet"
PROBABILITY = "fg_probability"

PREDICTED = -1
"""The target that stands for the predicted class."""

Emit = Literal[
    "saliency",
    "contributions",
    "input-gradient",
    "layer-maps",
    "bias-gradients",
    "simple-saliency",
    "grad-cam",
    "guided-backprop",
    "deconvnet",
    "probability",
]
EMITS: tuple[Emit, ...] = (
    "saliency",
    "contributions",
    "input-gradient",
    "layer-maps",
    "bias-gradients",
)
"""Of the full-gradient decomposition; every model that is instrumented can emit them."""
DEFAULT_EMITS: tuple[Emit, ...] = ("saliency", "contributions")
METHOD_EMITS: Mapping[Emit, str] = MappingProxyType(
    {
        "simple-saliency": SIMPLE_SALIENCY,
        "grad-cam": GRAD_CAM,
        "guided-backprop": GUIDED_BACKPROP,
        "deconvnet": DECONVNET,
        "probability": PROBABILITY,
    }
)
"""Of the methods that full-gradients are compared with, and the output of each."""

_RESERVED = frozenset(
    {
        *(TARGET, SEED, SCORE, EXPLAINED, CONTRIBUTIONS, SALIENCY, INPUT_GRADIENT),
        *METHOD_EMITS.values(),
    }
)
_RESERVED_BEGINNINGS = (BIAS, LAYER_MAP, BIAS_GRADIENT)

Engine = Literal["standard", "ort-training"]
ENGINES: tuple[Engine, ...] = ("standard", "ort-training")

RuntimeName = Literal["ort", "openvino", "tensorrt", "web"]

SiteKind = Literal["bias", "batchnorm", "implicit"]
LayoutName = Literal["ncl", "nlc", "nchw", "nhwc", "ncdhw", "ndhwc"]
Dim = int | str | None
Precision = Literal["float64", "float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class Site:
    """One node whose offset ``r = y - sum_i J_i u_i`` is not zero.

    Attributes:
        name: unique in the model; ``fg_bias/<name>`` and the site's outputs are named after it.
        kind: ``bias``, ``batchnorm`` or ``implicit``.
        op: the ONNX operator (for a recognised composite, the operator it amounts to).
        node: the node's name in the source model, ``""`` if it has none.
        tensor: the node's output, at whose positions the bias-gradient lies.
        promoted_input: the graph input that holds the offset, or None where it is not promoted.
        shape: of ``tensor``; symbolic or unknown dimensions as ``str`` or None.
        channel_axis: of ``tensor``, or None where it has no spatial grid.
        spatial_axes: of ``tensor``, (depth,) (height,) width, or None where it has no spatial grid;
            such a site counts in the contributions and is left out of the map.
        grid: of tokens: the sizes of the grid that lies row by row in the one spatial axis.
        grid_start: where on that axis it begins, after class tokens.
        unfolded: where ``tensor`` only holds the entries of an image-like tensor in their order, as
            before a decomposed GroupNormalization, the shape of that one without the batch;
            ``channel_axis`` and ``spatial_axes`` are its axes then.
    """

    name: str
    kind: SiteKind
    op: str
    node: str
    tensor: str
    promoted_input: str | None
    shape: tuple[Dim, ...]
    channel_axis: int | None
    spatial_axes: tuple[int, ...] | None
    grid: tuple[int, ...] | None = None
    grid_start: int = 0
    unfolded: tuple[int, ...] | None = None

    @property
    def spatial(self) -> bool:
        """Whether the site takes part in the map."""
        return self.spatial_axes is not None


@dataclass(frozen=True)
class Manifest:
    """The metadata document of an instrumented model.

    Attributes:
        tool_version: of fg-onnx, when the model was instrumented.
        source_sha256: of the source model's bytes, as hexadecimal.
        input: the explained input; where ``pixels`` is given, a tensor within the graph.
        output: the explained tensor; not always a graph output (a trailing Softmax is skipped).
        output_reason: why that tensor.
        scores: how many scores an image has in the explained tensor, None where unknown.
        ranking: the graph output that ranks the scores as the explained tensor does, or None.
        gradients: the engine that built the adjoint graph.
        psi: the post-processing of Eq. 2 that is in the graph.
        emits: what the graph computes beyond the score.
        frozen_biases: whether the offsets stayed plain initializers.
        seed: whether ``fg_seed`` stands in the place of ``fg_target``.
        layout: of the graph input that images are fed to, such as ``nchw``; None where it has no
            grid.
        preprocessing: as `fg_onnx.pictures.preprocess.Preprocessing.to_dict` gives it, or None.
        labels: class names in order of the explained output, or None.
        sites: in the order of the columns 1.. of ``fg_contributions``.
        precision: the narrowest float type of what is differentiated.
        score_shape: of one image's scores in the explained tensor. This and what follows is None in
            manifests of fg-onnx 0.1.0.
        class_axis: of ``score_shape``, along which the classes lie: that of the channels, else the
            last. None for a single number.
        score_grid: the axes of ``score_shape`` that lie on the explained input's grid, in its
            order; None where there is no grid.
        pixels: the graph input of integer images whose first float tensor is ``input``; None
            where ``input`` is itself fed.
        grad_cam_layer: the tensor that ``fg_grad_cam`` looks at, None where that is not emitted.
        runtime: that the model was instrumented for. ``fg_target`` has a default for ``ort`` alone.
    """

    tool_version: str
    source_sha256: str
    input: str
    output: str
    output_reason: str
    scores: int | None
    ranking: str | None
    gradients: Engine
    psi: str
    emits: tuple[Emit, ...]
    frozen_biases: bool
    seed: bool
    layout: LayoutName | None
    preprocessing: dict[str, Any] | None
    labels: tuple[str, ...] | None
    sites: tuple[Site, ...]
    precision: Precision = "float32"
    score_shape: tuple[Dim, ...] | None = None
    class_axis: int | None = None
    score_grid: tuple[int, ...] | None = None
    pixels: str | None = None
    grad_cam_layer: str | None = None
    runtime: RuntimeName = "ort"

    @property
    def fed(self) -> str:
        """The graph input that images are fed to."""
        return self.pixels or self.input

    @property
    def classes(self) -> int | None:
        """How many classes there are to be named, None where that is not known."""
        if self.score_shape is None or self.class_axis is None:
            return self.scores
        count = self.score_shape[self.class_axis]
        return count if isinstance(count, int) else None

    @property
    def dense(self) -> bool:
        """Whether a class has several scores in an image."""
        return self.classes != self.scores

    def place(self, index: int) -> tuple[int, ...]:
        """The position of a flat index among an image's scores."""
        dims = [dim for dim in self.score_shape or () if isinstance(dim, int)]
        if len(dims) < 2 or len(dims) != len(self.score_shape or ()):
            return (index,)
        return tuple(int(at) for at in np.unravel_index(index, dims))

    def class_of(self, index: int) -> int:
        """The class of a flat index."""
        place = self.place(index)
        return place[self.class_axis or 0] if len(place) > 1 else index

    def to_dict(self) -> dict[str, Any]:
        """The JSON document, with its ``schema_version`` first."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Manifest:
        """Inverse of `to_dict`.

        Raises:
            ModelError: the document is of another schema version, or not a manifest.
        """
        if not isinstance(document, dict):
            raise broken("it is no JSON object")
        fields = dict(document)
        version = fields.pop("schema_version", None)
        if version != SCHEMA_VERSION:
            raise ModelError(
                "manifest-version",
                f"the manifest has schema version {version}; this fg-onnx reads {SCHEMA_VERSION}",
                "instrument the source model again",
            )
        try:
            sites = tuple(Site(**_tupled(site)) for site in fields.pop("sites"))
            found = cls(sites=sites, **_tupled(fields))
        except (KeyError, TypeError, AttributeError) as error:
            raise broken(f"it is not a manifest: {error}") from error
        for record in (found, *sites):
            for name, hint in get_type_hints(type(record)).items():
                if not _fits(getattr(record, name), hint):
                    raise broken(f"its `{name}` is {reprlib.repr(getattr(record, name))}")
        return found


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type as the fields of these records have."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inner
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, inner[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict)
    if inner:
        return any(_fits(value, choice) for choice in inner)
    return type(value) is hint


def broken(reason: str) -> ModelError:
    """The error for a model whose manifest is not one, or speaks of another model."""
    return ModelError(
        "broken-manifest",
        f"the model's {METADATA_KEY} metadata cannot be read: {reason}",
        "instrument the source model again",
    )


def _tupled(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
    }


def is_reserved(name: str) -> bool:
    """Whether a name is one of the contract's, which a source model may not hold."""
    return name in _RESERVED or name.startswith(_RESERVED_BEGINNINGS)


def attach(model: onnx.ModelProto, manifest: Manifest) -> None:
    """Write the manifest into the model's metadata, in the place of an earlier one."""
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    document = json.dumps(manifest.to_dict(), ensure_ascii=False)
    kept.append(onnx.StringStringEntryProto(key=METADATA_KEY, value=document))
    del model.metadata_props[:]
    model.metadata_props.extend(kept)


def parse(text: str) -> Manifest:
    """The manifest in a metadata value.

    Raises:
        ModelError: the text is not a manifest of this schema version.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise broken(f"it is not JSON ({first_line(error)})") from error
    return Manifest.from_dict(document)


def find(model: onnx.ModelProto) -> Manifest | None:
    """The manifest in the model's metadata, or None where the model is a plain one."""
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            return parse(entry.value)
    return None
