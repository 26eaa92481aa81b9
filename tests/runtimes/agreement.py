"""How far a runtime's results are from ONNX Runtime's on the CPU, and how far they may be.

Outputs and the score are continuous in every intermediate result, so another order of float32 sums
moves them by rounding alone, relative to the largest.

Gradients, and what is made of them, are not: an activation within rounding of a kink (ReLU's 0,
ReLU6's 6, a tie in max-pooling) falls to one side in one runtime and to the other in the next, and
both are right. One such activation changes few entries by any amount, which the largest difference
shows, or many by little; so these are compared by the sum of the differences' magnitudes, of the
sum of magnitudes, tensor by tensor. ONNX Runtime differs from itself as much once it does not
optimise the graph, which is a row of the table: DenseNet-121's layer maps by 1e-2, but by 4e-6 when
Softplus takes the place of ReLU, and averages that of maxima. An operator that a runtime computes
otherwise, or a sign, shows as 1e-1 and more.

Completeness holds on either side of a kink: the residual is of rounding alone, each runtime's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fg_onnx import manifest
from fg_onnx.manifest import Manifest

from .runners import Arrays

SMOOTH, KINKED = 1e-5, 1e-2
BOUNDS = {
    "outputs": SMOOTH,
    "residual": 1e-5,
    "contributions": KINKED,
    "saliency": 1e-3,
    "input_gradient": KINKED,
    "layer_maps": 3e-2,
    "bias_gradients": KINKED,
}
"""Measured: outputs 4e-6, residuals 7e-6, contributions and gradients 3e-3, the map 4e-5; layer
maps 1e-2, those of DenseNet-121 between ONNX Runtime with and without its optimisations."""


@dataclass(frozen=True)
class Agreement:
    """The largest differences.

    Attributes:
        outputs: of the source's outputs and the score, relative to the largest.
        residual: ``|f - sum c| / max(|f|, sum |c|)`` of the runtime's own numbers.
        contributions: and the rest relative to the sum of magnitudes, the worst tensor of its kind.
        saliency: the map.
        input_gradient: of one tensor.
        layer_maps: of all sites.
        bias_gradients: of all sites.
    """

    outputs: float
    residual: float
    contributions: float
    saliency: float
    input_gradient: float
    layer_maps: float
    bias_gradients: float

    @property
    def failures(self) -> list[str]:
        """What is further apart than it may be."""
        return [
            f"{name} {value:.1e}" for name, value in vars(self).items() if not value <= BOUNDS[name]
        ]


def agreement(found: Arrays, expected: Arrays, held: Manifest) -> Agreement:
    """Compare all outputs of a model; another set of outputs, another shape or type is infinity."""
    if list(found) != list(expected):
        return Agreement(*[np.inf] * 7)
    reserved = [name for name in expected if manifest.is_reserved(name)]
    smooth = [name for name in expected if name not in reserved] + [manifest.SCORE]
    if not np.array_equal(found[manifest.EXPLAINED], expected[manifest.EXPLAINED]):
        return Agreement(*[np.inf] * 7)

    def worst(beginning: str) -> float:
        names = [name for name in reserved if name.startswith(beginning)]
        assert names, beginning
        return max(_summed(found[name], expected[name]) for name in names)

    score = found[manifest.SCORE].astype(np.float64)
    terms = found[manifest.CONTRIBUTIONS].astype(np.float64)
    size = np.maximum(np.abs(score), np.abs(terms).sum(1))
    return Agreement(
        outputs=max(_largest(found[name], expected[name]) for name in smooth),
        residual=float((np.abs(score - terms.sum(1)) / size).max()),
        contributions=worst(manifest.CONTRIBUTIONS),
        saliency=worst(manifest.SALIENCY),
        input_gradient=worst(manifest.INPUT_GRADIENT),
        layer_maps=worst(manifest.LAYER_MAP),
        bias_gradients=worst(manifest.BIAS_GRADIENT),
    )


def _largest(found: np.ndarray, expected: np.ndarray) -> float:
    return _ratio(found, expected, lambda array: np.abs(array).max())


def _summed(found: np.ndarray, expected: np.ndarray) -> float:
    return _ratio(found, expected, lambda array: np.abs(array).sum())


def _ratio(found: np.ndarray, expected: np.ndarray, size) -> float:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return np.inf
    wide = expected.astype(np.float64)
    difference = float(size(found.astype(np.float64) - wide))
    return difference / float(size(wide)) if difference else 0.0
