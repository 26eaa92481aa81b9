"""Colours, blends and grids, down to the pixel where that can be said."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from fg_onnx.errors import InputError
from fg_onnx.pictures.colours import _high_percentile, palette
from fg_onnx.pictures.render import (
    heat_map,
    layer_grid,
    overlay,
    overlay_and_colours,
    side_by_side,
)

BLACK, YELLOW = [0, 0, 4], [252, 255, 164]  # the ends of inferno, as Matplotlib has them
BLUE, WHITE, RED = [5, 48, 97], [247, 247, 247], [103, 0, 31]
NAN, INF = float("nan"), float("inf")


def near(colours: Any) -> Any:
    """Equal but for one step of rounding."""
    return pytest.approx(np.array(colours), abs=1)


def heat(values: list[list[float]], **options: Any) -> Any:
    return heat_map(np.array(values), **options).tolist()


def test_lowest_is_dark_and_highest_is_bright() -> None:
    middle = [188, 55, 84]  # inferno at 128 of 255
    colours = heat([[-2.0, 0.01, 2.0]], percentile=100)[0]
    assert colours == near([BLACK, middle, YELLOW])


def test_values_beyond_the_percentile_are_clipped() -> None:
    ramp = np.append(np.linspace(0.0, 1.0, 999), 1e6)[None]
    colours = heat_map(ramp)
    # without clipping the one outlier would leave all else black
    assert colours[0, 994].tolist() == pytest.approx(YELLOW, abs=3)
    assert (heat_map(ramp, percentile=100)[0, :-1] == BLACK).all()


@pytest.mark.parametrize("percentile", [50.0, 99.5, 99.97, 100.0])
@pytest.mark.parametrize("count", [1, 2, 3, 33, 5000])
@pytest.mark.parametrize("large", ["anywhere", "sampled", "unsampled", "none"])
def test_a_percentile_of_the_largest_alone(large: str, count: int, percentile: float) -> None:
    values = np.random.default_rng(0).normal(size=count)
    values[::32] += 100.0 * (large == "sampled")  # the sample then says that few are needed
    values[1::32] += 100.0 * (large == "unsampled")
    if large == "none":
        values[:] = 0.0
    # between the same two values; the weights of NumPy's mean of them round in another order
    wanted = float(np.percentile(values, percentile))
    assert _high_percentile(values, percentile) == pytest.approx(wanted, rel=1e-12, abs=1e-12)


def test_a_single_bright_pixel_is_not_clipped_away() -> None:
    spot = np.zeros((40, 40))
    spot[3, 5] = 1e-9
    colours = heat_map(spot)
    assert colours[3, 5].tolist() == pytest.approx(YELLOW, abs=1)
    assert (heat_map(spot).reshape(-1, 3) == BLACK).all(axis=1).sum() == 1599
    signed = heat_map(-spot, signed=True)
    assert signed[3, 5].tolist() == BLUE


def test_signed_is_centred_on_zero() -> None:
    # a quarter of the way lies a stop, an eighth between two of the 31 levels to the next: 16
    colours = heat([[-4.0, -1.0, 0.0, 0.5, 2.0]], signed=True, percentile=100)[0]
    assert colours[0] == BLUE
    assert colours[1] == [146, 197, 222]
    assert colours[2] == WHITE
    assert colours[3] == [245, 205, 187]  # 16 of 31 from white to [244, 165, 130]
    assert colours[4] == [214, 96, 77]
    assert heat([[0.0, 3.0]], signed=True) == [[WHITE, RED]]


@pytest.mark.parametrize("value", [0.0, 7.5, -3.0, NAN, INF])
def test_constant_maps_say_nothing(value: float) -> None:
    assert heat([[value] * 2]) == near([[BLACK] * 2])


def test_constant_signed_maps_keep_their_sign() -> None:
    assert heat([[-2.0]], signed=True) == [[BLUE]]
    assert heat([[0.0]], signed=True) == [[WHITE]]
    assert heat([[NAN]], signed=True) == [[WHITE]]


def test_what_is_not_finite_counts_for_nothing() -> None:
    colours = heat([[NAN, INF, 1.0, 2.0, -INF]], percentile=100)[0]
    assert colours == near([BLACK, BLACK, BLACK, YELLOW, BLACK])
    assert heat([[NAN, INF, -1.0, 1.0]], signed=True) == [[WHITE, WHITE, BLUE, RED]]


def test_huge_and_tiny_numbers() -> None:
    top = float(np.finfo(np.float32).max)
    assert heat([[-top, top]]) == near([[BLACK, YELLOW]])
    assert heat([[0.0, 1e-300]]) == near([[BLACK, YELLOW]])


@pytest.mark.parametrize("shape", [(3,), (1, 2, 2), (0, 4), ()])
def test_arrays_that_are_no_maps(shape: tuple[int, ...]) -> None:
    view = np.zeros((2, 2, 3), np.uint8)
    for draw in (heat_map, lambda map_: overlay(view, map_)):
        with pytest.raises(InputError, match="a height and a width") as caught:
            draw(np.zeros(shape))
        assert caught.value.code == "not-a-map"


def test_overlay_fades_the_weak_and_covers_the_strong() -> None:
    view = np.full((1, 2, 3), (200, 100, 0), np.uint8)
    faded, strong = overlay(view, np.array([[0.0, 1.0]]), alpha=0.5).tolist()[0]
    # the luma is 0.299 * 200 + 0.587 * 100 = 118.5; half of the way to it, times 0.7
    assert faded == pytest.approx([111.5, 76.5, 41.5], abs=1)
    assert strong == pytest.approx(
        [(a + b) / 2 for a, b in zip((200, 100, 0), YELLOW, strict=True)], abs=1
    )
    covered = overlay(view, np.array([[0.0, 1.0]]), alpha=1.0).tolist()[0][1]
    assert covered == pytest.approx(YELLOW, abs=1)
    beyond = overlay(view, np.array([[0.0, 1.0]]), alpha=2.0).tolist()[0][1]
    assert beyond == covered  # and no number wraps around


def test_signed_overlay() -> None:
    view = np.full((1, 3, 3), 100, np.uint8)
    blue, none, red = overlay(view, np.array([[-1.0, 0, 1]]), alpha=1.0, signed=True).tolist()[0]
    assert (blue, none, red) == (BLUE, [70] * 3, RED)


@pytest.mark.parametrize("alpha", [0.5, 0.85, 1.0])
@pytest.mark.parametrize("signed", [False, True])
def test_overlay_is_the_blend_within_a_step_of_each_pixel(signed: bool, alpha: float) -> None:
    rng = np.random.default_rng(4)
    view = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    values = rng.uniform(-1.0 if signed else 0.0, 1.0, (64, 64))
    values[0, :2] = -1.0 if signed else 0.0, 1.0  # the ends: a strength is its value's magnitude
    made, heat = overlay_and_colours(view, values, alpha, signed, percentile=100)
    strength = np.abs(values)[..., None]
    cover = alpha * strength**2 * (3.0 - 2.0 * strength)
    gray = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY)[..., None]
    half = strength * 0.5
    photograph = (0.7 + 0.3 * strength) * (view * (0.5 + half) + gray * (0.5 - half))
    if signed:
        stops = np.linspace(-1.0, 1.0, 9)
        colours = np.stack([np.interp(values, stops, each) for each in palette(True).T], axis=-1)
    else:
        colours = palette()[np.round(255.0 * values).astype(int)]
    # A strength is off by half a level. The blend's slope in it is 382.5 at most; that of the
    # colours between two stops, a quarter apart, is 4 * 117, and they are rounded themselves.
    off = 382.5 / 248 + 4 * 117 / 248 + 0.5 if signed else 382.5 / 510
    wanted = cover * colours + (1.0 - cover) * photograph
    error = made - wanted
    assert np.abs(error).max() < off + 0.5 + 1e-3
    # On average rounding makes a quarter, and half levels less than another; to either side alike,
    # within five standard errors of so many pixels.
    assert np.abs(error).mean() < 0.5
    assert abs(error.mean()) < 5 * error.std() / np.sqrt(error.size)
    assert np.abs(heat.picture - colours).max() <= (4 * 117 / 248 + 0.5 if signed else 0)


def test_overlay_leaves_its_arguments_alone() -> None:
    view, saliency = np.full((4, 4, 3), 9, np.uint8), np.eye(2)
    overlay(view, saliency)
    assert (view == 9).all()
    assert np.array_equal(saliency, np.eye(2))


def test_maps_of_other_sizes_are_resized_bilinearly() -> None:
    view = np.zeros((4, 4, 3), np.uint8)
    small = np.array([[0.0, 1.0]])
    # half-pixel centres: 0, 0.25, 0.75, 1
    full = np.tile([0.0, 0.25, 0.75, 1.0], (4, 1))
    assert np.array_equal(overlay(view, small), overlay(view, full))
    assert overlay(view, np.ones((1, 1))).shape == (4, 4, 3)
    assert overlay(view, np.ones((9, 5), np.float32)).shape == (4, 4, 3)


@pytest.mark.parametrize("signed", [False, True])
def test_one_nan_does_not_spread_when_resized(signed: bool) -> None:
    view = np.zeros((8, 8, 3), np.uint8)
    holed, filled = np.array([[NAN, -1.0], [2.0, 1.0]]), np.array([[-1.0, -1.0], [2.0, 1.0]])
    if signed:
        filled[0, 0] = 0.0
    assert np.array_equal(overlay(view, holed, signed=signed), overlay(view, filled, signed=signed))


def test_side_by_side_keeps_pictures_and_proportions() -> None:
    left = np.full((64, 32, 3), (200, 0, 0), np.uint8)
    right = np.full((10, 20, 3), (0, 0, 200), np.uint8)
    row = side_by_side([left, right], ["left", "right"], height=128)
    reds = (row == (200, 0, 0)).all(axis=2)
    blues = (row == (0, 0, 200)).all(axis=2)
    assert reds.sum() == 128 * 64
    assert blues.sum() == 128 * 256
    assert np.argmax(reds.any(axis=0)) < np.argmax(blues.any(axis=0))
    above = row[: np.argmax(reds.any(axis=1))]
    assert above.min() < 128  # there is text


def test_captions_that_cannot_be_drawn_are_cut_or_replaced() -> None:
    black = np.zeros((64, 64, 3), np.uint8)

    def caption(text: str) -> Any:
        return side_by_side([black], [text], height=64)

    long = "features.0.block.1.conv.bias"
    assert not np.array_equal(caption(long), caption(long + "2"))  # the end is what is kept
    assert np.array_equal(caption("x" + long), caption("y" + long))
    assert caption(long).shape == caption("").shape
    assert np.array_equal(caption("é"), caption("?"))
    assert side_by_side([black[:, :1]], [long], height=16).shape[1] == 21


def test_every_picture_needs_a_caption() -> None:
    with pytest.raises(ValueError, match="shorter"):
        side_by_side([np.zeros((2, 2, 3), np.uint8)] * 2, ["one"])


def test_layer_grid_holds_image_layers_and_the_whole() -> None:
    view = np.full((32, 32, 3), (0, 200, 0), np.uint8)
    saliency = np.linspace(0, 1, 64).reshape(8, 8)
    layers = [("first", np.eye(16)), ("last", np.ones((1, 1)))]
    grid = layer_grid(view, saliency, layers)
    assert grid.shape == (256 + 26 + 10, 4 * 266 + 10, 3)
    tiles = [grid[26:282, 10 + 266 * i :][:, :256] for i in range(4)]
    assert (tiles[0] == (0, 200, 0)).all()
    assert (tiles[1] == YELLOW).all(axis=2).any()
    assert np.abs(tiles[2].astype(int) - BLACK).max() <= 1  # constant
    small = cv2.resize(tiles[3], (32, 32), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(small - overlay(view, saliency)).max() < 20


def test_of_many_layers_evenly_spaced_ones_are_shown() -> None:
    view = np.zeros((16, 16, 3), np.uint8)
    layers = [(f"layer {i}", np.random.default_rng(i).random((4, 4))) for i in range(53)]
    shown = [layers[i] for i in (0, 10, 21, 31, 42, 52)]
    grid = layer_grid(view, np.eye(4), layers)
    assert np.array_equal(grid, layer_grid(view, np.eye(4), shown))
    assert grid.shape == (2 * (256 + 26 + 10), 4 * 266 + 10, 3)


def test_a_model_without_layers_still_has_a_grid() -> None:
    grid = layer_grid(np.zeros((16, 16, 3), np.uint8), np.zeros((1, 1)), [])
    assert grid.shape == (256 + 26 + 10, 2 * 266 + 10, 3)


@pytest.mark.parametrize("signed", [False, True])
def test_both_pictures_at_once_are_the_two(signed):
    rng = np.random.default_rng(0)
    view = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    saliency = rng.normal(size=(10, 15)).astype(np.float32)
    over, heat = overlay_and_colours(view, saliency, signed=signed)
    assert (over == overlay(view, saliency, signed=signed)).all()
    assert (heat.picture == heat_map(saliency, signed, size=(20, 30))).all()
