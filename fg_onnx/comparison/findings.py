"""The checks of a policy on what was compared: what does not hold is a finding."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.audit.bounds import (
    Judged,
    Limits,
    Rule,
    broken,
    counted,
    incomplete,
    listed,
    rules,
    settle,
    unlabelled,
    worst_first,
)
from fg_onnx.audit.document import Bound, Check, Finding
from fg_onnx.audit.items import Item
from fg_onnx.comparison.measures import MEASURES
from fg_onnx.comparison.pair import Pair
from fg_onnx.comparison.policy import Policy, schema
from fg_onnx.comparison.summary import WORST, Summary

Array = npt.NDArray[Any]

_OF_MAPS = ("spearman", "ssim", "top", "shift")


@dataclass(frozen=True, eq=False)
class Facts:
    """What the checks look at.

    Attributes:
        items: the images.
        pair: the models.
        summary: of all images.
        reasons: of the broken ones, by number.
        names: of the classes, None where they are not known.
        labels_unused: names in the labels file that stand for no image.
        listed: how many images a finding names at most.
    """

    items: Sequence[Item]
    pair: Pair
    summary: Summary
    reasons: Mapping[int, str]
    names: Sequence[str] | None
    labels_unused: Sequence[str]
    listed: int

    def of(self, worst: Array | Sequence[int]) -> tuple[str, ...]:
        """The names of images by their numbers, at most as many as are listed."""
        return tuple(self.items[int(number)].name for number in worst[: self.listed])

    def label(self, target: int) -> str:
        """A class in words."""
        known = self.names is not None and target < len(self.names)
        return self.names[target] if known and self.names else f"class {target}"


def find(facts: Facts, policy: Policy) -> tuple[tuple[Check, ...], tuple[Finding, ...]]:
    """Every check in the order of the schema, and what does not hold, what fails first."""
    judged: list[Judged] = []
    for rule, on in rules(schema(), policy.given, policy.checks):
        # what is not asked for is no reason to fail where there is nothing to compare
        required = rule.required or (facts.pair.has_maps and rule.name in _OF_MAPS)
        known = dataclasses.replace(rule, required=required)
        judged += CHECKS[rule.name](facts, known) if on else [rule.off()]
    return settle(_notes(facts), judged)


def _notes(facts: Facts) -> Iterator[Finding]:
    if facts.labels_unused:
        yield Finding(
            "accuracy",
            "note",
            f"{counted(len(facts.labels_unused), 'name')} in --labels stand for no image",
            f"The first is {facts.labels_unused[0]}. Check the spelling, or leave them out.",
            float(len(facts.labels_unused)),
            None,
            (),
        )
    yield from unlabelled("accuracy", facts.summary, facts.of)
    if not facts.pair.has_maps:
        why = "A model has no map: its input has no grid, or it was instrumented without."
        yield Finding("maps", "warning", "No maps were compared", why, None, None, ())
    seen = facts.summary.column("seen")
    parts = worst_first(-seen, seen < 1)
    if len(parts):
        yield Finding(
            "maps",
            "note",
            f"The models see different parts of {counted(len(parts), 'image')}",
            "Their preprocessings crop otherwise: maps are compared where both see. The measure is "
            "the least area that both see, as a share of what either sees.",
            float(seen[parts[0]]),
            None,
            facts.of(parts),
        )
    shared = len(facts.pair.matches) - 1
    sites = [len(each.session.manifest.sites) for each in (facts.pair.a, facts.pair.b)]
    if shared < max(sites):
        covered = facts.summary.covered
        yield Finding(
            "matched",
            "note",
            f"{counted(shared, 'site')} in both, of {sites[0]} in A and {sites[1]} in B",
            "Contributions are compared where sites match. The measure is the share of what "
            "matches, the input among it, in A's sum of magnitudes.",
            covered,
            None,
            (),
        )


def _residual(facts: Facts, rule: Rule) -> Iterator[Judged]:
    sound = facts.summary.sound
    for side, opened in (("a", facts.pair.a), ("b", facts.pair.b)):
        values = facts.summary.column(f"residual_{side}")
        yield incomplete(rule, values, sound, opened.session.tolerance, facts.of, side.upper())


def _broken(facts: Facts, rule: Rule) -> Iterator[Judged]:
    yield broken(rule, facts.reasons, len(facts.items), facts.of)


def _maps(facts: Facts, rule: Rule) -> Iterator[Judged]:
    what, most = "share of images with a map in one model alone", rule.settings["most"]
    if not facts.pair.has_maps:
        yield rule.unmade(what, *_unlike("maps"))
        return
    lone = np.flatnonzero(facts.summary.lone)
    share = len(lone) / int(facts.summary.sound.sum())
    in_a = int((facts.summary.column("map_a")[lone] == 1).sum())
    yield rule.judged(
        what,
        share,
        share <= most,
        f"{counted(len(lone), 'image')} with a map in one model alone",
        f"{in_a} in A and {len(lone) - in_a} in B; the other's map is even or not finite. They "
        "are in no measure of maps.",
        facts.of(lone),
        bound="most",
        limit=most,
    )


def _labels(facts: Facts, rule: Rule) -> Iterator[Judged]:
    what = "classes with two names"
    a, b = (each.session.manifest.labels for each in (facts.pair.a, facts.pair.b))
    if a is None or b is None:
        yield rule.unmade(what, *_unlike("labels"), {"most": 0})
        return
    wrong = [at for at, (one, other) in enumerate(zip(a, b, strict=True)) if one != other]
    named = [f"{at} is {a[at]} in A and {b[at]} in B" for at in wrong]
    yield rule.judged(
        what,
        float(len(wrong)),
        not wrong,
        f"{len(wrong)} classes have another name",
        f"{listed(named, 3)}. The models do not mean the same by the same number.",
        bound="most",
        limit=0,
    )


def _unlike(name: str) -> tuple[str, str]:
    """What is said where a model has none of what is compared."""
    text = "The policy names them, and a model has none. Leave them out."
    return f"The {name} could not be compared", text


def _agreement(facts: Facts, rule: Rule) -> Iterator[Judged]:
    summary = facts.summary
    apart = worst_first(summary.column("score"), summary.sound & ~summary.same)
    yield from rule.bounded(
        "share of images of which both predict the same class",
        summary.agreement,
        f"Both predict the same class of {summary.agreement:.1%} of the images",
        "Of the others those whose scores differ most are listed first.",
        facts.of(apart),
    )


def _classes(facts: Facts, rule: Rule) -> Iterator[Judged]:
    what, least = "least agreement of a class", rule.settings.get("least")
    same = facts.summary.same
    shares = {
        target: float(same[own].mean())
        for target, own in facts.summary.by_class()
        if own.sum() >= rule.settings["images"]
    }
    if not shares:
        few = f"No class has {rule.settings['images']} images"
        yield rule.unmade(
            what, few, "Give more images, or look at smaller classes with the key `images`."
        )
        return
    lowest = min(shares.values())
    if least is None:
        yield rule.unbounded(what, lowest)
        return
    low = sorted((share, target) for target, share in shares.items() if share < least)
    named = [f"{facts.label(target)} {share:.0%}" for share, target in low]
    beside = np.isin(facts.summary.targets[0], [target for _, target in low]) & ~same
    yield rule.judged(
        what,
        lowest,
        not low,
        f"In {len(low)} classes B agrees too seldom",
        f"{listed(named)}. They are counted by A's prediction.",
        facts.of(np.flatnonzero(beside)),
        bound="least",
        limit=least,
    )


def _accuracy(facts: Facts, rule: Rule) -> Iterator[Judged]:
    what = "accuracy that B loses against A"
    a, b = facts.summary.accuracy(0), facts.summary.accuracy(1)
    if a is None or b is None:
        yield rule.unmade(what, "No image has a label", "Give --labels.")
        return
    lost = np.flatnonzero(facts.summary.right(0) & ~facts.summary.right(1))
    yield from rule.bounded(
        what,
        a - b,
        f"A is right on {a:.1%} of the labelled images, and B on {b:.1%}",
        "Those that A alone predicts right are listed.",
        facts.of(lost),
    )


def _measure(name: str, noun: str, text: str) -> Callable[[Facts, Rule], Iterator[Judged]]:
    """A check of a measure's mean, median and worst value."""
    word: Bound = "least" if MEASURES[name] == "high" else "most"

    def check(facts: Facts, rule: Rule) -> Iterator[Judged]:
        values = facts.summary.column(name)
        known = values[np.isfinite(values)]
        limits = {key: rule.settings.get(f"{word}{key}") for key in ("", "_median", "_worst")}
        asked = [limit for limit in limits.values() if limit is not None]
        if not len(known):
            first: Limits = {word: asked[0]} if asked else {}
            yield rule.unmade(noun, f"No image has the {noun}", text, first)
            return
        worst = facts.summary.worst(name)
        assert worst is not None
        found = {
            "": (f"mean {noun}", f"The mean {noun} is", float(known.mean())),
            "_median": (f"median {noun}", f"The median {noun} is", float(np.median(known))),
            "_worst": (
                f"worst {WORST} % of the {noun}",
                f"Of {WORST} % of the images the {noun} is no better than",
                worst,
            ),
        }
        images = facts.of(facts.summary.worst_images(name, facts.listed))
        for key, (what, told, measured) in found.items():
            bounds: Limits = {word: limits[key]}
            title = f"{told} {measured:.3f}"
            yield from rule.bounded(what, measured, title, text, images, bounds)

    return check


def _matched(facts: Facts, rule: Rule) -> Iterator[Judged]:
    covered = facts.summary.covered
    yield from rule.bounded(
        "share of what matches in A's sum of magnitudes",
        float("nan") if covered is None else covered,
        "Too little of the contributions can be compared",
        "Sites match by name and kind: export both models so that nodes keep their names.",
    )


CHECKS: Mapping[str, Callable[[Facts, Rule], Iterator[Judged]]] = MappingProxyType(
    {
        "residual": _residual,
        "broken": _broken,
        "maps": _maps,
        "labels": _labels,
        "agreement": _agreement,
        "classes": _classes,
        "accuracy": _accuracy,
        "score": _measure(
            "score",
            "change of the score",
            "The scores of the class that A predicts are further apart than the policy allows.",
        ),
        "output": _measure(
            "output",
            "change of the outputs",
            "The outputs are further apart than the policy allows.",
        ),
        "spearman": _measure(
            "spearman",
            "rank correlation of the maps",
            "The models do not look at the same pixels in the same order.",
        ),
        "ssim": _measure(
            "ssim",
            "structural similarity of the maps",
            "The maps have another structure.",
        ),
        "top": _measure(
            "top",
            "overlap of the maps' tops",
            "The pixels that matter most are others.",
        ),
        "shift": _measure(
            "shift",
            "shift of the maps' centres",
            "What the models look at lies elsewhere, in sides of the map.",
        ),
        "drift": _measure(
            "drift",
            "drift of the contributions",
            "What drives the scores lies in other layers, or has another size.",
        ),
        "matched": _matched,
    }
)
