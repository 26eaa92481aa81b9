"""Folders of real photographs, the same ones again and again."""

from __future__ import annotations

from pathlib import Path

import cv2

from sample_models import more_photos

_QUALITY = 95  # of those made smaller, in JPEG's percent


def copies(folder: Path, count: int, side: int = 0) -> Path:
    """A new folder of so many; of at most ``side`` pixels on the longer side, 0: as they are."""
    folder.mkdir()
    found = [_read(path, side) for path in more_photos.write()]
    for number in range(count):
        suffix, data = found[number % len(found)]
        (folder / f"{number:06d}{suffix}").write_bytes(data)
    return folder


def _read(path: Path, side: int) -> tuple[str, bytes]:
    """The suffix and the bytes of a file."""
    if not side:
        return path.suffix, path.read_bytes()
    pixels = cv2.imread(str(path))
    scale = side / max(pixels.shape[:2])
    if scale < 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return ".jpg", cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
