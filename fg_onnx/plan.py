"""What would be instrumented, and where: the explained input and output, the steps, the sites.

A plan changes nothing; `fg-onnx inspect` shows one, `instrument` carries one out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx
import onnx_graphsurgeon as gs

from fg_onnx import manifest, model, working
from fg_onnx.batching import free_batch
from fg_onnx.bodies import expand
from fg_onnx.branches import own_tensors, take_branches
from fg_onnx.composites import recognise
from fg_onnx.dimensions import name_dimensions
from fg_onnx.errors import FgOnnxError, UnsupportedModelError
from fg_onnx.functions import inline_functions
from fg_onnx.layout import Layout
from fg_onnx.layouts import Layouts
from fg_onnx.pixels import first_floats, is_pixels, layout_of_pixels
from fg_onnx.primal import (
    Primal,
    active_nodes,
    active_tensors,
    dependent_tensors,
    is_float,
    node_name,
    primal,
)
from fg_onnx.quantised import unclipped_scores, way_out
from fg_onnx.sites import BoundSite, find_sites
from fg_onnx.vjps import status, zeros

_IMAGE_RANKS = (4, 5, 3)  # images, then volumes, then signals
_SOFT = frozenset({"Softmax", "Sigmoid", "LogSoftmax"})
_PASSING = frozenset({"Identity", "Flatten", "Reshape", "Squeeze", "Dropout", "Cast"})


@dataclass(frozen=True)
class Unsupported:
    """A node that stands in the way, and why."""

    op: str
    node: str
    reason: str


@dataclass(frozen=True, eq=False)
class Plan:
    """How a model would be instrumented.

    Attributes:
        source: the model as it was given.
        proto: the model without functions and of a sufficient opset.
        graph: a working copy of its graph, function bodies expanded; instrumenting changes it.
        opset: of the graph.
        x: the explained input.
        pixels: the graph input of integers that ``x`` is made from; None: ``x`` is itself fed.
        y: the explained tensor.
        reason: why that tensor.
        ranking: the graph output that ranks the scores as ``y`` does, or None.
        layout: of ``x``, None where it has no spatial grid.
        output_layout: of the explained tensor, None where it has no grid.
        primals: the active steps, in topological order.
        sites: in topological order.
        unsupported: nodes between input and output without a usable rule.
    """

    source: model.Source
    proto: onnx.ModelProto
    graph: gs.Graph
    opset: int
    x: gs.Tensor
    pixels: gs.Tensor | None
    y: gs.Tensor
    reason: str
    ranking: str | None
    layout: Layout | None
    output_layout: Layout | None
    primals: tuple[Primal, ...]
    sites: tuple[BoundSite, ...]
    unsupported: tuple[Unsupported, ...]

    @property
    def fed(self) -> gs.Tensor:
        """The graph input that images are fed to."""
        return self.x if self.pixels is None else self.pixels

    @property
    def fed_layout(self) -> Layout | None:
        """Its layout, None where it has no spatial grid."""
        return layout_of_pixels(self.x, self.layout)

    def require_support(self) -> None:
        """Fail if any node stands in the way.

        Raises:
            UnsupportedModelError: naming the first node, its reason, and how many more.
        """
        if self.unsupported:
            raise _unsupported(self.unsupported[0], len(self.unsupported) - 1)


def make_plan(
    source: model.Source,
    *,
    input: str | None = None,
    output: str | None = None,
    opset: int | None = None,
    freeze: bool = False,
    freeze_defaults: bool = False,
    dynamic_batch: bool = False,
) -> Plan:
    """Choose what to explain, and find the sites.

    Args:
        source: the model.
        input: the explained input by name; None: the float image input.
        output: the explained tensor by name; None: the logits of the first output that fits.
        opset: raise the model to this opset.
        freeze: leave biases as they are.
        freeze_defaults: take initializers that are listed as inputs for constants.
        dynamic_batch: make a fixed batch symbolic.

    Raises:
        ModelError: the model's opset cannot be raised.
        UnsupportedModelError: no input or output fits, or the model is instrumented already.
    """
    if manifest.find(source.proto) is not None:
        raise UnsupportedModelError(
            "already-instrumented",
            f"`{source.name}` is instrumented already",
            "give the source model; `fg-onnx explain` takes either",
        )
    proto = model.normalise(_settled(source), opset, freeze_defaults=freeze_defaults)
    _require_free_names(proto)
    if dynamic_batch:
        proto = free_batch(proto, source.name)
    graph = working.to_graph(proto)
    version = model.opset_of(proto)
    fed = _fed_input(graph, input, frozenset(model.defaults_of(proto)))
    x = fed if is_float(fed) else first_floats(graph, fed)
    y, reason, ranking = _explained_output(graph, x, output, version)
    _require_rows(x, y)
    primals, unsupported = find_steps(graph, proto, x, y)
    layouts = Layouts(primals, x)
    sites = find_sites(primals, layouts, freeze=freeze)
    return Plan(
        source, proto, graph, version, x, None if fed is x else fed, y, reason, ranking,
        layouts.of(x), layouts.of(y), tuple(primals), sites, tuple(unsupported),
    )  # fmt: skip


def _require_free_names(proto: onnx.ModelProto) -> None:
    names = [*own_tensors(proto.graph), *(value.name for value in proto.graph.input)]
    names += [node.name for node in proto.graph.node]
    taken = next((name for name in names if manifest.is_reserved(name)), None)
    if taken is not None:
        raise UnsupportedModelError(
            "reserved-name",
            f"`{taken}` in the model has a name that an instrumented model gives itself",
            "rename it; names that do not begin with `fg_` are free",
        )


def find_steps(
    graph: gs.Graph, proto: onnx.ModelProto, x: gs.Tensor, y: gs.Tensor
) -> tuple[list[Primal], list[Unsupported]]:
    """The steps from ``x`` to ``y``; none where nodes stand in the way, which come second.

    Args:
        graph: a working copy of ``proto``'s graph; function bodies are expanded in it.
        proto: the model.
        x: the explained input.
        y: the explained tensor.

    Raises:
        UnsupportedModelError: ``y`` does not depend on ``x``.
    """
    opset = model.opset_of(proto)
    unsupported = _expand_bodies(graph, proto, x, y)
    active = active_tensors(graph, x, y, zeros(opset))
    if y.name not in active:
        raise UnsupportedModelError(
            "no-path",
            f"the output `{y.name}` does not depend on the input `{x.name}`",
            "name another tensor with --output",
        )
    nodes = active_nodes(graph, active)
    unsupported += [
        Unsupported(node.op, node_name(node), answer[1])
        for node in nodes
        if (answer := status(node.op, node.domain, opset))[0] in ("refused", "unknown")
    ]
    if unsupported:
        return [], unsupported
    steps = recognise([primal(node, opset, active) for node in nodes])
    return unclipped_scores(steps, y), []


def _expand_bodies(
    graph: gs.Graph, proto: onnx.ModelProto, x: gs.Tensor, y: gs.Tensor
) -> list[Unsupported]:
    """Put function bodies in the places of active nodes that have no other rule.

    Changes the graph; returns the nodes that could not be replaced.
    """
    opset = model.opset_of(proto)
    failed: dict[int, Unsupported] = {}
    while True:
        wanted = [
            node
            for node in active_nodes(graph, active_tensors(graph, x, y, zeros(opset)))
            if status(node.op, node.domain, opset)[0] == "body" and id(node) not in failed
        ]
        if not wanted:
            return list(failed.values())
        for node in wanted:
            try:
                expand(graph, node, opset)
            except UnsupportedModelError as error:
                failed[id(node)] = describe_failure(error)
        working.infer(graph, proto)


def _settled(source: model.Source) -> model.Source:
    """The model without functions and known branches, its open dimensions named."""
    inlined = name_dimensions(inline_functions(source))
    return replace(source, proto=take_branches(inlined))


def _fed_input(graph: gs.Graph, name: str | None, defaults: frozenset[str]) -> gs.Tensor:
    if name is not None:
        for tensor in graph.inputs:
            if tensor.name == name and (is_float(tensor) or is_pixels(tensor)):
                return tensor
        raise UnsupportedModelError(
            "no-such-input",
            f"the model has no image input `{name}`",
            f"its inputs: {', '.join(tensor.name for tensor in graph.inputs)}",
        )
    needed = [tensor for tensor in graph.inputs if tensor.name not in defaults]
    floats = [tensor for tensor in needed if is_float(tensor) and tensor.shape is not None]
    images = [t for rank in _IMAGE_RANKS for t in floats if len(t.shape) == rank]
    images = images or [tensor for tensor in needed if is_pixels(tensor)]
    if not images:
        described = ", ".join(f"{t.name}: {t.dtype} {t.shape}" for t in needed)
        raise UnsupportedModelError(
            "no-image-input",
            "the model has no image input, neither floats of 3 to 5 dimensions nor integers of 4 "
            f"(it has {described or 'none'})",
            "export the model with its preprocessing outside, so that it takes float images",
        )
    return images[0]


def _explained_output(
    graph: gs.Graph, x: gs.Tensor, name: str | None, opset: int
) -> tuple[gs.Tensor, str, str | None]:
    if name is not None:
        tensor = graph.tensors().get(name)
        if tensor is None or not is_float(tensor) or isinstance(tensor, gs.Constant):
            raise UnsupportedModelError(
                "no-such-output",
                f"the model has no float tensor `{name}`",
                f"its outputs: {', '.join(output.name for output in graph.outputs)}",
            )
        ranking = name if tensor in graph.outputs else None
        return tensor, "named by the user", ranking
    dependent = dependent_tensors(graph, x, zeros(opset))
    floats = [t for t in graph.outputs if is_float(t) and t.shape is not None]
    for output in sorted(floats, key=lambda tensor: len(tensor.shape) < 2):  # rows come first
        if output.name in dependent:
            return *_before_softmax(output), output.name
    for output in graph.outputs:
        scores = _before_argmax(output)
        if scores is not None and scores is not x and scores.name in dependent:
            tensor, _ = _before_softmax(scores)
            return tensor, f"`{output.name}` is the ArgMax of these scores", None
    _blame_operator(graph, x, opset)
    described = ", ".join(f"{t.name}: {t.dtype} {t.shape}" for t in graph.outputs)
    raise UnsupportedModelError(
        "no-output",
        f"no output fits: one row of float scores per image that depends on `{x.name}` is needed "
        f"(there is {described})",
        "name a float tensor with --output",
    )


def _blame_operator(graph: gs.Graph, x: gs.Tensor, opset: int) -> None:
    """Name the operator that takes what depends on ``x`` out of reach, if there is one.

    What yields integers passes no cotangent on, so that such an operator (NonMaxSuppression) lies
    beyond the active tensors; it is it, and not the output, that stands in the way.
    """
    reached = {x.name}
    blocking = []
    for node in graph.nodes:
        answer, reason = status(node.op, node.domain, opset)
        if answer == "zero" or reached.isdisjoint(working.read_by(node)):
            continue
        reached.update(tensor.name for tensor in node.outputs if tensor.name)
        if answer not in ("rule", "body"):
            blocking.append(Unsupported(node.op, node_name(node), reason))
    if blocking:
        raise _unsupported(blocking[0], len(blocking) - 1)


def _unsupported(first: Unsupported, others: int = 0) -> UnsupportedModelError:
    more = f" (and {others} more)" if others else ""
    return UnsupportedModelError(
        "unsupported-operator",
        f"`{first.op}` at `{first.node}`: {first.reason}{more}",
        way_out(first.op)
        or "`fg-onnx inspect MODEL` lists all such nodes; `fg-onnx ops` the operators that work",
        op=first.op,
        node=first.node,
    )


def _before_softmax(output: gs.Tensor) -> tuple[gs.Tensor, str]:
    tensor = output
    while len(tensor.inputs) == 1:
        (node,) = tensor.inputs
        if node.op in _SOFT:
            return node.inputs[0], f"`{output.name}` ends in {node.op}: its logits are explained"
        if node.op not in _PASSING:
            break
        tensor = node.inputs[0]
    return output, f"`{output.name}` is the first output of float scores"


def _before_argmax(output: gs.Tensor) -> gs.Tensor | None:
    tensor = output
    while len(tensor.inputs) == 1:
        (node,) = tensor.inputs
        if node.op == "ArgMax":
            return node.inputs[0]
        if node.op not in _PASSING:
            break
        tensor = node.inputs[0]
    return None


def _require_rows(x: gs.Tensor, y: gs.Tensor) -> None:
    """Fail where it is not known which scores belong to which image.

    Raises:
        UnsupportedModelError: ``no-batch``.
    """
    batch = x.shape[0] if x.shape else None
    first = y.shape[0] if y.shape else None
    if y.shape is None:
        reason = "its shape is not known"
    elif batch == 1:
        return  # all of it belongs to the one image
    elif not y.shape:
        reason = "it is one number for a whole batch"
    elif isinstance(first, int) and first not in (1, batch):
        reason = f"its first dimension is {first}, and the batch is {batch}"
    else:
        return
    raise UnsupportedModelError(
        "no-batch",
        f"the explained tensor `{y.name}` has no row of scores for every image: {reason}",
        "name another tensor with --output, or export the model with a fixed batch of 1",
    )


def describe_failure(error: FgOnnxError) -> Unsupported:
    """An error on the way to a plan, or in carrying it out, as a row of its list of refusals."""
    if isinstance(error, UnsupportedModelError):
        return Unsupported(error.op, error.node, error.reason)
    return Unsupported("", "", error.message)
