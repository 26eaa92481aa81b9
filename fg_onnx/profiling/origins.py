"""Which node of the model a node of the runtime's graph comes from, and what that one is for.

The runtime keeps most names: a fused node has the name of one of its own, and the tensor that it
makes that of the last. What it puts in, to reorder a tensor or to copy it, has new names; it is
there for what reads it, else for what it reads.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

import onnx

from fg_onnx import manifest
from fg_onnx.graph import stages
from fg_onnx.graph.stages import Stage
from fg_onnx.profiling.recording import Kernel

Part: TypeAlias = Literal[
    "forward", "adjoint", "aggregation", "methods", "reorders", "copies", "other"
]
PARTS: tuple[Part, ...] = get_args(Part)
OTHER: Part = "other"

_PARTS: Mapping[Stage, Part] = MappingProxyType(
    {
        "seed": "adjoint",
        "adjoint": "adjoint",
        "contributions": "aggregation",
        "psi": "aggregation",
        "map": "aggregation",
        "methods": "methods",
    }
)
_BLOCKED = "com.microsoft.nchwc"  # operators on channels in blocks
_BLOCKED_SUFFIX = "_nchwc"  # of their names
_REORDERS = frozenset({"ReorderInput", "ReorderOutput"})
_REARRANGES = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze"})
_COPIES = frozenset({"MemcpyFromHost", "MemcpyToHost", "Identity"})
_FLOATS = frozenset({"float", "double", "float16", "bfloat16"})


@dataclass(frozen=True)
class Origin:
    """What a kernel is for.

    Attributes:
        part: of the whole.
        stage: of an emitted node as its name has it; ``forward`` of the model's own; ``""`` where
            that is not known.
        site: the step of the model, by its name; ``""`` where it is for all of them.
        operator: as it is shown.
    """

    part: Part
    stage: str
    site: str
    operator: str


def named(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a name of its own for each node: that of its output where it had none."""
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    taken: Counter[str] = Counter()
    for node in result.graph.node:
        node.name = node.name or next(filter(None, node.output), node.op_type)
        taken[node.name] += 1
    kept: set[str] = set()
    for node in result.graph.node:
        stem, number = node.name, 1
        while node.name in kept or (number > 1 and node.name in taken):
            number += 1
            node.name = f"{stem}_{number}"
        kept.add(node.name)
    return result


class Origins:
    """The origins of a runtime's nodes.

    Args:
        model: that was given to the runtime, its nodes named.
        ran: what the runtime made of it.
    """

    def __init__(self, model: onnx.GraphProto, ran: onnx.GraphProto) -> None:
        self._model = {node.name for node in model.node}
        self._made = {name: node.name for node in model.node for name in node.output if name}
        self._ran = {node.name: node for node in ran.node}
        self._makers = {name: node for node in ran.node for name in node.output if name}
        self._readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in ran.node:
            for name in node.input:
                self._readers[name].append(node)

    def of(self, kernel: Kernel) -> Origin:
        """What a kernel is for; the part is ``other`` where it cannot be told."""
        node = self._ran.get(kernel.name)
        found = self._own(kernel.name) if node is None else self._source(node)
        operator = kernel.operator
        if node is not None and node.domain == _BLOCKED and operator not in _REORDERS:
            operator = f"{operator} (blocked)"
        stage, site = _told(found)
        part: Part = OTHER if not stage else _PARTS.get(stage, "forward")  # type: ignore[call-overload]
        return Origin(self._part(kernel, part), stage, site, operator)

    def _part(self, kernel: Kernel, part: Part) -> Part:
        """Not that of the node it serves, where a kernel only moves what others computed."""
        if kernel.operator in _REORDERS:
            return "reorders"
        if kernel.operator in _COPIES:
            return "copies"
        if kernel.operator == "Cast" and _FLOATS.issuperset({*kernel.reads, *kernel.writes}):
            return "copies"  # one of truth values is part of a mask
        if self._own(kernel.name) is None and kernel.operator in _REARRANGES:
            return "reorders"
        return part

    def _own(self, name: str) -> str | None:
        """The model's node of that name; a blocked one is named after what it makes."""
        if name in self._model:
            return name
        return self._made.get(name.removesuffix(_BLOCKED_SUFFIX))

    def _source(self, node: onnx.NodeProto) -> str | None:
        """The model's node that a node of the runtime's comes from, or is there for."""
        for neighbours in (self._after, self._before):
            seen: set[str] = set()
            near = [node]
            while near:
                found = next(filter(None, map(self._known, near)), None)
                if found is not None:
                    return found
                seen.update(each.name for each in near)
                beyond = {each.name: each for at in near for each in neighbours(at)}
                near = [each for name, each in beyond.items() if name not in seen]
        return None

    def _after(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        return [reader for name in node.output for reader in self._readers[name]]

    def _before(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        return [self._makers[name] for name in node.input if name in self._makers]

    def _known(self, node: onnx.NodeProto) -> str | None:
        own = self._own(node.name)
        if own is not None:
            return own
        return next((self._made[name] for name in node.output if name in self._made), None)


def _told(name: str | None) -> tuple[str, str]:
    """Stage and site of a node of the model."""
    if name is None:
        return "", ""
    if manifest.is_reserved(name):  # a node that only names an output of the contract
        return "map", ""
    emitted = stages.parse(name)
    if emitted is None:
        return "forward", stages.place(name)
    stage, site = emitted
    return stage or "", site
