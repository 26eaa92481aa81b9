"""From a model to an instrumented model, on one screen: plan, promote, adjoint, aggregate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_graphsurgeon as gs

from fg_onnx import aggregate, manifest, model
from fg_onnx._version import __version__
from fg_onnx.adjoint import append_adjoint
from fg_onnx.emit import Emitter
from fg_onnx.errors import InputError, UnsupportedModelError
from fg_onnx.manifest import DEFAULT_EMITS, EMITS, Dim, Emit, Manifest
from fg_onnx.plan import Plan, make_plan
from fg_onnx.preprocess import Preprocessing
from fg_onnx.psi import STYLES
from fg_onnx.seeding import Seeding, by_cotangent, by_target, loosen_target, scores_per_image
from fg_onnx.sites import BoundSite, promote_biases
from fg_onnx.terms import Term, site_term


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
    seed: bool = False,
    opset: int | None = None,
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] | None = None,
) -> Instrumented:
    """Rewrite a model so that it computes its own full-gradients (DESIGN, section 3).

    Args:
        source: a path or a ModelProto; it is not changed.
        output: the explained tensor; None: the logits.
        input: the explained input; None: the float image input.
        psi: one of `fg_onnx.psi.STYLES`.
        emit: what the model shall compute beyond the score.
        freeze_biases: leave biases as plain initializers.
        seed: take a cotangent ``fg_seed`` in the place of the class index ``fg_target``.
        opset: raise the model to this opset.
        preprocessing: kept in the manifest.
        labels: class names, kept in the manifest.

    Raises:
        ModelError: the model cannot be read, or is broken.
        UnsupportedModelError: an operator has no rule, or no input or output fits.
        InputError: an unknown psi or emit.
    """
    _check_options(psi, emit)
    plan = make_plan(
        model.read(source), input=input, output=output, opset=opset, freeze=freeze_biases
    )
    plan.require_support()
    outputs = len(plan.graph.outputs)
    sites = plan.sites if freeze_biases else promote_biases(plan.graph, plan.sites)
    current = {bound.primal.y.name: bound.primal for bound in sites}
    primals = [current.get(p.y.name, p) for p in plan.primals]

    op = Emitter(plan.graph, plan.opset)
    seeding = (by_cotangent if seed else by_target)(op, plan.y)
    adjoint = append_adjoint(op, primals, plan.x, plan.y, seeding.cotangent)
    if adjoint.input_gradient is None:
        raise UnsupportedModelError(
            "no-path", f"no gradient flows from `{plan.y.name}` to `{plan.x.name}`"
        )
    terms = {
        bound.site.name: site_term(op, bound, adjoint.pullbacks[bound.site.tensor])
        for bound in sites
        if bound.site.tensor in adjoint.pullbacks
    }
    sites = tuple(bound for bound in sites if bound.site.name in terms)
    _publish(op, plan, sites, terms, seeding, adjoint.input_gradient, psi, emit)

    proto = model.to_proto(plan.graph.cleanup(), plan.proto, outputs)
    loosen_target(proto)
    found = Manifest(
        tool_version=__version__,
        source_sha256=plan.source.sha256,
        input=plan.x.name,
        output=plan.y.name,
        output_reason=plan.reason,
        scores=scores_per_image(plan.y),
        ranking=plan.ranking,
        gradients="standard",
        psi=psi,
        emits=tuple(name for name in EMITS if name in emit),
        frozen_biases=freeze_biases,
        seed=seed,
        layout="nchw" if plan.layout.name == "nchw" else "nhwc",
        preprocessing=preprocessing.to_dict() if preprocessing else None,
        labels=tuple(labels) if labels is not None else None,
        sites=tuple(bound.site for bound in sites),
    )
    manifest.attach(proto, found)
    return Instrumented(proto, found)


def _check_options(psi: str, emit: Sequence[Emit]) -> None:
    if psi not in STYLES:
        raise InputError("unknown-psi", f"there is no psi `{psi}`", f"one of: {', '.join(STYLES)}")
    for name in emit:
        if name not in EMITS:
            raise InputError(
                "unknown-emit", f"`{name}` cannot be emitted", f"any of: {', '.join(EMITS)}"
            )


def _publish(
    op: Emitter,
    plan: Plan,
    sites: Sequence[BoundSite],
    terms: dict[str, Term],
    seeding: Seeding,
    gradient: gs.Tensor,
    psi: str,
    emit: Sequence[Emit],
) -> None:
    """Add what was asked for to the graph's outputs, in the order of the contract."""
    x, layout = plan.x, plan.layout
    batch = x.shape[0]
    input_term = Term(op.Mul(gradient, x), tuple(x.shape))
    _output(op, seeding.score, manifest.SCORE, [batch])
    if "contributions" in emit:
        columns = [input_term, *(terms[bound.site.name] for bound in sites)]
        table = aggregate.contributions(op, x, columns)
        _output(op, table, manifest.CONTRIBUTIONS, [batch, len(columns)])
    if "saliency" in emit or "layer-maps" in emit:
        style = STYLES[psi]
        spatial = {b.site.name: b.layout for b in sites if b.layout is not None}
        layers = {
            name: aggregate.layer_of(op, style, terms[name], grid) for name, grid in spatial.items()
        }
        groups = aggregate.group_layers(op, layers)
    if "saliency" in emit:
        whole = aggregate.layer_of(op, style, input_term, layout)
        parts = [*aggregate.group_layers(op, {"input": whole}), *groups]
        size = [x.shape[axis] for axis in layout.spatial]
        total = aggregate.saliency(op, style, parts, x, layout)
        _output(op, total, manifest.SALIENCY, [batch, 1, *size])
    if "input-gradient" in emit:
        _output(op, gradient, manifest.INPUT_GRADIENT, x.shape)
    if "layer-maps" in emit:
        maps = aggregate.layer_maps(op, groups)
        for name in spatial:
            found, group = maps[name]
            _output(op, found, manifest.LAYER_MAP + name, [batch, 1, *group.size])
    if "bias-gradients" in emit:
        for bound in sites:
            product = terms[bound.site.name].product(op)
            _output(op, product, manifest.BIAS_GRADIENT + bound.site.name, bound.site.shape)
    if seeding.index is not None:
        _output(op, seeding.index, manifest.EXPLAINED, [batch])


def _output(op: Emitter, tensor: gs.Tensor, name: str, shape: Sequence[Dim]) -> None:
    result = gs.Variable(name, tensor.dtype, list(shape))
    op.graph.nodes.append(gs.Node("Identity", name, {}, [tensor], [result]))
    op.graph.outputs.append(result)
