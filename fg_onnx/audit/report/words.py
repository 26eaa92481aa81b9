"""What every form of the report says in the same words."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from fg_onnx.audit.document import Bound, Check, Document, Finding, Severity, Verdict
from fg_onnx.audit.report.numbers import NONE, count, counted, number

SEVERITIES: Mapping[Severity, str] = MappingProxyType(
    {"fail": "Fail", "warning": "Warning", "note": "Note"}
)
_OUTCOMES = ("passed", "failed", "warning", "note", "not made")
BOUNDS: Mapping[Bound, str] = MappingProxyType({"least": "at least", "most": "at most"})
VERDICTS: Mapping[Verdict, str] = MappingProxyType({"pass": "Pass", "fail": "Fail"})
KINDS: Mapping[str, str] = MappingProxyType(
    {
        "input": "Input",
        "bias": "Bias",
        "batchnorm": "BatchNorm",
        "implicit": "Implicit",
    }
)
"""The kinds of contributions, in the order of the paper's decomposition."""


class Named(Protocol):
    """An image that is shown."""

    @property
    def name(self) -> str:
        """Of the image."""


class Capped(Protocol):
    """Settings of a report."""

    @property
    def shown(self) -> int:
        """How many images have pictures at most."""


class Reported(Protocol):
    """What every document has that a report is made of."""

    @property
    def verdict(self) -> Verdict:
        """``fail`` if a finding fails."""

    @property
    def settings(self) -> Capped:
        """How it was done."""

    @property
    def images(self) -> int:
        """How many were looked at."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Those that fail first."""

    @property
    def checks(self) -> tuple[Check, ...]:
        """All of them."""

    @property
    def rows(self) -> Sequence[Named]:
        """The images that are shown."""


def summary(document: Reported) -> str:
    """``2 checks fail, 1 warning, 3 notes``."""
    found = Counter(finding.severity for finding in document.findings)
    if not found:
        return "nothing was found"
    fails = f"{counted(found['fail'], 'check')} {'fails' if found['fail'] == 1 else 'fail'}"
    parts = [fails] if found["fail"] else ["no check fails"]
    parts += [counted(found[kind], kind) for kind in ("warning", "note") if found[kind]]
    return ", ".join(parts)


def outcome(check: Check) -> str:
    """What became of a check; one that fails the verdict is told from one that warns."""
    warns = check.outcome == "failed" and check.severity != "fail"
    return check.severity if warns else check.outcome


def outcomes(document: Reported) -> str:
    """``12 checks: 10 passed, 2 not made``."""
    found = Counter(map(outcome, document.checks))
    parts = [f"{count(found[each])} {each}" for each in _OUTCOMES if found[each]]
    return f"{counted(len(document.checks), 'check')}: {', '.join(parts)}"


def limit(check: Check) -> str:
    """``at most 0.01``."""
    return NONE if check.bound is None else f"{BOUNDS[check.bound]} {number(check.limit)}"


def compared(measured: float | None, limit: float | None) -> str:
    """``measured 0.012, limit 0.01``; empty without numbers."""
    parts = []
    if measured is not None:
        parts.append(f"measured {number(measured)}")
    if limit is not None:
        parts.append(f"limit {number(limit)}")
    return ", ".join(parts)


def of_class(index: int | None, label: str | None) -> str:
    """A class by its name, else by its index."""
    return label if label is not None else NONE if index is None else f"class {index}"


def shown(document: Reported) -> str:
    """Which images have pictures, and where the others are."""
    rows = len(document.rows)
    if rows >= document.images:
        return f"All {counted(document.images, 'image')}."
    return (
        f"{count(rows)} of {counted(document.images, 'image')}: the worst of every finding first, "
        f"then a sample of the rest, {count(document.settings.shown)} at most. The numbers of all "
        "images are in the Parquet file beside this report."
    )


def folder(document: Reported) -> str:
    """The folder that all images lie in, with its slash, to be left out of their names."""
    names = {row.name for row in document.rows}
    names.update(name for finding in document.findings for name in finding.images)
    folders = [name.replace("\\", "/").split("/")[:-1] for name in names]
    common = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
    return next(iter(names), "")[: sum(len(parts[0]) + 1 for parts in common)]


def by_kind(document: Document) -> dict[str, float]:
    """The mean share of each kind in the sum of magnitudes, in the order of `KINDS`."""
    shares = dict.fromkeys(KINDS, 0.0)
    for layer in document.layers:
        shares[layer.kind] = shares.get(layer.kind, 0.0) + layer.share
    return shares
