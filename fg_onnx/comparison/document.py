"""What a comparison found, as data: the JSON document from which every report is written.

The models are A, the reference, and B. Everything that is text may come from a model or from file
names, and is to be escaped where it is shown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fg_onnx.audit.document import Check, Distribution, Finding, ModelCard, Verdict, read_document
from fg_onnx.errors import InputError

SCHEMA_VERSION = 1

Better = Literal["high", "low"]


@dataclass(frozen=True)
class Side:
    """One of the two models.

    Attributes:
        model: which.
        tolerance: of the residual.
        accuracy: the share of labelled images that it predicts right, None without labels.
        shares: the mean share of ``input``, ``bias``, ``batchnorm`` and ``implicit`` in the sum of
            magnitudes.
    """

    model: ModelCard
    tolerance: float
    accuracy: float | None
    shares: Mapping[str, float]


@dataclass(frozen=True)
class Measure:
    """One measure over all images.

    Attributes:
        name: such as ``spearman``.
        better: whether ``high`` or ``low`` values say that the models are alike.
        worst: the value that one image in twenty is at or beyond, None without any.
        images: the names of those with the worst values, worst first.
        distribution: of the values.
    """

    name: str
    better: Better
    worst: float | None
    images: tuple[str, ...]
    distribution: Distribution


@dataclass(frozen=True)
class LayerPair:
    """What a site, or the input, contributes in either model.

    Attributes:
        name: of the site, or ``input``.
        kind: ``input``, ``bias``, ``batchnorm`` or ``implicit``.
        share_a: the mean over the images of ``|c| / sum |c|`` in A; None where A has no such site,
            as are the others.
        share_b: likewise, of B.
        mean_a: the mean of ``c`` in A.
        mean_b: likewise, of B.
        drift: the mean of ``|c_B - c_A|`` over A's ``sum |c|``; None unless both have it.
    """

    name: str
    kind: str
    share_a: float | None
    share_b: float | None
    mean_a: float | None
    mean_b: float | None
    drift: float | None


@dataclass(frozen=True)
class ClassPair:
    """Images that A takes for one class.

    Attributes:
        index: of the class.
        label: its name, None where that is not known.
        images: predicted to be of it by A.
        agreement: the share of these that B predicts to be of it too.
        other: what B most often takes the rest for, None where there is no rest.
        other_label: its name, None where that is not known.
        spearman: the mean rank correlation of the maps, None without maps.
        right_a: of those with a label, the share that A predicts right; None without labels.
        right_b: likewise, of B.
    """

    index: int
    label: str | None
    images: int
    agreement: float
    other: int | None
    other_label: str | None
    spearman: float | None
    right_a: float | None
    right_b: float | None


@dataclass(frozen=True)
class PairRow:
    """One image, of which there are pictures.

    Attributes:
        name: the path as it was found, with ``[row]`` of an array of several.
        target: the class that A predicts, which is explained in both.
        label: its name, None where that is not known.
        target_b: the class that B predicts.
        label_b: its name, None where that is not known.
        truth: the class that the labels file names, None without.
        truth_label: its name, None where that is not known.
        score_a: the explained scalar in A; this and what follows is None if it is not finite.
        score_b: that of the same class in B.
        residual_a: of completeness in A.
        residual_b: likewise, of B.
        values: of every measure that the image has, by the measure's name.
        picture_a: the image as A saw it, a data URI; None for what is no flat picture.
        overlay_a: A's map laid over it, None without one.
        picture_b: as B saw it.
        overlay_b: B's map laid over it.
        difference: B's map less A's, each divided by its sum, on the common grid; blue where there
            is less in B, red where there is more, strong where that is as much as the maps have.
    """

    name: str
    target: int
    label: str | None
    target_b: int
    label_b: str | None
    truth: int | None
    truth_label: str | None
    score_a: float | None
    score_b: float | None
    residual_a: float | None
    residual_b: float | None
    values: Mapping[str, float]
    picture_a: str | None
    overlay_a: str | None
    picture_b: str | None
    overlay_b: str | None
    difference: str | None


@dataclass(frozen=True)
class Settings:
    """How it was done.

    Attributes:
        device: where the models ran.
        psi: the style of both maps.
        policy: the policy file's content with what options changed of it; empty without.
        labels: the file of labels, None without.
        seed: of what is drawn by chance.
        listed: how many images a finding names at most.
        shown: how many images have pictures at most: the worst of every finding and measure first,
            then a sample of the rest.
    """

    device: str
    psi: str
    policy: Mapping[str, Any]
    labels: str | None
    seed: int
    listed: int
    shown: int


@dataclass(frozen=True)
class Comparison:
    """All of a comparison.

    Attributes:
        tool_version: of fg-onnx.
        verdict: ``fail`` if a finding fails.
        a: the reference.
        b: what is compared with it.
        settings: how.
        images: how many were looked at, broken ones included.
        broken: how many could not be read or run.
        agreement: the share of the images of which both predict the same class.
        mapless: images of which neither model has a map, for it is even or not finite.
        matched: how many sites have the same name and kind in both.
        covered: the mean share of the matched terms, the input's among them, in A's ``sum |c|``.
        findings: those that fail first.
        checks: all of them, in the order of the policy's schema.
        measures: over all images.
        layers: A's, from input to output, then those that only B has.
        classes: those that A predicts, most images first.
        rows: of the images that have pictures; all others are in the Parquet file.
    """

    tool_version: str
    verdict: Verdict
    a: Side
    b: Side
    settings: Settings
    images: int
    broken: int
    agreement: float
    mapless: int
    matched: int
    covered: float | None
    findings: tuple[Finding, ...]
    checks: tuple[Check, ...]
    measures: tuple[Measure, ...]
    layers: tuple[LayerPair, ...]
    classes: tuple[ClassPair, ...]
    rows: tuple[PairRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document, with its ``schema_version`` first."""
        return {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Comparison:
        """Inverse of `to_dict`.

        Raises:
            InputError: ``not-a-comparison``.
        """
        try:
            return read_document(cls, document, SCHEMA_VERSION)
        except ValueError as error:
            raise InputError(
                "not-a-comparison",
                f"the document is no comparison: {error}",
                "give what `fg-onnx compare` has written",
            ) from error
