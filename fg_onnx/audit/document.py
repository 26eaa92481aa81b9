"""What an audit found, as data: the JSON document from which every report is written.

Everything in it that is text may come from the model or from file names, and is to be escaped where
it is shown.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from fg_onnx.errors import InputError

SCHEMA_VERSION = 1

T = TypeVar("T")
Severity = Literal["fail", "warning", "note"]
Verdict = Literal["pass", "fail"]
Outcome = Literal["passed", "failed", "not made"]
Bound = Literal["least", "most"]


@dataclass(frozen=True)
class SiteCard:
    """A site of the decomposition, as the manifest has it.

    Attributes:
        name: of the site.
        kind: ``bias``, ``batchnorm`` or ``implicit``.
        op: the ONNX operator.
        spatial: whether it takes part in the map.
    """

    name: str
    kind: str
    op: str
    spatial: bool


@dataclass(frozen=True)
class ModelCard:
    """Which model was audited.

    Attributes:
        path: as it was given.
        sha256: of the plain model's bytes.
        opset: of the default domain.
        ir_version: of the file.
        producer: that the file names, ``""`` if none.
        operators: how many nodes of each, by name.
        input: the explained input.
        output: the explained tensor.
        classes: how many scores there are, None if that is not known.
        psi: the style of the map.
        sites: of the decomposition, in topological order.
    """

    path: str
    sha256: str
    opset: int
    ir_version: int
    producer: str
    operators: Mapping[str, int]
    input: str
    output: str
    classes: int | None
    psi: str
    sites: tuple[SiteCard, ...]


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        check: which one, such as ``residual``.
        severity: ``fail`` decides the verdict; ``warning`` and ``note`` do not.
        title: one line.
        text: what it means and what to do, a sentence or two.
        measured: the number that was compared, None if there is none.
        limit: with what, None if there is none.
        images: the names of those it is about, worst first, at most `Settings.listed`.
    """

    check: str
    severity: Severity
    title: str
    text: str
    measured: float | None
    limit: float | None
    images: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """A number that the policy holds to a limit, or could.

    Attributes:
        name: of the check, such as ``residual``; one with several limits is there for each.
        what: the number is, in words; ``""`` where the check was turned off.
        outcome: ``passed``, ``failed`` or ``not made``.
        severity: of a finding of it.
        measured: the number, None if there is none.
        bound: whether the limit is the ``least`` or the ``most`` that passes, None without one.
        limit: of the number, None likewise.
        reason: why it was not made, None if it was.
        finding: the place of its finding among the findings, None without.
    """

    name: str
    what: str
    outcome: Outcome
    severity: Severity
    measured: float | None
    bound: Bound | None
    limit: float | None
    reason: str | None
    finding: int | None


@dataclass(frozen=True)
class Distribution:
    """A number over all images.

    Attributes:
        count: images with a finite value.
        mean: of these, None without any; as are the others.
        least: the smallest.
        median: the middle one.
        most: the largest.
        edges: of the histogram's bins, one more than counts.
        counts: images in each bin.
        logarithmic: whether the edges are in geometric progression.
    """

    count: int
    mean: float | None
    least: float | None
    median: float | None
    most: float | None
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    logarithmic: bool


@dataclass(frozen=True)
class Layer:
    """What a site, or the input, had to do with the scores.

    Attributes:
        name: of the site, or ``input``.
        kind: ``input``, ``bias``, ``batchnorm`` or ``implicit``.
        share: the mean over the images of ``|c| / sum |c|``.
        mean: the mean of ``c`` over the images, in units of the score.
        silent: the share of images in which it contributed exactly 0.
    """

    name: str
    kind: str
    share: float
    mean: float
    silent: float


@dataclass(frozen=True)
class ClassRow:
    """Images that were taken for one class.

    Attributes:
        index: of the class.
        label: its name, None where that is not known.
        images: predicted to be of it.
        right: of those with a label, the share whose label it is; None without labels.
        outliers: how many have a map unlike the others', None where there are too few to tell.
        mean_map: the mean map as a picture, a data URI; None if there is no flat map.
    """

    index: int
    label: str | None
    images: int
    right: float | None
    outliers: int | None
    mean_map: str | None


@dataclass(frozen=True)
class ImageRow:
    """One image.

    Attributes:
        name: the path as it was found, with ``[row]`` of an array of several.
        broken: why it could not be read, None if it could; the numbers are None then.
        target: the explained class.
        label: its name, None where that is not known.
        truth: the class that the labels file names, None without.
        truth_label: its name, None where that is not known.
        score: the explained scalar.
        residual: of completeness.
        shares: of ``input``, ``bias``, ``batchnorm`` and ``implicit`` in the sum of magnitudes.
        concentration: the Gini coefficient of the map, 0 even, 1 in one pixel.
        centre: of the map's mass: row and column, each from 0 to 1.
        border: the share of the mass on the outer tenth of each side.
        inside: the share of the mass inside the given boxes or mask, None without.
        pointing: whether the largest value lies inside, None without.
        outlier: how unlike its class's maps this one is: 0 as the median, 1 at the limit.
        picture: the image as the model saw it, a data URI; None beyond the cap, and for what is no
            flat picture.
        overlay: the map laid over it, likewise.
        layers: some layers' maps from input to output, name and data URI; empty likewise.
    """

    name: str
    broken: str | None
    target: int | None
    label: str | None
    truth: int | None
    truth_label: str | None
    score: float | None
    residual: float | None
    shares: Mapping[str, float]
    concentration: float | None
    centre: tuple[float, float] | None
    border: float | None
    inside: float | None
    pointing: bool | None
    outlier: float | None
    picture: str | None
    overlay: str | None
    layers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Settings:
    """How it was done.

    Attributes:
        tolerance: of the residual.
        device: where the model ran.
        policy: the policy file's content, as it was given; empty without one.
        labels: the file of labels, None without.
        boxes: the file of boxes or masks, None without.
        seed: of what is drawn by chance.
        listed: how many images a finding names at most.
        shown: how many images have pictures at most: the worst of every finding first, then a
            sample of the rest.
    """

    tolerance: float
    device: str
    policy: Mapping[str, Any]
    labels: str | None
    boxes: str | None
    seed: int
    listed: int
    shown: int


@dataclass(frozen=True)
class Document:
    """All of an audit.

    Attributes:
        tool_version: of fg-onnx.
        verdict: ``fail`` if a finding fails.
        model: which.
        settings: how.
        images: how many were looked at, broken ones included.
        broken: how many could not be read.
        accuracy: the share of labelled images that were predicted right, None without labels.
        findings: those that fail first.
        checks: all of them, in the order of the policy's schema.
        distributions: by the measure's name: ``residual``, ``concentration``, ``border``, ...
        layers: the input, then the sites in topological order.
        classes: those that were predicted, most images first.
        rows: of the images that have pictures; all others are in the Parquet files.
    """

    tool_version: str
    verdict: Verdict
    model: ModelCard
    settings: Settings
    images: int
    broken: int
    accuracy: float | None
    findings: tuple[Finding, ...]
    checks: tuple[Check, ...]
    distributions: Mapping[str, Distribution]
    layers: tuple[Layer, ...]
    classes: tuple[ClassRow, ...]
    rows: tuple[ImageRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document, with its ``schema_version`` first."""
        return {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Document:
        """Inverse of `to_dict`.

        Raises:
            InputError: ``not-an-audit``.
        """
        try:
            return read_document(cls, document, SCHEMA_VERSION)
        except ValueError as error:
            raise InputError(
                "not-an-audit",
                f"the document is no audit: {error}",
                "give what `fg-onnx audit` has written",
            ) from error


def read_document(kind: type[T], document: Any, version: int) -> T:
    """A dataclass of JSON's values, of dataclasses, tuples and mappings, out of a document.

    Raises:
        ValueError: it is of another version, or has other fields.
    """
    if not isinstance(document, Mapping) or document.get("schema_version") != version:
        raise ValueError(f"its schema_version is not {version}")
    fields = {key: value for key, value in document.items() if key != "schema_version"}
    try:
        found: T = _read(kind, fields)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return found


def _read(kind: Any, value: Any) -> Any:
    """A JSON value as the type of a field has it."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        if set(value) != set(hints):
            raise ValueError(f"{kind.__name__} has other fields")
        return kind(**{name: _read(hints[name], value[name]) for name in hints})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return tuple(_read(arguments[0], each) for each in value)
        return tuple(_read(each, item) for each, item in zip(arguments, value, strict=True))
    if origin is typing.get_origin(Mapping[str, int]):
        return {key: _read(arguments[1], item) for key, item in value.items()}
    if type(None) in arguments:
        (wanted,) = (each for each in arguments if each is not type(None))
        return None if value is None else _read(wanted, value)
    return value
