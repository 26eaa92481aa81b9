"""OpenCV, told how large a picture it may decode before it is loaded, which is when it asks.

A file of a few kilobytes can hold a picture of gigabytes. Whoever needs larger ones sets the
variable; a program that loads OpenCV before fg-onnx keeps OpenCV's own limit of 2**30 pixels.
"""

from __future__ import annotations

import os

MOST_DECODED = 178_956_970  # pixels, as Pillow: 512 MiB as RGB, more than any camera's
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_DECODED))

import cv2  # noqa: E402

__all__ = ["MOST_DECODED", "cv2"]
