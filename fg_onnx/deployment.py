"""What each runtime takes of an instrumented model: ``fg-onnx instrument --runtime``.

The model that is written by default is ONNX Runtime's: biases and the target are inputs with a
default. Other runtimes do not know such inputs, and some of them do not say so: OpenVINO makes
constants of them, and onnxruntime-node leaves aside what is fed to them and explains the predicted
class. For those runtimes the biases are constants, and the target has to be fed.

What a runtime lacks (`lacks`) is refused by name; docs/runtimes.md holds the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import onnx

from fg_onnx import biases, manifest
from fg_onnx.errors import InputError, UnsupportedModelError
from fg_onnx.graph.stages import EMITTED
from fg_onnx.lacks import OPENVINO, TENSORRT, Lack
from fg_onnx.manifest import RuntimeName


@dataclass(frozen=True)
class Deployment:
    """A runtime that models are instrumented for.

    Attributes:
        title: its name in sentences.
        tried: the version that was run; None: what is said of it here was read.
        defaults: whether an input with a default can be fed.
        newest_opset: that it loads, None where it is not known to refuse one.
        lacks: operators and forms of them.
        shares_weights: whether Conv and ConvTranspose may share a weight. Of one that has as
            many input as output channels OpenVINO keeps the order that one of the two wants, and
            computes the other by it.
    """

    title: str
    tried: str | None
    defaults: bool
    newest_opset: int | None = None
    lacks: tuple[Lack, ...] = ()
    shares_weights: bool = True

    @property
    def version(self) -> str:
        """The title, with the version that was tried."""
        return self.title if self.tried is None else f"{self.title} {self.tried}"


RUNTIMES: Mapping[RuntimeName, Deployment] = MappingProxyType(
    {
        "ort": Deployment("ONNX Runtime", "1.31.1", defaults=True),
        "openvino": Deployment(
            "OpenVINO", "2026.4.1", defaults=False, lacks=OPENVINO, shares_weights=False
        ),
        "tensorrt": Deployment(
            "TensorRT 10.1", None, defaults=False, newest_opset=20, lacks=TENSORRT
        ),
        "web": Deployment("ONNX Runtime in JavaScript", "1.30.0", defaults=False, newest_opset=26),
    }
)
"""By the name that ``--runtime`` takes."""


def named(runtime: str) -> Deployment:
    """A runtime by its name.

    Raises:
        InputError: ``unknown-runtime``.
    """
    for name, found in RUNTIMES.items():
        if name == runtime:
            return found
    raise InputError(
        "unknown-runtime", f"there is no runtime `{runtime}`", f"one of: {', '.join(RUNTIMES)}"
    )


def require_opset(runtime: Deployment, opset: int) -> None:
    """Fail where a runtime does not load models of an opset.

    Raises:
        UnsupportedModelError: ``runtime-opset``.
    """
    newest = runtime.newest_opset
    if newest is not None and opset > newest:
        raise UnsupportedModelError(
            "runtime-opset",
            f"the model has opset {opset}, and {runtime.version} loads at most {newest}",
            "export it with opset 18, which every runtime takes",
        )


def require_operators(runtime: Deployment, graph: onnx.GraphProto) -> None:
    """Fail for the first node, the source's own or an emitted one, that a runtime lacks.

    Raises:
        UnsupportedModelError: ``runtime-operator``, naming the operator and the node.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in _nodes(graph):
        for lack in runtime.lacks:
            if lack.meets(node, constants):
                name = node.name or (node.output[0] if node.output else "")
                raise UnsupportedModelError(
                    "runtime-operator",
                    f"`{node.op_type}` at `{name}`: in {runtime.version}, {lack.reason}",
                    "instrument it for another --runtime, or export the model without it",
                    op=node.op_type,
                    node=name,
                )


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)


def fit(runtime: Deployment, graph: onnx.GraphProto) -> None:
    """Change an instrumented graph into what a runtime takes.

    Raises:
        UnsupportedModelError: ``runtime-operator``, what it takes in no form.
    """
    require_operators(runtime, graph)
    if not runtime.shares_weights:
        _separate_weights(graph)
    if runtime.defaults:
        biases.add_behind(graph)
    else:
        drop_defaults(graph)


def _separate_weights(graph: onnx.GraphProto) -> None:
    """Give Conv a weight of its own where ConvTranspose has the same, or the other way round."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    users: dict[str, dict[str, list[onnx.NodeProto]]] = {}
    for node in graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            users.setdefault(node.input[1], {}).setdefault(node.op_type, []).append(node)
    for name, by_type in users.items():
        if len(by_type) == 1 or name not in weights:  # others are computed anew in every run
            continue
        # the source's own nodes stay as they are, where the other kind is emitted alone
        moved = min(by_type.values(), key=lambda nodes: sum(not _emitted(node) for node in nodes))
        copy = graph.initializer.add()
        copy.CopyFrom(weights[name])
        copy.name = f"{EMITTED}copy/{name}"
        for node in moved:
            node.input[1] = copy.name


def _emitted(node: onnx.NodeProto) -> bool:
    return node.name.startswith(EMITTED)


def drop_defaults(graph: onnx.GraphProto) -> None:
    """Leave no input that has a default: the target has to be fed then, the rest is constant."""
    held = {tensor.name: i for i, tensor in enumerate(graph.initializer)}
    own = [
        value for value in graph.input if value.name not in held or value.name == manifest.TARGET
    ]
    del graph.input[:]
    graph.input.extend(own)
    if manifest.TARGET in held:
        del graph.initializer[held[manifest.TARGET]]
