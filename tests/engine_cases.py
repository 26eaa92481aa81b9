"""One-node models by both engines: what onnxruntime-training accepts, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from vjps.cases import CASES
from vjps.harness import (
    Case,
    emit_vjp,
    evaluate,
    evaluate_on_runtime,
    forward_model,
    noise,
    publish,
    sample,
)

from fg_onnx.errors import EngineError, UnsupportedModelError
from fg_onnx.fullgrad.adjoint import append_adjoint
from fg_onnx.graph import working
from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal, active_tensors, primal
from fg_onnx.ort_training import environment
from fg_onnx.ort_training.accepted import NEWEST_OPSET
from fg_onnx.ort_training.engine import build_all, prepared_steps
from fg_onnx.ort_training.lowering import GRADIENT, lower
from fg_onnx.ort_training.prepared import Prepared
from fg_onnx.vjps import zeros


@dataclass(eq=False)
class Pulled:
    """A case differentiated by both engines: ``standard`` and ``training`` of one model each.

    Attributes:
        case: with the operand and result that the gradient is by and of.
        refusal: why the engine does not take it, or ``""``.
        proto: the forward model with both adjoints; outputs ``standard`` and ``training``.
    """

    case: Case
    x: str
    y: str
    refusal: str = ""
    proto: onnx.ModelProto | None = None

    @property
    def name(self) -> str:
        """Of the case, and what is differentiated by what."""
        return f"{self.case.name}: {self.y} by {self.x}"

    def difference(self) -> float:
        """Of the two gradients, relative to the largest entry of the standard one."""
        feeds = sample(self.case)
        forward = evaluate_on_runtime(forward_model(self.case, np.float32), feeds)
        ct = noise(self.case, 1, {self.y: forward[self.y]})[self.y]
        assert self.proto is not None
        found = evaluate_on_runtime(self.proto, {**feeds, "ct": ct})
        ours, theirs = found["standard"], found["training"]
        if ours.shape != theirs.shape:
            return float("inf")
        largest = float(np.abs(ours).max(initial=0.0))
        gap = float(np.abs(ours - theirs).max(initial=0.0))
        return gap / largest if largest else gap


def in_reach() -> Iterator[tuple[Case, str, str]]:
    """Every case that ONNX Runtime computes, at an opset of the engine; each of its gradients."""
    for case in CASES:
        moved = case if case.opset <= NEWEST_OPSET else replace(case, opset=NEWEST_OPSET)
        if not case.runtime:
            continue
        try:
            onnx.checker.check_model(forward_model(moved))
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
            continue  # an operator of a newer opset
        for x in moved.live:
            for k in moved.used_outputs:
                yield moved, x, f"y{k}"


def both_engines(cases: list[tuple[Case, str, str]]) -> list[Pulled]:
    """All cases, the gradient graphs of all that are accepted derived in one process."""
    found, drafts = [], []
    for case, x, y in cases:
        pulled = Pulled(case, x, y)
        found.append(pulled)
        try:
            drafts.append((pulled, _Draft(case, x, y)))
        except UnsupportedModelError as error:
            pulled.refusal = error.reason
    built = build_all([draft.prepared for _, draft in drafts])
    for (pulled, draft), graph in zip(drafts, built, strict=True):
        if isinstance(graph, UnsupportedModelError):
            pulled.refusal = f"after the fact: {graph.reason}"
            continue
        try:
            pulled.proto = draft.with_adjoints(graph)
        except UnsupportedModelError as error:
            pulled.refusal = f"after the fact: {error.reason}"
    return found


class _Draft:
    """A one-node model on its way."""

    def __init__(self, case: Case, x: str, y: str) -> None:
        self.source = forward_model(case, np.float32)
        self.graph = working.to_graph(self.source)
        tensors = self.graph.tensors()
        self.x, self.y = tensors[x], tensors[y]
        self.op = Emitter(self.graph, case.opset)
        (node,) = [node for node in self.graph.nodes if y in {t.name for t in node.outputs}]
        active = active_tensors(self.graph, self.x, self.y, zeros(case.opset))
        self.primals: list[Primal] = [primal(node, case.opset, active)]
        self.nodes: list[Primal]
        self.prepared: Prepared
        self.nodes, self.prepared = prepared_steps(self.op, self.primals, self.x, self.y)

    def with_adjoints(self, built: onnx.ModelProto) -> onnx.ModelProto:
        """The model with its gradient by either engine."""
        ct = gs.Variable("ct", self.y.dtype, self.y.shape)
        self.graph.inputs.append(ct)
        grads = lower(self.op, built, self.prepared, self.nodes, ct)
        theirs = grads[self.prepared.named[self.x.name]]
        ours = append_adjoint(self.op, self.primals, self.x, self.y, ct).input_gradient
        assert ours is not None
        count = len(self.graph.outputs)
        publish(self.graph, ours, "standard")
        publish(self.graph, theirs, "training")
        return working.to_proto(self.graph, self.source, count)


# --- without this package -------------------------------------------------------------------------


def as_it_is(cases: list[tuple[Case, str, str]], folder: Path) -> list[str]:
    """What onnxruntime-training makes of each case by itself: "" where it is right, else what."""
    build, run = [], []
    for index, (case, x, y) in enumerate(cases):
        build.append(build_job(folder, index, case, x, y))
    said = _survived(build)
    for index, (case, x, y) in enumerate(cases):
        if said[index] is None:
            run.append(run_job(folder, index, case, x, y))
    for job, trouble in zip(run, _survived(run), strict=True):
        index = int(Path(job["model"]).name.partition(".")[0])
        said[index] = trouble or _difference(Path(job["out"]), *cases[index])
    return [text or "" for text in said]


def _survived(jobs: list[dict[str, Any]]) -> list[str | None]:
    """What came of each job, in ever smaller groups where one of them crashes the process."""
    try:
        return environment.work(jobs) if jobs else []
    except EngineError as error:
        if error.code != "engine-crashes":
            raise
        if len(jobs) == 1:
            return [error.message]
    half = len(jobs) // 2
    return [*_survived(jobs[:half]), *_survived(jobs[half:])]


def build_job(folder: Path, index: int, case: Case, x: str, y: str) -> dict[str, Any]:
    """To derive the gradient of one case."""
    model = folder / f"{index}.onnx"
    onnx.save(forward_model(case, np.float32), model)
    out = str(folder / f"{index}.gradient.onnx")
    return {"do": "build", "model": str(model), "out": out, "y": y, "xs": [x]}


def run_job(folder: Path, index: int, case: Case, x: str, y: str) -> dict[str, str]:
    """To run what was derived of it."""
    model, fed = folder / f"{index}.gradient.onnx", folder / f"{index}.npz"
    proto = onnx.load(model)
    (seed,) = (value for value in forward_model(case, np.float32).graph.output if value.name == y)
    seed.name = y + GRADIENT  # with its shape: kernels crash where a rank is not known
    proto.graph.input.append(seed)
    kept = [value for value in proto.graph.output if value.name == x + GRADIENT]
    del proto.graph.output[:]
    proto.graph.output.extend(kept)
    onnx.save(proto, model)
    types = {v.name: v.type.tensor_type.elem_type for v in proto.graph.input}
    given = {**sample(case), y + GRADIENT: _cotangent(case, y)}
    feeds = {
        name: np.asarray(array, onnx.helper.tensor_dtype_to_np_dtype(types[name]))
        for name, array in given.items()
    }
    arrays = {f"a{i}": array for i, array in enumerate(feeds.values())}
    np.savez(fed, names=np.array(list(feeds)), **arrays)
    out = str(folder / f"{index}.out.npz")
    return {"do": "run", "model": str(model), "feeds": str(fed), "out": out}


def _cotangent(case: Case, y: str) -> np.ndarray:
    forward = evaluate_on_runtime(forward_model(case, np.float32), sample(case))
    return noise(case, 1, {y: forward[y]})[y]


def _difference(out: Path, case: Case, x: str, y: str) -> str:
    only = replace(case, used=(int(y.removeprefix("y")),))
    emitted = emit_vjp(only).proto
    feeds = {**sample(case), y.replace("y", "ct"): _cotangent(case, y)}
    wanted = evaluate(emitted, feeds)[f"pulled/{x}"]
    with np.load(out) as arrays:
        found = arrays["a0"]
    if found.shape != wanted.shape:
        return f"a gradient of shape {found.shape} for {wanted.shape}"
    gap = np.abs(found - wanted).max(initial=0.0) / max(np.abs(wanted).max(initial=0.0), 1e-30)
    return "" if gap <= 2e-5 else f"wrong by {gap:.0e}"
