"""Finding, decoding and preparing photographs, against values worked out by hand."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fg_onnx.errors import InputError
from fg_onnx.pictures.images import find_images, prepare, read_image
from fg_onnx.pictures.preprocess import PRESETS, Preprocessing

RED, BLUE = (255, 0, 0), (0, 0, 255)


def save(path: Path, pixels: Any, dtype: Any = np.uint8) -> Path:
    """Writes what OpenCV takes: gray [H, W], BGR or BGRA [H, W, C]."""
    path.write_bytes(cv2.imencode(path.suffix, np.asarray(pixels, dtype))[1].tobytes())
    return path


# --- finding ------------------------------------------------------------------------------------


def test_a_folder_of_folders_is_told_how_to_be_named(tmp_path: Path) -> None:
    for name in ("cat/1.JPG", "dog/2.JPG"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="no image lies in the folder") as caught:
        find_images([tmp_path])
    every = str(caught.value.hint).split("'")[1]
    assert find_images([every]) == [tmp_path / "cat/1.JPG", tmp_path / "dog/2.JPG"]


def test_a_link_that_leads_nowhere_is_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    link = tmp_path / "b.png"
    link.symlink_to(tmp_path / "gone.png")
    for pattern in (tmp_path, str(tmp_path / "*.png")):
        assert find_images([pattern]) == [tmp_path / "a.png", link]
    with pytest.raises(InputError, match="there is no image"):
        read_image(link)


def test_files_folders_and_globs_each_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.JPG", "notes.txt", "deep/c.png", "odd[1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()

    def names(*patterns: str | Path) -> list[str]:
        return [path.as_posix() for path in find_images(patterns)]

    assert names(".") == ["a.JPG", "b.png", "odd[1].png"]
    assert names("notes.txt") == ["notes.txt"]
    assert names("*.png") == ["b.png", "odd[1].png"]
    assert names("**/*.png") == ["b.png", "deep/c.png", "odd[1].png"]
    assert names("odd[1].png") == ["odd[1].png"]
    assert names("b.png", Path("deep"), ".", "./b.png", "deep/../a.JPG") == [
        "b.png",
        "deep/c.png",
        "a.JPG",
        "odd[1].png",
    ]


@pytest.mark.parametrize("pattern", ["nowhere.png", "*.gif", "empty"])
def test_patterns_that_find_nothing_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.png").touch()
    with pytest.raises(InputError, match=f"`{pattern}`".replace("*", r"\*")) as caught:
        find_images(["a.png", pattern])
    assert caught.value.code == "no-such-image"


def test_no_pattern_finds_nothing() -> None:
    with pytest.raises(InputError) as caught:
        find_images([])
    assert caught.value.code == "no-such-image"


# --- decoding -----------------------------------------------------------------------------------


def test_colour_is_rgb(tmp_path: Path) -> None:
    path = save(tmp_path / "pêche 桃.png", [[(3, 2, 1), (6, 5, 4)]])
    image = read_image(path)
    assert image.tolist() == [[[1, 2, 3], [4, 5, 6]]]
    assert image.dtype == np.uint8


def test_gray_is_repeated(tmp_path: Path) -> None:
    assert read_image(save(tmp_path / "g.png", [[7, 200]])).tolist() == [[[7] * 3, [200] * 3]]


def test_transparency_lies_over_white(tmp_path: Path) -> None:
    # opaque, absent, and 51/255 = 1/5 of (100, 0, 255) over white
    path = save(tmp_path / "a.png", [[(30, 20, 10, 255), (30, 20, 10, 0), (255, 0, 100, 51)]])
    assert read_image(path).tolist() == [[[10, 20, 30], [255, 255, 255], [224, 204, 255]]]


def test_16_bits_are_rounded(tmp_path: Path) -> None:
    gray = save(tmp_path / "g.png", [[0, 257, 385, 386, 65535]], np.uint16)
    assert read_image(gray)[0, :, 0].tolist() == [0, 1, 1, 2, 255]
    clear = save(tmp_path / "a.png", [[(0, 0, 65535, 65535), (0, 0, 0, 0)]], np.uint16)
    assert read_image(clear).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    # white on the left; orientation 6 is a camera turned so that left is up
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = 255
    path = save(tmp_path / "photo.jpg", pixels)
    path.write_bytes(with_orientation(path.read_bytes(), 6))
    image = read_image(path)
    assert image.shape == (32, 16, 3)
    assert image[:16].min() > 250
    assert image[16:].max() < 5


def test_missing_file() -> None:
    with pytest.raises(InputError, match=r"there is no image `nowhere\.png`") as caught:
        read_image("nowhere.png")
    assert caught.value.code == "no-such-image"


def broken_files(tmp_path: Path) -> list[tuple[Path, str]]:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3))
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not an image")
    for suffix in ("png", "jpg"):
        whole = save(tmp_path / f"whole.{suffix}", noise).read_bytes()
        (tmp_path / f"half.{suffix}").write_bytes(whole[: len(whole) // 2])
        (tmp_path / f"head.{suffix}").write_bytes(whole[:30])
    save(tmp_path / "float.tiff", noise, np.float32)
    reasons = {
        "folder": "is a folder",
        "empty.png": "is empty",
        "text.png": "unknown format",
        "half.png": "damaged",
        "head.png": "damaged",
        "head.jpg": "damaged",
        "float.tiff": "float32",
    }
    return [(tmp_path / name, reason) for name, reason in reasons.items()]


def test_broken_files_are_named_with_the_reason_and_nothing_is_spilt(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for path, reason in broken_files(tmp_path):
        with pytest.raises(InputError, match=reason) as caught:
            read_image(path)
        assert caught.value.code == "not-an-image"
        assert str(path) in caught.value.message
        assert caught.value.hint
    assert capfd.readouterr() == ("", "")
    os.write(2, b"and stderr is back")
    assert capfd.readouterr().err == "and stderr is back"


# --- preparing ----------------------------------------------------------------------------------


def test_formula_channels_and_layout() -> None:
    image = np.array([[RED, BLUE]], np.uint8)
    p = Preprocessing(scale=0.5, mean=(1.0, 2.0, 3.0), std=(1.0, 2.0, 4.0), channels="bgr")
    made = prepare(image, p, ("N", 3, None, "W"), "nchw")
    # blue, green, red; of which 127.5 is there and 0 is not
    assert made.array.tolist() == [[[[-1.0, 126.5]], [[-1.0, -1.0]], [[31.125, -0.75]]]]
    assert made.array.dtype == np.float32
    assert made.view.tolist() == image.tolist()
    last = prepare(image, p, (1, 1, 2, 3), "nhwc")
    assert np.array_equal(last.array, made.array.transpose(0, 2, 3, 1))


def test_gray() -> None:
    image = np.array([[RED, BLUE]], np.uint8)
    made = prepare(image, Preprocessing(channels="gray", mean=(6.0,)), (1, 1, 1, 2))
    # 0.299 * 255 = 76.2 and 0.114 * 255 = 29.1
    assert made.array.tolist() == [[[[70.0, 23.0]]]]
    assert made.view.tolist() == [[[76] * 3, [29] * 3]]


def test_a_model_of_one_channel_gets_gray_unless_means_belong_to_colours() -> None:
    image = np.array([[RED]], np.uint8)
    assert prepare(image, PRESETS["none"], (1, 1, 1, 1)).array.tolist() == [[[[76.0]]]]
    with pytest.raises(InputError, match="wrong channel count: the model wants 1"):
        prepare(image, PRESETS["imagenet"], (1, 1, 224, 224))


@pytest.mark.parametrize(
    ("channels", "shape"), [("rgb", (1, 4, 8, 8)), ("gray", (1, 3, 8, 8)), ("bgr", (1, 12, 8, 8))]
)
def test_wrong_channel_count(channels: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError) as caught:
        prepare(np.zeros((8, 8, 3), np.uint8), Preprocessing(channels=channels), shape)
    assert caught.value.code == "wrong-channel-count"


@pytest.mark.parametrize(
    ("shape", "layout", "asked", "result"),
    [
        ((1, 3, 4, 5), None, None, (1, 3, 4, 5)),
        ((1, 4, 5, 3), None, None, (1, 4, 5, 3)),
        (("n", None, None, None), None, None, (1, 3, 4, 5)),
        ((None, "h", "w", None), "nhwc", None, (1, 4, 5, 3)),
        ((1, None, None, None), "nchw", "nhwc", (1, 4, 5, 3)),
        ((1, 3, 5, 3), None, None, (1, 3, 5, 3)),
    ],
)
def test_layout_is_asked_for_given_or_guessed(
    shape: Any, layout: Any, asked: Any, result: tuple[int, ...]
) -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    assert prepare(image, Preprocessing(layout=asked), shape, layout).array.shape == result


def test_the_models_own_size_wins_when_none_is_asked_for() -> None:
    image = np.zeros((10, 20, 3), np.uint8)
    assert prepare(image, PRESETS["unit"], (1, 3, 6, 7)).view.shape == (6, 7, 3)
    assert prepare(image, PRESETS["unit"], (1, 3, "h", 7)).view.shape == (10, 7, 3)
    assert prepare(image, PRESETS["unit"], (1, 3, "h", -1)).view.shape == (10, 20, 3)
    assert prepare(image, Preprocessing(size=(6, 7)), (1, 3, "h", 7)).view.shape == (6, 7, 3)


def test_two_sizes_cannot_both_be_met() -> None:
    with pytest.raises(InputError, match=r"299 x any pixels .* makes 224 x 224") as caught:
        prepare(np.zeros((9, 9, 3), np.uint8), PRESETS["imagenet"], (1, 3, 299, "w"))
    assert caught.value.code == "wrong-size"
    assert "size: null" in caught.value.hint


def test_inputs_that_are_no_images() -> None:
    with pytest.raises(InputError, match="2 dimensions"):
        prepare(np.zeros((9, 9, 3), np.uint8), PRESETS["none"], (1, 10))


def columns(width: int, height: int = 1) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Every pixel holds the number of its column."""
    row = np.arange(width, dtype=np.uint8)
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


@pytest.mark.parametrize(("width", "left"), [(8, 2), (9, 2), (7, 2), (5, 0), (6, 1)])
def test_the_crop_starts_where_torchvisions_does(width: int, left: int) -> None:
    # round((width - 4) / 2), halves to even: 2.5 -> 2, 1.5 -> 2, 0.5 -> 0
    made = prepare(columns(width, 4), Preprocessing(size=(4, 4)), (1, 3, 4, 4))
    assert made.view[0, :, 0].tolist() == list(range(left, left + 4))


def test_short_side_then_crop() -> None:
    # 6 x 12 to 3 x 6; each pixel averages columns 2i-1 .. 2i+2 with weights 1 3 3 1: 2i + 0.5
    made = prepare(columns(12, 6), Preprocessing(size=(2, 2), resize=3), (1, 3, 2, 2))
    assert made.view[0, :, 0].tolist() == [5, 7]


def test_stretch_ignores_proportions() -> None:
    made = prepare(columns(8, 2), Preprocessing(size=(2, 4), fit="stretch"), (1, 3, 2, 4))
    # (3*0 + 3*1 + 1*2) / 7 = 0.71; 2.5 and 4.5 halves up; (1*5 + 3*6 + 3*7) / 7 = 6.29
    assert made.view[0, :, 0].tolist() == [1, 3, 5, 6]


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (1, 300), (300, 1), (223, 224)])
@pytest.mark.parametrize("name", ["imagenet", "tf"])
def test_small_and_narrow_images_cover_the_crop(shape: tuple[int, int], name: str) -> None:
    made = prepare(np.full((*shape, 3), 9, np.uint8), PRESETS[name], (1, 3, 224, 224))
    assert made.view.shape == (224, 224, 3)
    assert np.unique(made.view).tolist() == [9]  # nothing is padded


def test_a_crop_wider_than_the_resized_image_enlarges_it() -> None:
    made = prepare(columns(4, 4), Preprocessing(size=(4, 8), resize=4), (1, 3, 4, 8))
    # 4 x 4 to 8 x 8, of which four rows are left; between 0 and 1 lie 0.25 and 0.75
    assert made.view[0, :, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("interpolation", "values"),
    [
        # a lone 240 in column 2 of 8, to 4 columns
        ("area", [0, 120, 0, 0]),  # half of it in column 1
        ("opencv-bilinear", [0, 120, 0, 0]),
        ("bilinear", [34, 90, 0, 0]),  # 240 * 1/7 at the border, 240 * 3/8
    ],
)
def test_interpolations_shrink_as_they_say(interpolation: Any, values: list[int]) -> None:
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 2] = 240
    p = Preprocessing(size=(4, 4), fit="stretch", interpolation=interpolation)
    assert prepare(image, p, (1, 3, 4, 4)).view[0, :, 0].tolist() == values


def test_opencv_bilinear_aliases_and_bilinear_does_not() -> None:
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, 1::4] = stripes[:, 2::4] = 200  # the very pixels that are sampled, to 2 columns
    aliased = Preprocessing(size=(2, 2), fit="stretch", interpolation="opencv-bilinear")
    smooth = Preprocessing(size=(2, 2), fit="stretch", interpolation="area")
    assert np.unique(prepare(stripes, aliased, (1, 3, 2, 2)).view).tolist() == [200]
    assert np.unique(prepare(stripes, smooth, (1, 3, 2, 2)).view).tolist() == [100]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(11, 7), (40, 64), (16, 50)])
def test_smoothing_is_pillows(interpolation: Any, size: tuple[int, int]) -> None:
    pillow = pytest.importorskip("PIL.Image")
    image = np.random.default_rng(1).integers(0, 256, (37, 50, 3), np.uint8)
    p = Preprocessing(size=size, fit="stretch", interpolation=interpolation)
    ours = prepare(image, p, (1, 3, *size)).view.astype(int)
    method = getattr(pillow.Resampling, interpolation.upper())
    theirs = np.asarray(pillow.fromarray(image).resize(size[::-1], method)).astype(int)
    # Pillow's weights are fixed-point: what lies on a half may round the other way
    assert np.abs(ours - theirs).max() <= 1
    assert (ours != theirs).mean() < 0.01


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("value", [0, 255])
def test_the_ends_of_the_range_stay_there(interpolation: Any, value: int) -> None:
    # the weights of one pixel add up to 1 within their rounding, however many there are
    for side in (3, 17, 224, 1021, 4001):
        image = np.full((side, side, 3), value, np.uint8)
        p = Preprocessing(size=(30, 23), fit="stretch", interpolation=interpolation)
        assert np.unique(prepare(image, p, (1, 3, 30, 23)).view).tolist() == [value]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("sides", [(36, 60), (30, 50), (21, 35)])
def test_a_crop_is_cut_out_of_the_whole(interpolation: Any, sides: tuple[int, int]) -> None:
    image = np.random.default_rng(3).integers(0, 256, (*sides, 3), np.uint8)
    cropped = Preprocessing(size=(20, 30), resize=30, interpolation=interpolation)
    whole = Preprocessing(size=(30, 50), fit="stretch", interpolation=interpolation)
    ours = prepare(image, cropped, (1, 3, 20, 30)).view.astype(int)
    cut = prepare(image, whole, (1, 3, 30, 50)).view[5:25, 10:40].astype(int)
    # products with more zeros in them round otherwise in float32, which a half shows
    assert np.abs(ours - cut).max() <= 1
    assert (ours != cut).mean() < 0.01


def test_the_view_is_what_the_model_sees() -> None:
    image = np.random.default_rng(2).integers(0, 256, (50, 70, 3), np.uint8)
    p = Preprocessing(size=(32, 32), resize=40, mean=(127.0,), std=(128.0,))
    made = prepare(image, p, (1, 32, 32, 3))
    assert np.array_equal(np.round(made.array[0] * 128 + 127), made.view)


@pytest.mark.parametrize("interpolation", ["bilinear", "area"])
def test_a_narrow_picture_is_not_made_huge(interpolation: Any) -> None:
    narrow = np.zeros((1, 60_000, 3), np.uint8)
    p = Preprocessing(resize=2**14, interpolation=interpolation)
    with pytest.raises(InputError, match="would be resized to 16384 x 983040000") as caught:
        prepare(narrow, p, (1, 3, "h", "w"))
    assert caught.value.code == "too-large"
    # of which a crop is fed, is another matter: only the crop is ever made
    if interpolation == "bilinear":
        made = prepare(narrow, Preprocessing(size=(8, 8), resize=2**14), (1, 3, 8, 8))
        assert made.view.shape == (8, 8, 3)
