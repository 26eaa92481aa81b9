"""Functions that exporters write as several nodes, recognised as the one operator they are.

``x * sigmoid(x)`` differentiated piece by piece has the right gradients, but its offset falls
apart into those of a Sigmoid and a Mul. As one step it has the paper's ``sigma(u) - sigma'(u) u``.

There are many ways to write one function, so nodes are not compared with patterns. What lies
between a product (or quotient) and the one tensor that all of it is computed from is evaluated on
sample values; if these are the values of a known function, up to rounding of its constants, the
nodes are that function. Of a normalisation the part after the mean is taken off is found in this
way: taking it off is linear and no site.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from fg_onnx.graph.primal import Primal
from fg_onnx.vjps.reduction import reduced_axes

_MOST_PIECES = 16
_TOLERANCE = 1e-5  # of the largest value: constants may be rounded to float16 (GELU's forms: 6e-5)

Values: TypeAlias = np.ndarray
_erf = np.vectorize(math.erf, otypes=[np.float64])

# What a composite may consist of: functions of single values, but for ReduceMean.
_PIECES: Mapping[str, Callable[..., Values]] = {
    "Abs": np.abs,
    "Add": np.add,
    "Cast": lambda x, **_: x,
    "Clip": lambda x, low=None, high=None: np.minimum(
        np.maximum(x, -np.inf if low is None else low), np.inf if high is None else high
    ),
    "Div": np.divide,
    "Erf": _erf,
    "Exp": np.exp,
    "HardSigmoid": lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
    "Identity": lambda x: x,
    "Log": np.log,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Pow": np.power,
    "Reciprocal": np.reciprocal,
    "ReduceMean": lambda x, **_: x.mean(-1, keepdims=True),
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Softplus": lambda x: np.logaddexp(x, 0),
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
    "Sum": lambda *xs: sum(xs),
    "Tanh": np.tanh,
}
_JOINS = frozenset({"Mul", "Div"})


@dataclass(frozen=True, eq=False)
class _Region:
    """Steps that compute one tensor from another, in topological order."""

    entry: gs.Tensor
    steps: tuple[Primal, ...]

    @property
    def last(self) -> Primal:
        return self.steps[-1]

    def __call__(self, x: Values) -> Values:
        """The function of the steps."""
        known = {self.entry.name: x}
        for step in self.steps:
            operands = (None if u is None else _value(u, known) for u in _numbers(step))
            with np.errstate(all="ignore"):
                known[step.y.name] = _PIECES[step.op_type](*operands, **step.attrs)
        return known[self.last.y.name]

    def extended(self, step: Primal) -> _Region:
        """With one step more at its end."""
        return _Region(self.entry, (*self.steps, step))


@dataclass(frozen=True)
class _Function:
    """``scale`` times an operator of one operand."""

    op_type: str
    attrs: Mapping[str, Any]
    scale: float


def recognise(primals: Sequence[Primal]) -> list[Primal]:
    """The same steps with every composite that is known as one."""
    producers = {p.y.name: p for p in primals}
    order = {id(p): index for index, p in enumerate(primals)}
    by_node = {id(p.nodes[-1]): p for p in primals}
    merged: dict[int, Primal] = {}
    absorbed: set[int] = set()
    for p in primals:
        region = _region(p, producers, order) or _shifted(p, producers)
        found = None if region is None else _known(region, by_node)
        if found is None:
            continue
        merged[id(found[0].last)] = _as_one(*found)
        absorbed.update(id(step) for step in found[0].steps[:-1])
    return [merged.get(id(p), p) for p in primals if id(p) not in absorbed]


# --- regions -------------------------------------------------------------------------------------


def _region(p: Primal, producers: Mapping[str, Primal], order: Mapping[int, int]) -> _Region | None:
    """What lies between a step that joins several active operands and their nearest common source.

    Nothing but the steps themselves may read what is in between.
    """
    if p.op_type not in _JOINS or not all(p.active):
        return None
    steps, frontier = [p], _active(p)
    while len(frontier) > 1:
        made = [producers[name] for name in frontier if name in producers]
        if not made:
            return None
        step = max(made, key=lambda q: order[id(q)])
        if not _is_piece(step) or len(steps) == _MOST_PIECES:
            return None
        steps.append(step)
        del frontier[step.y.name]
        frontier |= _active(step)
    (entry,) = frontier.values()
    region = _Region(entry, tuple(reversed(steps)))
    return region if len(steps) > 1 and _is_closed(region) else None


def _shifted(p: Primal, producers: Mapping[str, Primal]) -> _Region | None:
    """A Clip of a sum with a constant: clip(x + 3, 0, 6), which is 6 hardsigmoid(x)."""
    before = producers.get(p.x.name) if p.op_type == "Clip" else None
    if before is None or before.op_type != "Add" or not (_is_piece(before) and _is_piece(p)):
        return None
    (entry, *others) = _active(before).values()
    if others:
        return None
    region = _Region(entry, (before, p))
    return region if _is_closed(region) else None


def _active(p: Primal) -> dict[str, gs.Tensor]:
    operands = zip(p.inputs, p.active, strict=True)
    return {u.name: u for u, active in operands if u is not None and active}


def _is_piece(p: Primal) -> bool:
    if p.op_type not in _PIECES or len(p.nodes) > 1:
        return False
    if p.op_type == "ReduceMean":
        known = isinstance(p.input(1), gs.Constant | None)
        return known and bool(p.attrs["keepdims"] and reduced_axes(p))
    constants = [
        u for u, active in zip(p.inputs, p.active, strict=True) if u is not None and not active
    ]
    return all(isinstance(u, gs.Constant) and math.prod(u.shape) == 1 for u in constants)


def _numbers(step: Primal) -> tuple[gs.Tensor | None, ...]:
    """The operands that a piece is a function of: all but the axes of a mean (since opset 18)."""
    return step.inputs[:1] if step.op_type == "ReduceMean" else step.inputs


def _is_closed(region: _Region) -> bool:
    inside = {id(node) for step in region.steps for node in step.nodes}
    return all(
        id(reader) in inside
        for step in region.steps[:-1]
        for tensor in step.outputs
        if tensor is not None
        for reader in tensor.outputs
    )


def _value(tensor: gs.Tensor, known: Mapping[str, Values]) -> Values:
    if isinstance(tensor, gs.Constant):
        return np.asarray(tensor.values, dtype=np.float64).reshape(())
    return known[tensor.name]


# --- the functions that are known ----------------------------------------------------------------


def _known(region: _Region, by_node: Mapping[int, Primal]) -> tuple[_Region, _Function] | None:
    """A region that is a known function; factors that follow it may belong to it."""
    while True:
        found = _identify(region)
        if found is None:
            return None
        if abs(found.scale - 1.0) <= _TOLERANCE:
            same = region.entry.shape == region.last.y.shape
            same &= region.entry.dtype == region.last.y.dtype
            return (region, found) if same else None
        readers = region.last.y.outputs
        after = by_node.get(id(readers[0])) if len(readers) == 1 else None
        if after is None or after.op_type not in _JOINS or not _is_piece(after):
            return None
        region = region.extended(after)


def _identify(region: _Region) -> _Function | None:
    reductions = [step for step in region.steps if step.op_type == "ReduceMean"]
    if not reductions:
        values = region(_POINTS)
        return next((f for f in (g(values) for g in _ACTIVATIONS) if f is not None), None)
    axes = {tuple(reduced_axes(step)) for step in reductions}
    return _rms_normalization(region, *axes) if len(axes) == 1 else None


_POINTS = np.concatenate([np.linspace(-8, 8, 65), [-30.0, -3.01, -2.99, 2.99, 3.01, 30.0]])


def _fits(found: Values, wanted: Values) -> float | None:
    """``scale`` where ``found = scale * wanted``."""
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return None
    scale = float((found * wanted).sum() / (wanted * wanted).sum())
    largest = float(np.abs(found).max())
    fits = float(np.abs(found - scale * wanted).max()) <= _TOLERANCE * largest
    return scale if fits and scale else None


def _activation(
    op_type: str, phi: Callable[[Values], Values], **attrs: Any
) -> Callable[[Values], _Function | None]:
    wanted = phi(_POINTS)

    def identify(values: Values) -> _Function | None:
        scale = _fits(values, wanted)
        return None if scale is None else _Function(op_type, attrs, scale)

    return identify


def _swish(values: Values) -> _Function | None:
    """x sigmoid(alpha x), alpha from two of its values: sigmoid(alpha) + sigmoid(-alpha) = 1."""
    if values.shape != _POINTS.shape:
        return None
    above, below = (float(values[x == _POINTS].item() / x) for x in (0.5, -0.5))
    scale = above + below
    if not scale or not 0 < above / scale < 1:
        return None
    alpha = 2 * math.log(above / below)
    alpha = round(alpha) if abs(alpha - round(alpha)) < _TOLERANCE else alpha
    fits = _fits(values, _POINTS / (1 + np.exp(-alpha * _POINTS)))
    return None if fits is None else _Function("Swish", {"alpha": alpha}, fits)


def _tanh_gelu(x: Values) -> Values:
    y: Values = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return y


_ACTIVATIONS = (
    _activation("HardSwish", lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    _activation("HardSigmoid", lambda x: np.clip(x / 6 + 0.5, 0, 1), alpha=1 / 6, beta=0.5),
    _activation("Gelu", lambda x: 0.5 * x * (1 + _erf(x * math.sqrt(0.5))), approximate="none"),
    _activation("Gelu", _tanh_gelu, approximate="tanh"),
    _activation("Mish", lambda x: x * np.tanh(np.logaddexp(x, 0))),
    _activation("Softsign", lambda x: x / (1 + np.abs(x))),
    _swish,
)


def _rms_normalization(region: _Region, axes: tuple[int, ...]) -> _Function | None:
    """x / sqrt(mean(x^2) + eps), its scale and eps from the values of constant rows."""
    large, small = (float(region(np.array([[c]]))[0, 0]) for c in (1e6, 1e-3))
    if not large or not small or not math.isfinite(large / small):
        return None
    epsilon = max((large / small * 1e-3) ** 2 - 1e-6, 0.0)
    rows = np.array([[1e-3], [1.0], [1e3]]) * np.random.default_rng(0).standard_normal((3, 8))
    wanted = rows / np.sqrt((rows**2).mean(1, keepdims=True) + epsilon)
    scale = _fits(region(rows), wanted)
    if scale is None:
        return None
    return _Function("RMSNormalization", {"axes": list(axes), "epsilon": epsilon}, scale)


def _as_one(region: _Region, function: _Function) -> Primal:
    return Primal(
        op_type=function.op_type,
        name=region.last.name,
        inputs=(region.entry,),
        outputs=region.last.outputs,
        attrs=dict(function.attrs),
        active=(True,),
        nodes=tuple(node for step in region.steps for node in step.nodes),
    )
