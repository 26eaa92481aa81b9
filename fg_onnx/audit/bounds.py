"""What the checks of a policy are made of: bounds, findings, and the images that these name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.audit.document import Finding

Array = npt.NDArray[Any]
Settings = Mapping[str, Any]

_SEVERITIES = ("fail", "warning", "note")


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those that fail first, else in order."""
    return tuple(sorted(findings, key=lambda each: _SEVERITIES.index(each.severity)))


def bounded(
    check: str,
    settings: Settings,
    bounds: Mapping[str, Any],
    measured: float,
    title: str,
    text: str,
    images: tuple[str, ...] = (),
) -> Iterator[Finding]:
    """A finding where a number is beyond a bound; one that is not finite is."""
    for key, holds in (("least", np.greater_equal), ("most", np.less_equal)):
        limit = bounds.get(key)
        if limit is not None and not holds(measured, limit):
            words = f"{'at least' if key == 'least' else 'at most'} {limit:g} is wanted"
            yield finding(check, settings, f"{title}; {words}", text, measured, limit, images)


def finding(
    check: str,
    settings: Settings,
    title: str,
    text: str,
    measured: float | None,
    limit: float | None,
    images: tuple[str, ...],
) -> Finding:
    """A finding of the severity that the policy gives the check."""
    bound = None if limit is None else float(limit)
    return Finding(check, settings["severity"], title, text, measured, bound, images)


def unmeasured(check: str, settings: Settings, title: str, text: str, limit: float) -> Finding:
    """A number that the policy wants could not be had, which does not pass."""
    return finding(check, settings, title, text, None, limit, ())


def worst_first(values: Array, chosen: Array) -> Array:
    """The numbers of the chosen images, the largest values first, ties in order."""
    numbers = np.flatnonzero(chosen)
    return numbers[np.argsort(-values[numbers], kind="stable")]


def counted(count: int, noun: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(names: Sequence[str], most: int = 8) -> str:
    """The first of some names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
