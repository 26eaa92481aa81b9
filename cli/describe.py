"""Models, sites and operators in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    from fg_onnx.manifest import Dim, Manifest, Site


def shape_text(shape: Sequence[Dim]) -> str:
    """``[N, 3, 224, 224]``; a dimension that is not known is ``?``."""
    return f"[{', '.join('?' if dim is None else str(dim) for dim in shape)}]"


def value_text(value: onnx.ValueInfoProto) -> str:
    """A graph input's or output's name, type and shape."""
    import onnx  # noqa: PLC0415  # slow, and --help is not to wait for it

    tensor = value.type.tensor_type
    dtype = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    dims = [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
        for dim in tensor.shape.dim
    ]
    return f"{value.name}  {dtype} {shape_text(dims)}"


def gradient_rows(explained: str | None, pixels: str | None) -> list[tuple[str, str]]:
    """What the gradient is taken by, where that is not the input itself."""
    if pixels is None:
        return []
    return [("gradient by", f"{explained}  (the first float tensor of the integers `{pixels}`)")]


def inputs_of(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that have to be fed: those without a default value."""
    held = {tensor.name for tensor in proto.graph.initializer}
    return [value for value in proto.graph.input if value.name not in held]


def own_outputs(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The outputs that the model had before it was instrumented."""
    return [value for value in proto.graph.output if not value.name.startswith("fg_")]


def operators_text(nodes: Iterable[onnx.NodeProto]) -> str:
    """Operators seen, the most frequent first: ``Conv 26, Relu 26, Concat 8``."""
    counts = Counter(f"{node.domain}::{node.op_type}".removeprefix("::") for node in nodes)
    return _listed(counts) or "none"


def sites_text(sites: Sequence[Site]) -> str:
    """Sites by kind, and how many of them are seen in the map."""
    if not sites:
        return "0, the score is the input term alone"
    kinds = _listed(Counter(site.kind for site in sites))
    return f"{len(sites)}: {kinds} ({sum(site.spatial for site in sites)} in the map)"


def grid_text(site: Site) -> str:
    """Whether a site is in the map, and of tokens the grid that they come from."""
    if not site.spatial:
        return "no"
    return f"yes, {' x '.join(map(str, site.grid))} tokens" if site.grid else "yes"


def promotion_text(manifest: Manifest) -> str:
    """Whether biases can be fed."""
    if manifest.frozen_biases:
        return "frozen, as plain initializers"
    promoted = sum(site.promoted_input is not None for site in manifest.sites)
    return f"{promoted} of {len(manifest.sites)} sites can be fed as fg_bias/<site>"


def runtime_rows(manifest: Manifest) -> list[tuple[str, str]]:
    """What a model for another runtime than ONNX Runtime has to be fed, and what was not tried."""
    from fg_onnx.deployment import RUNTIMES  # noqa: PLC0415
    from fg_onnx.manifest import PREDICTED  # noqa: PLC0415

    runtime = RUNTIMES[manifest.runtime]
    if runtime.defaults:
        return []
    text = runtime.title
    if not manifest.seed:
        text += f"; fg_target is to be fed, {PREDICTED} for the predicted class"
    if runtime.tried is None:
        text += "; not tried there"
    return [("runtime", text)]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def preprocessing_text(manifest: Manifest) -> str:
    """The steps that are not the default: ``size 224x224, mean ...``."""
    if manifest.preprocessing is None:
        return "not known; `explain` needs --preprocess"
    from fg_onnx.pictures.preprocess import PRESETS, Preprocessing  # noqa: PLC0415

    held = Preprocessing.from_dict(manifest.preprocessing)
    named = [name for name, preset in PRESETS.items() if preset == held]
    plain = Preprocessing().to_dict()
    steps = [f"{key} {value}" for key, value in held.to_dict().items() if value != plain[key]]
    return ", ".join([*named[:1], *(() if named else steps)]) or "none"


def labels_text(manifest: Manifest) -> str:
    """How many labels, and the first ones."""
    if manifest.labels is None:
        return "not known"
    first = ", ".join(manifest.labels[:3])
    return f"{len(manifest.labels)}: {first}{', ...' if len(manifest.labels) > 3 else ''}"
