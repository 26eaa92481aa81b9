"""How the source model moves: tangents pushed forward node by node, without a rule for any.

A node is run by the runtime, or in float64 by onnx's reference evaluator, at the values that it had
and a little to either side. An operator that is affine in what varies is run on the tangent itself,
which is exact. So nothing is known here of any adjoint, and no kink of a later layer is crossed:
the tangent of a thousand layers is as good as float32 can hold it, where a difference of the whole
model from end to end is good to a percent.

A *defect* is a tensor's value less the tangent that it has if the input and every site's tensor
move as themselves. At a site's tensor it is the site's offset ``r = y - sum J u``: for what lies
between is homogeneous, where the manifest leaves out no site.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
from onnx.reference import ReferenceEvaluator

from fg_onnx.errors import FgOnnxError, first_line
from fg_onnx.verification.graphs import Graph, open_graph, reads, run_tensors

Array = npt.NDArray[Any]

_AFFINE: Mapping[str, tuple[tuple[int, ...], ...]] = {
    **dict.fromkeys(("Add", "Sub", "Sum", "Mean", "Concat"), (tuple(range(4096)),)),
    **dict.fromkeys(("Mul", "MatMul"), ((0,), (1,))),
    **dict.fromkeys(("Conv", "ConvTranspose"), ((0, 2),)),
    "Gemm": ((0, 2), (1, 2)),
    "Where": ((1, 2),),
    "Pad": ((0, 2),),
    **dict.fromkeys(
        (
            *("Div", "Neg", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"),
            *("Transpose", "Slice", "Gather", "GatherElements", "GatherND", "Expand", "Tile"),
            *("Split", "ReduceSum", "ReduceMean", "GlobalAveragePool", "AveragePool"),
            *("BatchNormalization", "DepthToSpace", "SpaceToDepth", "Upsample", "Resize"),
            *("Dropout", "Trilu", "CumSum", "ReverseSequence"),
        ),
        ((0,),),
    ),
}
"""Operator -> sets of operands; where all that vary lie in one set, it is affine in them."""
_PASSED = frozenset({"Cast", "CastLike", "DequantizeLinear"})
"""What a tangent passes unchanged; it is one of the numbers that quantised integers stand for."""
_MOVING = frozenset(
    {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Expand", "Slice"}
    | {"Split", "Gather", "Concat", "MaxPool", "DepthToSpace", "SpaceToDepth"}
)

_STEP = 1e-9  # of the values; 1e-16 / 1e-9 is what rounding in float64 leaves of a tangent
_KINK = 1e-3  # of the largest: how far the tangents to either side may be from each other
_FAITHFUL = {"float64": 1e-3, "float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1}
_NARROW = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))


class NoTangentError(FgOnnxError):
    """A node through which no tangent can be pushed."""


def is_float(array: Array) -> bool:
    """Whether entries can vary a little."""
    return array.dtype.kind == "f" or array.dtype in _NARROW


def _compact(array: Array) -> Array:
    """The same, read-only, and held once along every axis on which it does not vary."""
    shape = array.shape
    for axis in range(array.ndim):
        first = array[(slice(None),) * axis + (slice(0, 1),)]
        if np.array_equal(np.broadcast_to(first, array.shape), array):
            array = first
    return np.broadcast_to(array.copy(), shape)


@dataclass(eq=False)
class Tangents:
    """A source model between two tensors, at the values of one run.

    Attributes:
        graph: the model.
        x: where tangents start.
        y: where they are wanted.
        feeds: of the run.
        precision: of the model.
        kinks: tensors at which an entry lay on a kink; their tangents are not unique.
    """

    graph: Graph
    x: str
    y: str
    feeds: Mapping[str, Array]
    precision: str
    kinks: set[str] = field(default_factory=set)
    _sessions: dict[tuple[int, str], Any] = field(default_factory=dict)
    _asked: dict[int, onnx.NodeProto] = field(default_factory=dict)
    _at_zero: dict[tuple[int, ...], list[Array]] = field(default_factory=dict)

    @cached_property
    def nodes(self) -> list[onnx.NodeProto]:
        """From x to y, in order; what does not depend on x is not among them."""
        moved, found = {self.x}, []
        for node in self.graph.ordered([self.y], starts=[self.x]):
            if not moved.isdisjoint(reads(node)):
                found.append(node)
                moved.update(name for name in node.output if name)
        return found

    @cached_property
    def values(self) -> dict[str, Array]:
        """What every tensor between x and y is, and all that those nodes read."""
        names = {name for node in self.nodes for name in (*node.input, *node.output) if name}
        return run_tensors(self.graph, self.feeds, {*names, self.x, self.y})

    @cached_property
    def _unclipped(self) -> frozenset[str]:
        """What QuantizeLinear makes and only moves on to y: the scores themselves are not cut."""
        trailing, found = {self.y}, set()
        for node in reversed(self.nodes):
            if trailing.isdisjoint(node.output):
                continue
            if node.op_type in _MOVING | {"DequantizeLinear"}:
                trailing.update(node.input[:1] if node.op_type != "Concat" else node.input)
            elif node.op_type == "QuantizeLinear":
                found.add(node.output[0])
                trailing.add(node.input[0])
        return frozenset(found)

    @cached_property
    def _done_after(self) -> list[list[str]]:
        """What no later node reads, node by node; y is kept."""
        last = {
            name: i for i, node in enumerate(self.nodes) for name in (*node.output, *reads(node))
        }
        found: list[list[str]] = [[] for _ in self.nodes]
        for name, i in last.items():
            if name != self.y:
                found[i].append(name)
        return found

    # --- the two walks ------------------------------------------------------------------------

    def offsets(self, tensors: Collection[str]) -> dict[str, Array]:
        """The offset at every tensor of a site, float64 in its shape.

        Raises:
            NoTangentError: a node cannot be differentiated here.
        """
        defects = {self.x: np.zeros(self.values[self.x].shape)}
        found = {}
        for node, done in zip(self.nodes, self._done_after, strict=True):
            for name, defect in self._defects(node, defects).items():
                if name in tensors:
                    found[name] = defect
                    defect = np.zeros_like(defect)
                defects[name] = defect
            for name in done:
                defects.pop(name, None)
        return found

    def push(self, moved: Mapping[str, Array]) -> Array:
        """The tangent of y where some tensors move by so much, beside what reaches them.

        Raises:
            NoTangentError: as `offsets`.
        """
        tangents = {}
        if self.x in moved:
            tangents[self.x] = moved[self.x]
        for node, done in zip(self.nodes, self._done_after, strict=True):
            tangents |= self._tangents(node, tangents)
            for name in node.output:
                if name in moved:
                    tangents[name] = tangents.get(name, 0.0) + moved[name]
            for name in done:
                tangents.pop(name, None)
        return tangents.get(self.y, np.zeros(self.values[self.y].shape))

    # --- what a site's tensor is made of --------------------------------------------------------

    def share_of_operand(self, tensor: str, index: int) -> Array:
        """What a constant operand adds to a tensor: with it, less without it.

        Raises:
            NoTangentError: the tensor's node has no such operand, or cannot be run by itself.
        """
        node = self.graph.makers[tensor]
        if len(node.input) <= index or not node.input[index]:
            raise self._stuck(node, "it holds no bias")
        operands = self._operands(node, np.dtype(np.float64))
        without = list(operands)
        without[index] = np.zeros_like(operands[index])
        place = list(node.output).index(tensor)
        return self._run(node, operands)[place] - self._run(node, without)[place]

    # --- one node -----------------------------------------------------------------------------

    def _moving(self, node: onnx.NodeProto, tangents: Mapping[str, Array]) -> list[int]:
        own = set(node.input)
        if any(name in tangents and name not in own for name in reads(node)):
            raise self._stuck(node, "tangents would run into its branches")
        return [i for i, name in enumerate(node.input) if name in tangents]

    def _defects(self, node: onnx.NodeProto, defects: Mapping[str, Array]) -> dict[str, Array]:
        moving = self._moving(node, defects)
        results = self._results(node)
        if not moving or not results:
            return {}
        given = [defects[node.input[i]] for i in moving]
        if node.op_type in _PASSED:
            return {node.output[0]: given[0]}
        if self._is_affine(node, moving):
            found = self._affine(node, moving, given)
            return {name: found[i] for i, name in results}
        steps = [
            _finite(self.number(node.input[i]) - defect)
            for i, defect in zip(moving, given, strict=True)
        ]
        base, tangents = self._curved(node, moving, steps)
        return {name: base[i] - tangents[i] for i, name in results}

    def _tangents(self, node: onnx.NodeProto, tangents: Mapping[str, Array]) -> dict[str, Array]:
        moving = self._moving(node, tangents)
        results = self._results(node)
        if not moving or not results:
            return {}
        given = [tangents[node.input[i]] for i in moving]
        if node.op_type in _PASSED:
            return {node.output[0]: given[0]}
        if self._is_affine(node, moving):
            key = (id(node), *moving)
            if key not in self._at_zero:
                zeros = [np.zeros_like(each) for each in given]
                # of a convolution its bias, which is the same at all positions
                self._at_zero[key] = [_compact(y) for y in self._affine(node, moving, zeros)]
            still, found = self._at_zero[key], self._affine(node, moving, given)
            return {name: _finite(found[i] - _finite(still[i])) for i, name in results}
        _, found = self._curved(node, moving, given)
        return {name: found[i] for i, name in results}

    def _results(self, node: onnx.NodeProto) -> list[tuple[int, str]]:
        """What of a node's results can vary: floats, and integers that stand for floats."""
        if node.op_type == "QuantizeLinear":
            return [(0, node.output[0])]
        numbers = self._quantisers.keys()
        return [
            (i, name)
            for i, name in enumerate(node.output)
            if name in self.values and (is_float(self.values[name]) or name in numbers)
        ]

    @cached_property
    def _quantisers(self) -> dict[str, onnx.NodeProto]:
        """Integers that stand for floats -> the QuantizeLinear that made them."""
        found: dict[str, onnx.NodeProto] = {}
        for node in self.nodes:
            if node.op_type == "QuantizeLinear":
                found[node.output[0]] = node
            elif node.op_type in _MOVING:
                for name in node.output:
                    if node.input[0] in found and not is_float(self.values[name]):
                        found[name] = found[node.input[0]]
        return found

    def number(self, name: str) -> Array:
        """A tensor's value; of quantised integers what they stand for."""
        value = self.values[name]
        maker = self._quantisers.get(name)
        if maker is None:
            return value.astype(np.float64)
        scale, zero = self._scale(maker)
        return (value.astype(np.float64) - zero) * scale

    def _scale(self, node: onnx.NodeProto) -> tuple[Array, Array]:
        """Of a QuantizeLinear, to be broadcast against its operand."""
        attributes = _attributes(node)
        if attributes.get("block_size"):
            raise self._stuck(node, "its scales are of blocks")
        scale = self.values[node.input[1]].astype(np.float64)
        has_zero = len(node.input) > 2 and node.input[2]
        zero = self.values[node.input[2]].astype(np.float64) if has_zero else np.zeros(())
        if scale.size > 1:
            rank = self.values[node.input[0]].ndim
            along = [1] * rank
            along[attributes.get("axis", 1)] = scale.size
            scale, zero = scale.reshape(along), np.broadcast_to(zero, scale.shape).reshape(along)
        else:
            scale, zero = scale.reshape(()), zero.reshape(())
        return scale, zero

    # --- affine -------------------------------------------------------------------------------

    def _is_affine(self, node: onnx.NodeProto, moving: Sequence[int]) -> bool:
        if node.domain not in ("", "ai.onnx"):
            return False
        return any(set(moving) <= set(each) for each in _AFFINE.get(node.op_type, ()))

    def _affine(
        self, node: onnx.NodeProto, moving: Sequence[int], given: Sequence[Array]
    ) -> list[Array]:
        """The node on other operands than it had, in float32, or float64 in a model of such."""
        dtype = np.dtype(np.float64 if self.precision == "float64" else np.float32)
        operands = self._operands(node, dtype)
        for i, array in zip(moving, given, strict=True):
            operands[i] = array.astype(dtype, copy=False)
        return [each.astype(np.float64, copy=False) for each in self._run(node, operands)]

    # --- curved -------------------------------------------------------------------------------

    def _curved(
        self, node: onnx.NodeProto, moving: Sequence[int], steps: Sequence[Array]
    ) -> tuple[list[Array], list[Array]]:
        """Values in float64, and tangents."""
        at = getattr(self, f"_at_{node.op_type.lower()}", None)
        if at is not None and list(moving) == [0]:
            base, tangent = at(node, self.number(node.input[0]), steps[0])
            return [base], [tangent]
        operands = self._operands(node, np.dtype(np.float64))
        size = max(float(np.abs(_finite(operands[i])).max(initial=0.0)) for i in moving)
        length = max(float(np.abs(step).max(initial=0.0)) for step in steps)
        h = _STEP * (size or 1.0) / (length or 1.0)

        def moved(t: float) -> list[Array]:
            changed = list(operands)
            for i, step in zip(moving, steps, strict=True):
                changed[i] = operands[i] + t * step
            return self._run(node, changed)

        base, above, below = moved(0.0), moved(h), moved(-h)
        tangents = []
        for i, name in enumerate(node.output):
            if i >= len(base) or not is_float(base[i]):
                tangents.append(np.zeros(()))
                continue
            self._require_faithful(node, name, base[i])
            ahead, behind = above[i] - base[i], base[i] - below[i]
            most = max(np.abs(_finite(ahead)).max(initial=0), h * length * 1e-9)
            if np.abs(_finite(ahead - behind)).max(initial=0.0) > _KINK * most:
                self.kinks.add(name)
            tangents.append(_finite((above[i] - below[i]) / (2 * h)))
        return base, tangents

    def _require_faithful(self, node: onnx.NodeProto, name: str, base: Array) -> None:
        expected = self.values.get(name)
        if expected is None:
            return
        gap = np.abs(_finite(base - expected.astype(np.float64))).max(initial=0.0)
        scale = np.abs(_finite(expected.astype(np.float64))).max(initial=0.0)
        if base.shape != expected.shape or gap > _FAITHFUL[self.precision] * (scale or 1.0):
            raise self._stuck(node, "in float64 it is another than in the runtime")

    # Where a kink is met, PyTorch's convention is the contract's.

    def _at_relu(self, _: onnx.NodeProto, u: Array, du: Array) -> tuple[Array, Array]:
        return np.maximum(u, 0.0), np.where(u > 0, du, 0.0)

    def _at_leakyrelu(self, node: onnx.NodeProto, u: Array, du: Array) -> tuple[Array, Array]:
        slope = np.where(u > 0, 1.0, _attributes(node).get("alpha", 0.01))
        return slope * u, slope * du

    def _at_prelu(self, node: onnx.NodeProto, u: Array, du: Array) -> tuple[Array, Array]:
        slope = np.where(u > 0, 1.0, self.values[node.input[1]].astype(np.float64))
        return slope * u, slope * du

    def _at_erf(self, _: onnx.NodeProto, u: Array, du: Array) -> tuple[Array, Array]:
        """By hand: the runtime has it in float32 alone, and so has onnx's evaluator."""
        values = np.asarray(np.frompyfunc(math.erf, 1, 1)(u), np.float64)
        return values, 2 / math.sqrt(math.pi) * np.exp(-u * u) * du

    def _at_clip(self, node: onnx.NodeProto, u: Array, du: Array) -> tuple[Array, Array]:
        attributes = _attributes(node)
        low, high = attributes.get("min", -np.inf), attributes.get("max", np.inf)
        bounds = [self.values[name].astype(np.float64) if name else None for name in node.input[1:]]
        low = bounds[0] if bounds and bounds[0] is not None else low
        high = bounds[1] if len(bounds) > 1 and bounds[1] is not None else high
        return np.clip(u, low, high), np.where((u > low) & (u < high), du, 0.0)

    def _at_maxpool(self, node: onnx.NodeProto, u: Array, du: Array) -> tuple[Array, Array]:
        """The first of the largest in every window."""
        if _attributes(node).get("storage_order"):
            raise self._stuck(node, "its indices are column by column")
        if id(node) not in self._asked:
            asked = onnx.NodeProto()
            asked.CopyFrom(node)
            asked.output[:] = ["values", "indices"]
            self._asked[id(node)] = asked
        operand = self.values[node.input[0]].astype(np.float32)
        _, indices = self._run_apart(self._asked[id(node)], [operand])
        flat: Array = indices.reshape(-1)
        return (
            u.reshape(-1)[flat].reshape(indices.shape),
            du.reshape(-1)[flat].reshape(indices.shape),
        )

    def _at_quantizelinear(self, node: onnx.NodeProto, u: Array, du: Array) -> tuple[Array, Array]:
        """Straight through inside the range: ``round(u / scale) + zero`` is not cut off."""
        scale, zero = self._scale(node)
        name = node.output[0]
        if name in self._unclipped:
            return self.number(name), du
        kind = self.values[name].dtype
        if "int" in kind.name:
            info: Any = ml_dtypes.iinfo(kind)  # type: ignore[no-untyped-call]
            low, high = float(info.min) - 0.5, float(info.max) + 0.5
        else:
            high = float(ml_dtypes.finfo(kind).max)  # type: ignore[no-untyped-call]
            low = -high
        inside = (u >= scale * (low - zero)) & (u < scale * (high - zero))
        return self.number(name), np.where(inside, du, 0.0)

    # --- running one node ---------------------------------------------------------------------

    def _operands(self, node: onnx.NodeProto, dtype: np.dtype[Any]) -> list[Any]:
        found: list[Any] = []
        for name in node.input:
            value = self.values[name] if name else None
            if value is not None and is_float(value):
                value = value.astype(dtype, copy=False)
            found.append(value)
        return found

    def _run(self, node: onnx.NodeProto, operands: Sequence[Any]) -> list[Array]:
        """By the runtime, or where it has no kernel of that type by onnx's own evaluator."""
        try:
            return self._run_apart(node, operands)
        except FgOnnxError:
            pass
        try:
            fed = {f"i{i}": each for i, each in enumerate(operands) if each is not None}
            found: Any = ReferenceEvaluator(self._alone(node, operands)).run(None, fed)
        except Exception as error:  # whatever an evaluator in Python stumbles over
            raise self._stuck(node, f"it cannot be run by itself: {first_line(error)}") from error
        return _placed(node, found)

    def _run_apart(self, node: onnx.NodeProto, operands: Sequence[Any]) -> list[Array]:
        kinds = ",".join("" if each is None else each.dtype.name for each in operands)
        key = (id(node), f"{kinds}/{len(node.output)}")
        if key not in self._sessions:
            try:
                session = open_graph(self._alone(node, operands), optimised=True)
            except FgOnnxError as error:
                session = error
            self._sessions[key] = session
        session = self._sessions[key]
        if isinstance(session, FgOnnxError):
            raise session
        fed = {f"i{i}": each for i, each in enumerate(operands) if each is not None}
        try:
            found = session.run(None, fed)
        except Exception as error:  # the runtime's own, one for every status code
            raise self._stuck(node, first_line(error)) from error
        return _placed(node, found)

    def _alone(self, node: onnx.NodeProto, operands: Sequence[Any]) -> onnx.ModelProto:
        """The node as a model; its operands are inputs by their places."""
        own = onnx.NodeProto()
        own.CopyFrom(node)
        own.input[:] = [f"i{i}" if each is not None else "" for i, each in enumerate(operands)]
        own.output[:] = [f"o{i}" if name else "" for i, name in enumerate(node.output)]
        inputs = [
            onnx.helper.make_tensor_value_info(
                f"i{i}", onnx.helper.np_dtype_to_tensor_dtype(each.dtype), [None] * each.ndim
            )
            for i, each in enumerate(operands)
            if each is not None
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in own.output if name]
        graph = onnx.helper.make_graph([own], "alone", inputs, outputs)
        return onnx.helper.make_model(
            graph,
            opset_imports=self.graph.proto.opset_import,
            ir_version=max(self.graph.proto.ir_version, 4),
        )

    def _stuck(self, node: onnx.NodeProto, why: str) -> NoTangentError:
        return NoTangentError(
            "no-tangent", f"`{node.op_type}` at `{node.name or node.output[0]}`: {why}", ""
        )


def _placed(node: onnx.NodeProto, found: Sequence[Array]) -> list[Array]:
    """Results by their places, with nothing much in the place of one that is left out."""
    results = iter(found)
    return [next(results) if name else np.zeros(()) for name in node.output]


def _finite(array: Array) -> Array:
    """0 in the place of what is not finite: masks hold infinities where nothing comes back."""
    return np.where(np.isfinite(array), array, 0.0)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
