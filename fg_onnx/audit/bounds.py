"""What the checks of a policy are made of: rules, what became of them, and what they found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fg_onnx.audit.document import Bound, Check, Finding, Outcome
from fg_onnx.audit.settings import default_settings

Array = npt.NDArray[Any]
Settings = Mapping[str, Any]
Limits = Mapping[Bound, Any]

_SEVERITIES = ("fail", "warning", "note")
_BOUNDS: Mapping[Bound, Any] = {"least": np.greater_equal, "most": np.less_equal}


@dataclass(frozen=True)
class Judged:
    """What became of a check, and the finding if there is one."""

    check: Check
    finding: Finding | None = None


@dataclass(frozen=True)
class Rule:
    """A check as the policy has it.

    Attributes:
        name: of the check.
        settings: that were given or have a default.
        required: whether it is a finding that it could not be made.
    """

    name: str
    settings: Settings
    required: bool

    def judged(
        self,
        what: str,
        measured: float | None,
        holds: bool,
        title: str,
        text: str,
        images: tuple[str, ...] = (),
        *,
        bound: Bound | None = None,
        limit: float | None = None,
    ) -> Judged:
        """A check that was made; the title, the text and the images are of its finding."""
        check = self._check("passed" if holds else "failed", what, measured, bound, limit, None)
        return Judged(check, None if holds else self._finding(check, title, text, images))

    def bounded(
        self,
        what: str,
        measured: float,
        title: str,
        text: str,
        images: tuple[str, ...] = (),
        bounds: Limits | None = None,
    ) -> Iterator[Judged]:
        """A number that is held to ``least`` and ``most``; one that is not finite holds to none.

        Args:
            what: the number is, in words.
            measured: the number.
            title: of a finding; what is wanted is added.
            text: of a finding.
            images: of a finding.
            bounds: other ones than the settings.
        """
        limits = self._limits(bounds)
        for bound, limit in limits.items():
            holds = bool(_BOUNDS[bound](measured, limit))
            words = f"{title}; at {bound} {limit:g} is wanted"
            yield self.judged(what, measured, holds, words, text, images, bound=bound, limit=limit)
        if not limits:
            yield self.unbounded(what, measured)

    def unmade(self, what: str, reason: str, hint: str, bounds: Limits | None = None) -> Judged:
        """A check for which nothing could be measured, which does not pass if it is required.

        Args:
            what: was to be measured.
            reason: why it could not be; the title of a finding.
            hint: the text of a finding.
            bounds: other ones than the settings.
        """
        limits = self._limits(bounds)
        bound, limit = next(iter(limits.items()), (None, None))
        check = self._check("not made", what, None, bound, limit, reason)
        if limit is None or not self.required:
            return Judged(check)
        return Judged(check, self._finding(check, reason, hint, ()))

    def unbounded(self, what: str, measured: float | None = None) -> Judged:
        """A number that is told, and held to nothing."""
        reason = "The policy sets no limit"
        return Judged(self._check("not made", what, measured, None, None, reason))

    def off(self) -> Judged:
        """A check that the policy turns off."""
        return Judged(self._check("not made", "", None, None, None, "The policy turns it off"))

    def _limits(self, bounds: Limits | None) -> dict[Bound, float]:
        """Those that are set."""
        held = {each: self.settings.get(each) for each in _BOUNDS} if bounds is None else bounds
        return {bound: limit for bound, limit in held.items() if limit is not None}

    def _check(
        self,
        outcome: Outcome,
        what: str,
        measured: float | None,
        bound: Bound | None,
        limit: float | None,
        reason: str | None,
    ) -> Check:
        return Check(
            name=self.name,
            what=what,
            outcome=outcome,
            severity=self.settings["severity"],
            measured=measured,
            bound=bound,
            limit=None if limit is None else float(limit),
            reason=reason,
            finding=None,
        )

    def _finding(self, check: Check, title: str, text: str, images: tuple[str, ...]) -> Finding:
        return Finding(self.name, check.severity, title, text, check.measured, check.limit, images)


def rules(
    schema: Mapping[str, Any], policy: Mapping[str, Any], checks: Mapping[str, Settings]
) -> Iterator[tuple[Rule, bool]]:
    """Every check that there is, and whether it is on.

    What is off unless it is named is on here without limits, so that it tells its number.

    Args:
        schema: of the policy.
        policy: as it was given.
        checks: that are on, with their settings.
    """
    for name in schema["properties"]:
        defaults = default_settings(schema, name)
        unlimited = {key: value for key, value in defaults.items() if key not in _BOUNDS}
        rule = Rule(name, checks.get(name, unlimited), name in policy)
        yield rule, policy.get(name) is not False


def settle(
    notes: Iterable[Finding], judged: Sequence[Judged]
) -> tuple[tuple[Check, ...], tuple[Finding, ...]]:
    """The checks in order, each with the place of its finding, and the findings by severity."""
    found = [*notes, *(each.finding for each in judged if each.finding is not None)]
    found.sort(key=lambda each: _SEVERITIES.index(each.severity))
    places = {id(finding): place for place, finding in enumerate(found)}
    checks = [
        dataclasses.replace(each.check, finding=places.get(id(each.finding))) for each in judged
    ]
    return tuple(checks), tuple(found)


Names = Callable[[Array], tuple[str, ...]]
"""The names of images by their numbers, at most as many as are listed."""


def incomplete(
    rule: Rule, residuals: Array, sound: Array, tolerance: float, names: Names, of: str = ""
) -> Judged:
    """Whether all explanations add up.

    Args:
        rule: the check.
        residuals: of every image; not a number holds to no limit.
        sound: whether each image could be read and run.
        tolerance: where the rule has no limit.
        names: of images.
        of: which model, where there are several.
    """
    limit = rule.settings.get("most", tolerance)
    bad = sound & ~(residuals <= limit)
    worst = worst_first(np.where(np.isnan(residuals), np.inf, residuals), sound)
    owner = f" of {of}" if of else ""
    return rule.judged(
        f"largest residual{owner}",
        float(residuals[worst[0]]),
        not bad.any(),
        f"{counted(int(bad.sum()), 'explanation')}{owner} not complete",
        "The contributions do not add up to the score, or are not finite: the numbers and maps "
        "of these images explain nothing. See `fg-onnx verify`.",
        names(worst[: int(bad.sum())]),
        bound="most",
        limit=limit,
    )


def broken(rule: Rule, reasons: Mapping[int, str], images: int, names: Names) -> Judged:
    """Whether few enough images cannot be read or run; ``reasons`` says of these why."""
    share, most = len(reasons) / images, rule.settings["most"]
    first = next(iter(reasons.values()), "")
    return rule.judged(
        "share of images that cannot be read or run",
        share,
        share <= most,
        f"{counted(len(reasons), 'image')} could not be read or run",
        f"The first: {first}. Mend or remove them; they are in no other number.",
        names(np.array([*reasons], np.int64)),
        bound="most",
        limit=most,
    )


class Labelled(Protocol):
    """What is known of the images' labels."""

    @property
    def truths(self) -> Array | None:
        """The class of every image, None without labels."""

    @property
    def sound(self) -> Array:
        """Whether each image could be read and run."""

    @property
    def labelled(self) -> Array:
        """Whether each of these has a label."""


def unlabelled(check: str, summary: Labelled, names: Names) -> Iterator[Finding]:
    """A note where there are labels, and some images that could be read have none."""
    without = np.flatnonzero(summary.sound & ~summary.labelled)
    if summary.truths is not None and len(without):
        yield Finding(
            check,
            "note",
            f"{counted(len(without), 'image')} without a label",
            "The accuracy is that of the others.",
            float(len(without)),
            None,
            names(without),
        )


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
