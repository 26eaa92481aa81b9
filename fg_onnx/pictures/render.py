"""Saliency maps as pictures: heat map, overlay, a row of captioned pictures, the layer grid.

Everything takes and gives uint8 RGB pictures [H, W, 3] and float maps [H, W] of any size; a map
is resized bilinearly to the photograph that it is laid over. A number that is not finite is drawn
as no importance at all, and so is a map that is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fg_onnx.errors import InputError, OutputError
from fg_onnx.files import replacing
from fg_onnx.pictures.opencv import cv2

Picture = npt.NDArray[np.uint8]
Map = npt.NDArray[np.floating[Any]]
_Real = npt.NDArray[np.float64]

# the clipping of extreme values, in percent: one pixel in 200 may be brighter than the brightest
PERCENTILE = 99.5

# blue - white - red, of even lightness on both sides (ColorBrewer's RdBu, reversed)
_DIVERGING = np.array(
    [
        [5, 48, 97],
        [33, 102, 172],
        [67, 147, 195],
        [146, 197, 222],
        [247, 247, 247],
        [244, 165, 130],
        [214, 96, 77],
        [178, 24, 43],
        [103, 0, 31],
    ],
    dtype=np.float64,
)


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
    values = _as_map(saliency) if size is None else _resize_map(saliency, size, signed)
    if signed:
        return _diverging_colours(_signed_strength(values, percentile, scale))
    return _sequential_colours(_strength(values, percentile))


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
    return overlay_and_heat_map(view, saliency, alpha, signed, percentile)[0]


def overlay_and_heat_map(
    view: Picture,
    saliency: Map,
    alpha: float = 0.85,
    signed: bool = False,
    percentile: float = PERCENTILE,
) -> tuple[Picture, Picture]:
    """`overlay`, and `heat_map` in the size of the view, which it is made of.

    Raises:
        InputError: ``not-a-map``, as in `heat_map`.
    """
    resized = _resize_map(saliency, view.shape[:2], signed)
    strength = (_signed_strength if signed else _strength)(resized, percentile)
    colours = (_diverging_colours if signed else _sequential_colours)(strength)
    levels = _levels(np.abs(strength))
    covering, photograph, graying = (cv2.LUT(levels, table) for table in _shares(alpha))
    gray = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY) * graying
    mixed = []
    # channel by channel: NumPy repeats what holds for all three of a pixel one pixel at a time
    for seen, colour in zip(cv2.split(view), cv2.split(colours), strict=True):
        sums = seen * photograph
        sums += colour * covering
        sums += gray
        mixed.append(_to_picture(sums))
    return np.asarray(cv2.merge(mixed), dtype=np.uint8), colours


def _shares(alpha: float) -> Iterator[npt.NDArray[np.float32]]:
    """Of an overlay at each of 256 strengths: the colour's, the photograph's, and its gray's."""
    strength = np.arange(256) / 255.0
    # steep where it starts, flat where it ends: weak noise stays away from the photograph, and
    # the photograph still shows its texture under the strongest colour
    cover = alpha * strength * strength * (3.0 - 2.0 * strength)
    # the photograph is half gray and dimmed where the map is weak
    shown = (1.0 - cover) * (0.7 + 0.3 * strength)
    for share in (cover, shown * (0.5 + 0.5 * strength), shown * (0.5 - 0.5 * strength)):
        yield share.astype(np.float32)


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


# --- files --------------------------------------------------------------------------------------


def write_png(path: str | Path, rgb: Picture) -> None:
    """Writes a picture, uint8 [H, W, 3], RGB. An existing file is replaced, whole or not at all.

    Raises:
        OutputError: ``not-a-png-name``, or ``not-writable`` where the folder does not allow it.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise OutputError("not-a-png-name", f"`{path}` does not end in .png", "only PNG is written")
    with replacing(path) as temporary:
        temporary.write_bytes(to_png(rgb))


def to_png(rgb: Picture) -> bytes:
    """A picture, uint8 [H, W, 3], RGB, as the bytes of a PNG file."""
    # to look for runs takes a third of the time, and finds few where few neighbours are equal
    repeated = np.count_nonzero(rgb[:, 1:] == rgb[:, :-1]) > rgb.size / 2
    strategy = cv2.IMWRITE_PNG_STRATEGY_RLE if repeated else cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_STRATEGY, strategy])
    return encoded.tobytes()


# --- from numbers to colours --------------------------------------------------------------------


def _as_map(saliency: Map) -> _Real:
    """float64 [H, W], of which only finite numbers are left as they are."""
    values = np.asarray(saliency, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise InputError(
            "not-a-map",
            f"a map has a height and a width, and this one's shape is {list(values.shape)}",
            "give one channel of one image",
        )
    return values


def _strength(saliency: Map, percentile: float) -> _Real:
    """[H, W] in 0..1: between the low and the high percentile; 0 where not finite."""
    values = _as_map(saliency)
    known = np.isfinite(values)
    finite = _only(values, known)
    if finite.size == 0:
        return np.zeros_like(values)
    low, high = -_high_percentile(-finite, percentile), _high_percentile(finite, percentile)
    if high <= low:  # nearly all pixels are equal: the few that are not are then all there is
        low, high = finite.min(), finite.max()
    if high <= low:
        return np.zeros_like(values)
    return _clipped((values - low) / (high - low), known, 0.0)


def _signed_strength(saliency: Map, percentile: float, scale: float | None = None) -> _Real:
    """[H, W] in -1..1, with 0 staying 0: divided by a scale, or the magnitude's percentile."""
    values = _as_map(saliency)
    known = np.isfinite(values)
    magnitude = np.abs(_only(values, known))
    if magnitude.size == 0:
        return np.zeros_like(values)
    high = scale or _high_percentile(magnitude, percentile) or magnitude.max()
    if high == 0:
        return np.zeros_like(values)
    return _clipped(values / high, known, -1.0)


def _only(values: _Real, known: npt.NDArray[np.bool_]) -> _Real:
    """What is known, in one row."""
    return values.ravel() if known.all() else values[known]


def _clipped(strength: _Real, known: npt.NDArray[np.bool_], low: float) -> _Real:
    """Within ``low`` and 1, and 0 where not known; written into what is given."""
    if not known.all():
        strength[~known] = 0.0
    return strength.clip(low, 1.0, out=strength)


# of so many pixels one tells about where the largest lie
_EVERY = 32


def _high_percentile(values: _Real, percentile: float) -> float:
    """`np.percentile` of numbers in one row, found among the largest of them alone."""
    rank = (values.size - 1) * percentile / 100.0
    wanted = values.size - int(rank)  # so many are not below it
    # what twice as many of a sample exceed, nearly always more than that many of all exceed
    sample = np.sort(values[::_EVERY])
    largest = values[values >= sample[max(0, len(sample) - 4 - 2 * wanted // _EVERY)]]
    if len(largest) < wanted:
        largest = values
    at = len(largest) - wanted
    after = min(at + 1, len(largest) - 1)
    ordered = np.partition(largest, (at, after))
    return float(ordered[at] + (ordered[after] - ordered[at]) * (rank - int(rank)))


def _inferno() -> Picture:
    """Its 256 colours, [256, 1, 3], RGB."""
    levels = np.arange(256, dtype=np.uint8)[:, None]
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return np.asarray(colours, dtype=np.uint8)


_SEQUENTIAL = _inferno()


def _levels(strength: _Real) -> Picture:
    """uint8 [H, W]: 0..1 in 255 steps."""
    return np.round(strength * 255.0).astype(np.uint8)


def _sequential_colours(strength: _Real) -> Picture:
    return np.asarray(cv2.applyColorMap(_levels(strength), _SEQUENTIAL), dtype=np.uint8)


def _diverging_colours(strength: _Real) -> Picture:
    stops = np.linspace(-1.0, 1.0, len(_DIVERGING))
    return _to_picture(
        np.stack([np.interp(strength, stops, _DIVERGING[:, i]) for i in range(3)], axis=-1)
    )


def palette(signed: bool = False) -> Picture:
    """The colours of `heat_map`, from the least value to the greatest, as uint8 [K, 3], RGB.

    Signed ones are to be interpolated; of the others a strength s takes number ``round(255 s)``.
    """
    if signed:
        return _to_picture(_DIVERGING)
    return _SEQUENTIAL[:, 0].copy()


def _to_picture(pixels: npt.NDArray[Any]) -> Picture:
    return np.ascontiguousarray(np.round(pixels).clip(0, 255), dtype=np.uint8)


def _resize_map(saliency: Map, size: tuple[int, ...], signed: bool) -> _Real:
    values = _as_map(saliency)
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
    return _to_picture(np.concatenate([strip, scaled]))


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
