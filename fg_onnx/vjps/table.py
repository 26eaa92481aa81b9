"""The table of VJP rules, and the five answers it gives of an operator.

rule: the operator has a vector-Jacobian product here. zero: its derivative is zero by
mathematics. refused: a derivative would be of no use, or wrong, for the reason given. body: it
has none of these, but its schema says which operators it is made of. unknown: nothing is known
of it, or not of this version.

A rule maps the cotangent of a node's output to one cotangent (or None) per input, in input order.
It also says what the node's offset ``r = y - sum_i J_i u_i`` is (DESIGN, section 2), so that an
operator is described in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import onnx_graphsurgeon as gs
from onnx import defs

from fg_onnx.graph.bodies import has_body
from fg_onnx.graph.emit import Emitter
from fg_onnx.graph.primal import Primal
from fg_onnx.manifest import SiteKind
from fg_onnx.versions import REVIEWED_OPSET, is_reviewed, since

Cotangents: TypeAlias = "Sequence[gs.Tensor | None]"
Vjp: TypeAlias = Callable[..., Cotangents]
Status: TypeAlias = Literal["rule", "zero", "refused", "body", "unknown"]
Axes: TypeAlias = Literal[
    "kept", "channels-first", "permuted", "reshaped", "product", "joined", "new"
]


@dataclass(frozen=True)
class Offset:
    """What part of a node's output is not linear in its active inputs.

    Attributes:
        kind: of the site.
        operand: the input that holds the offset, to be promoted; None for ``implicit``.
        axis: of the output, along which a rank-1 operand lies; None: it broadcasts as NumPy does.
        scale: the offset is ``scale`` times the operand.
        normalise: rewrites the node so that its operand is the whole offset; returns whether it
            could (its parameters are constants).
        value: the offset where the node was not rewritten.
    """

    kind: SiteKind
    operand: int | None = None
    axis: int | None = None
    scale: float = 1.0
    normalise: Callable[[Primal], bool] | None = None
    value: Callable[[Emitter, Primal], gs.Tensor] | None = None


IMPLICIT = Offset("implicit")


@dataclass(frozen=True, eq=False)
class Scaled:
    """``values * scale``, written out only where it has to be."""

    values: gs.Tensor
    scale: float


OffsetOf: TypeAlias = Callable[[Primal], "Offset | tuple[Offset, ...] | None"]
Term: TypeAlias = Callable[[Emitter, Primal, gs.Tensor, Cotangents], "gs.Tensor | Scaled"]


@dataclass(frozen=True)
class Rule:
    """A VJP rule.

    Attributes:
        op_type: the ONNX operator.
        vjp: ``(op, primal, *cts) -> cotangents``.
        offset: the node's offset, None where it is zero; a bias and an implicit rest where part
            of it is a bias.
        term: ``ct_y * r`` of an implicit site at the shape of ``y``; takes the rule's own
            cotangents. None: ``ct_y * y - sum_i ct_i * u_i``, which is that where every position of
            ``y`` depends on the same position of its operands alone.
        outputs: how many outputs carry cotangents; None: all.
        axes: what the operator does to the axes of an image: keeps them, demands [N, C, ...],
            permutes them by its ``perm``, writes the same entries in another shape, mixes one of
            them as a product of matrices does, joins tensors along its ``axis``, or makes new ones.
        summary: the first line of the rule's docstring, or the formula.
        since: the oldest version of the operator that it holds for.
    """

    op_type: str
    vjp: Vjp
    offset: OffsetOf
    term: Term | None
    outputs: int | None
    axes: Axes
    summary: str
    since: int = 1

    def offsets(self, p: Primal) -> tuple[Offset, ...]:
        """The parts of a node's offset, each a site; none where it is zero."""
        found = self.offset(p)
        if found is None:
            return ()
        return (found,) if isinstance(found, Offset) else found


RULES: dict[str, Rule] = {}
ZERO: dict[str, str] = {}
REFUSED: dict[str, str] = {}


def homogeneous(_: Primal) -> None:
    """Linear, or homogeneous of degree 1: the offset is zero."""


def implicit(_: Primal) -> Offset:
    """Not homogeneous: the offset follows from the rule itself."""
    return IMPLICIT


def vjp(
    *op_types: str,
    offset: OffsetOf = homogeneous,
    term: Term | None = None,
    outputs: int | None = 1,
    axes: Axes = "kept",
    since: int = 1,
) -> Callable[[Vjp], Vjp]:
    """Register a function as the rule of one or several operators."""

    def register(function: Vjp) -> Vjp:
        summary = (function.__doc__ or "").strip().splitlines()[0].rstrip(".")
        for op_type in op_types:
            _claim(op_type)
            RULES[op_type] = Rule(op_type, function, offset, term, outputs, axes, summary, since)
        return function

    return register


def elementwise(
    op_type: str,
    slope: Callable[[Emitter, Primal], gs.Tensor],
    formula: str,
    *,
    offset: OffsetOf = implicit,
    term: Term | None = None,
) -> None:
    """Register ``y = phi(x)``, position by position, by its derivative ``slope``."""

    def rule(op: Emitter, p: Primal, ct: gs.Tensor) -> Cotangents:
        return (op.Mul(ct, slope(op, p)),)

    _claim(op_type)
    RULES[op_type] = Rule(op_type, rule, offset, term, 1, "kept", formula)


def zero(reason: str, *op_types: str) -> None:
    """Register operators whose derivative is zero (or that yield no floats)."""
    for op_type in op_types:
        _claim(op_type)
        ZERO[op_type] = reason


def refuse(reason: str, *op_types: str) -> None:
    """Register operators that are refused, and why."""
    for op_type in op_types:
        _claim(op_type)
        REFUSED[op_type] = reason


def zeros(opset: int) -> frozenset[str]:
    """The operators of zero derivative whose version at an opset is known."""
    return frozenset(op_type for op_type in ZERO if is_reviewed(op_type, opset))


def status(
    op_type: str, domain: str | None = None, opset: int = REVIEWED_OPSET
) -> tuple[Status, str]:
    """Which of the five answers holds for an operator at an opset, and its formula or reason."""
    if domain not in (None, "", "ai.onnx"):
        return "unknown", f"it belongs to the custom domain `{domain}`"
    if op_type in REFUSED:
        return "refused", REFUSED[op_type]
    version, known = since(op_type, opset), is_reviewed(op_type, opset)
    if known and op_type in RULES and RULES[op_type].since <= version:
        return "rule", RULES[op_type].summary
    if known and op_type in ZERO:
        return "zero", ZERO[op_type]
    if has_body(op_type, opset):
        return "body", "through the function body of its schema"
    if op_type in RULES or op_type in ZERO:
        age = "newer" if not known else "older"
        return "unknown", f"its version of opset {version} is {age} than its rule"
    later = next((n for n in range(opset, REVIEWED_OPSET + 1) if has_body(op_type, n)), None)
    body = "" if later is None else f", but a function body since opset {later}"
    return "unknown", f"it has no VJP rule{body}"


def expanded() -> tuple[str, ...]:
    """The operators on floats that are differentiated through their function bodies."""
    newest = min(REVIEWED_OPSET, defs.onnx_opset_version())
    return tuple(
        schema.name
        for schema in sorted(defs.get_all_schemas(), key=lambda schema: schema.name)
        if not schema.domain
        and status(schema.name, opset=newest)[0] == "body"
        and any("tensor(float)" in operand.types for operand in schema.inputs)
    )


def _claim(op_type: str) -> None:
    if op_type in RULES or op_type in ZERO or op_type in REFUSED:
        raise ValueError(f"{op_type} is registered twice")
