"""The adjoint by onnxruntime-training: the same cotangents as `fg_onnx.fullgrad.adjoint` emits."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx_graphsurgeon as gs

from fg_onnx.errors import UnsupportedModelError
from fg_onnx.fullgrad.adjoint import Adjoint, Pullback
from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal, active_tensors, primal
from fg_onnx.ort_training import environment
from fg_onnx.ort_training.accepted import HINT, require_accepted
from fg_onnx.ort_training.lowering import lower
from fg_onnx.ort_training.prepared import Prepared, prepare
from fg_onnx.vjps import zeros


def append_adjoint(
    op: Emitter, primals: Sequence[Primal], x: gs.Tensor, y: gs.Tensor, ct_y: gs.Tensor
) -> Adjoint:
    """Emit the adjoint of all steps between ``x`` and ``y``, whose cotangent is ``ct_y``.

    Raises:
        UnsupportedModelError: a node that the engine cannot take, or differentiates wrongly.
        EngineError: the engine is not installed, or it fails, crashes or hangs.
    """
    nodes, prepared = prepared_steps(op, primals, x, y)
    grads = lower(op, build(prepared), prepared, nodes, ct_y)

    def gradient(tensor: gs.Tensor | None) -> gs.Tensor | None:
        name = None if tensor is None else prepared.named.get(tensor.name)
        return None if name is None else grads.get(name)

    pullbacks = {}
    for p in primals:
        cts = tuple(gradient(t) for t in p.outputs)
        if any(ct is not None for ct in cts):
            own = prepared.operands.get(p.y.name, (None,) * len(p.inputs))
            passed = tuple(None if name is None else grads.get(name) for name in own)
            pullbacks[p.y.name] = Pullback(p, cts, passed)
    return Adjoint(pullbacks, gradient(x))


def prepared_steps(
    op: Emitter, primals: Sequence[Primal], x: gs.Tensor, y: gs.Tensor
) -> tuple[list[Primal], Prepared]:
    """The active nodes, each by itself, and the graph as the builder takes it.

    Raises:
        UnsupportedModelError: a node that the engine cannot take, or differentiates wrongly.
    """
    active = active_tensors(op.graph, x, y, zeros(op.opset))
    nodes = [primal(node, op.opset, active) for p in primals for node in p.nodes]
    require_accepted(nodes, op.opset)
    return nodes, prepare(op, primals, nodes, x, y, active)


def build(prepared: Prepared) -> onnx.ModelProto:
    """The forward and the gradient graph, derived in a process of its own.

    Raises:
        EngineError: the engine is not installed, or it crashes or hangs.
        UnsupportedModelError: the builder does not take the model.
    """
    (found,) = build_all([prepared])
    if isinstance(found, UnsupportedModelError):
        raise found
    return found


def build_all(wanted: Sequence[Prepared]) -> list[onnx.ModelProto | UnsupportedModelError]:
    """The same of several graphs in one process, which does not stop at one that it refuses."""
    with tempfile.TemporaryDirectory(prefix="fg-onnx-") as name:
        jobs: list[dict[str, Any]] = []
        for index, prepared in enumerate(wanted):
            model = Path(name) / f"{index}.onnx"
            model.write_bytes(prepared.proto.SerializeToString())
            out = str(Path(name) / f"{index}.out.onnx")
            about = {"y": prepared.y, "xs": prepared.asked}
            jobs.append({"do": "build", "model": str(model), "out": out, **about})
        troubles = environment.work(jobs)
        return [
            onnx.load_from_string(Path(job["out"]).read_bytes())
            if trouble is None
            else UnsupportedModelError(
                "engine-refuses", f"onnxruntime-training refuses the model: {trouble}", HINT
            )
            for job, trouble in zip(jobs, troubles, strict=True)
        ]
