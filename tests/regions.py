"""PyTorch in the linear region that ONNX Runtime was in.

Among ten million ReLUs a few pre-activations lie so near 0 that two correct float32 programs take
different sides, and one such unit moves a gradient by 1e-2; even torch in float32 against torch in
float64. A comparison at 1e-4 has to be one of gradients, not of luck. So the instrumented model
also outputs what decided its kinks, and torch, in float64, centres the argument of each kinked
operation on it::

    x' = x + (value - x).detach()

The decisions are then the model's, and everything else is still torch's: `recentred` asserts that
value and x are the same number up to float32 rounding, so a wrong forward pass cannot hide.

Kinks are paired by the order of execution, which is the order of nodes for both exporters; the
operator, the shape and the values are asserted at each.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

# ReLU and Clip by their outputs: their masks are taken from y, and a graph output between a Conv
# and its ReLU would keep the runtime from fusing the two.
_BY_OUTPUT = {"Relu", "Clip"}
_BY_INPUT = {"MaxPool", "HardSwish", "HardSigmoid"}

# Of the largest entry of a tensor. Measured: at most 7e-7, since each kink starts afresh from the
# model's values; wrong padding, a wrong pairing or a missing bias are off by 1e-2 and more.
_SAME = 1e-5


@dataclass(frozen=True)
class Kink:
    """A kinked operation of the model, and the tensor that decides it: Relu's and Clip's output."""

    op: str
    tensor: str


def expose_kinks(model: onnx.ModelProto) -> list[Kink]:
    """Append what decides each kinked forward node to the graph's outputs; changes the model."""
    kinks = [
        Kink(node.op_type, node.output[0] if node.op_type in _BY_OUTPUT else node.input[0])
        for node in model.graph.node
        if node.op_type in _BY_OUTPUT | _BY_INPUT and not node.name.startswith("fg/")
    ]
    present = {value.name for value in model.graph.output}
    for tensor in dict.fromkeys(kink.tensor for kink in kinks):
        if tensor not in present:
            model.graph.output.append(
                onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None)
            )
    return kinks


@contextlib.contextmanager
def same_region(kinks: list[Kink], values: dict[str, np.ndarray]) -> Iterator[None]:
    """Within, torch's kinked functions decide as the model did; all kinks must be met, in order."""
    remaining = iter(kinks)

    def centred(op: str, x: Tensor) -> Tensor:
        kink = next(remaining)
        assert kink.op == op, f"torch runs a {op} where the model has {kink}"
        value = torch.from_numpy(values[kink.tensor]).to(x.dtype)
        return recentred(op, x, value)

    originals = {
        name: getattr(functional, name)
        for name in ("relu", "relu6", "hardtanh", "max_pool2d", "hardswish", "hardsigmoid")
    }

    def of(op: str, name: str) -> Any:
        def call(input: Tensor, *args: Any, inplace: bool = False, **options: Any) -> Tensor:
            return originals[name](centred(op, input), *args, **options)

        return call

    try:
        functional.relu = of("Relu", "relu")
        functional.relu6 = of("Clip", "relu6")
        functional.hardtanh = of("Clip", "hardtanh")
        functional.max_pool2d = of("MaxPool", "max_pool2d")
        functional.hardswish = of("HardSwish", "hardswish")
        functional.hardsigmoid = of("HardSigmoid", "hardsigmoid")
        yield
    finally:
        for name, original in originals.items():
            setattr(functional, name, original)
    left = list(remaining)
    assert not left, f"torch never ran {left}"


def recentred(op: str, x: Tensor, value: Tensor) -> Tensor:
    """``x`` with the values that put it where the model was; its derivative is unchanged."""
    assert value.shape == x.shape
    with torch.no_grad():
        if op == "Relu":
            seen, target = x.clamp(min=0), torch.where(value > 0, value, x.clamp(max=0))
        elif op == "Clip":  # ReLU6, the only one that torchvision and EfficientNet-Lite have
            seen = x.clamp(0, 6)
            target = torch.where(value > 0, value, x.clamp(max=0))
            target = torch.where(value < 6, target, x.clamp(min=6))
        else:
            seen, target = x, value
        gap = (value - seen).abs().max() / value.abs().max().clamp(min=1e-30)
        assert gap <= _SAME, f"{op}: the model and torch are {gap:.1e} apart"
    return x + (target - x).detach()


@dataclass(frozen=True, eq=False)
class Affine:
    """A place where torch adds an offset: its module, the offset [C], and the tensor it is in."""

    modules: tuple[str, ...]
    offset: np.ndarray
    output: int  # index into `Trace.outputs`


@dataclass(eq=False)
class Trace:
    """One forward pass: the outputs of all Conv2d, BatchNorm2d and Linear modules, as executed.

    `cotangents` is filled anew by every backward pass.
    """

    affines: list[Affine] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    cotangents: dict[int, Tensor] = field(default_factory=dict)


@contextlib.contextmanager
def traced(module: nn.Module) -> Iterator[Trace]:
    """Within, a forward pass of the module fills the trace, and backward passes its cotangents.

    A BatchNorm that reads a Conv is listed with the offset of the two together, since exporters
    fold it into the Conv; where the Conv has a bias of its own, each is listed alone too.
    """
    trace = Trace()
    made: dict[int, tuple[str, nn.Module]] = {}
    handles: list[Any] = []

    def record(name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            index = len(trace.outputs)
            trace.outputs.append(output)  # kept, so that ids stay unique
            # A hook on the tensor as it is now: in-place operations that follow do not count.
            keep = functools.partial(trace.cotangents.__setitem__, index)
            handles.append(output.register_hook(keep))
            for modules, offset in _offsets(name, layer, made.get(id(inputs[0]))):
                trace.affines.append(Affine(modules, offset.detach().double().numpy(), index))
            if isinstance(layer, nn.Conv2d):
                made[id(output)] = (name, layer)

        return hook

    for name, layer in module.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d, nn.Linear)):
            handles.append(layer.register_forward_hook(record(name)))
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()
        trace.outputs.clear()


def _offsets(
    name: str, layer: nn.Module, producer: tuple[str, nn.Module] | None
) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    if not isinstance(layer, nn.BatchNorm2d):
        if layer.bias is not None:
            yield (name,), layer.bias
        return
    gain = layer.weight.double() / (layer.running_var.double() + layer.eps).sqrt()
    shift = layer.bias.double() - layer.running_mean.double() * gain
    yield (name,), shift
    if producer is not None and producer[1].bias is not None:
        yield (producer[0], name), shift + gain * producer[1].bias.double()
