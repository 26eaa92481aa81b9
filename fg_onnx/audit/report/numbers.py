"""Numbers with as many digits as say something."""

from __future__ import annotations

import math
from collections.abc import Sequence

NONE = "–"
_MINUS = str.maketrans({"-": "−"})
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def count(value: int) -> str:
    """``12,345``."""
    return f"{value:,}"


def counted(value: int, one: str, many: str | None = None) -> str:
    """``1 image``, ``12,345 images``."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def number(value: float | None) -> str:
    """Three significant digits; powers of ten where zeros would have to be counted."""
    if value is None:
        return NONE
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e6:
        digits, _, power = f"{value:.1e}".partition("e")
        raised = str(int(power)).translate(_RAISED)
        return f"{digits.removesuffix('.0').translate(_MINUS)}×10{raised}"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    written = f"{value:,.{places}f}"
    return (written.rstrip("0").rstrip(".") if places else written).translate(_MINUS)


def percent(share: float | None) -> str:
    """``12.3%``; what is not 0 does not read as 0, nor what is not all as 100."""
    if share is None or not math.isfinite(share):
        return NONE
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{100 * share:.1f}%".translate(_MINUS)


def column(values: Sequence[float]) -> list[str]:
    """Numbers below each other, with the same decimals: three digits of the largest."""
    sizes = [abs(value) for value in values if math.isfinite(value) and value != 0]
    if not sizes or not 1e-3 <= max(sizes) < 1e6:
        return [number(value) for value in values]
    places = min(6, max(0, 2 - math.floor(math.log10(max(sizes)))))
    return [
        f"{value:,.{places}f}".translate(_MINUS) if math.isfinite(value) else number(value)
        for value in values
    ]
