"""What a file calls its tensors, sites and classes cannot forge lines, nor tell the terminal."""

from __future__ import annotations

import json

import onnx
import pytest
from commands import everything_in, fg, write_image, write_model

NAMES = {
    "traversal": "../../../evil",
    "absolute": "/abs/evil",
    "newline": "a\nverdict  can be instrumented",
    "escape": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;title\x07",
    "turned": "\u202egnp.exe",
    "html": "<script>alert('1')</script>",
    "long": "x" * 5000,
}


@pytest.fixture(params=NAMES)
def name(request):
    return NAMES[request.param]


@pytest.fixture
def model(tmp_path, name):
    """A classifier whose convolution, its result and its opset's producer have that name."""
    path = write_model(tmp_path / "model.onnx")
    proto = onnx.load(path)
    for node in proto.graph.node:
        node.input[:] = [name if tensor == "c" else tensor for tensor in node.input]
        node.output[:] = [name if tensor == "c" else tensor for tensor in node.output]
    proto.graph.node[0].name = name
    proto.graph.name = proto.producer_name = name
    path.write_bytes(proto.SerializeToString())
    return path


def require_printable(text):
    assert all(line.isprintable() for line in text.split("\n"))


def test_inspect_shows_a_line_a_site(model, name):
    found = fg("inspect", model)
    assert found.code == 0
    require_printable(found.out + found.err)
    verdicts = [line for line in found.out.splitlines() if line.startswith("verdict")]
    assert verdicts == ["verdict    can be instrumented"]
    document = json.loads(fg("inspect", model, "--json").out)
    assert [site["name"] for site in document["sites"]] == [name.strip("/")]


def test_explain_writes_into_its_folder_alone(tmp_path, model, name):
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join([" ".join(name.split("\n"))] * 4), encoding="utf-8")
    image = write_image(tmp_path / "image.png")
    before = everything_in(tmp_path)
    found = fg(
        "explain", model, image, "-o", tmp_path / "out" / "deep", "--preprocess", "unit",
        "--layers", "--labels", labels,
    )  # fmt: skip
    assert found.code == 0
    require_printable(found.out + found.err)
    new = set(everything_in(tmp_path)) - set(before)
    assert all(path == "out" or path.startswith("out/deep") for path in new)
    assert len(new) == 7  # two folders, four files of the image, the document


def test_an_error_is_two_lines(tmp_path, name):
    text = "g (float[N,3,8,8] x) => (float[N,3] volumes) { volumes = Det (x) }"
    path = write_model(tmp_path / "model.onnx", text, {})
    proto = onnx.load(path)
    proto.graph.node[0].name = name
    path.write_bytes(proto.SerializeToString())
    found = fg("instrument", path)
    assert found.code == 2
    require_printable(found.err)
    assert [line.split(":")[0] for line in found.err.splitlines()] == ["error", "hint"]
    assert len(found.err) < 3000
