"""PyTorch in the linear region that ONNX Runtime was in.

Among ten million ReLUs a few pre-activations lie so near 0 that two correct float32 programs take
different sides, and one such unit moves a gradient by 1e-2; even torch in float32 against torch in
float64. A comparison at 1e-4 has to be one of gradients, not of luck. So the instrumented model
also outputs what decided its kinks, and torch, in float64, centres the argument of each kinked
operation on it::

    x' = x + (value - x).detach()

The decisions are then the model's, and everything else is still torch's: value and x must be the
same number up to float32 rounding, so a wrong forward pass cannot hide.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# ReLU and Clip by their outputs: their masks are taken from y, and a graph output between a Conv
# and its ReLU would keep the runtime from fusing the two.
_BY_OUTPUT = {"Relu", "Clip"}
_BY_INPUT = {"MaxPool", "HardSwish", "HardSigmoid", "LeakyRelu"}

Bounds: TypeAlias = "tuple[float | None, float | None]"

# Of the largest entry of a tensor. Measured: at most 7e-7, since each kink starts afresh from the
# model's values; wrong padding, a wrong pairing or a missing bias are off by 1e-2 and more.
_SAME = 1e-5


@dataclass(frozen=True)
class Kink:
    """A kinked operation of the model, and the tensor that decides it: Relu's and Clip's output."""

    op: str
    tensor: str


def kinks_of(model: onnx.ModelProto) -> list[Kink]:
    """The kinked forward nodes of an instrumented model, in order."""
    return [
        Kink(node.op_type, node.output[0] if node.op_type in _BY_OUTPUT else node.input[0])
        for node in model.graph.node
        if node.op_type in _BY_OUTPUT | _BY_INPUT and not node.name.startswith("fg/")
    ]


def expose_kinks(model: onnx.ModelProto) -> list[Kink]:
    """Append what decides each kinked forward node to the graph's outputs; changes the model."""
    kinks = kinks_of(model)
    present = {value.name for value in model.graph.output}
    for tensor in dict.fromkeys(kink.tensor for kink in kinks):
        if tensor not in present:
            model.graph.output.append(
                onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None)
            )
    return kinks


@contextlib.contextmanager
def same_region(kinks: list[Kink], values: dict[str, np.ndarray]) -> Iterator[None]:
    """Within, torch's kinked functions decide as the model did; all its kinks must be met."""
    region = _Region(kinks, values)
    with region:
        yield
    assert not region.unmet, f"torch never ran {region.unmet}"


class _Region(TorchFunctionMode):
    """Pairs each kinked function that torch runs with a kink of the model.

    It is the first, in order, that is of the same operator and shape and, up to rounding, the same
    number; one that was met before only where no other fits, for an exporter may compute once what
    torch computes twice.
    """

    def __init__(self, kinks: list[Kink], values: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.kinks = kinks
        self.values = values
        self.unmet = list(kinks)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.normalize:
            with self:  # what a function calls is hidden from a mode, unless it is called from here
                return _normalize(*args, **(kwargs or {}))
        kinked = _KINKED.get(func)
        if kinked is None:
            return func(*args, **(kwargs or {}))
        op, bounds = kinked
        x, *rest = args
        with torch.no_grad():
            value = self._meet(op, x, bounds(*rest, **(kwargs or {})))
        return func(recentred(x, value), *rest, **(kwargs or {}))

    def _meet(self, op: str, x: Tensor, bounds: Bounds) -> Tensor:
        """Where the argument of a kinked function has to be for the model's decisions."""
        least = np.inf
        for kink in (*self.unmet, *self.kinks):
            found = self.values[kink.tensor]
            if kink.op != op or found.shape != tuple(x.shape):
                continue
            value = torch.from_numpy(found).to(x.dtype)
            seen, target = _sides(op, x, value, bounds)
            scale = value[value.isfinite()].abs().max().clamp(min=1e-30)
            gap = float(_minus(value, seen).abs().max() / scale)
            if gap <= _SAME:
                if kink in self.unmet:
                    self.unmet.remove(kink)
                return target
            least = min(least, gap)
        raise AssertionError(
            f"torch runs a {op} of {tuple(x.shape)}; the model's nearest is {least:.1e} apart"
        )


def _sides(op: str, x: Tensor, value: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """What torch would see of ``x`` in the place of ``value``, and x on the sides of ``value``."""
    if op not in _BY_OUTPUT:
        return x, value
    low, high = bounds
    seen, target = x.clamp(low, high), value
    if low is not None:
        target = torch.where(value > low, target, x.clamp(max=low))
    if high is not None:
        target = torch.where(value < high, target, x.clamp(min=high))
    return seen, target


def recentred(x: Tensor, value: Tensor) -> Tensor:
    """``x`` with the values that put it where the model was; its derivative is unchanged."""
    return x + _minus(value, x).detach()


def _minus(a: Tensor, b: Tensor) -> Tensor:
    """a - b, 0 where both are the same infinity (pools are padded with -inf)."""
    return torch.where(a == b, 0.0, a - b)


def _normalize(x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, **_: Any) -> Tensor:
    return x / x.norm(p, dim, keepdim=True).clamp_min(eps)


def _none(*_: Any, **__: Any) -> Bounds:
    return None, None


def _from_0(*_: Any, **__: Any) -> Bounds:
    return 0.0, None


def _at_least(low: float) -> Bounds:
    return low, None


def _from_0_to_6(*_: Any, **__: Any) -> Bounds:
    return 0.0, 6.0


def _given(low: float = -1.0, high: float = 1.0, *_: Any, **named: Any) -> Bounds:
    return (
        named.get("min_val", named.get("min", low)),
        named.get("max_val", named.get("max", high)),
    )


# As a TorchFunctionMode gets to see them: the outermost function that is called.
_KINKED: dict[Any, tuple[str, Callable[..., Bounds]]] = {
    **dict.fromkeys(
        (functional.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_), ("Relu", _from_0)
    ),
    functional.relu6: ("Clip", _from_0_to_6),
    Tensor.clamp_min: ("Clip", _at_least),
    **dict.fromkeys(
        (functional.hardtanh, torch.clamp, torch.clamp_, Tensor.clamp, Tensor.clamp_),
        ("Clip", _given),
    ),
    **dict.fromkeys((functional.max_pool2d, torch.max_pool2d), ("MaxPool", _none)),
    functional.hardswish: ("HardSwish", _none),
    functional.hardsigmoid: ("HardSigmoid", _none),
    functional.leaky_relu: ("LeakyRelu", _none),
}


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
