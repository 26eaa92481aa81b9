"""Pictures as files: every pixel is in them, and they come whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import cv2
import numpy as np
import pytest

from fg_onnx.errors import OutputError
from fg_onnx.pictures.png import to_indexed_png, to_png, write_png


@pytest.mark.parametrize("width", [1, 2, 40])
@pytest.mark.parametrize("plain", [0.0, 0.4, 0.6, 1.0])
def test_png_holds_every_pixel_whether_most_are_equal_or_not(plain: float, width: int) -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (30, width, 3)).astype(np.uint8)
    rgb[: round(plain * 30)] = 255
    read = cv2.imdecode(np.frombuffer(to_png(rgb), np.uint8), cv2.IMREAD_UNCHANGED)
    assert read[..., ::-1].tolist() == rgb.tolist()


def test_png_of_one_colour_is_small() -> None:
    assert len(to_png(np.full((224, 224, 3), 255, np.uint8))) < 2000  # by runs; 19,000 without


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (30, 1), (30, 41)])
@pytest.mark.parametrize("colours", [1, 3, 256])
def test_indexed_png_holds_every_pixel(colours: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    palette = rng.integers(0, 256, (colours, 3)).astype(np.uint8)
    indices = rng.integers(0, colours, shape).astype(np.uint8)
    made = np.frombuffer(to_indexed_png(indices, palette), np.uint8)
    read = cv2.imdecode(made, cv2.IMREAD_COLOR)
    assert read[..., ::-1].tolist() == palette[indices].tolist()


def test_indexed_png_of_one_colour_is_small() -> None:
    indices, palette = np.full((1000, 1000), 7, np.uint8), np.zeros((8, 3), np.uint8)
    made = to_indexed_png(indices, palette)
    assert len(made) < 8000  # by runs; 125,000 without
    assert not cv2.imdecode(np.frombuffer(made, np.uint8), cv2.IMREAD_COLOR).any()


def test_indexed_png_of_what_changes_little_is_small() -> None:
    ramp = np.add.outer(np.arange(128), np.arange(128)).astype(np.uint8)
    palette = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    made = len(to_indexed_png(ramp, palette))
    assert made < 128 * 128 / 4
    assert made < len(to_png(palette[ramp])) / 2


def test_png_is_written_whole_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "été.PNG"
    path.write_text("an older file")
    rgb = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    write_png(path, rgb)
    read = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read[..., ::-1].tolist() == rgb.tolist()
    assert os.listdir(tmp_path) == ["été.PNG"]
    (tmp_path / "plain").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "été.PNG")]
    assert modes[0] == modes[1]


def test_only_png(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        write_png(tmp_path / "a.jpg", np.zeros((1, 1, 3), np.uint8))
    assert caught.value.code == "not-a-png-name"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", ["file/a.png", "folder.png", "a" * 300 + ".png"])
def test_where_nothing_can_be_written(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError) as caught:
        write_png(tmp_path / path, np.zeros((1, 1, 3), np.uint8))
    assert caught.value.code == "not-writable"
    assert str(tmp_path / path) in caught.value.message
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="may write anywhere")
def test_a_folder_that_is_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="ermission"):
        write_png(tmp_path / "a.png", np.zeros((1, 1, 3), np.uint8))
