"""From a model to an instrumented model, on one screen: plan, promote, adjoint, aggregate."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_graphsurgeon as gs

from fg_onnx import deployment, manifest
from fg_onnx._version import __version__
from fg_onnx.errors import InputError, UnsupportedModelError
from fg_onnx.fullgrad.adjoint import Adjoint, append_adjoint
from fg_onnx.fullgrad.cam import choose_layer
from fg_onnx.fullgrad.comparisons import Differentiated, publish_comparisons
from fg_onnx.fullgrad.psi import STYLES
from fg_onnx.fullgrad.publish import Explained, publish
from fg_onnx.fullgrad.seeding import (
    by_cotangent,
    by_target,
    loosen_target,
    score_shape,
    scores_per_image,
)
from fg_onnx.fullgrad.sites import promote_biases
from fg_onnx.fullgrad.terms import site_term
from fg_onnx.graph import working
from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.ordering import order
from fg_onnx.graph.primal import Primal, precision_of
from fg_onnx.graph.views import Views
from fg_onnx.manifest import (
    DEFAULT_EMITS,
    EMITS,
    ENGINES,
    METHOD_EMITS,
    Emit,
    Engine,
    Manifest,
    RuntimeName,
)
from fg_onnx.ort_training import engine as ort_training
from fg_onnx.pictures.preprocess import Preprocessing
from fg_onnx.plan import Plan, make_plan
from fg_onnx.source import model
from fg_onnx.vjps.rectified_pooling import joined
from fg_onnx.vjps.rectifiers import VARIANTS


@dataclass(frozen=True, eq=False)
class Instrumented:
    """An instrumented model and its manifest."""

    model: onnx.ModelProto
    manifest: Manifest

    def save(self, path: str | Path) -> Path:
        """Write the model; nothing is left half-written.

        Raises:
            OutputError: the place cannot be written.
        """
        model.write(self.model, Path(path))
        return Path(path)


def instrument(
    source: model.ModelSource,
    *,
    output: str | None = None,
    input: str | None = None,
    psi: str = "reference",
    emit: Sequence[Emit] = DEFAULT_EMITS,
    freeze_biases: bool = False,
    freeze_defaults: bool = False,
    dynamic_batch: bool = False,
    seed: bool = False,
    runtime: RuntimeName = "ort",
    opset: int | None = None,
    gradients: Engine = "standard",
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] | None = None,
    grad_cam_layer: str | None = None,
) -> Instrumented:
    """Rewrite a model so that it computes its own full-gradients (DESIGN, section 3).

    Args:
        source: a path or a ModelProto; it is not changed.
        output: the explained tensor; None: the logits.
        input: the explained input; None: the float image input.
        psi: one of `fg_onnx.fullgrad.psi.STYLES`.
        emit: what the model shall compute beyond the score.
        freeze_biases: leave biases as plain initializers.
        freeze_defaults: make inputs with a default of the source's own plain initializers too.
        dynamic_batch: make a fixed batch symbolic, where every node keeps the images apart.
        seed: take a cotangent ``fg_seed`` in the place of the class index ``fg_target``.
        runtime: that the model is for: ``ort``, ``openvino``, ``tensorrt`` or ``web``. All but the
            first want ``fg_target`` fed, and have the biases and the source's own defaults frozen.
        opset: raise the model to this opset.
        gradients: the engine that derives the adjoint: ``standard``, this package's own rules, or
            ``ort-training``, onnxruntime-training in an environment of its own.
        preprocessing: kept in the manifest.
        labels: class names, kept in the manifest.
        grad_cam_layer: the node or tensor that ``grad-cam`` looks at; None: the last convolution,
            with what follows it position by position.

    Raises:
        ModelError: the model cannot be read, or is broken.
        UnsupportedModelError: an operator has no rule, or no input or output fits, or the runtime
            lacks something.
        InputError: an unknown psi, emit, engine or runtime, or ones that do not go together.
        EngineError: the engine is not installed, or it fails, crashes or hangs.
    """
    _check_options(psi, emit, gradients)
    _check_comparisons(emit, gradients, seed=seed, layer=grad_cam_layer)
    deployed = deployment.named(runtime)
    freeze_biases = freeze_biases or not deployed.defaults
    read = model.read(source)
    deployment.require_opset(deployed, max(model.opset_of(read.proto), opset or 0))
    plan = make_plan(
        read,
        input=input,
        output=output,
        opset=opset,
        freeze=freeze_biases,
        freeze_defaults=freeze_defaults or not deployed.defaults,
        dynamic_batch=dynamic_batch,
    )
    plan.require_support()
    if {"saliency", "layer-maps", "simple-saliency", "grad-cam"} & set(emit):
        _require_grid(plan)
    outputs = len(plan.graph.outputs)
    sites = plan.sites if freeze_biases else promote_biases(plan.graph, plan.sites)
    current = {bound.primal.y.name: bound.primal for bound in sites}
    primals = [current.get(p.y.name, p) for p in plan.primals]

    cam = choose_layer(primals, plan.layouts, grad_cam_layer) if "grad-cam" in emit else None

    op = Emitter(plan.graph, plan.opset)
    views = Views(op, primals)
    op.begin("seed")
    seeding = (by_cotangent if seed else by_target)(op, views, plan.x, plan.y)
    op.begin("adjoint")
    kept = [cam[0].y.name] if cam else []
    adjoint = _adjoint(gradients, op, views, primals, plan, seeding.cotangent, kept)
    if adjoint.input_gradient is None:
        raise UnsupportedModelError(
            "no-path",
            f"no gradient flows from `{plan.y.name}` to `{plan.x.name}`",
            "name another tensor with --output",
        )
    sites = tuple(bound for bound in sites if bound.site.tensor in adjoint.pullbacks)
    terms = {}
    op.begin("contributions")
    for bound in sites:
        op.at(bound.site.name)
        with bound.primal.consistent():
            terms[bound.site.name] = site_term(op, bound, adjoint.pullbacks[bound.site.tensor])
    x = views.of(plan.x)
    explained = Explained(x, plan.x.dtype, plan.layout, seeding, adjoint.input_gradient)
    publish(op, explained, sites, terms, STYLES[psi], emit)
    differentiated = Differentiated(
        plan.x,
        plan.y,
        primals,
        views.primal,
        adjoint,
        cam,
        views.of(plan.y),
        _score_axes(plan)["class_axis"],
    )
    op.begin("methods")
    publish_comparisons(op, explained, differentiated, sites, STYLES[psi], emit)

    working.drop_unused(plan.graph)
    order(plan.graph, (manifest.CONTRIBUTIONS, manifest.SALIENCY))
    proto = working.to_proto(plan.graph, plan.proto, outputs)
    loosen_target(proto)
    deployment.fit(deployed, proto.graph)
    found = Manifest(
        tool_version=__version__,
        source_sha256=plan.source.sha256,
        input=plan.x.name,
        output=plan.y.name,
        output_reason=plan.reason,
        scores=scores_per_image(plan.x, plan.y),
        ranking=plan.ranking,
        gradients=gradients,
        psi=psi,
        emits=tuple(name for name in (*EMITS, *METHOD_EMITS) if name in emit),
        frozen_biases=freeze_biases,
        seed=seed,
        layout=plan.fed_layout.name if plan.fed_layout else None,
        preprocessing=preprocessing.to_dict() if preprocessing else None,
        labels=tuple(labels) if labels is not None else None,
        sites=tuple(bound.site for bound in sites),
        precision=precision_of(primals),
        pixels=plan.pixels.name if plan.pixels else None,
        grad_cam_layer=cam[0].y.name if cam else None,
        score_shape=score_shape(plan.x, plan.y),
        runtime=runtime,
        **_score_axes(plan),
    )
    manifest.attach(proto, found)
    return Instrumented(proto, found)


def _adjoint(
    engine: Engine,
    op: Emitter,
    views: Views,
    primals: Sequence[Primal],
    plan: Plan,
    ct_y: gs.Tensor,
    kept: Collection[str],
) -> Adjoint:
    if engine == "ort-training":
        return ort_training.append_adjoint(op, primals, plan.x, plan.y, ct_y)
    return append_adjoint(op, joined(primals, kept), plan.x, plan.y, ct_y, views.primal)


def _require_grid(plan: Plan) -> None:
    if plan.layout is None:
        raise UnsupportedModelError(
            "no-grid",
            f"the input `{plan.x.name}` of shape {plan.x.shape} has no spatial grid for a map",
            "emit contributions, gradients and bias-gradients alone",
        )
    if not isinstance(plan.x.shape[plan.layout.channel], int):
        raise UnsupportedModelError(
            "unknown-channels",
            f"the input `{plan.x.name}` of shape {plan.x.shape} does not say how many channels it "
            "has",
            "export the model with a fixed number of channels; height and width may stay open",
        )


def _score_axes(plan: Plan) -> dict[str, Any]:
    """``class_axis`` and ``score_grid`` of the manifest."""
    layout = plan.output_layout
    plain = layout is not None and layout.tokens is None and layout.unfolded is None
    if layout is not None and plain and len(plan.y.shape) == 2 + len(layout.spatial):
        grid = tuple(axis - 1 for axis in layout.spatial)
        return {"class_axis": layout.channel - 1, "score_grid": grid}
    rank = len(score_shape(plan.x, plan.y))
    return {"class_axis": rank - 1 if rank else None}


def _check_options(psi: str, emit: Sequence[Emit], gradients: Engine) -> None:
    if gradients not in ENGINES:
        raise InputError(
            "unknown-engine",
            f"there is no engine `{gradients}` for gradients",
            f"one of: {', '.join(ENGINES)}",
        )
    if psi not in STYLES:
        raise InputError("unknown-psi", f"there is no psi `{psi}`", f"one of: {', '.join(STYLES)}")
    for name in emit:
        if name not in (*EMITS, *METHOD_EMITS):
            raise InputError(
                "unknown-emit",
                f"`{name}` cannot be emitted",
                f"any of: {', '.join((*EMITS, *METHOD_EMITS))}",
            )


def _check_comparisons(
    emit: Sequence[Emit], gradients: Engine, *, seed: bool, layer: str | None
) -> None:
    """Fail for outputs of other methods that cannot be had in this way."""
    if layer is not None and "grad-cam" not in emit:
        raise InputError(
            "no-grad-cam", f"the layer `{layer}` has no use without grad-cam", "emit grad-cam"
        )
    if seed and "probability" in emit:
        raise InputError(
            "seed-probability",
            "a probability is a class's, and the model is to take a cotangent in its place",
            "leave one of the two out",
        )
    variants = [word for word in emit if word in VARIANTS]
    if variants and gradients != "standard":
        raise InputError(
            "engine-variant",
            f"{variants[0]} changes the rule of ReLU, which the engine {gradients} does not",
            "leave out the engine",
        )
