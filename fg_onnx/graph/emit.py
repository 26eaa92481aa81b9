"""Write ONNX operators into a graph so that the code reads as mathematics: ``op.Mul(ct, y)``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from fg_onnx.errors import UnsupportedModelError
from fg_onnx.graph import stages
from fg_onnx.graph.stages import EMITTED, Stage
from fg_onnx.versions import REVIEWED_OPSET, is_reviewed, since

Operand: TypeAlias = "gs.Tensor | np.ndarray | float | int | Sequence[int] | None"

_BOOLEAN = {"Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Not", "And", "Or"}
_INT64 = {"Shape", "Size", "ArgMax"}


class Emitter:
    """Appends nodes of one opset to a graph, each distinct expression once.

    ``op.Name(*inputs, **attributes)`` appends a node of the ONNX operator ``Name`` and returns its
    first output. Python numbers become constants of the first tensor's type, sequences of
    integers int64 constants, None an omitted input. An expression that the graph already holds,
    in the forward part too, is returned instead of being written again. ``axes`` may always be
    given by keyword: whether the operator takes it as attribute or input is the opset's matter.
    """

    def __init__(self, graph: gs.Graph, opset: int) -> None:
        self.graph = graph
        self.opset = opset
        self._names = set(graph.tensors())
        for node in graph.nodes:
            self._names.add(node.name)
            for subgraph in node.subgraphs(recursive=True):
                self._names.update(subgraph.tensors())
        self._counts: dict[str, int] = {}
        self._stage: Stage | None = None
        self._site = ""
        self._constants: dict[tuple[str, tuple[int, ...], bytes], gs.Constant] = {}
        self._expressions = {
            _expression(node.op, list(node.inputs), node.attrs): node.outputs[0]
            for node in graph.nodes
            if not node.domain and _is_shareable(node.attrs) and node.outputs
        }

    def __getattr__(self, op_type: str) -> Callable[..., gs.Variable]:
        if not op_type[:1].isupper():
            raise AttributeError(op_type)
        return lambda *inputs, **attrs: self._append(op_type, inputs, attrs)

    def begin(self, stage: Stage) -> None:
        """Name the nodes that are written from here on after what they are for."""
        self._stage, self._site = stage, ""

    def at(self, site: str) -> None:
        """Name them after a site or a step of the model too."""
        self._site = stages.place(site)

    def constant(self, value: Any, dtype: Any = None) -> gs.Constant:
        """A constant tensor; equal ones are shared."""
        array = np.ascontiguousarray(np.asarray(value, dtype=dtype)).reshape(np.shape(value))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = gs.Constant(self.unique_name("constant"), array)
        return self._constants[key]

    def shape(self, tensor: gs.Tensor) -> gs.Tensor:
        """The shape as an int64 tensor: a constant where it is static."""
        if is_static(tensor.shape):
            return self.constant(tensor.shape, np.int64)
        return self.Shape(tensor)

    def reshape_like(self, ct: gs.Tensor, tensor: gs.Tensor) -> gs.Tensor:
        """``ct`` in the shape of ``tensor``; one symbolic dimension needs no Shape at run time."""
        dims = tensor.shape
        if dims is not None and sum(not isinstance(dim, int) for dim in dims) == 1:
            wanted = [dim if isinstance(dim, int) else -1 for dim in dims]
            if 0 not in wanted:
                return self.Reshape(ct, wanted)
        return self.Reshape(ct, self.shape(tensor))

    def regroup(
        self, tensor: gs.Tensor, rank: int, axis: int, count: int, sizes: Sequence[int]
    ) -> gs.Tensor:
        """``count`` axes of ``rank``, from ``axis`` on, as axes of other sizes (one may be -1)."""
        # 0 keeps a dimension, of the same place only.
        dims = [self.constant([0] * axis + list(sizes), np.int64)]
        if axis + count < rank:
            dims.append(self.Slice(self.shape(tensor), [axis + count], [rank], [0]))
        shape = self.Concat(*dims, axis=0) if len(dims) > 1 else dims[0]
        return self.Reshape(tensor, shape)

    def sum_to(self, ct: gs.Tensor, from_shape: Sequence[Any], to: gs.Tensor) -> gs.Tensor:
        """Undo NumPy broadcasting: sum ``ct`` (of ``from_shape``) to the shape of ``to``.

        A dimension that is not known to be 1 is taken not to be broadcast.
        """
        extra = len(from_shape) - len(to.shape)
        repeated = [
            extra + axis
            for axis, dim in enumerate(to.shape)
            if dim == 1 and from_shape[extra + axis] != 1
        ]
        if repeated:
            ct = self.ReduceSum(ct, axes=repeated, keepdims=1)
        if extra:
            ct = self.ReduceSum(ct, axes=list(range(extra)), keepdims=0)
        return ct

    def cast(self, tensor: gs.Tensor, dtype: Any) -> gs.Tensor:
        """A tensor in a type, the same one where it is of that type."""
        if tensor.dtype == dtype:
            return tensor
        result = self.Cast(tensor, to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
        result.shape = tensor.shape
        return result

    def mask(self, condition: gs.Tensor, like: gs.Tensor) -> gs.Tensor:
        """A tensor in the type of ``like``; truth as 0 and 1 (a product is faster than Where)."""
        return self.cast(condition, like.dtype)

    def above(self, tensor: gs.Tensor, bound: gs.Tensor | float = 0.0) -> gs.Tensor:
        """1 where ``tensor > bound``, a scalar, else 0, in its type.

        In float32 a HardSigmoid of the steepest slope that keeps a difference of 0 exact: the CPU
        needs a half to a fifth of what a comparison and Cast take. A subnormal difference, below
        1.2e-38, gives what is between 0 and 1.
        """
        return self._beyond(tensor, bound, 1.0)

    def below(self, tensor: gs.Tensor, bound: gs.Tensor | float = 0.0) -> gs.Tensor:
        """1 where ``tensor < bound``, else 0, as `above`."""
        return self._beyond(tensor, bound, -1.0)

    def _beyond(self, tensor: gs.Tensor, bound: gs.Tensor | float, side: float) -> gs.Tensor:
        at = number(bound)
        if tensor.dtype == np.float32 and at is not None and math.isfinite(at):
            return self.HardSigmoid(tensor, **step(at, side))
        compared = self.Greater(tensor, bound) if side > 0 else self.Less(tensor, bound)
        return self.mask(compared, tensor)

    def halfway(self, tensor: gs.Tensor) -> gs.Tensor:
        """(1 + t) / 2 of what is between -1 and 1; in float32 in one pass."""
        if tensor.dtype != np.float32:
            return self.Mul(self.Add(tensor, 1.0), 0.5)
        return self.HardSigmoid(tensor, alpha=0.5, beta=0.5)

    def sign(self, tensor: gs.Tensor) -> gs.Tensor:
        """-1, 0 or 1 (Sign is slow on the CPU, and has no kernel on some devices)."""
        return self.Sub(self.above(tensor), self.below(tensor))

    def finite(self, tensor: gs.Tensor) -> gs.Tensor:
        """The largest floats in the place of infinities, so that 0 times them is 0."""
        most = float(np.finfo(tensor.dtype).max)
        return self.Clip(tensor, -most, most)

    def total(self, terms: Sequence[gs.Tensor]) -> gs.Tensor:
        """The sum, as chained Add (Sum has no kernel on some devices)."""
        result = terms[0]
        for term in terms[1:]:
            result = self.Add(result, term)
        return result

    def unique_name(self, stem: str) -> str:
        """A name that no tensor or node of the graph has yet."""
        while True:
            self._counts[stem] = self._counts.get(stem, 0) + 1
            name = f"{EMITTED}{stem}_{self._counts[stem]}"
            if name not in self._names:
                self._names.add(name)
                return name

    def _append(
        self, op_type: str, inputs: Sequence[Operand], attrs: dict[str, Any]
    ) -> gs.Variable:
        operands = self._operands(op_type, inputs, attrs)
        key = _expression(op_type, operands, attrs)
        if key not in self._expressions:
            if not is_reviewed(op_type, self.opset):
                raise UnsupportedModelError(
                    "unknown-version",
                    f"`{op_type}`, which the model would need, has a new version since opset "
                    f"{since(op_type, self.opset)}",
                    f"export the model with opset {REVIEWED_OPSET}, or use a newer fg-onnx",
                )
            name = self.unique_name(op_type)
            result = gs.Variable(name, _output_dtype(op_type, operands, attrs))
            if self._stage is not None:
                name = self.unique_name(stages.stem(self._stage, self._site, op_type))
            self.graph.nodes.append(gs.Node(op_type, name, attrs, operands, [result]))
            self._expressions[key] = result
        return self._expressions[key]

    def _operands(
        self, op_type: str, inputs: Sequence[Operand], attrs: dict[str, Any]
    ) -> list[gs.Tensor]:
        if "axes" in attrs and "axes" not in onnx.defs.get_schema(op_type, self.opset).attributes:
            inputs = [*inputs, attrs.pop("axes")]
        like = next((x.dtype for x in inputs if isinstance(x, gs.Tensor)), np.float32)
        return [self._operand(x, like) for x in inputs]

    def _operand(self, value: Operand, like: Any) -> gs.Tensor:
        if isinstance(value, gs.Tensor):
            return value
        if value is None:
            return gs.Variable.empty()
        if isinstance(value, np.ndarray):
            return self.constant(value)
        if isinstance(value, (int, float)):
            return self.constant(value, like)
        return self.constant(list(value), np.int64)


def is_static(shape: Sequence[Any] | None) -> bool:
    """Whether every dimension is a known number."""
    return shape is not None and all(isinstance(dim, int) for dim in shape)


def _is_shareable(attrs: dict[str, Any]) -> bool:
    return all(isinstance(value, (int, float, str, list)) for value in attrs.values())


def _expression(op_type: str, inputs: Sequence[gs.Tensor], attrs: dict[str, Any]) -> Any:
    operands = tuple(id(x) if x.name else None for x in inputs)
    return op_type, operands, tuple(sorted((key, str(value)) for key, value in attrs.items()))


def _output_dtype(op_type: str, operands: Sequence[gs.Tensor], attrs: dict[str, Any]) -> Any:
    if op_type in _BOOLEAN:
        return np.dtype(bool)
    if op_type in _INT64:
        return np.dtype(np.int64)
    if op_type == "Cast":
        return onnx.helper.tensor_dtype_to_np_dtype(attrs["to"])
    if op_type == "Where":
        return operands[1].dtype
    return operands[0].dtype


def number(bound: gs.Tensor | float | None) -> float | None:
    """A scalar in float32, None where it is not known."""
    if isinstance(bound, gs.Tensor):
        if not isinstance(bound, gs.Constant) or bound.values.size != 1:
            return None
        bound = float(bound.values.item())
    return None if bound is None else float(np.float32(bound))


def step(bound: float, side: float) -> dict[str, float]:
    """The attributes of a HardSigmoid over float32 that is 1 above (1) or below (-1) a bound.

    Its slope is a power of two that takes what differs from the bound past 1, and the bound itself
    past no float.
    """
    if bound == 0.0:
        # OpenVINO takes a beta of 0 for the default, 0.5; the least normal number comes to 2 - 1.
        return {"alpha": side * 2.0**127, "beta": -1.0}
    # The neighbours of a bound are at least 2^(e - 25) away.
    _, e = math.frexp(bound)
    slope = side * 2.0 ** min(100 - e, 127)
    return {"alpha": slope, "beta": -bound * slope}
