"""The checks of a policy on what was measured: what does not hold is a finding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.audit.bounds import (
    Settings,
    bounded,
    by_severity,
    counted,
    finding,
    listed,
    unmeasured,
    worst_first,
)
from fg_onnx.audit.document import Finding, ModelCard
from fg_onnx.audit.items import Item
from fg_onnx.audit.policy import Policy
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
    listed: int

    def names(self, worst: Array | Sequence[int]) -> tuple[str, ...]:
        """Of images by their numbers, at most as many as are listed."""
        return tuple(self.items[int(number)].name for number in worst[: self.listed])


def find(facts: Facts, policy: Policy) -> tuple[Finding, ...]:
    """What does not hold, those that fail first."""
    found = [*_notes(facts)]
    for name, settings in policy.checks.items():
        found += CHECKS[name](facts, settings)
        if name in policy.given and name in _MEASURED:
            found += _missing(name, facts, settings)
    return by_severity(found)


def _missing(name: str, facts: Facts, settings: Settings) -> Iterator[Finding]:
    """A finding where the policy names a check, and there is nothing that it could be held to."""
    limit = settings.get("least", settings.get("most"))
    if limit is not None and not np.isfinite(_MEASURED[name](facts)).any():
        title = f"The {name} could not be measured"
        text = "The policy names it. Leave it out, or see docs/audit.md for what it needs."
        yield unmeasured(name, settings, title, text, limit)


# the numbers without which a check finds nothing, whatever the limits
_MEASURED: Mapping[str, Callable[[Facts], Any]] = {
    "bias_driven": lambda facts: facts.summary.column("input"),
    "concentration": lambda facts: facts.summary.column("concentration"),
    "border": lambda facts: facts.summary.column("border"),
    "outliers": lambda facts: facts.outliers,
    "perturbation": lambda facts: np.array(facts.sampled.perturbation, np.float64),
    "randomization": lambda facts: np.array(facts.sampled.randomization, np.float64),
}


def _notes(facts: Facts) -> Iterator[Finding]:
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
    for text in facts.sampled.notes:
        title = "A check on a sample could not be made"
        yield Finding("sample", "note", title, text, None, None, ())


def _residual(facts: Facts, settings: Settings) -> Iterator[Finding]:
    limit = settings.get("most", facts.tolerance)
    values = facts.summary.column("residual")
    bad = facts.summary.sound & ~(values <= limit)
    worst = worst_first(np.where(np.isnan(values), np.inf, values), bad)
    if len(worst):
        yield finding(
            "residual",
            settings,
            f"{counted(len(worst), 'explanation')} not complete",
            "The contributions do not add up to the score, or are not finite: the numbers and maps "
            "of these images explain nothing. See `fg-onnx verify`.",
            float(values[worst[0]]),
            limit,
            facts.names(worst),
        )


def _broken(facts: Facts, settings: Settings) -> Iterator[Finding]:
    share = len(facts.reasons) / len(facts.items)
    if share > settings["most"]:
        first = next(iter(facts.reasons.values()))
        yield finding(
            "broken",
            settings,
            f"{counted(len(facts.reasons), 'image')} could not be read or run",
            f"The first: {first}. Mend or remove them; they are in no other number.",
            share,
            settings["most"],
            facts.names(list(facts.reasons)),
        )


def _accuracy(facts: Facts, settings: Settings) -> Iterator[Finding]:
    least = settings.get("least")
    if least is None:
        return
    accuracy = facts.summary.accuracy
    wrong = facts.summary.labelled & ~facts.summary.right
    if accuracy is None:
        yield unmeasured("accuracy", settings, "No image has a label", "Give --labels.", least)
    elif accuracy < least:
        yield finding(
            "accuracy",
            settings,
            f"Accuracy is {accuracy:.1%}",
            "Fewer predictions agree with the labels than the policy wants; those with the highest "
            "scores are listed.",
            accuracy,
            least,
            facts.names(worst_first(facts.summary.column("score"), wrong)),
        )


def _shares(facts: Facts, settings: Settings) -> Iterator[Finding]:
    for kind, share in facts.summary.kind_shares().items():
        yield from bounded(
            "shares",
            settings,
            settings.get(kind, {}),
            share,
            f"The mean share of the {kind} terms is {share:.1%}",
            "What drives the scores is spread over the terms otherwise than the policy wants.",
        )


def _bias_driven(facts: Facts, settings: Settings) -> Iterator[Finding]:
    values = facts.summary.column("input")
    driven = worst_first(-values, values < settings["below"])
    known = int(np.isfinite(values).sum())
    if known and len(driven) / known > settings["most"]:
        yield finding(
            "bias_driven",
            settings,
            f"{counted(len(driven), 'prediction')} driven by biases",
            f"The input term has less than {settings['below']:.1%} of the sum of magnitudes: these "
            "scores come from what the layers add, within the region that the input selects.",
            len(driven) / known,
            settings["most"],
            facts.names(driven),
        )


def _mean_of(
    name: str, title: str, text: str, sign: int
) -> Callable[[Facts, Settings], Iterator[Finding]]:
    """A check of a measure's mean; those listed have the largest, or with -1 the least."""

    def check(facts: Facts, settings: Settings) -> Iterator[Finding]:
        values = facts.summary.column(name)
        known = np.isfinite(values)
        if not known.any():
            if "least" in settings and name in ("inside", "pointing"):
                none = "No image has boxes that the model sees"
                yield unmeasured(name, settings, none, "Give --boxes.", settings["least"])
            return
        mean = float(values[known].mean())
        worst = facts.names(worst_first(sign * values, known))
        yield from bounded(name, settings, settings, mean, f"{title} {mean:.3f}", text, worst)

    return check


def _outliers(facts: Facts, settings: Settings) -> Iterator[Finding]:
    known = int(np.isfinite(facts.outliers).sum())
    beyond = worst_first(facts.outliers, facts.outliers > 1)
    if known and len(beyond) / known > settings["most"]:
        yield finding(
            "outliers",
            settings,
            f"{counted(len(beyond), 'image')} explained unlike their class",
            "Their maps lie far from the mean map of what they are predicted to be. Look for "
            "shortcuts, wrong crops and wrong predictions.",
            len(beyond) / known,
            settings["most"],
            facts.names(beyond),
        )


def _dead(facts: Facts, settings: Settings) -> Iterator[Finding]:
    share = settings["images"]
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
    if facts.summary.sound.any() and len(dead) + len(silent) > settings["most"]:
        what = [
            f"activations whose every value is at the low end: {listed(dead)}" if dead else "",
            f"biases whose contribution is exactly 0: {listed(silent)}" if silent else "",
        ]
        yield finding(
            "dead",
            settings,
            f"{counted(len(dead) + len(silent), 'layer')} dead",
            f"In at least {share:.0%} of the images no gradient passes: "
            f"{'; '.join(filter(None, what))}. They can be removed, or training failed there.",
            float(len(dead) + len(silent)),
            settings["most"],
            (),
        )


def _saturated(facts: Facts, settings: Settings) -> Iterator[Finding]:
    quiets = facts.summary.quiet(settings["values"])
    found = [
        f"{quiet.activation.op} {quiet.activation.name}"
        for quiet in quiets
        if quiet.saturated >= settings["images"]
        and quiet.dead < settings["images"]
        and quiet.activation.op != "Relu"
    ]
    if len(found) > settings["most"]:
        yield finding(
            "saturated",
            settings,
            f"{counted(len(found), 'activation')} saturated",
            f"At least {settings['values']:.0%} of their values lie at a flat end in at least "
            f"{settings['images']:.0%} of the images: {listed(found)}. What comes before them "
            "hardly counts.",
            float(len(found)),
            settings["most"],
            (),
        )


def _perturbation(facts: Facts, settings: Settings) -> Iterator[Finding]:
    quotient = facts.sampled.perturbation
    if quotient is not None:
        yield from bounded(
            "perturbation",
            settings,
            settings,
            quotient,
            f"Removing what is least salient moves the score by {quotient:.2f} of chance",
            f"{settings['percent']:g} % of the pixels are removed, by salience and at random. Near "
            "or above 1 the maps do not tell which pixels do not count.",
        )


def _randomization(facts: Facts, settings: Settings) -> Iterator[Finding]:
    alike = facts.sampled.randomization
    if alike is not None:
        yield from bounded(
            "randomization",
            settings,
            settings,
            alike,
            f"Maps of a random model correlate with the model's by {alike:.2f}",
            "Spearman's correlation with all parameters drawn anew. Maps that stay as they are do "
            "not show what was learned.",
        )


def _model(facts: Facts, settings: Settings) -> Iterator[Finding]:
    card = facts.card
    if card.sha256 not in settings.get("sha256", [card.sha256]):
        yield finding(
            "model", settings, "Another model", f"Its sha256 is {card.sha256}.", None, None, ()
        )
    allowed = settings.get("operators", list(card.operators))
    forbidden = settings.get("forbidden", [])
    wrong = [op for op in card.operators if op not in allowed or op in forbidden]
    if wrong:
        text = f"The model has {listed(wrong)}. Export it otherwise, or allow them."
        title = f"{counted(len(wrong), 'operator')} not allowed"
        yield finding("model", settings, title, text, float(len(wrong)), 0, ())
    bounds = {"least": settings.get("least_opset"), "most": settings.get("most_opset")}
    bounds = {key: bound for key, bound in bounds.items() if bound is not None}
    title, text = f"The opset is {card.opset}", "Export the model with another one."
    yield from bounded("model", settings, bounds, float(card.opset), title, text)


CHECKS: Mapping[str, Callable[[Facts, Settings], Iterator[Finding]]] = {
    "residual": _residual,
    "broken": _broken,
    "accuracy": _accuracy,
    "shares": _shares,
    "bias_driven": _bias_driven,
    "concentration": _mean_of(
        "concentration",
        "The mean concentration is",
        "Maps are more even, or more pointed, than the policy wants.",
        1,
    ),
    "border": _mean_of(
        "border",
        "The mean share on the border is",
        "The model looks at the edges: frames, watermarks, padding.",
        1,
    ),
    "inside": _mean_of(
        "inside",
        "The mean share inside is",
        "The model looks beside what was marked.",
        -1,
    ),
    "pointing": _mean_of(
        "pointing",
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
