"""A plain interpreter of ONNX graphs in torch, in float64, for gradients by autograd.

It takes from the deployed model what decided there: which side of a kink a number lay on, and what
rounding to integers made of it. A quantised number is ``deployed + [inside] (x - x.detach())``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor
from torch.nn import functional

_RANGES = {"int8": (-128, 127), "uint8": (0, 255)}


@dataclass(eq=False)
class Interpreted:
    """One run: every tensor by name, those that lead to the input with their gradients kept.

    Attributes:
        model: of opset 13 or newer.
        deployed: values of the deployed model: dequantised tensors, results of Relu and Clip, and
            what MaxPool reads.
        x: the name of the input to be differentiated.
        unclipped: the QuantizeLinear results that pass gradients where they saturate too.
    """

    model: onnx.ModelProto
    deployed: Mapping[str, np.ndarray]
    x: str
    unclipped: frozenset[str] = frozenset()
    tensors: dict[str, Any] = field(default_factory=dict)

    def run(self, array: np.ndarray) -> Interpreted:
        """Compute all tensors."""
        for entry in self.model.graph.initializer:
            self.tensors[entry.name] = _constant(numpy_helper.to_array(entry))
        self.tensors[self.x] = torch.from_numpy(array).double().requires_grad_()
        for node in self.model.graph.node:
            attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            operands = [self.tensors.get(name) for name in node.input]
            result = getattr(self, f"_{node.op_type.lower()}")(node, attrs, *operands)
            if isinstance(result, Tensor) and result.requires_grad:
                result.retain_grad()
            self.tensors[node.output[0]] = result
        return self

    def gradient(self, name: str) -> np.ndarray:
        """Of a tensor, after a backward pass."""
        return self.tensors[name].grad.numpy()

    # --- operators --------------------------------------------------------------------------------

    def _constant(self, _: Any, attrs: dict[str, Any]) -> Tensor:
        return _constant(numpy_helper.to_array(attrs["value"]))

    def _conv(self, _: Any, attrs: dict[str, Any], x: Tensor, w: Tensor, b: Any = None) -> Tensor:
        pads = attrs.get("pads", [0, 0, 0, 0])
        x = functional.pad(x, [pads[1], pads[3], pads[0], pads[2]])
        return functional.conv2d(
            x, w, b, attrs.get("strides", 1), 0, attrs.get("dilations", 1), attrs.get("group", 1)
        )

    def _gemm(self, _: Any, attrs: dict[str, Any], x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return x @ (w.T if attrs.get("transB") else w) + b

    def _add(self, _: Any, __: Any, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def _concat(self, _: Any, attrs: dict[str, Any], *parts: Tensor) -> Tensor:
        return torch.cat(parts, attrs["axis"])

    def _flatten(self, _: Any, __: Any, x: Tensor) -> Tensor:
        return x.flatten(1)

    def _cast(self, _: Any, __: Any, x: Tensor) -> Tensor:
        return x

    def _globalaveragepool(self, _: Any, __: Any, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)

    def _maxpool(self, node: Any, attrs: dict[str, Any], x: Tensor) -> Tensor:
        x = self._at(node.input[0], x)
        pads = attrs.get("pads", [0, 0, 0, 0])
        x = functional.pad(x, [pads[1], pads[3], pads[0], pads[2]], value=-torch.inf)
        return functional.max_pool2d(x, attrs["kernel_shape"], attrs["strides"])

    def _relu(self, node: Any, _: Any, x: Tensor) -> Tensor:
        return self._bounded(node, x, 0.0, torch.inf)

    def _clip(self, node: Any, _: Any, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return self._bounded(node, x, float(low), float(high))

    def _bounded(self, node: Any, x: Tensor, low: float, high: float) -> Tensor:
        y = torch.from_numpy(self.deployed[node.output[0]]).double()
        inside = (y > low) & (y < high)
        return y + inside * (x - x.detach())

    def _at(self, name: str, x: Tensor) -> Tensor:
        if name not in self.deployed:
            return x
        return x + (torch.from_numpy(self.deployed[name]).double() - x).detach()

    def _quantizelinear(
        self, node: Any, attrs: dict[str, Any], x: Any, scale: Tensor, zero: Tensor
    ) -> Callable[[str], Tensor]:
        low, high = _RANGES[str(zero.dtype).removeprefix("torch.")]
        scale, zero = _along(scale, attrs, x), _along(zero.double(), attrs, x)
        steps = torch.round(x.detach() / scale) + zero
        inside = (steps >= low) & (steps <= high)
        if node.output[0] in self.unclipped:
            inside = torch.ones_like(inside)

        def dequantised(name: str) -> Tensor:
            value = torch.from_numpy(self.deployed[name]).double()
            # Integer kernels round a number here and there to the other side: by one step.
            expected = (steps.clamp(low, high) - zero) * scale
            assert float(((value - expected).abs() / scale).max()) < 1.01, name
            return value + inside * (x - x.detach())

        return dequantised

    def _dequantizelinear(
        self, node: Any, attrs: dict[str, Any], q: Any, scale: Tensor, zero: Tensor
    ) -> Tensor:
        if not isinstance(q, Tensor):
            return q(node.output[0])
        scale, zero = _along(scale, attrs, q), _along(zero.double(), attrs, q)
        return (q.double() - zero) * scale


def _constant(array: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(np.array(array))
    return tensor.double() if tensor.is_floating_point() else tensor


def _along(parameter: Tensor, attrs: dict[str, Any], like: Tensor) -> Tensor:
    if parameter.ndim == 0 or like.ndim < 2:
        return parameter
    shape = [1] * like.ndim
    shape[attrs.get("axis", 1)] = -1
    return parameter.reshape(shape)
