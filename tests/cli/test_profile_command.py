"""`fg-onnx profile`: tables, the document, the chart, and what it cannot do."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from commands import FASHION_VGG, everything_in, fg, write_model

from fg_onnx import instrument

KEYS = ["schema_version", "tool_version", "model", "what", "device", "threads", "batch", "runs"]
KEYS += ["onnxruntime", "run_ms", "profiled_run_ms", "kernels_ms", "busy"]
KEYS += ["parts", "operators", "lines", "kernels"]
QUICK = ("--runs", 2, "--threads", 1, "--device", "cpu")


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model.onnx")


def test_for_people(model):
    found = fg("profile", model, *QUICK, "--top", 2)
    assert found.code == 0, found.err
    assert found.err == ""
    lines = found.out.splitlines()
    assert lines[0].split()[:2] == ["model", str(model)]
    assert lines[0].endswith("(instrumented in memory)")
    assert "cpu, 1 thread, batch 1, ONNX Runtime" in lines[1]
    heads = [line.split() for line in lines if line.startswith("part")]
    assert [head[:-3] for head in heads] == [
        ["part"],
        ["part", "operator"],
        ["part", "site", "operator"],
    ]
    assert sum(line.startswith("and ") for line in lines) == 2  # more are left out of two tables
    whole = next(line.split() for line in lines if line.startswith("all"))
    assert whole[2] == "100.0%"


def test_the_document(model):
    found = fg("profile", model, *QUICK, "--batch", 3, "--target", 1, "--json")
    assert found.code == 0, found.err
    document = json.loads(found.out)
    assert list(document) == KEYS
    assert (document["what"], document["batch"], document["runs"]) == ("instrumented", 3, 2)
    assert (document["device"], document["threads"]) == ("cpu", 1)
    assert {"forward", "adjoint", "aggregation"} <= {row["part"] for row in document["parts"]}
    assert all(row["shape"] is not None for row in document["kernels"])
    assert document["kernels_ms"] == pytest.approx(sum(row["ms"] for row in document["lines"]))


def test_the_forward_pass_alone(model, tmp_path):
    instrumented = instrument(model).save(tmp_path / "model.fg.onnx")
    for path in (model, instrumented):
        document = json.loads(fg("profile", path, "--forward", *QUICK, "--json").out)
        assert document["what"] == "forward"
        assert {row["stage"] for row in document["kernels"]} == {"forward"}


def test_a_model_that_cannot_be_instrumented_has_a_forward_pass(tmp_path):
    text = "g (float[N,4] x) => (int64[a,b] y) { y = NonZero (x) }"
    path = write_model(tmp_path / "model.onnx", text, {})
    assert fg("profile", path, *QUICK).code == 2
    assert fg("profile", path, "--forward", *QUICK).code == 0


def test_an_instrumented_model_as_it_is(tmp_path, model):
    path = instrument(model, emit=("contributions",)).save(tmp_path / "model.fg.onnx")
    found = fg("profile", path, *QUICK)
    assert found.code == 0, found.err
    assert "(instrumented)" in found.out


def test_the_chart(tmp_path, model):
    out = tmp_path / "new" / "profile.html"
    found = fg("profile", model, *QUICK, "-o", out)
    assert found.code == 0, found.err
    assert f"wrote     {out}" in found.out
    text = out.read_text("utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert text.rstrip().endswith("</html>")


def test_what_is_fed(tmp_path):
    open_sizes = """g (float[N,3,H,W] x) => (float[N,4] logits) {
        c = Conv (x, w, b)
        p = GlobalAveragePool (c)
        logits = Flatten (p)
    }"""
    path = write_model(tmp_path / "model.onnx", open_sizes)
    refused = fg("profile", path, *QUICK)
    assert refused.code == 2
    assert "--feed" in refused.err
    np.save(tmp_path / "x.npy", np.ones((2, 3, 9, 7), np.float32))
    found = fg("profile", path, *QUICK, "--feed", f"x={tmp_path / 'x.npy'}", "--json")
    assert found.code == 0, found.err
    assert json.loads(found.out)["batch"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--device", "toaster"), ["`toaster` is no device", "auto, cpu"]),
        (("--device", "tensorrt"), ["TensorRT", "trtexec"]),
        (("--feed", "x"), ["--feed x"]),
        (("--feed", "z=nowhere.npy"), ["nowhere.npy"]),
        (("--psi", "best"), ["`best`"]),
        (("--emit", "everything"), ["`everything`"]),
        (("--output", "nothing"), ["nothing"]),
        (("--forward", "--psi", "abs"), ["--psi has no use with --forward"]),
        (("--forward", "--target", "1"), ["no target"]),
        (("--target", "4"), ["does not run"]),
        (("--runs", "0"), ["--runs"]),
        (("--batch", "0"), ["--batch"]),
    ],
)
def test_bad_options(model, arguments, words):
    found = fg("profile", model, *arguments)
    assert found.code == 2
    assert found.out == ""
    assert all(word in found.err for word in words), found.err


def test_options_that_come_too_late(tmp_path, model):
    path = instrument(model).save(tmp_path / "model.fg.onnx")
    found = fg("profile", path, "--psi", "abs")
    assert found.code == 2
    assert "--psi cannot be chosen any more" in found.err


def test_a_batch_that_is_fixed(tmp_path):
    fixed = onnx.load(FASHION_VGG)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    path = tmp_path / "fixed.onnx"
    path.write_bytes(fixed.SerializeToString())
    found = fg("profile", path, *QUICK, "--batch", 2)
    assert found.code == 2
    assert "batches of 1, not 2" in found.err


def test_no_model(tmp_path):
    missing = fg("profile", tmp_path / "missing.onnx")
    assert missing.code == 2
    assert "missing.onnx" in missing.err
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    assert fg("profile", broken).code == 2
    assert fg("profile", broken, "--forward").code == 2


def test_what_cannot_be_written(tmp_path, model):
    (tmp_path / "file").write_text("")
    before = everything_in(tmp_path)
    for place in (tmp_path / "file" / "profile.html", tmp_path, model):
        found = fg("profile", model, *QUICK, "-o", place)
        assert found.code == 2, place
        assert found.out == ""
        assert "choose another place with -o" in found.err
    assert everything_in(tmp_path) == before


def test_names_cannot_forge_lines(tmp_path, model):
    proto = onnx.load(model)
    proto.graph.node[0].name = 'a\nall  0.00\x1b[31m"\\<b>'
    model.write_bytes(proto.SerializeToString())
    out = tmp_path / "profile.html"
    found = fg("profile", model, *QUICK, "--top", 200, "-o", out)
    assert found.code == 0, found.err
    assert "\x1b" not in found.out
    assert sum(line.startswith("all") for line in found.out.splitlines()) == 1
    assert "<b>" not in out.read_text("utf-8")
