"""The checks of a policy on what was measured: what does not hold is a finding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.audit.bounds import (
    Judged,
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
from fg_onnx.audit.document import Check, Finding, ModelCard
from fg_onnx.audit.items import Item
from fg_onnx.audit.policy import Policy, schema
from fg_onnx.audit.sampled import Sampled
from fg_onnx.audit.summary import Summary

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Facts:
    """What the checks look at.

    Attributes:
        items: the images.
        card: of the model.
        without_bias: sites whose trained offset is 0.
        summary: of all images.
        outliers: of every image.
        reasons: of the broken ones, by number.
        tolerance: of the residual, where the policy names none.
        sampled: what was done to a sample.
        labels_unused: names in the labels file that stand for no image.
        boxes_unused: likewise, of the boxes.
        marked: whether there are boxes or a mask of each image, broken ones not among them.
        listed: how many images a finding names at most.
    """

    items: Sequence[Item]
    card: ModelCard
    without_bias: frozenset[str]
    summary: Summary
    outliers: Array
    reasons: Mapping[int, str]
    tolerance: float
    sampled: Sampled
    labels_unused: Sequence[str]
    boxes_unused: Sequence[str]
    marked: Array
    listed: int

    def names(self, worst: Array | Sequence[int]) -> tuple[str, ...]:
        """Of images by their numbers, at most as many as are listed."""
        return tuple(self.items[int(number)].name for number in worst[: self.listed])


def find(facts: Facts, policy: Policy) -> tuple[tuple[Check, ...], tuple[Finding, ...]]:
    """Every check in the order of the schema, and what does not hold, what fails first."""
    judged: list[Judged] = []
    for rule, on in rules(schema(), policy.given, policy.checks):
        judged += CHECKS[rule.name](facts, rule) if on else [rule.off()]
    return settle(_notes(facts), judged)


def _notes(facts: Facts) -> Iterator[Finding]:
    yield from unlabelled("labels", facts.summary, facts.names)
    for what, unused in (("labels", facts.labels_unused), ("boxes", facts.boxes_unused)):
        if unused:
            yield Finding(
                what,
                "note",
                f"{counted(len(unused), 'name')} in --{what} without an image",
                f"The first is {unused[0]}. Check the spelling, or leave them out.",
                float(len(unused)),
                None,
                (),
            )
    unseen = np.flatnonzero(facts.marked & np.isnan(facts.summary.column("inside")))
    if len(unseen):
        yield Finding(
            "boxes",
            "note",
            f"Nothing that was marked in {counted(len(unseen), 'image')} is measured",
            "The boxes or masks lie outside what the model sees, or there is no flat map: these "
            "images are in no number of what is inside.",
            float(len(unseen)),
            None,
            facts.names(unseen),
        )
    for name, reason in facts.sampled.reasons.items():
        title = "A check on a sample could not be made"
        yield Finding("sample", "note", title, f"{name}: {reason}.", None, None, ())


_NEEDS = "The policy names it. Leave it out, or see docs/audit.md for what it needs."


def _residual(facts: Facts, rule: Rule) -> Iterator[Judged]:
    values, sound = facts.summary.column("residual"), facts.summary.sound
    yield incomplete(rule, values, sound, facts.tolerance, facts.names)


def _broken(facts: Facts, rule: Rule) -> Iterator[Judged]:
    yield broken(rule, facts.reasons, len(facts.items), facts.names)


def _accuracy(facts: Facts, rule: Rule) -> Iterator[Judged]:
    what, summary = "share of labelled images predicted right", facts.summary
    if summary.truths is not None:
        labelled = float(summary.labelled.sum() / summary.sound.sum())
        yield from rule.bounded(
            "share of images with a label",
            labelled,
            f"{labelled:.1%} of the images have a label",
            "The accuracy is that of the others: label more images, or leave them out.",
            bounds={"least": rule.settings["labelled"] or None},
        )
    accuracy, least = summary.accuracy, rule.settings.get("least")
    if accuracy is None:
        yield rule.unmade(what, "No image has a label", "Give --labels.")
    elif least is None:
        yield rule.unbounded(what, accuracy)
    else:
        yield rule.judged(
            what,
            accuracy,
            accuracy >= least,
            f"Accuracy is {accuracy:.1%}",
            "Fewer predictions agree with the labels than the policy wants; those with the highest "
            "scores are listed.",
            facts.names(worst_first(summary.column("score"), summary.labelled & ~summary.right)),
            bound="least",
            limit=least,
        )


def _shares(facts: Facts, rule: Rule) -> Iterator[Judged]:
    for kind, share in facts.summary.kind_shares().items():
        yield from rule.bounded(
            f"mean share of the {kind} terms",
            share,
            f"The mean share of the {kind} terms is {share:.1%}",
            "What drives the scores is spread over the terms otherwise than the policy wants.",
            bounds=rule.settings.get(kind, {}),
        )


def _bias_driven(facts: Facts, rule: Rule) -> Iterator[Judged]:
    values, below = facts.summary.column("input"), rule.settings["below"]
    what = f"share of images whose input term has less than {below:.1%}"
    known = int(np.isfinite(values).sum())
    if not known:
        yield rule.unmade(what, "No image has a share of its input term", _NEEDS)
        return
    driven, most = worst_first(-values, values < below), rule.settings["most"]
    share = len(driven) / known
    yield rule.judged(
        what,
        share,
        share <= most,
        f"{counted(len(driven), 'prediction')} driven by biases",
        f"The input term has less than {below:.1%} of the sum of magnitudes: these "
        "scores come from what the layers add, within the region that the input selects. Within "
        "the term products of both signs cancel: single pixels may count all the same.",
        facts.names(driven),
        bound="most",
        limit=most,
    )


def _mean_of(
    name: str, what: str, title: str, text: str, sign: int
) -> Callable[[Facts, Rule], Iterator[Judged]]:
    """A check of a measure's mean; those listed have the largest, or with -1 the least."""

    def check(facts: Facts, rule: Rule) -> Iterator[Judged]:
        values = facts.summary.column(name)
        known = np.isfinite(values)
        if not known.any():
            if name in ("inside", "pointing"):
                none, hint = "No image has boxes that the model sees", "Give --boxes."
            else:
                none, hint = "No image has a flat map", _NEEDS
            yield rule.unmade(what, none, hint)
            return
        mean = float(values[known].mean())
        worst = facts.names(worst_first(sign * values, known))
        yield from rule.bounded(what, mean, f"{title} {mean:.3f}", text, worst)

    return check


def _outliers(facts: Facts, rule: Rule) -> Iterator[Judged]:
    what = f"share of images beyond {rule.settings['distance']:g} deviations of their class"
    known = int(np.isfinite(facts.outliers).sum())
    if not known:
        few = f"No class has maps of {rule.settings['images']} images"
        yield rule.unmade(what, few, _NEEDS)
        return
    beyond, most = worst_first(facts.outliers, facts.outliers > 1), rule.settings["most"]
    share = len(beyond) / known
    yield rule.judged(
        what,
        share,
        share <= most,
        f"{counted(len(beyond), 'image')} explained unlike their class",
        "Their maps lie far from the mean map of what they are predicted to be. Look for "
        "shortcuts, wrong crops and wrong predictions.",
        facts.names(beyond),
        bound="most",
        limit=most,
    )


def _dead(facts: Facts, rule: Rule) -> Iterator[Judged]:
    share, most = rule.settings["images"], rule.settings["most"]
    dead = [
        f"{quiet.activation.op} {quiet.activation.name}"
        for quiet in facts.summary.quiet(1.0)
        if quiet.dead >= share
    ]
    silent = [
        f"{layer.kind} {layer.name}"
        for layer in facts.summary.layers()
        if layer.silent >= share
        and layer.kind in ("bias", "batchnorm")
        and layer.name not in facts.without_bias
    ]
    told = [
        f"activations whose every value is at the low end: {listed(dead)}" if dead else "",
        f"biases whose contribution is exactly 0: {listed(silent)}" if silent else "",
    ]
    count = len(dead) + len(silent)
    yield rule.judged(
        f"layers that are dead in {share:.0%} of the images",
        float(count),
        count <= most,
        f"{counted(count, 'layer')} dead",
        f"In at least {share:.0%} of the images no gradient passes: "
        f"{'; '.join(filter(None, told))}. They can be removed, or training failed there.",
        bound="most",
        limit=most,
    )


def _saturated(facts: Facts, rule: Rule) -> Iterator[Judged]:
    values, images, most = (rule.settings[key] for key in ("values", "images", "most"))
    found = [
        f"{quiet.activation.op} {quiet.activation.name}"
        for quiet in facts.summary.quiet(values)
        if quiet.saturated >= images and quiet.dead < images and quiet.activation.op != "Relu"
    ]
    yield rule.judged(
        f"activations with {values:.0%} of their values at an end in {images:.0%} of the images",
        float(len(found)),
        len(found) <= most,
        f"{counted(len(found), 'activation')} saturated",
        f"At least {values:.0%} of their values lie at a flat end in at least {images:.0%} of the "
        f"images: {listed(found)}. What comes before them hardly counts.",
        bound="most",
        limit=most,
    )


def _perturbation(facts: Facts, rule: Rule) -> Iterator[Judged]:
    quotient, percent = facts.sampled.perturbation, rule.settings["percent"]
    what = f"change by the {percent:g} % least salient pixels over that by chance"
    if quotient is None:
        yield rule.unmade(what, _why(facts, rule.name), _NEEDS)
        return
    yield from rule.bounded(
        what,
        quotient,
        f"Removing what is least salient moves the score by {quotient:.2f} of chance",
        f"{percent:g} % of the pixels are removed, by salience and at random. Near or above 1 the "
        "maps do not tell which pixels do not count.",
    )


def _randomization(facts: Facts, rule: Rule) -> Iterator[Judged]:
    alike = facts.sampled.randomization
    what = "rank correlation with the maps of a random model"
    if alike is None:
        yield rule.unmade(what, _why(facts, rule.name), _NEEDS)
        return
    yield from rule.bounded(
        what,
        alike,
        f"Maps of a random model correlate with the model's by {alike:.2f}",
        "Spearman's correlation with all parameters drawn anew. Maps that stay as they are do "
        "not show what was learned.",
    )


def _why(facts: Facts, name: str) -> str:
    reason = facts.sampled.reasons.get(name, "no image is in the sample")
    return reason[:1].upper() + reason[1:]


def _model(facts: Facts, rule: Rule) -> Iterator[Judged]:
    card, settings = facts.card, rule.settings
    if "sha256" in settings:
        yield rule.judged(
            "sha256 among those that pass",
            None,
            card.sha256 in settings["sha256"],
            "Another model",
            f"Its sha256 is {card.sha256}.",
        )
    if "operators" in settings or "forbidden" in settings:
        allowed = settings.get("operators", list(card.operators))
        forbidden = settings.get("forbidden", [])
        wrong = [op for op in card.operators if op not in allowed or op in forbidden]
        yield rule.judged(
            "operators that are not allowed",
            float(len(wrong)),
            not wrong,
            f"{counted(len(wrong), 'operator')} not allowed",
            f"The model has {listed(wrong)}. Export it otherwise, or allow them.",
            bound="most",
            limit=0,
        )
    yield from rule.bounded(
        "opset",
        float(card.opset),
        f"The opset is {card.opset}",
        "Export the model with another one.",
        bounds={"least": settings.get("least_opset"), "most": settings.get("most_opset")},
    )


CHECKS: Mapping[str, Callable[[Facts, Rule], Iterator[Judged]]] = {
    "residual": _residual,
    "broken": _broken,
    "accuracy": _accuracy,
    "shares": _shares,
    "bias_driven": _bias_driven,
    "concentration": _mean_of(
        "concentration",
        "mean concentration",
        "The mean concentration is",
        "Maps are more even, or more pointed, than the policy wants.",
        1,
    ),
    "border": _mean_of(
        "border",
        "mean share on the border",
        "The mean share on the border is",
        "The model looks at the edges: frames, watermarks, padding.",
        1,
    ),
    "inside": _mean_of(
        "inside",
        "mean share inside",
        "The mean share inside is",
        "The model looks beside what was marked.",
        -1,
    ),
    "pointing": _mean_of(
        "pointing",
        "share of hits",
        "The share of hits is",
        "The largest value of the map lies beside what was marked.",
        -1,
    ),
    "outliers": _outliers,
    "dead": _dead,
    "saturated": _saturated,
    "perturbation": _perturbation,
    "randomization": _randomization,
    "model": _model,
}
