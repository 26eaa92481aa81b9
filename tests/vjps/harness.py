"""One node, its VJP in a graph of its own, and the two tests that every rule has to pass.

The dot-product test: ``<ct, J v> = <J^T ct, v>`` for random ``ct`` and ``v``, where ``J v`` is a
central difference through the forward model and ``J^T ct`` is what the rule emits. The two sides
share nothing but the forward operator.

The offset test: what the rule says of ``r = y - sum_i J_i u_i`` against that definition. As
``sum_i J_i u_i`` is the derivative along ``u`` itself, this is the same central difference with
``v = u``.

The step of the difference. A node that is a polynomial of degree 2 or less in all active operands
together (``exact``: linear maps, products) is differenced with step 1, which has no truncation
error. Others take 1e-5: truncation is ``step^2 / 6 y''' ~ 2e-11``, rounding ``1e-16 / step ~
1e-11``; samples keep at least 0.01 from every kink, which steps of 1e-5 |v| cannot cross.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from fg_onnx.fullgrad.adjoint import Adjoint, Pullback, append_adjoint
from fg_onnx.fullgrad.sites import BoundSite, find_sites, promote_biases
from fg_onnx.fullgrad.terms import site_term
from fg_onnx.graph import working
from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal, active_nodes, active_tensors, is_float, primal
from fg_onnx.graph.quantised import unclipped_scores
from fg_onnx.graph.views import Views
from fg_onnx.grid.layouts import Layouts
from fg_onnx.source import model
from fg_onnx.vjps import RULES, ZERO
from fg_onnx.vjps.composites import recognise

from .kernels import KERNELS

Arrays: TypeAlias = dict[str, np.ndarray]

LOWEST, NEWEST = model.LOWEST_OPSET, 26  # 26: the newest opset that ONNX Runtime 1.31 loads
IR = 10

STEP = 1e-5
# Relative to the sum of absolute products, so that cancellation does not count against a rule.
EXACT = 1e-12  # float64 rounding of sums of a few hundred products
CURVED = 1e-7  # float64 central differences; hard-coded float32 attributes (1/6) cost 1e-8


@dataclass(frozen=True)
class Live:
    """An active operand: its shape, and values to sample.

    Attributes:
        shape: of the operand.
        low: of the values.
        high: of the values.
        kinks: values to keep away from.
        values: ``any`` uniform ones; ``distinct``: evenly spaced ones in random order, so that no
            two are near each other; ``eighths``: multiples of 1/8, exact in float32 too;
            ``whole``: integers plus ``shift``.
        shift: of ``whole`` values.
        dims: the declared shape where it is not ``shape``: symbolic dimensions.
    """

    shape: tuple[int, ...]
    low: float = -2.0
    high: float = 2.0
    kinks: tuple[float, ...] = ()
    values: Literal["any", "distinct", "eighths", "whole"] = "any"
    shift: float = 0.0
    dims: tuple[int | str, ...] | None = None

    def sample(self, generator: np.random.Generator) -> np.ndarray:
        """Values in float64."""
        size = int(np.prod(self.shape))
        if self.values == "distinct":
            found = generator.permutation(np.linspace(self.low, self.high, size))
        elif self.values == "eighths":
            found = generator.integers(8 * self.low, 8 * self.high, size, endpoint=True) / 8
        elif self.values == "whole":
            found = generator.integers(self.low, self.high, size, endpoint=True) + self.shift
        else:
            found = generator.uniform(self.low, self.high, size)
        for kink in self.kinks:
            near = np.abs(found - kink) < 0.01
            found = np.where(near, kink + 0.05, found)
        return found.reshape(self.shape)


@dataclass(frozen=True)
class Fed:
    """An operand that is not active and yet no constant: computed or fed at run time."""

    value: Any


Operand: TypeAlias = "Live | Fed | np.ndarray | float | list[int] | None"


@dataclass(frozen=True, eq=False)
class Case:
    """A node to test.

    Attributes:
        op_type: the operator, and so the rule.
        operands: in input order; arrays, numbers and lists (of int64) are constants, float64 ones
            in the float type of the model.
        attrs: of the node.
        note: what is special about the case.
        opset: of the model.
        exact: of degree 2 or less in all active operands together.
        outputs: how many the node has.
        used: the outputs that lead to the explained output; None: all.
        runtime: whether ONNX Runtime has the operator, in float32.
    """

    op_type: str
    operands: tuple[Operand, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    opset: int = LOWEST
    exact: bool = False
    outputs: int = 1
    used: tuple[int, ...] | None = None
    runtime: bool = True

    @property
    def name(self) -> str:
        """Of the test."""
        return "-".join(filter(None, (self.op_type, self.note, f"opset{self.opset}")))

    @property
    def live(self) -> dict[str, Live]:
        """The active operands, by the name of their graph input."""
        return {f"u{i}": o for i, o in enumerate(self.operands) if isinstance(o, Live)}

    @property
    def used_outputs(self) -> tuple[int, ...]:
        """Outputs that carry a cotangent."""
        return tuple(range(self.outputs)) if self.used is None else self.used

    @property
    def step(self) -> float:
        """Of the central difference."""
        return 1.0 if self.exact else STEP

    @property
    def tolerance(self) -> float:
        """Of either test."""
        return EXACT if self.exact else CURVED

    def generator(self) -> np.random.Generator:
        """Seeded by the name: every case has values of its own, in every run the same."""
        return np.random.default_rng(zlib.crc32(self.name.encode()))


@dataclass(frozen=True, eq=False)
class Emitted:
    """A model with its VJP: inputs ``ct<k>``; outputs ``pulled/u<i>`` and ``term``.

    Attributes:
        proto: the model.
        sites: what the rule says of the node's offset.
        biases: the inputs that promotion added, and the shape of each.
    """

    proto: onnx.ModelProto
    sites: tuple[BoundSite, ...]
    biases: dict[str, tuple[int, ...]]


# --- the forward model ---------------------------------------------------------------------------


def forward_model(case: Case, dtype: Any = np.float64) -> onnx.ModelProto:
    """The node as a model in a float type."""
    names, inputs, constants = [], [], []
    for index, operand in enumerate(case.operands):
        name = f"u{index}" if operand is not None else ""
        names.append(name)
        if isinstance(operand, Live):
            inputs.append(_declared(name, dtype, operand.dims or operand.shape))
        elif isinstance(operand, Fed):
            value = _typed(operand.value, dtype)
            inputs.append(_declared(name, value.dtype, value.shape))
        elif operand is not None:
            constants.append(numpy_helper.from_array(_typed(operand, dtype), name))
    outputs = [f"y{index}" for index in range(case.outputs)]
    node = helper.make_node(case.op_type, names, outputs, name="node", **case.attrs)
    results = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph([node], "one node", inputs, results, constants)
    proto = onnx.shape_inference.infer_shapes(_model(graph, case.opset), strict_mode=True)
    for value in proto.graph.output:
        if not value.type.WhichOneof("value"):  # onnx has no inference for GroupNormalization,
            value.CopyFrom(inputs[0])  # whose result is like its operand
            value.name = outputs[0]
    return proto


def _model(graph: onnx.GraphProto, opset: int) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR)


def _declared(name: str, dtype: Any, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, list(shape))


def _typed(value: Any, dtype: Any) -> np.ndarray:
    array = np.asarray(value)
    return array.astype(dtype) if array.dtype == np.float64 else array


# --- its VJP -------------------------------------------------------------------------------------


def emit_vjp(case: Case, *, freeze: bool = True, dtype: Any = np.float64) -> Emitted:
    """The node with its VJP, by the steps that instrumenting takes; biases promoted or frozen."""
    proto = forward_model(case, dtype)
    graph = working.to_graph(proto)
    (node,) = graph.nodes
    active = frozenset(case.live) | {node.outputs[k].name for k in case.used_outputs}
    p = primal(node, case.opset, active)
    sites = find_sites([p], Layouts([p], p.inputs[p.active.index(True)]), freeze=freeze)
    if not freeze:
        sites = promote_biases(graph, sites)
    return _with_vjp(case, proto, graph, sites[0].primal if sites else p, sites)


def _with_vjp(
    case: Case, proto: onnx.ModelProto, graph: gs.Graph, p: Primal, sites: tuple[BoundSite, ...]
) -> Emitted:
    op = Emitter(graph, case.opset)
    rule = RULES[case.op_type]
    cts = tuple(
        _cotangent(graph, k, y) if y is not None and k in case.used_outputs else None
        for k, y in enumerate(p.outputs)
    )
    passed = rule.vjp(op, p, *(cts if rule.outputs is None else cts[: rule.outputs]))
    assert len(passed) >= len(p.inputs), "one cotangent for each operand"
    for tensor, active, ct in zip(p.inputs, p.active, passed, strict=False):
        if active:
            assert ct is not None, f"no cotangent for {tensor.name}"
            publish(graph, ct, f"pulled/{tensor.name}")
    if sites:
        terms = [site_term(op, site, Pullback(p, cts, passed)) for site in sites]
        publish(graph, op.total([term.product(op) for term in terms]), "term")
    promoted = {t.name: tuple(t.shape) for t in graph.inputs if t.name.startswith("fg_bias/")}
    return Emitted(working.to_proto(graph.cleanup(), proto, case.outputs), sites, promoted)


def _cotangent(graph: gs.Graph, index: int, like: gs.Tensor) -> gs.Tensor:
    ct = gs.Variable(f"ct{index}", like.dtype, like.shape)
    graph.inputs.append(ct)
    return ct


def publish(graph: gs.Graph, tensor: gs.Tensor, name: str) -> None:
    """Make a tensor a graph output of a given name."""
    result = gs.Variable(name, tensor.dtype)
    graph.nodes.append(gs.Node("Identity", name, {}, [tensor], [result]))
    graph.outputs.append(result)


# --- running -------------------------------------------------------------------------------------


def evaluate(proto: onnx.ModelProto, feeds: Arrays) -> Arrays:
    """All outputs of a model by name, by onnx.reference; feeds are cast to its inputs' types."""
    session = ReferenceEvaluator(proto, new_ops=KERNELS)
    results = session.run(None, _cast(proto, feeds))
    return dict(zip(session.output_names, results, strict=True))


def evaluate_on_runtime(proto: onnx.ModelProto, feeds: Arrays) -> Arrays:
    """All outputs of a model by name, by ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # an unused output is no news
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    results = session.run(None, _cast(proto, feeds))
    return dict(zip((y.name for y in session.get_outputs()), results, strict=True))


def _cast(proto: onnx.ModelProto, feeds: Arrays) -> Arrays:
    dtypes = {
        value.name: helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        for value in proto.graph.input
    }
    return {name: np.asarray(feeds[name], dtypes[name]) for name in dtypes if name in feeds}


def sample(case: Case) -> Arrays:
    """A value for every graph input of the forward model."""
    generator = case.generator()
    live = {name: operand.sample(generator) for name, operand in case.live.items()}
    fed = {f"u{i}": o.value for i, o in enumerate(case.operands) if isinstance(o, Fed)}
    return {**live, **fed}


def noise(case: Case, salt: int, like: Arrays) -> Arrays:
    """Random values in the shapes of ``like``, none of them 0.

    Multiples of 2^-13 below 8: exact in float32 too, and too many for sums to cancel by chance.
    """
    generator = np.random.default_rng(zlib.crc32(case.name.encode()) + salt)
    return {
        name: generator.choice([-1.0, 1.0], array.shape)
        * generator.integers(2**8, 2**14, array.shape)
        / 2**13
        for name, array in like.items()
    }


def cotangents(case: Case) -> Arrays:
    """A random cotangent for every output that is used, by the name of its graph input."""
    ys = evaluate(forward_model(case), sample(case))
    return _named(noise(case, 1, _used(case, ys)))


def along(forward: onnx.ModelProto, feeds: Arrays, v: Arrays, step: float) -> Arrays:
    """``J v``: the central difference of all outputs along ``v``."""
    above, below = (
        evaluate(forward, {**feeds, **{n: feeds[n] + s * v[n] for n in v}}) for s in (step, -step)
    )
    return {name: (_wide(above[name]) - _wide(below[name])) / (2 * step) for name in above}


def _wide(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, np.float64)


# --- the two tests -------------------------------------------------------------------------------


def dot_product_error(case: Case) -> float:
    """``|<ct, J v> - <J^T ct, v>|``, relative to the sums of absolute products."""
    emitted = emit_vjp(case)
    forward, feeds = forward_model(case), sample(case)
    ys = _used(case, evaluate(forward, feeds))
    cts, v = noise(case, 1, ys), noise(case, 2, {name: feeds[name] for name in case.live})
    jv = along(forward, feeds, v, case.step)
    pulled = evaluate(emitted.proto, {**feeds, **_named(cts)})
    left = [cts[name] * jv[name] for name in cts]
    right = [_same_shape(pulled[f"pulled/{name}"], v[name]) * v[name] for name in v]
    return _relative(left, right)


def _used(case: Case, ys: Arrays) -> Arrays:
    return {f"y{k}": _wide(ys[f"y{k}"]) for k in case.used_outputs}


def _named(cts: Arrays) -> Arrays:
    return {f"ct{name.removeprefix('y')}": ct for name, ct in cts.items()}


def _same_shape(pulled: np.ndarray, operand: np.ndarray) -> np.ndarray:
    assert pulled.shape == operand.shape, f"a cotangent of {pulled.shape} for {operand.shape}"
    return _wide(pulled)


def _relative(left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> float:
    size = max(sum(float(np.abs(part).sum()) for part in side) for side in (left, right))
    assert size > 0, "the case tests nothing: every product is 0"
    difference = sum(float(p.sum()) for p in left) - sum(float(p.sum()) for p in right)
    assert np.isfinite(difference), "not a number"
    return abs(difference) / size


def offset_error(case: Case, *, freeze: bool) -> float:
    """The bias-gradient that the rule's offset gives against ``ct * (y - sum_i J_i u_i)``.

    In total, and position by position where that is determined. Promoted biases are fed with
    other values than the trained ones: the term must follow what is fed.
    """
    emitted = emit_vjp(case, freeze=freeze)
    feeds = {**sample(case), **_other_biases(case, emitted)}
    forward = _forward_part(emitted.proto, case)
    ys = _used(case, evaluate(forward, feeds))
    cts = noise(case, 1, ys)
    own = {name: feeds[name] for name in case.live}
    ju = along(forward, feeds, own, case.step)
    wanted = {name: cts[name] * (ys[name] - ju[name]) for name in ys}
    size = max(float(np.abs(cts[n] * ys[n]).sum() + np.abs(cts[n] * ju[n]).sum()) for n in ys)
    found = evaluate(emitted.proto, {**feeds, **_named(cts)})
    term = _wide(found.get("term", np.zeros(())))
    total = sum(float(part.sum()) for part in wanted.values())
    errors = [abs(float(term.sum()) - total)]
    errors += [float(np.abs(term - part).max()) for part in wanted.values()]
    assert np.isfinite(errors).all(), "not a number"
    return max(errors) / size


def _other_biases(case: Case, emitted: Emitted) -> Arrays:
    return noise(case, 3, {name: np.zeros(shape) for name, shape in emitted.biases.items()})


def _forward_part(proto: onnx.ModelProto, case: Case) -> onnx.ModelProto:
    """The original outputs alone, with the promoted biases as inputs."""
    held = proto.graph
    (node,) = [node for node in held.node if node.name == "node"]
    inputs = [value for value in held.input if value.name in node.input]
    outputs = held.output[: case.outputs]
    graph = helper.make_graph([node], "forward", inputs, outputs, held.initializer)
    return _model(graph, case.opset)


# --- graphs of several nodes ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Walked:
    """A graph with its adjoint: input ``ct``; outputs ``pulled/<x>`` and ``term/<site>``."""

    proto: onnx.ModelProto
    adjoint: Adjoint
    sites: tuple[BoundSite, ...]

    def run(self, **feeds: Any) -> Arrays:
        """All outputs, by the reference evaluator; ``ct`` is 1 everywhere unless given."""
        forward = {name: value for name, value in feeds.items() if name != "ct"}
        arrays = {name: np.asarray(value) for name, value in forward.items()}
        if "ct" not in feeds:
            (ct,) = [v for v in self.proto.graph.input if v.name == "ct"]
            arrays["ct"] = np.ones([dim.dim_value for dim in ct.type.tensor_type.shape.dim])
        else:
            arrays["ct"] = np.asarray(feeds["ct"])
        return evaluate(self.proto, arrays)


def walk(proto: onnx.ModelProto) -> Walked:
    """The adjoint from a graph's first output to its first input, with the terms of its sites."""
    graph, opset = working.to_graph(proto), model.opset_of(proto)
    x, y = graph.inputs[0], graph.outputs[0]
    active = active_tensors(graph, x, y, frozenset(ZERO))
    steps = recognise([primal(node, opset, active) for node in active_nodes(graph, active)])
    primals = unclipped_scores(steps, y)
    sites = find_sites(primals, Layouts(primals, x), freeze=True)
    ct = gs.Variable("ct", y.dtype, y.shape)
    graph.inputs.append(ct)
    op = Emitter(graph, opset)
    views = Views(op, primals)
    adjoint = append_adjoint(op, primals, x, y, views.of(ct), views.primal)
    count = len(graph.outputs)
    assert adjoint.input_gradient is not None
    assert is_float(adjoint.input_gradient)
    publish(graph, adjoint.input_gradient, f"pulled/{x.name}")
    for site in sites:
        term = site_term(op, site, adjoint.pullbacks[site.site.tensor])
        publish(graph, term.product(op), f"term/{site.site.name}")
    return Walked(working.to_proto(graph.cleanup(), proto, count), adjoint, sites)
