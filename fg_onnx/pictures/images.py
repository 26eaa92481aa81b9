"""From image files to what a model is fed: find, decode, resize, crop, normalise.

The pixels that a model sees are also kept as they are, so that a saliency map is laid over
exactly those.
"""

from __future__ import annotations

import glob
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from fg_onnx.errors import InputError
from fg_onnx.pictures.opencv import cv2
from fg_onnx.pictures.preprocess import Interpolation, Layout, Preprocessing
from fg_onnx.silence import silent_stderr

if TYPE_CHECKING:
    from fg_onnx.manifest import LayoutName

# fmt: off
IMAGE_SUFFIXES = (
    ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm",
    ".ppm", ".tif", ".tiff", ".webp",
)
# fmt: on

MOST_FED = 2**26
"""Pixels that a photograph may have when it is fed to a model."""

Image = npt.NDArray[np.uint8]
Shape = Sequence[int | str | None]


class Readable(Protocol):
    """A file: a `Path`, or one that is not on this machine."""

    @property
    def suffix(self) -> str:
        """Of its name, with the dot."""

    def read_bytes(self) -> bytes:
        """All of it."""


# --- finding ------------------------------------------------------------------------------------


def find_images(
    patterns: Sequence[str | Path], suffixes: Sequence[str] = IMAGE_SUFFIXES
) -> list[Path]:
    """The image files that files, folders and globs name, in that order, each once.

    A file is taken as it is. A folder gives its own files with one of the suffixes, sorted by name;
    its subfolders are left alone. A glob (``**`` included) gives the files that match, sorted.

    Raises:
        InputError: ``no-such-image``, when a pattern leads to no file, or there is no pattern.
    """
    if not patterns:
        raise InputError("no-such-image", "no image was named", "name files, folders or globs")
    found: dict[str, Path] = {}
    for pattern in patterns:
        for path in _matches(pattern, suffixes):
            # two spellings of one file are one file; the first is kept
            found.setdefault(os.path.abspath(path), path)
    return list(found.values())


def _matches(pattern: str | Path, suffixes: Sequence[str]) -> list[Path]:
    path = Path(pattern)
    if path.is_dir():
        matches = sorted(p for p in path.iterdir() if p.suffix.lower() in suffixes)
        missing = f"no image lies in the folder `{pattern}`"
        hint = _hint_of_folder(path, suffixes)
    elif path.exists():
        return [path]
    elif glob.has_magic(str(pattern)):
        matches = sorted(Path(name) for name in glob.glob(str(pattern), recursive=True))
        missing = f"no file matches `{pattern}`"
        hint = "check the spelling and the folder from which the pattern counts"
    else:
        matches = []
        missing, hint = f"there is no image `{pattern}`", "check the spelling and the folder"
    # a link that leads nowhere is told when it is read, not left out
    matches = [match for match in matches if match.is_file() or not match.exists()]
    if not matches:
        raise InputError("no-such-image", missing, hint)
    return matches


def _hint_of_folder(path: Path, suffixes: Sequence[str]) -> str:
    """What to do where a folder has no image of its own: subfolders may have."""
    below = (each for each in path.glob("*/*") if each.suffix.lower() in suffixes)
    first = next(below, None)
    if first is None:
        return f"suffixes looked for: {' '.join(suffixes)}"
    every = path / "**" / f"*{first.suffix}"
    return f"subfolders are left alone; to take their images, give the glob '{every}'"


# --- decoding -----------------------------------------------------------------------------------


def read_image(path: str | Readable) -> Image:
    """An image file as uint8 [H, W, 3], RGB, 0..255.

    Turned upright as its EXIF data say (but for images with an alpha channel, of which OpenCV
    does not tell the orientation). Transparency is laid over white, gray is repeated,
    16 bits are rounded to 8, and of several frames the first is taken.

    Raises:
        InputError: ``no-such-image``, or ``not-an-image`` for what cannot be read or decoded.
    """
    hint = "give a JPEG, PNG, WebP, TIFF, BMP or GIF file"
    try:
        file = Path(path) if isinstance(path, str) else path
        data = file.read_bytes()  # OpenCV cannot open every path on every system
    except FileNotFoundError:
        raise InputError(
            "no-such-image", f"there is no image `{path}`", "check the spelling and the folder"
        ) from None
    except IsADirectoryError:
        raise InputError("not-an-image", f"`{path}` is a folder", "name the files in it") from None
    except OSError as error:
        reason = f"`{path}` cannot be read: {error.strerror}"
        raise InputError("not-an-image", reason, "check the file and its permissions") from None
    if not data:
        raise InputError("not-an-image", f"`{path}` is empty", hint)
    try:
        return _decode(np.frombuffer(data, np.uint8))
    except _UndecodableError as error:
        raise InputError("not-an-image", f"`{path}` is not an image: {error}", hint) from None


class _UndecodableError(Exception):
    """Bytes that are no image; the text is the reason."""


# how files that OpenCV surely knows begin: of those it can be told that they are damaged
_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG"
_SIGNATURES = (_JPEG, _PNG, b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")


def _decode(data: npt.NDArray[np.uint8]) -> Image:
    if _may_be_transparent(data):
        raw = _imdecode(data, cv2.IMREAD_UNCHANGED)
        if raw.ndim == 3 and raw.shape[2] == 4:
            return _over_white(_to_8_bits(raw))
    bgr = _to_8_bits(_imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH))
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _may_be_transparent(data: npt.NDArray[np.uint8]) -> bool:
    """Not a JPEG, nor a PNG without alpha (ISO 15948, 11.2.1 and 11.3.1): most photographs."""
    head = data[:26].tobytes()
    if head.startswith(_JPEG):
        return False
    if not head.startswith(_PNG) or head[-1] not in (0, 2):  # gray, RGB
        return True
    before, pixels, _ = data.tobytes().partition(b"IDAT")
    return not pixels or b"tRNS" in before


def _imdecode(data: npt.NDArray[np.uint8], flags: int) -> npt.NDArray[Any]:
    with silent_stderr():
        try:
            pixels = cv2.imdecode(data, flags)
        except cv2.error as error:
            many = "it has more pixels than OpenCV was told to decode"
            reason = many if "MAX_IMAGE" in error.err else error.err
            raise _UndecodableError(reason) from None
    if pixels is None:
        known = data[:4].tobytes().startswith(_SIGNATURES)
        raise _UndecodableError("it is damaged or cut short" if known else "unknown format")
    return pixels


def _to_8_bits(pixels: npt.NDArray[Any]) -> Image:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return np.round(pixels / 257.0).astype(np.uint8)  # 65535 / 257 = 255
    raise _UndecodableError(f"its pixels are {pixels.dtype}, and only 8 and 16 bits are known")


def _over_white(bgra: Image) -> Image:
    opacity = bgra[..., 3:] / 255.0
    rgb = bgra[..., 2::-1] * opacity + 255.0 * (1.0 - opacity)
    return np.round(rgb).astype(np.uint8)


# --- preparing ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Prepared:
    """A photograph, ready for one model.

    Attributes:
        array: float32 [1, C, H, W] or [1, H, W, C], what the model is fed.
        view: uint8 [H, W, 3], RGB: the pixels behind `array`, to lay a map over. Gray where the
            model sees gray.
    """

    array: npt.NDArray[np.float32]
    view: Image


def prepare(
    image: Image,
    preprocessing: Preprocessing,
    input_shape: Shape,
    layout: LayoutName | None = None,
) -> Prepared:
    """Resizes, crops and normalises a photograph for a model.

    Args:
        image: uint8 [H, W, 3], RGB.
        preprocessing: what the model wants.
        input_shape: of the model's input, four dimensions; a name or None for a free one. The
            batch dimension is left to the caller: one photograph is always prepared as one.
        layout: of the model's input. None: told from where `input_shape` has 1 or 3 channels,
            else NCHW. `preprocessing.layout` comes first.

    Raises:
        InputError: ``not-an-image-input`` for a shape that is not four dimensions;
            ``wrong-channel-count`` and ``wrong-size`` where photograph and model cannot meet;
            ``too-large`` for more than `MOST_FED` pixels.
    """
    layout, channels, size = _wanted(preprocessing, input_shape, layout)
    gray = _wants_gray(preprocessing, channels)
    view = _fit(image, _target_size(image.shape[:2], preprocessing.size, size), preprocessing)
    if gray:
        luma: Image = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY).astype(np.uint8)
        seen: Sequence[npt.NDArray[Any]] = [luma]
        view = np.repeat(luma[..., None], 3, axis=2)
    else:
        seen = cv2.split(view)[:: -1 if preprocessing.channels == "bgr" else 1]
    # float64 until the end, so that one rounding is all that float32 costs; of each of the 256
    # values that a channel can have
    values = np.arange(256)[:, None] * preprocessing.scale
    fed = ((values - np.array(preprocessing.mean)) / preprocessing.std).astype(np.float32)
    tables = np.ascontiguousarray(fed.T)
    planes = [tables[i % len(tables)][plane] for i, plane in enumerate(seen)]
    return Prepared(np.stack(planes, axis=0 if layout == "nchw" else -1)[None], view)


def prepare_mask(
    mask: Image,
    preprocessing: Preprocessing,
    input_shape: Shape,
    layout: LayoutName | None = None,
) -> npt.NDArray[np.float32]:
    """Takes a mask of the same size as a photograph where `prepare` takes the photograph.

    Args:
        mask: uint8 [H, W, 3]; every pixel that is not black is in it.
        preprocessing: as in `prepare`.
        input_shape: as in `prepare`.
        layout: as in `prepare`.

    Returns:
        float32 [h, w], the share of each pixel behind the model's input that is in the mask.

    Raises:
        InputError: as `prepare`.
    """
    _, _, size = _wanted(preprocessing, input_shape, layout)
    inside: Image = np.repeat(mask.any(axis=2, keepdims=True), 3, axis=2).astype(np.uint8) * 255
    target = _target_size(mask.shape[:2], preprocessing.size, size)
    return np.asarray(_fit(inside, target, preprocessing)[..., 0] / np.float32(255))


def _wanted(
    preprocessing: Preprocessing, input_shape: Shape, layout: LayoutName | None
) -> tuple[LayoutName, int | None, tuple[int | None, int | None]]:
    """The layout, the channels and the height and width that a model wants, None if it takes any.

    Raises:
        InputError: ``not-an-image-input``.
    """
    if len(input_shape) != 4:
        raise InputError(
            "not-an-image-input",
            f"the model's input has {len(input_shape)} dimensions, and an image needs 4",
            "feed this model an array instead of an image",
        )
    layout = preprocessing.layout or layout or _guess_layout(input_shape)
    fixed = [dim if isinstance(dim, int) and dim > 0 else None for dim in input_shape]
    channels, height, width = fixed[1:] if layout == "nchw" else (fixed[3], *fixed[1:3])
    return layout, channels, (height, width)


def _guess_layout(shape: Shape) -> Layout:
    return "nhwc" if shape[3] in (1, 3) and shape[1] not in (1, 3) else "nchw"


def _wants_gray(preprocessing: Preprocessing, channels: int | None) -> bool:
    """Whether one channel is fed. `channels` is what the model wants, None if it takes any."""
    gray = preprocessing.channels == "gray"
    if channels is None or channels == (1 if gray else 3):
        return gray
    # without numbers that belong to red, green and blue, gray is what such a model can only mean
    if channels == 1 and len(preprocessing.mean) == len(preprocessing.std) == 1:
        return True
    made = "1 channel" if gray else "3 channels"
    if channels == 1:
        hint = "set `channels: gray` with one `mean` and one `std`"
    elif channels == 3:
        hint = "set `channels: rgb` (or `bgr`)"
    else:
        hint = "feed this model an array instead of an image, or check the `layout`"
    raise InputError(
        "wrong-channel-count",
        f"wrong channel count: the model wants {channels}, and the preprocessing makes {made}",
        hint,
    )


def _target_size(
    image: tuple[int, ...], size: tuple[int, int] | None, model: tuple[int | None, int | None]
) -> tuple[int, int] | None:
    """Height and width to be fed; None: whatever the resized photograph has."""
    if size is None:
        if model == (None, None):
            return None
        return model[0] or image[0], model[1] or image[1]
    if any(own is not None and own != asked for own, asked in zip(model, size, strict=True)):
        own_size = " x ".join("any" if own is None else str(own) for own in model)
        raise InputError(
            "wrong-size",
            f"the model takes {own_size} pixels (height x width), and the preprocessing makes "
            f"{size[0]} x {size[1]}",
            "set `size: null` to use the model's own size",
        )
    return size


@dataclass(frozen=True)
class Placement:
    """Where a photograph comes to lie.

    Attributes:
        resized: height and width of the whole photograph after resizing.
        top: rows of it that are cut off above what is fed.
        left: columns of it that are cut off on the left.
        target: height and width of what is fed.
    """

    resized: tuple[int, int]
    top: int
    left: int
    target: tuple[int, int]


def placement(
    size: tuple[int, int],
    preprocessing: Preprocessing,
    input_shape: Shape,
    layout: LayoutName | None = None,
) -> Placement:
    """Where `prepare` takes the pixels of a photograph of that height and width.

    Args:
        size: of the photograph.
        preprocessing: as in `prepare`.
        input_shape: as in `prepare`.
        layout: as in `prepare`.

    Raises:
        InputError: as `prepare`.
    """
    _, _, wanted = _wanted(preprocessing, input_shape, layout)
    return _placed(size, _target_size(size, preprocessing.size, wanted), preprocessing)


def _placed(
    size: tuple[int, int], target: tuple[int, int] | None, preprocessing: Preprocessing
) -> Placement:
    if preprocessing.fit == "stretch":
        resized = target or size
    else:
        resized = _size_before_crop(size, target, preprocessing.resize)
    target = target or resized
    # torchvision's CenterCrop, down to Python's rounding of halves to even
    top, left = round((resized[0] - target[0]) / 2), round((resized[1] - target[1]) / 2)
    return Placement(resized, top, left, target)


def _fit(image: Image, target: tuple[int, int] | None, preprocessing: Preprocessing) -> Image:
    """The part of the photograph that is fed, resized."""
    size = image.shape[0], image.shape[1]
    placed = _placed(size, target, preprocessing)
    resized, (height, width) = placed.resized, placed.target
    whole = placed.target if preprocessing.interpolation in _KERNELS else resized
    if math.prod(whole) > MOST_FED:
        raise InputError(
            "too-large",
            f"the photograph of {size[0]} x {size[1]} pixels (height x width) would be resized to "
            f"{whole[0]} x {whole[1]}",
            "crop it, or set a smaller `size` or `resize`",
        )
    window = slice(placed.top, placed.top + height), slice(placed.left, placed.left + width)
    return _resize(image, resized, window, preprocessing.interpolation)


def _size_before_crop(
    size: tuple[int, int], target: tuple[int, int] | None, resize: int | None
) -> tuple[int, int]:
    if resize is not None:
        # torchvision's Resize: the long side is cut down to whole pixels
        resized = (resize * size[0] // min(size), resize * size[1] // min(size))
        if target is None or (resized[0] >= target[0] and resized[1] >= target[1]):
            return resized
    if target is None:
        return size
    factor = max(target[0] / size[0], target[1] / size[1])
    return max(target[0], round(size[0] * factor)), max(target[1], round(size[1] * factor))


# --- resizing -----------------------------------------------------------------------------------


def _resize(
    image: Image, size: tuple[int, int], window: tuple[slice, slice], interpolation: Interpolation
) -> Image:
    """`image` resized to `size`, of which only `window` (rows, columns) is returned."""
    if interpolation in _KERNELS:
        down = _resampling(image.shape[0], size[0], window[0], interpolation)
        across = _resampling(image.shape[1], size[1], window[1], interpolation)
        # the width first, and rounded in between, because Pillow does
        narrowed = _resample(_transposed(image[down.seen, across.seen]), across)
        return _resample(_transposed(narrowed), down)
    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    # INTER_AREA is an average only where it shrinks; enlarging, it repeats pixels
    method = cv2.INTER_AREA if interpolation == "area" and shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(image, (size[1], size[0]), interpolation=method)
    return np.ascontiguousarray(resized[window], dtype=np.uint8)


def _transposed(image: Image) -> Image:
    return np.asarray(cv2.transpose(image), dtype=np.uint8)


# resampled at once: the fewer, the fewer weights are 0
_ROWS = 12


@dataclass(frozen=True, eq=False)
class _Resampling:
    """How one axis is resized.

    Attributes:
        seen: what of the axis counts at all.
        blocks: of up to `_ROWS` new rows each, where in `seen` they come from, and float32 weights
            [rows, of seen]. None where rows stay as they are.
    """

    seen: slice
    blocks: Sequence[tuple[slice, npt.NDArray[np.float32]]] | None


def _resampling(length: int, size: int, window: slice, interpolation: Interpolation) -> _Resampling:
    """An axis resized from its length to `size`, of which `window` is wanted: Pillow's way.

    OpenCV has no smoothing bilinear or bicubic, and without smoothing a large photograph aliases.
    """
    if size == length:
        return _Resampling(window, None)
    kernel, support = _KERNELS[interpolation]
    step = length / size
    reach = max(step, 1.0)
    centres = (np.arange(window.start, window.stop) + 0.5) * step
    # the pixels under the kernel, for each centre
    firsts = np.maximum(centres - support * reach, 0.0).astype(np.int64)
    under = firsts[:, None] + np.arange(int(2 * support * reach) + 2)
    weights = kernel(np.abs(under + 0.5 - centres[:, None]) / reach)
    weights[under >= length] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    # of a block, from the first pixel under its first kernel
    starts = firsts[::_ROWS]
    under -= np.repeat(starts, _ROWS)[: len(firsts), None]
    spread = np.zeros((len(firsts), under.max() + 1), np.float32)
    np.put_along_axis(spread, under, weights.astype(np.float32), axis=1)
    stops = np.minimum(starts + spread.shape[1], length)
    start = int(firsts[0])
    blocks = [
        (slice(first - start, stop - start), spread[at : at + _ROWS, : stop - first])
        for at, first, stop in zip(
            range(0, len(firsts), _ROWS), starts.tolist(), stops.tolist(), strict=True
        )
    ]
    return _Resampling(slice(start, int(stops[-1])), blocks)


def _resample(image: Image, how: _Resampling) -> Image:
    """The first axis resized, of which only what is seen is given: weights times pixels."""
    if how.blocks is None:
        return np.ascontiguousarray(image)
    pixels = image.reshape(len(image), -1)
    resampled = np.empty((sum(len(w) for _, w in how.blocks), pixels.shape[1]), np.uint8)
    for at, (seen, weights) in enumerate(how.blocks):
        some = weights @ pixels[seen].astype(np.float32)
        some += 0.5  # half up, as Pillow
        if weights.min() < 0:  # else the mean of some pixels is within their range
            np.clip(some, 0, 255, out=some)
        resampled[at * _ROWS : (at + 1) * _ROWS] = some
    return resampled.reshape(len(resampled), *image.shape[1:])


def _triangle(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.maximum(1.0 - x, 0.0)


def _cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution with a = -0.5, which is Pillow's (OpenCV's is -0.75)."""
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


_Kernel = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]

# kernel, and the distance beyond which it is 0
_KERNELS: dict[Interpolation, tuple[_Kernel, float]] = {
    "bilinear": (_triangle, 1.0),
    "bicubic": (_cubic, 2.0),
}
