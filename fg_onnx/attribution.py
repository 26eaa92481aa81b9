"""What a run of an instrumented model yields, and the number that says whether it is complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx import manifest
from fg_onnx.binding import DeviceArray
from fg_onnx.manifest import Manifest, Precision

Array = npt.NDArray[Any]

TOLERANCES: Mapping[Precision, float] = MappingProxyType(
    {"float64": 1e-4, "float32": 1e-4, "float16": 1e-2, "bfloat16": 1e-1}
)
"""What a residual of completeness may be, by the float type that a model computes in.

What is summed, and the sums, are float32 in every model; a narrow forward pass rounds each of its
activations, by 2^-11 (float16) or 2^-8 (bfloat16) at most, and f is what comes of it. Nets of a
few layers were measured at 5e-4 and 2e-2, once that bound; a hundred layers whose roundings add up
at random come to ten times the bound, 5e-3 and 4e-2. In integers nothing is lost: what rounding
does to quantised numbers is attributed itself.
"""

SMALL = (manifest.SCORE, manifest.EXPLAINED, manifest.CONTRIBUTIONS)
"""Outputs of a few numbers an image, from which the residual follows: they come with every run."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """The full-gradient decomposition of N images, and their FullGrad maps.

    Attributes:
        scores: float [N], the explained scalar f(x).
        targets: int64 [N], the index that is explained; None under ``fg_seed``.
        contributions: float [N, 1+S], the input term and each site's total; None if not emitted.
        residual: float64 [N], ``|f - sum c| / max(|f|, sum |c|)``: 0 is complete; None if there
            are no contributions.
        saliency: float [N, *grid], the map of Eq. 2 on the grid of the input: [N, H, W] for images,
            [N, L] for signals, [N, D, H, W] for volumes; None if not emitted.
        input_gradient: in the shape of the explained input; None if not emitted.
        layer_maps: site name -> float [N, *grid of the site]; empty if not emitted.
        bias_gradients: site name -> in the shape of the site; empty if not emitted.
        outputs: the model's original outputs by name.
        manifest: of the model; names the columns of the contributions.
        methods: what was emitted of other methods, by its word of ``emit``: ``simple-saliency`` and
            ``grad-cam`` [N, *grid], ``guided-backprop`` and ``deconvnet`` in the shape of the
            explained input, ``probability`` [N].

    What was emitted and not asked for is as if it were not emitted.
    """

    scores: Array
    targets: Array | None
    contributions: Array | None
    residual: Array | None
    saliency: Array | None
    input_gradient: Array | None
    layer_maps: Mapping[str, Array]
    bias_gradients: Mapping[str, Array]
    outputs: Mapping[str, Array]
    manifest: Manifest
    methods: Mapping[str, Array]

    def named_contributions(self, image: int = 0) -> dict[str, float]:
        """``{"input": ..., site: ...}`` of one image, in manifest order; empty if not emitted."""
        if self.contributions is None:
            return {}
        names = ["input", *(site.name for site in self.manifest.sites)]
        return dict(zip(names, map(float, self.contributions[image]), strict=True))


@dataclass(frozen=True, eq=False)
class DeviceAttribution:
    """The same, with all that is large left in the memory of the device that computed it.

    Attributes:
        scores: float [N], the explained scalar f(x).
        targets: int64 [N], the index that is explained; None under ``fg_seed``.
        contributions: float [N, 1+S]; None if not emitted.
        residual: float64 [N], as of `Attribution`; None if there are no contributions.
        arrays: the other outputs that were asked for, by their own names and in their own shapes:
            ``fg_saliency`` [N, 1, H, W], ``fg_input_gradient``, ``fg_layer_map/<site>``,
            ``fg_bias_gradient/<site>``, and the model's original ones.
        input_shape: of the images.
        manifest: of the model.
    """

    scores: Array
    targets: Array | None
    contributions: Array | None
    residual: Array | None
    arrays: Mapping[str, DeviceArray]
    input_shape: tuple[int, ...]
    manifest: Manifest


def completeness_residual(scores: Array, contributions: Array) -> Array:
    """``|f - sum c| / max(|f|, sum |c|)`` per image: float [N], [N, 1+S] -> float64 [N].

    0 where both are 0; NaN where either holds one. The denominator counts the magnitudes that
    were added, since rounding grows with them and not with their sum.
    """
    added = np.abs(contributions).sum(axis=1, dtype=np.float64)
    scale = np.maximum(np.abs(scores), added)
    gap = np.abs(scores - contributions.sum(axis=1, dtype=np.float64))
    return np.asarray(np.divide(gap, scale, out=gap, where=scale != 0))


def attribution(found: dict[str, Array], images: int, held: Manifest) -> Attribution:
    """What a run found, by the names of the contract.

    Raises:
        ModelError: an output is not of the contract's shape.
    """
    small = _small(found, images, held)
    saliency = found.pop(manifest.SALIENCY, None)
    _require_shape(manifest.SALIENCY, saliency, (images, 1))
    return Attribution(
        **small,
        saliency=None if saliency is None else saliency[:, 0],
        input_gradient=found.pop(manifest.INPUT_GRADIENT, None),
        layer_maps=_take(found, manifest.LAYER_MAP, squeeze=True),
        bias_gradients=_take(found, manifest.BIAS_GRADIENT, squeeze=False),
        methods=_take_methods(found),
        outputs=MappingProxyType(found),
        manifest=held,
    )


def device_attribution(
    found: dict[str, Array],
    arrays: Mapping[str, DeviceArray],
    input_shape: tuple[int, ...],
    held: Manifest,
) -> DeviceAttribution:
    """The same of a run that left ``arrays`` on the device.

    Raises:
        ModelError: an output is not of the contract's shape.
    """
    return DeviceAttribution(
        **_small(found, input_shape[0], held),
        arrays=MappingProxyType(dict(arrays)),
        input_shape=input_shape,
        manifest=held,
    )


def _small(found: dict[str, Array], images: int, held: Manifest) -> dict[str, Any]:
    """The fields that both records share, taken out of what was found."""
    scores, targets, contributions = (found.pop(name, None) for name in SMALL)
    assert scores is not None  # `Session` holds the model to its manifest when it loads it
    _require_shape(manifest.SCORE, scores, (images,))
    _require_shape(manifest.EXPLAINED, targets, (images,))
    _require_shape(manifest.CONTRIBUTIONS, contributions, (images, 1 + len(held.sites)))
    residual = None if contributions is None else completeness_residual(scores, contributions)
    return {
        "scores": scores,
        "targets": targets,
        "contributions": contributions,
        "residual": residual,
    }


def _take(found: dict[str, Array], prefix: str, *, squeeze: bool) -> Mapping[str, Array]:
    names = [name for name in found if name.startswith(prefix)]
    taken = {name.removeprefix(prefix): found.pop(name) for name in names}
    return MappingProxyType({k: v[:, 0] if squeeze else v for k, v in taken.items()})


def _take_methods(found: dict[str, Array]) -> Mapping[str, Array]:
    emitted = {word: name for word, name in manifest.METHOD_EMITS.items() if name in found}
    taken = {word: found.pop(name) for word, name in emitted.items()}
    maps = ("simple-saliency", "grad-cam")
    return MappingProxyType({k: v[:, 0] if k in maps else v for k, v in taken.items()})


def _require_shape(name: str, found: Array | None, wanted: tuple[int, ...]) -> None:
    """Fail where the first dimensions of an output are not those of the contract."""
    if found is not None and found.shape[: len(wanted)] != wanted:
        raise manifest.broken(f"the output `{name}` is of shape {list(found.shape)}")
