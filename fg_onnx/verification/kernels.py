"""The cotangents of a model's sites twice over, without code in common.

Once by the standard engine under the stock runtime. And once by onnxruntime-training's own kernels,
on the graph as its builder left it, in its own environment: nothing of that passes through a VJP
rule of this package. The kernels are fed the forward values of the stock runtime, for two
releases of a runtime round differently, and a unit near 0 would be on in one and off in the other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_graphsurgeon as gs
from onnx import helper, numpy_helper

from fg_onnx.errors import EngineError
from fg_onnx.fullgrad.adjoint import append_adjoint
from fg_onnx.fullgrad.seeding import by_cotangent
from fg_onnx.graph import working
from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.graph.views import Views
from fg_onnx.manifest import SEED
from fg_onnx.ort_training import environment
from fg_onnx.ort_training.engine import build, prepared_steps
from fg_onnx.ort_training.lowering import GRADIENT
from fg_onnx.ort_training.prepared import Prepared
from fg_onnx.plan import Plan, make_plan
from fg_onnx.runtime import open_session
from fg_onnx.source import model
from fg_onnx.source.order import in_order
from fg_onnx.vjps.rectified_pooling import joined

Array = npt.NDArray[Any]


NO_WITNESS = "no-witness"
"""The code of the error where the kernels are known to be missing or wrong."""


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of both: the cotangents that a cotangent of the explained tensor gives.

    Attributes:
        proto: the model, all of its sizes known: the kernels take unknown ones for 0.
        feeds: its inputs, in their own types.
        seed: the cotangent, in the shape of the explained tensor.
        options: the explained input and output, as `fg_onnx.instrument` takes them.
    """

    proto: onnx.ModelProto
    feeds: Mapping[str, Array]
    seed: Array
    options: Mapping[str, str | None]

    def plan(self) -> Plan:
        """A working copy of the model, and what is explained in it."""
        plan = make_plan(model.read(self.proto), **self.options)  # type: ignore[arg-type]
        plan.require_support()
        return plan


def both_cotangents(question: Question) -> tuple[dict[str, Array], dict[str, Array]]:
    """Tensor name -> its cotangent by the standard engine, and by onnxruntime-training's kernels.

    The tensors are the explained input, and all at whose positions a site lies.

    Raises:
        UnsupportedModelError: a node that the engine cannot take, or differentiates wrongly.
        EngineError: a kernel is missing or known to be wrong (`NO_WITNESS`), the engine is not
            installed, or it fails, crashes or hangs.
    """
    plan = question.plan()
    sites = [bound.site.tensor for bound in plan.sites if bound.site.tensor != plan.y.name]
    names = list(dict.fromkeys([plan.x.name, *sites]))
    backward, prepared = _backward_part(plan, names)
    seed = prepared.y + GRADIENT
    fed = [value.name for value in backward.graph.input if value.name != seed]
    ours, forward = _standard(question, names, [prepared.tensors[name] for name in fed])
    found = _run(backward, {**dict(zip(fed, forward, strict=True)), seed: question.seed})
    return ours, {name: found[prepared.named[name] + GRADIENT] for name in names}


def _standard(
    question: Question, names: Sequence[str], forward: Sequence[str]
) -> tuple[dict[str, Array], list[Array]]:
    """Cotangents and forward values of one run of one model."""
    plan = question.plan()
    op = Emitter(plan.graph, plan.opset)
    views = Views(op, plan.primals)
    seeding = by_cotangent(op, views, plan.x, plan.y)
    steps = joined(plan.primals, names)
    adjoint = append_adjoint(op, steps, plan.x, plan.y, seeding.cotangent, views.primal)
    found = {p.primal.y.name: p.cts[0] for p in adjoint.pullbacks.values()}
    found[plan.x.name] = adjoint.input_gradient
    tensors = plan.graph.tensors()
    outputs = [_published(op, found[name]) for name in names]
    outputs += [_published(op, tensors[name]) for name in forward]
    proto = working.to_proto(plan.graph, plan.proto, len(plan.proto.graph.output))
    fed = {**question.feeds, SEED: question.seed}
    arrays = open_session(proto.SerializeToString()).run(outputs, fed)
    return dict(zip(names, arrays, strict=False)), arrays[len(names) :]


def _published(op: Emitter, tensor: gs.Tensor | None) -> str:
    assert tensor is not None
    result = gs.Variable(op.unique_name("published"), tensor.dtype)
    op.graph.nodes.append(gs.Node("Identity", result.name, {}, [tensor], [result]))
    op.graph.outputs.append(result)
    return str(result.name)


def _backward_part(plan: Plan, names: Sequence[str]) -> tuple[onnx.ModelProto, Prepared]:
    """What onnxruntime-training derived, from forward values and the cotangent to some gradients.

    The forward values, which are its inputs, are tensors of the plan's graph.
    """
    op = Emitter(plan.graph, plan.opset)
    nodes, prepared = prepared_steps(op, plan.primals, plan.x, plan.y)
    _require_kernels(nodes)
    built = in_order(build(prepared))
    tensors = plan.graph.tensors()
    forward = {
        name: tensors[tensor]
        for tensor, name in prepared.named.items()
        if isinstance(tensors[tensor], gs.Variable)
    }
    outputs = [prepared.named[name] + GRADIENT for name in names]
    kept, read = _leading_to(outputs, built.graph.node, forward)
    held = {t.name: t for t in built.graph.initializer}
    weights = {name: numpy_helper.from_array(a, name) for name, a in prepared.weights.items()}
    graph = onnx.GraphProto(name="backward", node=kept)
    graph.initializer.extend(t for name, t in {**held, **weights}.items() if name in read)
    graph.input.extend(_declared(name, forward[name]) for name in forward if name in read)
    graph.input.append(_declared(prepared.y + GRADIENT, plan.y))
    graph.output.extend(_declared(prepared.named[name] + GRADIENT, tensors[name]) for name in names)
    made = {name for node in kept for name in node.output} - set(outputs)
    graph.value_info.extend(value for value in built.graph.value_info if value.name in made)
    return model.model_of(graph, built), prepared


def _require_kernels(nodes: Sequence[Primal]) -> None:
    """Fail where onnxruntime-training's kernels are no witness (docs/engines.md).

    Raises:
        EngineError: `NO_WITNESS`.
    """
    for p in nodes:
        why = None
        if p.op_type in ("ConvTranspose", "Resize"):
            why = "is not there"
        elif p.op_type == "AveragePool" and len(p.shape(p.x)) > 4:
            why = "is wrong in three dimensions"
        elif p.op_type == "AveragePool" and p.attrs["ceil_mode"] and p.attrs["count_include_pad"]:
            why = "is wrong with ceil_mode and count_include_pad"
        elif p.op_type == "Slice" and _is_wide(p):
            why = "does not take its steps or ends"
        if why is not None:
            raise EngineError(
                NO_WITNESS,
                f"the gradient kernel of `{p.op_type}` at `{p.name}` {why} in onnxruntime-training",
                "name an --output before it, or believe the finite differences of the tests",
            )


def _is_wide(p: Primal) -> bool:
    """Whether a Slice goes backwards, or to an end beyond 32 bits."""
    operands = [p.input(index) for index in (1, 2, 4)]
    values = [np.asarray(u.values) for u in operands if isinstance(u, gs.Constant)]
    if len(values) < sum(u is not None for u in operands):
        return True
    steps = values[2] if len(values) > 2 else np.ones(1)
    return bool(np.any(steps < 0) or any(np.any(np.abs(v) >= 2**31) for v in values[:2]))


def _leading_to(
    outputs: Sequence[str], nodes: Sequence[onnx.NodeProto], given: Container[str]
) -> tuple[list[onnx.NodeProto], set[str]]:
    """The nodes that some outputs need beside what is given, and all that these read."""
    read, kept = set(outputs), []
    for node in reversed(nodes):
        wanted = [name for name in node.output if name in read and name not in given]
        if not wanted:
            continue
        read.update(name for name in node.input if name)
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        # a pool is run again for its Indices; its maxima are given
        copy.output[:] = [f"{name}/again" if name in given else name for name in node.output]
        kept.append(copy)
    return kept[::-1], read


def _declared(name: str, like: gs.Tensor) -> onnx.ValueInfoProto:
    """With its shape: kernels of onnxruntime-training crash where a rank is not known."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(like.dtype))
    return helper.make_tensor_value_info(name, kind, like.shape)


def _run(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """All outputs of a model by the kernels of onnxruntime-training."""
    with tempfile.TemporaryDirectory(prefix="fg-onnx-") as folder:
        source, fed, out = (Path(folder) / name for name in ("model.onnx", "fed.npz", "out.npz"))
        source.write_bytes(proto.SerializeToString())
        arrays = {f"a{index}": array for index, array in enumerate(feeds.values())}
        np.savez(fed, names=np.array(list(feeds)), **arrays)  # type: ignore[arg-type]
        job = {"do": "run", "model": str(source), "feeds": str(fed), "out": str(out)}
        (trouble,) = environment.work([job])
        if trouble is not None:
            raise EngineError("engine-fails", f"onnxruntime-training: {trouble}")
        with np.load(out) as found:
            return {str(name): found[f"a{i}"] for i, name in enumerate(found["names"])}
