"""Quantised tensors, and the numbers that they stand for.

Between QuantizeLinear and DequantizeLinear a model holds integers ``q`` (or 8-bit floats) that
stand for ``scale * (q - zero_point)``. A cotangent passes through them as through those numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.manifest import Dim

UNCLIPPED = "unclipped"
"""Attribute of a QuantizeLinear that passes cotangents where it saturates too."""

_WAY_OUT = "quantise the float model in QDQ form: QuantFormat.QDQ of onnxruntime's quantize_static"

MOVING = frozenset(
    {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Expand", "Slice"}
    | {"Split", "Gather", "Concat", "MaxPool", "DepthToSpace", "SpaceToDepth"}
)
"""Operators whose results hold entries of their operands and nothing else.

They do to the numbers what they do to the integers (MaxPool does, for scales are positive).
"""


@dataclass(frozen=True, eq=False)
class Quantisation:
    """How the integers of a tensor stand for numbers.

    Attributes:
        scale: one for all, [C] along ``axis``, or of the tensor's rank, where every ``block``
            entries along ``axis`` share one.
        zero: the zero point in the shape of the scale, None for 0.
        axis: of the tensor.
        block: how many entries share a scale, 0 where none is blocked.
    """

    scale: gs.Tensor
    zero: gs.Tensor | None
    axis: int
    block: int = 0

    @property
    def per_tensor(self) -> bool:
        """Whether one scale holds for all entries."""
        return self.scale.shape is not None and all(dim == 1 for dim in self.scale.shape)

    def along(self, op: Emitter, parameter: gs.Tensor, shape: Sequence[Dim]) -> gs.Tensor:
        """A scale or zero point, to be broadcast against a tensor of a shape."""
        if self.per_tensor:
            return parameter
        axis = self.axis % len(shape)
        if not self.block:
            return op.Reshape(parameter, [-1 if i == axis else 1 for i in range(len(shape))])
        before, blocks, after = _parted(self.scale.shape, axis)
        apart = op.Reshape(parameter, [*before, blocks, 1, *after])
        repeated = op.Expand(apart, op.constant([*before, blocks, self.block, *after]))
        whole = op.Reshape(repeated, [*before, blocks * self.block, *after])
        return op.Slice(whole, [0], [shape[axis]], [axis])

    def is_that_of(self, other: Quantisation) -> bool:
        """Whether both are known to be the same."""
        return (
            _same(self.scale, other.scale)
            and _same(self.zero, other.zero)
            and (self.per_tensor or (self.axis, self.block) == (other.axis, other.block))
        )


def _parted(shape: list[int], axis: int) -> tuple[list[int], int, list[int]]:
    return shape[:axis], shape[axis], shape[axis + 1 :]


def _same(a: gs.Tensor | None, b: gs.Tensor | None) -> bool:
    if a is b:
        return True
    one, other = _value(a), _value(b)
    return one is not None and other is not None and bool(np.all(one == other))


def _value(tensor: gs.Tensor | None) -> np.ndarray | None:
    """The value of a constant, None where it is computed at run time; left out, it is 0."""
    if tensor is None:
        return np.zeros((), np.float32)
    return np.asarray(tensor.values) if isinstance(tensor, gs.Constant) else None


def quantisation(p: Primal) -> Quantisation:
    """The parameters of a QuantizeLinear or DequantizeLinear."""
    return Quantisation(p.operand(1), p.input(2), p.attrs["axis"], p.attrs.get("block_size", 0))


def quantisations(primals: Sequence[Primal]) -> dict[str, Quantisation]:
    """How every active tensor of integers stands for numbers, by its name.

    Raises:
        UnsupportedModelError: an operator calculates with the integers themselves, or reads them
            by other parameters than they were made by.
    """
    found: dict[str, Quantisation] = {}
    for p in primals:
        if p.op_type == "QuantizeLinear":
            found[p.y.name] = quantisation(p)
            continue
        operands = [u for u, active in zip(p.inputs, p.active, strict=True) if active and u]
        held = [found[u.name] for u in operands if u.name in found]
        if not held:
            continue
        if p.op_type == "DequantizeLinear":
            if not held[0].is_that_of(quantisation(p)):
                raise p.refusal("its operand was quantised by another scale or zero point")
            continue
        if p.op_type not in MOVING or (p.op_type == "Concat" and not all(p.active)):
            raise p.refusal("it calculates with quantised integers")
        if not all(other.per_tensor and other.is_that_of(held[0]) for other in held):
            raise p.refusal("its operands were quantised by several scales or zero points")
        found.update({y.name: held[0] for y in p.outputs if y and y.dtype == p.x.dtype})
    return found


def unclipped_scores(primals: Sequence[Primal], y: gs.Tensor) -> list[Primal]:
    """The same steps; those that quantise ``y`` itself pass cotangents where they saturate too.

    The highest score of all is the likeliest to saturate, and what drives it there is what is
    asked for: the step that clips it has the loss as its offset.
    """
    trailing, found = {y.name}, []
    for p in reversed(primals):
        if p.y.name in trailing and p.op_type in MOVING | {"DequantizeLinear"}:
            trailing.update(u.name for u in p.inputs if u)
        elif p.y.name in trailing and p.op_type == "QuantizeLinear":
            p = replace(p, attrs={**p.attrs, UNCLIPPED: True})
            trailing.add(p.x.name)
        found.append(p)
    return found[::-1]


def way_out(op_type: str) -> str | None:
    """The next step where an operator of a quantised model stands in the way, else None."""
    if op_type in ("QuantizeLinear", "DequantizeLinear"):
        return "raise the float model to opset 21 before quantising it to 4 or 16 bits"
    integers = op_type.startswith(("QLinear", "QGemm", "DynamicQuantize")) or "Integer" in op_type
    return _WAY_OUT if integers else None
