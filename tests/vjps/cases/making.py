"""How the cases of the VJP rules are made: one-node models.

`exact` cases are polynomials of degree 2 or less in all their active operands together, `curved`
ones are not (harness.py says what follows for the step and the tolerance). The values of live
operands stay off the kinks; what happens at a kink is the matter of test_kinks.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..harness import Case, Live, Operand


def exact(op_type: str, *operands: Operand, note: str = "", **settings: Any) -> Case:
    """A case of degree 2 or less; settings that `Case` has not are attributes of the node."""
    return _case(op_type, operands, note, settings, exact=True)


def curved(op_type: str, *operands: Operand, note: str = "", **settings: Any) -> Case:
    """Any other case."""
    return _case(op_type, operands, note, settings, exact=False)


_SETTINGS = ("opset", "outputs", "used", "runtime")


def _case(
    op_type: str, operands: tuple[Operand, ...], note: str, settings: dict[str, Any], *, exact: bool
) -> Case:
    own = {name: settings.pop(name) for name in _SETTINGS if name in settings}
    return Case(op_type, operands, settings, note, exact=exact, **own)


def live(*shape: int, **how: Any) -> Live:
    return Live(shape, **how)


def positive(*shape: int) -> Live:
    return Live(shape, low=0.5, high=2.0)


def distinct(*shape: int, **how: Any) -> Live:
    return Live(shape, values="distinct", **how)


def whole(shift: float, *shape: int) -> Live:
    """Operands with different fractional parts are nowhere near a tie."""
    return Live(shape, low=-3, high=3, values="whole", shift=shift)


def weight(*shape: int) -> np.ndarray:
    """Multiples of 1/8 between -1 and 1, none 0, the same for the same shape."""
    generator = np.random.default_rng(shape)
    return generator.choice([-1, 1], shape) * generator.integers(1, 8, shape, endpoint=True) / 8.0
