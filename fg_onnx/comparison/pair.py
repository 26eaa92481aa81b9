"""The two models, opened and held to each other: what cannot be compared is refused here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx import manifest
from fg_onnx.audit.model import Opened, open_audited
from fg_onnx.devices import AUTO
from fg_onnx.errors import UnsupportedModelError
from fg_onnx.manifest import LayoutName, Manifest
from fg_onnx.source import model

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two models of the same classes.

    Attributes:
        a: the reference.
        b: what is compared with it.
    """

    a: Opened
    b: Opened

    @property
    def psi(self) -> str:
        """The style of both maps."""
        return self.a.session.manifest.psi

    @property
    def has_maps(self) -> bool:
        """Whether both models have a map."""
        return all("saliency" in each.session.manifest.emits for each in (self.a, self.b))

    @property
    def names(self) -> tuple[str, ...] | None:
        """Of the classes, as A has them, else B; None where neither has."""
        return self.a.session.manifest.labels or self.b.session.manifest.labels

    @property
    def outputs_compare(self) -> bool:
        """Whether the outputs that rank the classes are both scores, or both what follows them."""
        a, b = self.a.session.manifest, self.b.session.manifest
        if a.ranking is None or b.ranking is None:
            return False
        return (a.ranking == a.output) == (b.ranking == b.output)

    @cached_property
    def matches(self) -> Array:
        """int64 [M, 2]: the columns of the contributions of the same terms, the input's first.

        Sites are the same if their names and kinds are.
        """
        columns = {site: 1 + at for at, site in enumerate(_sites(self.b.session.manifest))}
        found = [
            (1 + at, columns[site])
            for at, site in enumerate(_sites(self.a.session.manifest))
            if site in columns
        ]
        return np.array([(0, 0), *found], dtype=np.int64)


def _sites(held: Manifest) -> list[tuple[str, str]]:
    return [(site.name, site.kind) for site in held.sites]


def open_pair(
    a: Path,
    b: Path,
    *,
    inputs: tuple[str | None, str | None] = (None, None),
    outputs: tuple[str | None, str | None] = (None, None),
    psi: str | None = None,
    device: str = AUTO,
    tf32: bool = False,
) -> Pair:
    """Open both models; a plain one has the map of the other where that one is instrumented.

    Raises:
        ModelError: a model cannot be read.
        RuntimeMissingError: there is no ONNX Runtime, or it lacks the device.
        UnsupportedModelError: a model cannot be instrumented, or the two cannot be compared.
    """
    held = [manifest.find(model.read(path).proto) for path in (a, b)]
    own = [each.psi for each in held if each is not None]
    if len(set(own)) == 2:
        raise UnsupportedModelError(
            "other-psi",
            f"`{a}` is instrumented with the map `{own[0]}`, and `{b}` with `{own[1]}`",
            "maps of two styles are never alike: give the source models, or instrument one again",
        )
    # of a plain model beside an instrumented one
    style = psi or next(iter(own), None)
    opened = [
        open_audited(
            path,
            input=name,
            output=output,
            psi=style if each is None else psi,
            device=device,
            tf32=tf32,
            probed=False,
        )
        for path, name, output, each in zip((a, b), inputs, outputs, held, strict=True)
    ]
    pair = Pair(*opened)
    _require_same_classes(pair)
    return pair


def _require_same_classes(pair: Pair) -> None:
    """Fail where the number of a class in A is no number of a class in B."""
    a, b = pair.a.session.manifest, pair.b.session.manifest
    if a.classes is not None and b.classes is not None and a.classes != b.classes:
        raise UnsupportedModelError(
            "other-classes",
            f"`{pair.a.path}` has {a.classes} classes in `{a.output}`, and `{pair.b.path}` "
            f"{b.classes} in `{b.output}`",
            "compare models of the same classes; --output-a and --output-b name what is explained",
        )
    if not (a.dense or b.dense):
        return
    static = all(isinstance(dim, int) for dim in a.score_shape or (None,))
    if not static or a.score_shape != b.score_shape or a.class_axis != b.class_axis:
        raise UnsupportedModelError(
            "other-scores",
            f"the scores of `{pair.a.path}` are of shape {_shape(a)}, and those of "
            f"`{pair.b.path}` of {_shape(b)}",
            "a score at a position is compared with that at the same one: export both models with "
            "the same fixed size, or name outputs of one score a class with --output-a, --output-b",
        )


def _shape(held: Manifest) -> str:
    return "unknown" if held.score_shape is None else str(list(held.score_shape))


def relaid(array: Array, given: LayoutName | None, wanted: LayoutName | None) -> Array:
    """A batch in another layout, such as NCHW as NHWC; as it is where one is not known."""
    if given is None or wanted is None or sorted(given) != sorted(wanted):
        return array
    return array.transpose([given.index(letter) for letter in wanted])
