"""Pictures as PNG files (W3C, Portable Network Graphics, third edition)."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from fg_onnx.errors import OutputError
from fg_onnx.files import replacing
from fg_onnx.pictures.colours import Picture
from fg_onnx.pictures.opencv import cv2

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_INDEXED = 3  # the colour type (section 11.2.1)
_UP = 2  # the filter that holds every byte's difference from the one above it (section 9.2)


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
    runs = _mostly_repeat(rgb)
    strategy = cv2.IMWRITE_PNG_STRATEGY_RLE if runs else cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_STRATEGY, strategy])
    return encoded.tobytes()


def to_indexed_png(indices: Picture, colours: Picture) -> bytes:
    """A picture of few colours as the bytes of a PNG file: a third of what `to_png` makes of it.

    OpenCV reads such files and does not write them.

    Args:
        indices: uint8 [H, W], of colours.
        colours: uint8 [K, 3], RGB, 256 at most.
    """
    height, width = indices.shape
    rows = np.full((height, 1 + width), _UP, np.uint8)
    rows[0, 1:] = indices[0]
    np.subtract(indices[1:], indices[:-1], out=rows[1:, 1:])
    runs = _mostly_repeat(rows)
    packing = zlib.compressobj(strategy=zlib.Z_RLE if runs else zlib.Z_HUFFMAN_ONLY)
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _INDEXED, 0, 0, 0)),
            _chunk(b"PLTE", colours.tobytes()),
            _chunk(b"IDAT", packing.compress(rows.tobytes()) + packing.flush()),
            _chunk(b"IEND", b""),
        )
    )


def _mostly_repeat(pixels: Picture) -> bool:
    """Whether runs are to be looked for: it takes up to two thirds as long again."""
    return bool(np.count_nonzero(pixels[:, 1:] == pixels[:, :-1]) > pixels.size / 2)


def _chunk(kind: bytes, data: bytes) -> bytes:
    named = kind + data
    return struct.pack(">I", len(data)) + named + struct.pack(">I", zlib.crc32(named))
