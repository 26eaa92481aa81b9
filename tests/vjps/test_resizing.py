"""Resize takes the very pixels, with the very weights, that ONNX Runtime's kernel takes."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from .cases.making import live
from .cases.resizing import RESIZING, by_scale, cropped, single, to_size
from .harness import Case, emit_vjp, evaluate_on_runtime, forward_model, noise, sample

# Where onnx.reference resizes otherwise than ONNX Runtime does.
OWN = [
    by_scale("size-kept", live(1, 2, 4, 4), 1, 1, 1.125, 1.125, mode="linear"),
    cropped("nearest", [1, 2, 5, 6], mode="nearest", nearest_mode="ceil"),
    cropped("cubic", single(1, 1, 2, 1), mode="cubic", extrapolation_value=0.25),
    to_size(
        "to-one", live(1, 2, 5, 1), 1, 2, 1, 4, mode="cubic",
        coordinate_transformation_mode="pytorch_half_pixel",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", [*RESIZING, *OWN], ids=lambda case: case.name)
def test_the_adjoint_is_the_transposed_jacobian_of_the_kernel(case: Case) -> None:
    feeds = {name: np.asarray(value) for name, value in sample(case).items()}
    feeds["u0"] = feeds["u0"].astype(np.float32)
    forward = onnxruntime.InferenceSession(
        forward_model(case, np.float32).SerializeToString(), providers=["CPUExecutionProvider"]
    )

    def resized(x: np.ndarray) -> np.ndarray:
        image = x.reshape(feeds["u0"].shape).astype(np.float32)
        return np.asarray(forward.run(None, {**feeds, "u0": image})[0], np.float64)

    at_0 = resized(np.zeros(feeds["u0"].size))
    ct = noise(case, 1, {"y0": at_0})["y0"]
    wanted = [(ct * (resized(unit) - at_0)).sum() for unit in np.eye(feeds["u0"].size)]
    emitted = emit_vjp(case, dtype=np.float32).proto
    found = evaluate_on_runtime(emitted, {**feeds, "ct0": ct})["pulled/u0"].ravel()
    # float32 rounding of sums of a few dozen products of numbers below 8.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(ct).max())
