"""The forward graph as the adjoint reads it: every number in float32 or float64.

Three kinds of tensors are not read as they are.

- Narrow floats are cast to float32. Gradients, their products and their sums over a feature map
  leave the range of float16 (6e-8 to 65504) in ordinary networks.
- Integers are read as the numbers they stand for. Constants are dequantised by plain arithmetic,
  which runtimes carry out once, when they load the model; a DequantizeLinear they keep.
- What a runtime computes in integers, ``QuantizeLinear(f(DequantizeLinear(q)))`` in one kernel,
  is computed once more in floats where the adjoint reads f's result. Reading the forward's own
  would keep the runtime from fusing it, and so change the outputs of the deployed model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import NARROW, Primal
from fg_onnx.graph.quantised import MOVING, Quantisation, quantisations
from fg_onnx.source.model import MOST_SEEN


class Views:
    """What stands for the tensors of a graph to which nothing has been appended yet.

    Raises:
        UnsupportedModelError: quantised integers are used as anything but numbers.
    """

    def __init__(self, op: Emitter, primals: Sequence[Primal]) -> None:
        self._op = op
        self._quantised = quantisations(primals)
        self._fused = _fused(primals, {tensor.name for tensor in op.graph.outputs})
        self._found: dict[int, gs.Tensor] = {}

    def primal(self, p: Primal) -> Primal:
        """The step with the tensors that its rule is to read."""
        return replace(p, inputs=self._all(p.inputs), outputs=self._all(p.outputs))

    def of(self, tensor: gs.Tensor) -> gs.Tensor:
        """What stands for a tensor; of the same shape."""
        if id(tensor) not in self._found:
            found = self._view(tensor)
            if isinstance(found, gs.Variable):
                found.shape = tensor.shape
            self._found[id(tensor)] = found
        return self._found[id(tensor)]

    def _all(self, tensors: Sequence[gs.Tensor | None]) -> tuple[gs.Tensor | None, ...]:
        return tuple(None if tensor is None else self.of(tensor) for tensor in tensors)

    def _view(self, tensor: gs.Tensor) -> gs.Tensor:
        if tensor.name in self._quantised:
            return self._dequantised(tensor, self._quantised[tensor.name])
        if _is_dequantised(tensor):
            (node,) = tensor.inputs
            source = node.inputs[0]
            if source.name in self._quantised:
                return self.of(source)
            if isinstance(source, gs.Constant):
                return self._unpacked(node)
        if tensor.name in self._fused:
            (node,) = tensor.inputs
            operands = [self.of(u) if u.name else None for u in node.inputs]
            again: gs.Tensor = getattr(self._op, node.op)(*operands, **node.attrs)
            return again
        return self._wide(tensor)

    def _wide(self, tensor: gs.Tensor) -> gs.Tensor:
        if tensor.dtype not in NARROW:
            return tensor
        plain = isinstance(tensor, gs.Constant) and tensor not in self._op.graph.inputs
        if plain and np.prod(tensor.shape, dtype=np.int64) <= MOST_SEEN:
            return self._op.constant(np.asarray(tensor.values, dtype=np.float32))
        return self._op.cast(tensor, np.float32)

    def _dequantised(self, q: gs.Tensor, how: Quantisation) -> gs.Tensor:
        # A unit scale: the runtime takes this node neither for one of the forward's nor, with a
        # product behind it, for the edge of something to be computed in integers.
        op, scale = self._op, self._wide(how.scale)
        unit = op.constant(np.ones(scale.shape), scale.dtype)
        operands = [unit] if how.zero is None else [unit, how.zero]
        attrs = {"axis": how.axis, **({"block_size": how.block} if how.block else {})}
        steps = op.DequantizeLinear(q, *operands, **attrs)
        steps.dtype = scale.dtype
        return op.Mul(steps, how.along(op, scale, q.shape))

    def _unpacked(self, node: gs.Node) -> gs.Tensor:
        """``scale * (q - zero_point)`` of a constant."""
        op, (q, scale, *rest) = self._op, node.inputs
        how = Quantisation(
            self._wide(scale),
            rest[0] if rest and rest[0].name else None,
            node.attrs.get("axis", 1),
            node.attrs.get("block_size", 0),
        )
        numbers: gs.Tensor = op.cast(q, how.scale.dtype)
        if how.zero is not None:
            numbers = op.Sub(numbers, how.along(op, op.mask(how.zero, how.scale), q.shape))
        return op.Mul(numbers, how.along(op, how.scale, q.shape))


def _fused(primals: Sequence[Primal], outputs: set[str]) -> frozenset[str]:
    """Names of what a runtime may never compute as such, or not in floats.

    It is what a step, or a step and an activation after it, makes of dequantised tensors for
    nothing but to be quantised; and dequantised tensors that are moved about.
    """
    steps = {id(node): p for p in primals for node in p.nodes}
    found, moved = set[str](), set[str]()
    for p in primals:
        operands = _operands(p)
        if not _is_plain(p, outputs) or any(
            not _is_dequantised(u) and u.name not in moved for u in operands
        ):
            continue
        if p.op_type in MOVING:
            moved.add(p.y.name)
            continue
        last = _quantised_step(p, steps, outputs)
        if last is not None:
            found.update((p.y.name, last.y.name))
    return frozenset(found | moved)


def _quantised_step(p: Primal, steps: dict[int, Primal], outputs: set[str]) -> Primal | None:
    """The step whose result is only quantised: this one, or an activation that alone reads it."""
    if _only_quantised(p.y):
        return p
    after = steps.get(id(p.y.outputs[0])) if len(p.y.outputs) == 1 else None
    if after is None or not _is_plain(after, outputs) or _operands(after) != [p.y]:
        return None
    return after if _only_quantised(after.y) else None


def _operands(p: Primal) -> list[gs.Tensor]:
    return [u for u, active in zip(p.inputs, p.active, strict=True) if active and u is not None]


def _is_plain(p: Primal, outputs: set[str]) -> bool:
    return len(p.nodes) == len(p.outputs) == 1 and p.y.name not in outputs


def _is_dequantised(tensor: gs.Tensor) -> bool:
    return bool(tensor.inputs) and tensor.inputs[0].op == "DequantizeLinear"


def _only_quantised(tensor: gs.Tensor) -> bool:
    return bool(tensor.outputs) and all(node.op == "QuantizeLinear" for node in tensor.outputs)
