"""The cotangents of a model's sites three ways, the last of which shares no code with the others.

By the standard engine, and by onnxruntime-training's own kernels on the graph as its builder left
it, run in its own environment: nothing of that passes through a VJP rule of this package.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_graphsurgeon as gs
from onnx import helper, numpy_helper

from fg_onnx.fullgrad.adjoint import append_adjoint
from fg_onnx.fullgrad.seeding import by_cotangent
from fg_onnx.graph import working
from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.views import Views
from fg_onnx.manifest import SEED
from fg_onnx.ort_training import environment
from fg_onnx.ort_training.engine import build, prepared_steps
from fg_onnx.ort_training.lowering import GRADIENT
from fg_onnx.plan import Plan, make_plan
from fg_onnx.runtime import open_session
from fg_onnx.source import model

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of either: the cotangents that a cotangent of the explained tensor gives.

    Attributes:
        source: the model, a path or a proto.
        feeds: its inputs.
        seed: the cotangent of the explained tensor.
        options: the explained input and output, as `fg_onnx.instrument` takes them.
    """

    source: model.ModelSource
    feeds: Mapping[str, Array]
    seed: Array
    options: Mapping[str, str | None]

    def plan(self, *, fixed: bool = False) -> Plan:
        """A working copy of the model, and what is explained in it; ``fixed`` to the fed sizes."""
        source = model.read(self.source)
        if fixed:
            source = replace(source, proto=_of_sizes(source.proto, self.feeds))
        plan = make_plan(source, **self.options)  # type: ignore[arg-type]
        plan.require_support()
        return plan


def _of_sizes(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> onnx.ModelProto:
    """The model with the sizes of what is fed: the kernel of AveragePoolGrad takes others for 0."""
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    for value in result.graph.input:
        if value.name in feeds:
            for dim, size in zip(
                value.type.tensor_type.shape.dim, feeds[value.name].shape, strict=True
            ):
                dim.dim_value = size
    return result


def asked_tensors(plan: Plan) -> list[str]:
    """The explained input, and every tensor at whose positions a site lies."""
    sites = [bound.site.tensor for bound in plan.sites if bound.site.tensor != plan.y.name]
    return list(dict.fromkeys([plan.x.name, *sites]))


def standard_cotangents(question: Question) -> dict[str, Array]:
    """Tensor name -> its cotangent, by the standard engine under the stock runtime."""
    plan = question.plan()
    names = asked_tensors(plan)
    op = Emitter(plan.graph, plan.opset)
    views = Views(op, plan.primals)
    seeding = by_cotangent(op, views, plan.x, plan.y)
    adjoint = append_adjoint(op, plan.primals, plan.x, plan.y, seeding.cotangent, views.primal)
    found = {p.primal.y.name: p.cts[0] for p in adjoint.pullbacks.values()}
    found[plan.x.name] = adjoint.input_gradient
    outputs = [_published(plan.graph, op, found[name]) for name in names]
    proto = working.to_proto(plan.graph, plan.proto, len(plan.proto.graph.output))
    session = open_session(proto.SerializeToString())
    fed = {**question.feeds, SEED: question.seed}
    return dict(zip(names, session.run(outputs, fed), strict=True))


def _published(graph: gs.Graph, op: Emitter, tensor: gs.Tensor | None) -> str:
    assert tensor is not None
    result = gs.Variable(op.unique_name("cotangent"), tensor.dtype)
    graph.nodes.append(gs.Node("Identity", result.name, {}, [tensor], [result]))
    graph.outputs.append(result)
    return str(result.name)


def kernel_cotangents(question: Question) -> dict[str, Array]:
    """Tensor name -> its cotangent, by the kernels of onnxruntime-training.

    Raises:
        UnsupportedModelError: a node that the engine cannot take, or differentiates wrongly.
        EngineError: the engine is not installed, lacks a kernel, or fails, crashes or hangs.
    """
    plan = question.plan(fixed=True)
    names = asked_tensors(plan)
    op = Emitter(plan.graph, plan.opset)
    _, prepared = prepared_steps(op, plan.primals, plan.x, plan.y)
    proto = build(prepared, plan.y.name)
    weights = {**prepared.weights}
    weights.update({k: numpy_helper.to_array(t) for k, t in model.defaults_of(plan.proto).items()})
    _complete(proto, weights, plan.y.name + GRADIENT, [name + GRADIENT for name in names])
    listed = {value.name for value in proto.graph.input}
    fed = {name: array for name, array in question.feeds.items() if name in listed}
    fed[plan.y.name + GRADIENT] = question.seed
    found = _run(proto, fed)
    return {name: found[name + GRADIENT] for name in names}


def _complete(
    proto: onnx.ModelProto, weights: Mapping[str, Array], seed: str, outputs: Sequence[str]
) -> None:
    """Put the weights back, declare the cotangent to start from, and ask for some tensors alone."""
    kept = [value for value in proto.graph.input if value.name not in weights]
    kept.append(helper.make_tensor_value_info(seed, onnx.TensorProto.FLOAT, None))
    held = {tensor.name for tensor in proto.graph.initializer}
    listed = {value.name for value in proto.graph.input}
    proto.graph.initializer.extend(
        numpy_helper.from_array(array, name)
        for name, array in weights.items()
        if name in listed and name not in held
    )
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    del proto.graph.output[:]
    proto.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs
    )


def _run(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    with tempfile.TemporaryDirectory(prefix="fg-onnx-") as folder:
        source, fed, out = (Path(folder) / name for name in ("model.onnx", "fed.npz", "out.npz"))
        source.write_bytes(proto.SerializeToString())
        arrays = {f"a{index}": array for index, array in enumerate(feeds.values())}
        np.savez(fed, names=np.array(list(feeds)), **arrays)  # type: ignore[arg-type]
        environment.work("run", str(source), str(fed), str(out))
        with np.load(out) as found:
            return {str(name): found[f"a{i}"] for i, name in enumerate(found["names"])}
