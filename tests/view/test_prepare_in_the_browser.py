"""The page's preprocessing is `fg_onnx.prepare`'s, for all that a manifest can name."""

from __future__ import annotations

import base64
import itertools
import json
import zlib

import cv2
import numpy as np
import pytest

import fg_onnx
from fg_onnx.errors import InputError
from fg_onnx.pictures.images import MOST_FED
from fg_onnx.pictures.opencv import MOST_DECODED
from fg_onnx.pictures.preprocess import Preprocessing
from fg_onnx.view import folder
from tests.view.conftest import serve

pytestmark = pytest.mark.browser

SIZES = (
    {"size": (224, 224), "resize": 256},
    {"size": (227, 227)},
    {"size": (150, 150), "resize": 150},
    {"size": (128, 128), "resize": 128},  # of 256: halves
    {"size": (64, 64), "resize": 64},  # whole blocks
    {"size": (331, 200), "fit": "stretch"},
    {"size": (600, 400), "fit": "stretch"},  # enlarged
    {"size": (500, 420)},
    {"size": (17, 300), "resize": 40},  # a crop that does not fit
    {"resize": 99},
    {},
)
INTERPOLATIONS = ("bilinear", "bicubic", "area", "opencv-bilinear")
NUMBERS = (
    {"channels": "rgb", "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    {"channels": "bgr", "mean": (103.939, 116.779, 123.68), "scale": 1.0},
    {"channels": "gray", "mean": (0.2860,), "std": (0.3530,)},
)
PHOTOS = ((256, 384), (300, 217), (31, 40))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Pictures with edges, slopes and noise, as PNG files in a page's folder."""
    place = tmp_path_factory.mktemp("assets")
    found = {}
    for name, data in folder.assets():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(data)
    for height, width in PHOTOS:
        draws = np.random.default_rng(height)
        y, x = np.mgrid[:height, :width]
        slopes = np.stack([x * 255 / width, y * 255 / height, (x + y) % 256], axis=-1)
        noise = draws.integers(-40, 40, (height, width, 3))
        pixels = (slopes + noise).clip(0, 255).astype(np.uint8)
        pixels[height // 4 : height // 2, width // 4 : width // 2] = (255, 0, 0)
        path = place / f"{height}.png"
        cv2.imwrite(str(path), pixels)
        found[height, width] = path
    return place, found


@pytest.fixture(scope="module")
def opened(browser, photos):
    with serve(photos[0]) as address:
        browser.open(f"{address}icon.svg")
        yield browser


def ask(browser, path, described):
    """What the page's script makes of a file: the array, its dimensions, and the view."""
    found = browser.tell(
        f"""(async () => {{
          const {{ decode }} = await import("/js/decode.js");
          const {{ prepare }} = await import("/js/preprocess.js");
          const file = await (await fetch("/{path.name}")).blob();
          const image = await decode(file, "photo", {MOST_DECODED});
          const {{ array, dims, view }} = prepare(image, {json.dumps(described)});
          const text = (bytes) => new Promise((resolve) => {{
            const reader = new FileReader();
            reader.onload = () => resolve(reader.result.split(",")[1]);
            reader.readAsDataURL(new Blob([bytes]));
          }});
          return [await text(array), dims, await text(view.data)];
        }})()"""
    )
    array = np.frombuffer(base64.b64decode(found[0]), np.float32).reshape(found[1])
    return array, np.frombuffer(base64.b64decode(found[2]), np.uint8)


def describe(steps, shape, layout):
    return {
        "preprocessing": steps.to_dict(),
        "input": {"shape": shape},
        "manifest": {"layout": layout},
        "limits": {"fed": MOST_FED},
    }


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_the_array_is_pythons(opened, photos, interpolation):
    off = total = 0
    cases = itertools.product(SIZES, photos[1].values())
    for number, (size, path) in enumerate(cases):
        steps = Preprocessing(
            interpolation=interpolation, **size, **{"scale": 1 / 255, **NUMBERS[number % 3]}
        )
        layout = ("nchw", "nhwc")[number // 3 % 2]
        shape = [None] * 4
        wanted = fg_onnx.prepare(fg_onnx.read_image(path), steps, shape, layout)
        array, view = ask(opened, path, describe(steps, shape, layout))
        assert array.shape == wanted.array.shape, steps
        # a sum of float32 weights that is a tie may be rounded to either side, twice where both
        # axes are resized; OpenCV's own sums may be vectorised in another order
        away = np.abs(view.reshape(wanted.view.shape).astype(int) - wanted.view)
        assert away.max() <= 2, steps
        off += np.count_nonzero(away)
        total += away.size
        # one unit of a pixel is so much of the array; the rest is float64 rounded once
        unit = 2.0 * steps.scale / min(steps.std)
        assert np.abs(array - wanted.array).max() <= unit * away.max() + 1e-6, steps
        if not away.any():
            assert np.array_equal(array, wanted.array), steps
    assert off <= 1e-3 * total


@pytest.mark.parametrize(
    ("shape", "layout", "steps"),
    [
        ([1, 3, 60, 50], None, Preprocessing()),
        ([None, 60, 50, 3], None, Preprocessing()),
        ([None, 60, 50, 3], None, Preprocessing(layout="nhwc", channels="bgr")),
        ([None, 1, 60, None], None, Preprocessing()),  # gray is all that it can mean
        ([None, None, 60, 50], "nchw", Preprocessing(channels="gray")),
        ([None, 60, 50, None], "nhwc", Preprocessing(fit="stretch")),
    ],
)
def test_the_models_own_shape_decides(opened, photos, shape, layout, steps):
    path = photos[1][300, 217]
    wanted = fg_onnx.prepare(fg_onnx.read_image(path), steps, shape, layout)
    array, _ = ask(opened, path, describe(steps, shape, layout))
    assert array.shape == wanted.array.shape
    assert np.mean(array != wanted.array) < 1e-3


@pytest.mark.parametrize(
    ("shape", "steps", "sentence"),
    [
        ([1, 4, 60, 50], Preprocessing(), "has 4 channels"),
        ([1, 1, 60, 50], Preprocessing(mean=(1.0, 2.0, 3.0)), "has 1 channel,"),
        ([1, 3, 60, 50], Preprocessing(size=(50, 60)), "takes 50 × 60 pixels"),
        ([1, 3, None, None], Preprocessing(resize=32768), "which is too large"),
    ],
)
def test_what_cannot_meet_is_said(opened, photos, shape, steps, sentence):
    path = photos[1][300, 217]
    with pytest.raises(InputError):
        fg_onnx.prepare(fg_onnx.read_image(path), steps, shape)
    with pytest.raises(AssertionError, match=sentence):
        ask(opened, path, describe(steps, shape, None))


def test_transparency_is_laid_over_white(opened, photos):
    place, _ = photos
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 4), dtype=np.uint8)
    cv2.imwrite(str(place / "clear.png"), pixels)
    wanted = fg_onnx.read_image(place / "clear.png")
    _, view = ask(opened, place / "clear.png", describe(Preprocessing(), [None] * 4, "nchw"))
    # a canvas blends in bytes: the product, and the sum
    assert np.abs(view.reshape(wanted.shape).astype(int) - wanted).max() <= 2


def test_a_photo_is_turned_upright_and_its_colours_are_left_alone(opened, photos):
    place, _ = photos
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:8], pixels[8:, :8] = (0, 0, 255), (255, 0, 0)
    _, jpeg = cv2.imencode(".jpg", pixels)
    data = jpeg.tobytes()
    # EXIF: one entry, orientation 6, that is a quarter to the right
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    marker = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    path = place / "turned.jpg"
    path.write_bytes(data[:2] + marker + data[2:])
    wanted = fg_onnx.read_image(path)
    assert wanted.shape == (48, 32, 3)
    _, view = ask(opened, path, describe(Preprocessing(), [None] * 4, "nchw"))
    assert np.abs(view.reshape(wanted.shape).astype(int) - wanted).max() <= 3


def test_a_colour_profile_is_left_aside(opened, photos):
    place, found = photos
    data = found[31, 40].read_bytes()
    head = data.index(b"IDAT") - 4
    # a gamma of 1, by which a browser would make the picture much brighter
    kind = b"gAMA" + (100_000).to_bytes(4, "big")
    chunk = (4).to_bytes(4, "big") + kind + zlib.crc32(kind).to_bytes(4, "big")
    path = place / "linear.png"
    path.write_bytes(data[:head] + chunk + data[head:])
    wanted = fg_onnx.read_image(path)
    _, view = ask(opened, path, describe(Preprocessing(), [None] * 4, "nchw"))
    assert np.array_equal(view.reshape(wanted.shape), wanted)


def test_float16_is_numpys(opened):
    draws = np.random.default_rng(0)
    values = np.concatenate(
        [
            draws.standard_normal(2000) * 10.0 ** draws.integers(-9, 6, 2000),
            [0, -0.0, 65504, 65519, 65520, 1e9, 2**-24, 2**-25, 3 * 2**-25, 6.1e-5, 1 + 2**-11],
        ]
    ).astype(np.float32)
    halves = opened.tell(
        f'import("/js/half.js").then(({{ toHalf }}) => {json.dumps(values.tolist())}.map(toHalf))'
    )
    with np.errstate(over="ignore"):
        wanted = values.astype(np.float16)
    assert halves == wanted.view(np.uint16).tolist()
    back = opened.tell(
        f'import("/js/half.js").then(({{ fromHalf }}) => {json.dumps(halves)}.map(fromHalf)'
        ".map((x) => (Number.isFinite(x) ? x : Math.sign(x) * 1e30)))"
    )
    assert back == [x if np.isfinite(x) else np.sign(x) * 1e30 for x in wanted.astype(float)]
