"""GridSample against PyTorch, on the pixels too, where a linear sample has a kink."""

from __future__ import annotations

import numpy as np
import pytest

from .harness import Case, Live, emit_vjp, evaluate

SHAPE = (1, 2, 4, 3)
STEPS = [-1.5, -1.0, -0.9, -1 / 3, 0.0, 0.2, 0.5, 1.0, 1.25]
GRID = np.stack(np.meshgrid(STEPS, STEPS), axis=-1)[None]


@pytest.mark.torch
@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("border", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_both_gradients_are_those_of_torch(mode: str, border: str, align: int) -> None:
    torch = pytest.importorskip("torch")
    grid = GRID + 0.01 if mode == "nearest" else GRID  # halfway, either pixel is the nearest
    x = np.random.default_rng(0).standard_normal(SHAPE)
    ct = np.random.default_rng(1).standard_normal((1, 2, *grid.shape[1:3]))
    attrs = {"mode": mode, "padding_mode": border, "align_corners": align}
    operands = Live(SHAPE), Live(grid.shape)
    proto = emit_vjp(Case("GridSample", operands, attrs)).proto
    found = evaluate(proto, {"u0": x, "u1": grid, "ct0": ct})
    image, places = (torch.tensor(a, requires_grad=True) for a in (x, grid))
    sampled = torch.nn.functional.grid_sample(image, places, mode, border, bool(align))
    sampled.backward(torch.tensor(ct))
    np.testing.assert_allclose(found["y0"], sampled.detach().numpy(), atol=1e-12)
    for name, tensor in {"u0": image, "u1": places}.items():
        # float64 rounding of positions, which a reflection may take across a pixel
        np.testing.assert_allclose(found[f"pulled/{name}"], tensor.grad.numpy(), atol=1e-9)
