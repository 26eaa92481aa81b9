"""A model's graph, read and cut with plain onnx, and run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from fg_onnx import manifest
from fg_onnx.errors import InputError, ModelError, first_line
from fg_onnx.files import read_bytes
from fg_onnx.runtime import onnxruntime, open_session

Array = npt.NDArray[Any]
ModelSource: TypeAlias = "str | os.PathLike[str] | onnx.ModelProto"


@dataclass(frozen=True, eq=False)
class Graph:
    """A model without functions of its own, and what is asked of its graph."""

    proto: onnx.ModelProto
    sha256: str
    name: str

    @cached_property
    def makers(self) -> dict[str, onnx.NodeProto]:
        """Tensor name -> the node that makes it."""
        return {name: node for node in self.proto.graph.node for name in node.output if name}

    @cached_property
    def initializers(self) -> dict[str, onnx.TensorProto]:
        """Weight name -> its tensor."""
        return {tensor.name: tensor for tensor in self.proto.graph.initializer}

    @cached_property
    def inputs(self) -> dict[str, onnx.ValueInfoProto]:
        """Of the graph, those with a default too."""
        return {value.name: value for value in self.proto.graph.input}

    @cached_property
    def outputs(self) -> dict[str, onnx.ValueInfoProto]:
        """Of the graph."""
        return {value.name: value for value in self.proto.graph.output}

    @cached_property
    def required(self) -> dict[str, onnx.ValueInfoProto]:
        """The inputs without a default."""
        return {k: value for k, value in self.inputs.items() if k not in self.initializers}

    @property
    def opset(self) -> int:
        """The version of ONNX's own operators."""
        return max(
            (e.version for e in self.proto.opset_import if e.domain in ("", "ai.onnx")), default=0
        )

    def constant(self, name: str) -> Array | None:
        """The value of a weight, or of a Constant or an alias of one; None where it is neither."""
        while name in self.makers and self.makers[name].op_type == "Identity":
            name = self.makers[name].input[0]
        if name in self.initializers:
            return numpy_helper.to_array(self.initializers[name])
        node = self.makers.get(name)
        if node is None or node.op_type != "Constant":
            return None
        value = onnx.helper.get_attribute_value(node.attribute[0])
        if isinstance(value, onnx.TensorProto):
            return numpy_helper.to_array(value)
        dtype = np.float32 if "float" in node.attribute[0].name else np.int64
        return np.asarray(value, dtype=dtype)

    def maker(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a tensor, as the source has it.

        The promoted bias of a convolution may be added behind it: then a Conv with that bias.
        """
        node = self.makers.get(name)
        if node is None or node.op_type != "Add" or len(node.input) != 2:
            return node
        conv, row = (self.makers.get(each) for each in node.input)
        if conv is None or conv.op_type != "Conv" or len(conv.input) != 2:
            return node
        if row is None or row.op_type != "Reshape" or not row.input[0].startswith(manifest.BIAS):
            return node
        shape = self.constant(row.input[1])
        if shape is None or shape.tolist() != [1, -1, 1, 1]:
            return node
        whole = onnx.NodeProto()
        whole.CopyFrom(conv)
        whole.input.append(row.input[0])
        whole.output[0] = name
        return whole

    def ordered(self, ends: Collection[str], starts: Collection[str] = ()) -> list[onnx.NodeProto]:
        """The nodes that the tensors ``ends`` need, each after what it reads; none behind starts.

        Raises:
            ModelError: they go round in a circle.
        """
        found: list[onnx.NodeProto] = []
        seen: dict[int, bool] = {}  # whether it is finished
        stack = [self.makers[name] for name in ends if name in self.makers and name not in starts]
        while stack:
            node = stack[-1]
            if id(node) in seen:
                stack.pop()
                if not seen[id(node)]:
                    seen[id(node)] = True
                    found.append(node)
                continue
            seen[id(node)] = False
            for name in reads(node):
                maker = self.makers.get(name)
                if maker is None or name in starts or seen.get(id(maker)):
                    continue
                if id(maker) in seen:
                    raise ModelError(
                        "broken-model", f"`{self.name}` goes round in a circle at `{name}`", ""
                    )
                stack.append(maker)
        return found

    def with_outputs(self, names: Iterable[str]) -> onnx.ModelProto:
        """The part of the model that these tensors need, and they as its outputs."""
        names = list(dict.fromkeys(names))
        nodes = self.ordered(names)
        needed = {name for node in nodes for name in reads(node)} | set(names)
        graph = onnx.GraphProto(name=self.proto.graph.name, node=nodes)
        graph.initializer.extend(t for name, t in self.initializers.items() if name in needed)
        graph.sparse_initializer.extend(self.proto.graph.sparse_initializer)
        graph.input.extend(value for name, value in self.inputs.items() if name in needed)
        # the runtime knows their types
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        result = onnx.ModelProto(ir_version=self.proto.ir_version, graph=graph)
        result.opset_import.extend(self.proto.opset_import)
        return result


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, in the bodies of its branches and loops too."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            for inner in body.node:
                yield from reads(inner)
            yield from (value.name for value in body.output)


def read(model: ModelSource) -> Graph:
    """Load a model.

    Raises:
        ModelError: it cannot be read, or is none.
    """
    if isinstance(model, onnx.ModelProto):
        proto, name, data = model, model.graph.name or "the model", model.SerializeToString()
    else:
        name, data = str(model), read_bytes(Path(model))
        try:
            proto = onnx.load(model)
        except (DecodeError, OSError, ValueError, onnx.checker.ValidationError) as error:
            raise ModelError(
                "not-onnx",
                f"`{name}` cannot be read as an ONNX model: {first_line(error)}",
                "is the file an .onnx file, whole, and its external data beside it?",
            ) from error
    if not proto.graph.node:
        raise ModelError("not-onnx", f"`{name}` holds no ONNX graph", "give an .onnx file")
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    return Graph(proto, hashlib.sha256(data).hexdigest(), name)


def open_graph(proto: onnx.ModelProto, *, optimised: bool) -> Any:
    """A session on the CPU; without optimisations every tensor is what the nodes say.

    Raises:
        ModelError: the runtime does not take the model.
    """
    module = onnxruntime()
    options = module.SessionOptions()
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False  # what a run took is given back after it
    if not optimised:
        options.graph_optimization_level = module.GraphOptimizationLevel.ORT_DISABLE_ALL
    return open_session(proto.SerializeToString(), options=options)


def run_session(
    session: Any, feeds: Mapping[str, Array], names: Sequence[str] | None = None
) -> dict[str, Array]:
    """Outputs by name; what the model does not take is not fed.

    Raises:
        InputError: the run fails.
    """
    taken = [*session.get_inputs(), *session.get_overridable_initializers()]
    fed = {value.name: feeds[value.name] for value in taken if value.name in feeds}
    wanted = list(names or [value.name for value in session.get_outputs()])
    try:
        return dict(zip(wanted, session.run(wanted, fed), strict=True))
    except Exception as error:  # a class of its own for every status code of the runtime
        raise InputError(
            "run-fails",
            f"the model does not run on this input: {first_line(error)}",
            "does it have further inputs to be fed?",
        ) from error


def run_tensors(graph: Graph, feeds: Mapping[str, Array], names: Iterable[str]) -> dict[str, Array]:
    """The values of some tensors of a graph, its inputs and weights among them."""
    names = list(dict.fromkeys(names))
    found = {name: feeds[name] for name in names if name in feeds}
    rest = [name for name in names if name not in found]
    made = [name for name in rest if name in graph.makers]
    for name in rest:
        if name in graph.initializers:
            found[name] = numpy_helper.to_array(graph.initializers[name])
    if made:
        session = open_graph(graph.with_outputs(made), optimised=False)
        found.update(run_session(session, feeds, made))
    return found
