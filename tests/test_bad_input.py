"""Bad input: one line of what and why, one of what next, exit code 2, and nothing half-written."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import onnx
import pytest
from commands import (
    FASHION_VGG,
    WEIGHTS,
    everything_in,
    fg,
    fg_process,
    write_image,
    write_model,
)


@pytest.fixture
def refused(tmp_path):
    """Runs a command that has to be refused, and gives its ``error:`` line."""

    def run(*arguments, says=()):
        before = everything_in(tmp_path)
        found = fg(*arguments)
        assert found.code == 2
        assert found.out == ""
        lines = found.err.splitlines()
        assert len(lines) == 2, found.err
        error, hint = lines
        assert error.startswith("error: ")
        assert len(hint) > len("hint: ")
        assert hint.startswith("hint: ")
        assert "Traceback" not in found.err
        for word in says:
            assert str(word) in error
        assert everything_in(tmp_path) == before
        return error

    return run


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model.onnx")


@pytest.fixture
def image(tmp_path):
    return write_image(tmp_path / "image.png")


# --- models -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["instrument", "inspect"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x89PNG\r\n\x1a\n" * 9])
def test_not_an_onnx_file(tmp_path, refused, command, content):
    path = tmp_path / "page.onnx"
    path.write_bytes(content)
    refused(command, path, says=[path, "ONNX"])


def test_a_truncated_file(tmp_path, refused):
    path = tmp_path / "half.onnx"
    data = FASHION_VGG.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused("instrument", path, says=[path, "truncated"])


def test_missing_external_data(tmp_path, refused, model):
    path = tmp_path / "outside.onnx"
    onnx.save_model(
        onnx.load(model), path, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    (tmp_path / "w.bin").unlink()
    refused("instrument", path, says=[path, "external data", "w.bin"])


def test_no_image_input(tmp_path, refused):
    path = write_model(
        tmp_path / "text.onnx",
        "g (int64[N,7] ids) => (float[N,7] y) { y = Cast <to = 1> (ids) }",
        {},
    )
    refused("instrument", path, says=["no image input", "ids", "int64"])


def test_a_refused_operator(tmp_path, refused):
    path = write_model(
        tmp_path / "det.onnx",
        "g (float[N,3,8,8] x) => (float[N,3] volumes) { volumes = Det (x) }",
        {},
    )
    refused("instrument", path, says=["`Det`", "`volumes`", "determinants are not differentiated"])


def test_a_custom_domain(tmp_path, refused):
    path = write_model(
        tmp_path / "custom.onnx",
        """g (float[N,3,8,8] x) => (float[N,4] logits) {
            c = Conv (x, w, b)
            swirled = com.acme.Swirl (c)
            p = GlobalAveragePool (swirled)
            logits = Flatten (p)
        }""",
        imports='"": 17, "com.acme": 1',
    )
    refused("instrument", path, says=["`Swirl`", "`swirled`", "`com.acme`"])


def test_int8_in_qoperator_form(tmp_path, refused):
    path = write_model(
        tmp_path / "int8.onnx",
        """g (float[N,3,8,8] x) => (float[N,4] logits) {
            q = QuantizeLinear (x, s, z)
            c = QLinearConv (q, s, z, w, s, z, s, z)
            d = DequantizeLinear (c, s, z)
            p = GlobalAveragePool (d)
            logits = Flatten (p)
        }""",
        {
            "s": np.array(0.1, np.float32),
            "z": np.array(0, np.int8),
            "w": np.ones((4, 3, 3, 3), np.int8),
        },
    )
    refused("instrument", path, says=["`QLinearConv`", "int8", "QOperator"])


def test_no_output_that_fits(tmp_path, refused):
    path = write_model(
        tmp_path / "classes.onnx",
        "g (float[N,3,8,8] x) => (int64[N,1,8,8] classes) { classes = ArgMax <axis = 1> (x) }",
        {},
    )
    refused("instrument", path, says=["no output fits", "classes", "int64"])


# --- images and targets -------------------------------------------------------------------------


def test_an_image_that_is_not_an_image(tmp_path, refused, model, image):
    broken = tmp_path / "notes.png"
    broken.write_text("not a picture")
    out = tmp_path / "out"
    # the readable one comes first, and even so nothing is written
    refused("explain", model, image, broken, "-o", out, "--preprocess", "unit", says=[broken])


def test_a_wrong_channel_count(tmp_path, refused, image):
    path = write_model(
        tmp_path / "rgbd.onnx",
        """g (float[N,4,8,8] x) => (float[N,4] logits) {
            c = Conv (x, w)
            p = GlobalAveragePool (c)
            logits = Flatten (p)
        }""",
        {"w": np.ones((4, 4, 3, 3), np.float32)},
    )
    arguments = ("-o", tmp_path / "out", "--preprocess", "unit")
    refused("explain", path, image, *arguments, says=["channel count", "4", "3"])


@pytest.mark.parametrize("target", ["4", "-2", "top5", "top0"])
def test_a_target_out_of_range(tmp_path, refused, model, image, target):
    arguments = ("-o", tmp_path / "out", "--preprocess", "unit", "--target", target)
    refused("explain", model, image, *arguments, says=[target, "out of range", "4 scores"])


# --- places to write to -------------------------------------------------------------------------


def test_an_output_folder_that_is_not_writable(tmp_path, refused, model, image):
    # below a regular file, where not even root can write
    out = tmp_path / "image.png" / "out"
    refused("explain", model, image, "-o", out, "--preprocess", "unit", says=["cannot write", out])


def test_an_output_file_that_is_not_writable(tmp_path, refused, model, image):
    out = image / "model.onnx"
    refused("instrument", model, "-o", out, says=["cannot write", out])


@pytest.mark.parametrize("spelling", ["same", "relative", "symlink", "hardlink"])
def test_out_equal_to_model(tmp_path, refused, model, monkeypatch, spelling):
    monkeypatch.chdir(tmp_path)
    out = {
        "same": model,
        "relative": f"../{tmp_path.name}/model.onnx",
        "symlink": tmp_path / "link.onnx",
        "hardlink": tmp_path / "hard.onnx",
    }[spelling]
    if spelling == "symlink":
        out.symlink_to(model)
    elif spelling == "hardlink":
        out.hardlink_to(model)
    refused("instrument", model, "-o", out, says=["source model itself"])


# --- as a user sees it --------------------------------------------------------------------------


def test_a_process_exits_with_2_and_no_traceback(tmp_path):
    path = tmp_path / "page.onnx"
    path.write_text("<html>")
    found = fg_process("instrument", path, FG_ONNX_DEBUG="")
    assert found.code == 2
    assert found.out == ""
    assert [line.split(":")[0] for line in found.err.splitlines()] == ["error", "hint"]


def test_the_traceback_is_there_for_those_who_ask(tmp_path):
    path = tmp_path / "page.onnx"
    path.write_text("<html>")
    found = fg_process("instrument", path, FG_ONNX_DEBUG="1")
    assert found.code == 2
    assert "Traceback" in found.err
    assert found.err.splitlines()[-1].startswith("hint: ")


def test_a_small_file_of_a_huge_picture(tmp_path, model):
    def chunk(kind, data):
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    side = 16_000  # at one bit a pixel; 768 MB when it is decoded
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes((1 + side // 8) * side), 9))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + rows + chunk(b"IEND", b""))
    assert path.stat().st_size < 100_000
    # A process of its own: OpenCV asks for its limit when it is loaded.
    out = tmp_path / "out"
    found = fg_process("explain", model, path, "-o", out, "--preprocess", "unit")
    assert found.code == 2
    assert "more pixels than OpenCV was told to decode" in found.err
    assert not out.exists()


def test_labels_that_do_not_fit_write_no_model(tmp_path, refused, model):
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")
    refused("instrument", model, "--labels", labels, says=[labels, "2 labels", "4 scores"])
    assert len(WEIGHTS["b"]) == 4
