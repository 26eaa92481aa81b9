"""Saliency maps as pictures: heat map, overlay, a row of captioned pictures, the layer grid.

Everything takes and gives uint8 RGB pictures [H, W, 3] and float maps [H, W] of any size; a map
is resized bilinearly to the photograph that it is laid over. A number that is not finite is drawn
as no importance at all, and so is a map that is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fg_onnx.pictures.colours import (
    PERCENTILE,
    Coloured,
    Map,
    Picture,
    Scale,
    as_map,
    coloured,
)
from fg_onnx.pictures.opencv import cv2

# --- one map ------------------------------------------------------------------------------------


def heat_map(
    saliency: Map,
    signed: bool = False,
    percentile: float = PERCENTILE,
    size: tuple[int, int] | None = None,
    scale: float | None = None,
) -> Picture:
    """A map in colours.

    Args:
        saliency: float [H, W].
        signed: blue below 0, white at 0, red above, instead of dark to bright (inferno).
        percentile: values beyond it are clipped (50..100; 100 clips nothing), at both ends.
        size: height and width to which the map is resized first; None: its own.
        scale: of a signed map, the magnitude of the strongest colours; None: its percentile.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        InputError: ``not-a-map``, for an array that is not two-dimensional or is empty.
    """
    resized = saliency if size is None else _resize_map(saliency, size, signed)
    return coloured(resized, signed, percentile, scale).picture


def overlay(
    view: Picture,
    saliency: Map,
    alpha: float = 0.85,
    signed: bool = False,
    percentile: float = PERCENTILE,
) -> Picture:
    """The map laid over the photograph: what does not matter fades, what matters glows.

    Args:
        view: uint8 [H, W, 3], RGB, the pixels that the model saw.
        saliency: float [h, w], resized to the view.
        alpha: how much of the photograph the strongest colour covers, 0..1.
        signed: as in `heat_map`.
        percentile: as in `heat_map`.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        InputError: ``not-a-map``, as in `heat_map`.
    """
    return overlay_and_colours(view, saliency, alpha, signed, percentile)[0]


def overlay_and_colours(
    view: Picture,
    saliency: Map,
    alpha: float = 0.85,
    signed: bool = False,
    percentile: float = PERCENTILE,
) -> tuple[Picture, Coloured]:
    """`overlay`, and the map in colours and in the size of the view, which it is made of.

    Raises:
        InputError: ``not-a-map``, as in `heat_map`.
    """
    found = coloured(_resize_map(saliency, view.shape[:2], signed), signed, percentile)
    levels = found.levels
    colouring, photograph, graying = _shares(alpha, found.scale)
    gray = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY) * cv2.LUT(levels, graying)
    gray += 0.5  # what is cut off below is rounded by it
    shown = cv2.LUT(levels, photograph)
    mixed = []
    # channel by channel: NumPy repeats what holds for all three of a pixel one pixel at a time
    for seen, colour in zip(cv2.split(view), colouring, strict=True):
        sums = seen * shown
        sums += cv2.LUT(levels, colour)
        sums += gray
        mixed.append(sums.astype(np.uint8))
    return np.asarray(cv2.merge(mixed), dtype=np.uint8), found


def _shares(
    alpha: float, scale: Scale
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Of an overlay at each level, float32.

    Returns:
        The part of the three colours themselves [3, 256], and the shares of the photograph [256]
        and of its gray [256].
    """
    strength = scale.strengths
    # steep where it starts, flat where it ends: weak noise stays away from the photograph, and
    # the photograph still shows its texture under the strongest colour
    cover = (alpha * strength * strength * (3.0 - 2.0 * strength)).clip(0.0, 1.0)
    # the photograph is half gray and dimmed where the map is weak
    shown = (1.0 - cover) * (0.7 + 0.3 * strength)
    photograph, gray = shown * (0.5 + 0.5 * strength), shown * (0.5 - 0.5 * strength)
    colours = np.ascontiguousarray((scale.colours * cover[:, None]).T, np.float32)
    return colours, photograph.astype(np.float32), gray.astype(np.float32)


# --- several ------------------------------------------------------------------------------------


def side_by_side(images: Sequence[Picture], captions: Sequence[str], height: int = 256) -> Picture:
    """Pictures in a row on white, each scaled to one height, its caption above it.

    Args:
        images: uint8 [h, w, 3] each, RGB.
        captions: one for each; shortened to the width of its picture, and what is not ASCII
            becomes ``?``, for OpenCV draws nothing else.
        height: of every picture, in pixels.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    cells = [
        _captioned(image, caption, height) for image, caption in zip(images, captions, strict=True)
    ]
    return _framed(_joined(cells, axis=1))


def layer_grid(
    view: Picture,
    saliency: Map,
    layer_maps: Sequence[tuple[str, Map]],
    signed: bool = False,
    most: int = 6,
) -> Picture:
    """The photograph, the maps of some layers from input to output, and the full map (Figure 1).

    Args:
        view: uint8 [H, W, 3], RGB, the pixels that the model saw.
        saliency: float [h, w], the whole map.
        layer_maps: name and float [h, w] of every layer, in the order of the graph.
        signed: as in `heat_map`.
        most: how many layers are shown; of more, evenly spaced ones, the first and last included.

    Returns:
        uint8 [H, W, 3], RGB: up to four pictures a row.

    Raises:
        InputError: ``not-a-map``, as in `heat_map`.
    """
    size = view.shape[:2]
    chosen = [layer_maps[i] for i in evenly_spaced(len(layer_maps), most)]
    tiles = [("image", view)]
    tiles += [(name, heat_map(_resize_map(map_, size, signed), signed)) for name, map_ in chosen]
    tiles += [("FullGrad", overlay(view, saliency, signed=signed))]
    cells = [_captioned(picture, name, 256) for name, picture in tiles]
    columns = -(-len(cells) // -(-len(cells) // 4))  # rows as even as can be
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    rows = [_joined(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)]
    return _framed(_joined(rows, axis=0))


def evenly_spaced(count: int, most: int) -> list[int]:
    """At most so many of the numbers below ``count``, the first and the last included."""
    if count <= most:
        return list(range(count))
    return [int(i) for i in np.linspace(0, count - 1, most).round()]


def _resize_map(saliency: Map, size: tuple[int, ...], signed: bool) -> npt.NDArray[np.float64]:
    values = as_map(saliency)
    if values.shape == size:
        return values
    # one NaN would spread to its neighbours; the value of no importance says the same
    finite = np.isfinite(values)
    if not finite.all():
        nothing = 0.0 if signed or not finite.any() else values[finite].min()
        values = np.where(finite, values, nothing)
    resized = cv2.resize(values, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.float64)


# --- captions and frames ------------------------------------------------------------------------

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE = 0.5
_CAPTION_HEIGHT = 26
_GAP = 10


def _captioned(picture: Picture, caption: str, height: int) -> Picture:
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    shrinks = height < picture.shape[0]
    scaled = cv2.resize(
        picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    strip = np.full((_CAPTION_HEIGHT, width, 3), 255, np.uint8)
    text = _shortened(caption, width - 4)
    left = (width - _text_width(text)) // 2
    cv2.putText(strip, text, (left, 17), _FONT, _FONT_SCALE, (40, 40, 40), 1, cv2.LINE_AA)
    return np.concatenate([strip, scaled])


def _shortened(caption: str, width: int) -> str:
    """ASCII that fits. The end of a layer's name tells more than its start, so that is kept."""
    text = caption.encode("ascii", "replace").decode()
    if _text_width(text) <= width:
        return text
    while text and _text_width(".." + text) > width:
        text = text[1:]
    return ".." + text if text else ""


def _text_width(text: str) -> int:
    return int(cv2.getTextSize(text, _FONT, _FONT_SCALE, 1)[0][0])


def _joined(cells: Sequence[Picture], axis: int) -> Picture:
    """Pictures of one height (axis 1) or width (axis 0), with white between them."""
    shape = list(cells[0].shape)
    shape[axis] = _GAP
    gap = np.full(shape, 255, np.uint8)
    parts = [part for cell in cells for part in (gap, cell)][1:]
    return np.concatenate(parts, axis=axis)


def _framed(picture: Picture) -> Picture:
    # the captions already leave room above
    return np.pad(picture, ((0, _GAP), (_GAP, _GAP), (0, 0)), constant_values=255)
