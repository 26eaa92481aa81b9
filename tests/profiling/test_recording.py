"""What is read from the runtime's profile: medians, each kernel once, and nothing lost."""

from __future__ import annotations

import statistics
from collections import defaultdict

import numpy as np
import onnx
import pytest
from graphs import noise, resized_input, two_stages
from onnx import numpy_helper

from fg_onnx import instrument
from fg_onnx.errors import InputError
from fg_onnx.profiling import profile, recording
from fg_onnx.profiling.feeds import feeds_of
from fg_onnx.profiling.recording import WARM_UP, events, measured
from sample_models import tiny


def event(name, start, length, op="Relu"):
    told = {
        "op_name": op, "provider": "CPUExecutionProvider",
        "input_type_shape": [{"float": [1, 3]}, {"int64": [2]}],
        "output_type_shape": [{"float": [1, 3]}],
    }  # fmt: skip
    kernel = {"cat": "Node", "name": f"{name}_kernel_time", "args": told}
    return {**kernel, "ts": start, "dur": length}


def runs_of(*lengths):
    """Runs of a node `a` and a node `b`, which takes a tenth of it."""
    start = 0
    for length in lengths:
        yield event("b", start + length, length // 10, "Conv")
        yield event("a", start, length)
        yield {"cat": "Session", "name": "model_run", "ts": start, "dur": 2 * length, "args": {}}
        start += 2 * length


def test_medians_without_the_warm_up():
    found = measured(runs_of(*[90_000] * WARM_UP, 1000, 3000, 20_000))
    a, b = found.kernels
    assert (a.name, a.operator, a.seconds) == ("a", "Relu", 3e-3)
    assert (b.name, b.operator, b.seconds) == ("b", "Conv", 3e-4)
    assert (a.reads, a.writes, a.shape) == (("float", "int64"), ("float",), (1, 3))
    assert found.seconds == 6e-3
    assert found.busy == pytest.approx(0.55)
    assert found.runs == 3


def test_what_runs_within_a_node_is_part_of_it():
    loop = [
        event("inner", 10, 5),
        event("inner", 15, 5),
        event("loop", 10, 10),
        event("after", 20, 0),
        {"cat": "Session", "name": "model_run", "ts": 9, "dur": 12, "args": {}},
    ]
    found = measured(loop)
    assert [(k.name, k.seconds) for k in found.kernels] == [("loop", 1e-5), ("after", 0.0)]


def test_events_are_read_line_by_line():
    assert list(events(["[\n", '{"a": 1},\n', '{"a": 2}\n', "]\n"])) == [{"a": 1}, {"a": 2}]


def test_nothing_is_lost(monkeypatch):
    seen = []

    def kept(lines):
        seen.extend(events(lines))
        return iter(seen)

    monkeypatch.setattr(recording, "events", kept)
    found = profile(instrument(tiny.residual()).model, runs=4)
    times = defaultdict(list)
    for each in seen:
        if each["cat"] == "Node":
            times[each["name"]].append(each["dur"])
    assert all(len(each) == WARM_UP + 4 for each in times.values())
    whole = sum(statistics.median(each[WARM_UP:]) for each in times.values()) / 1e3
    document = found.to_dict()
    assert len(document["kernels"]) == len(times)
    assert document["kernels_ms"] == pytest.approx(whole)
    for group in ("parts", "operators", "lines", "kernels"):
        assert sum(row["ms"] for row in document[group]) == pytest.approx(whole), group
    for group in ("parts", "operators", "lines"):
        assert sum(row["share"] for row in document[group]) == pytest.approx(1), group
        assert sum(row["kernels"] for row in document[group]) == len(times), group
    assert 0 < document["busy"] <= 1


BRANCHES = """<ir_version: 8, opset_import: ["": 17]>
g (float[N,64] x) => (float[N,64] y) {
    c = Cast <to = 9> (one)
    y = If (c) <
        then_branch = a () => (ya) { t = Tanh (x) ya = Tanh (t) },
        else_branch = b () => (yb) { yb = Relu (x) }
    >
}"""


def test_a_branch_is_counted_once():
    model = onnx.parser.parse_model(BRANCHES)
    one = numpy_helper.from_array(np.array(1, dtype=np.float32), "one")
    model.graph.input.append(onnx.helper.make_tensor_value_info("one", 1, []))
    model.graph.initializer.append(one)
    found = profile(model, runs=2, batch=4)
    assert [row.origin.operator for row in found.rows] == ["Cast", "If"]
    assert found.batch == 4
    assert found.what == "forward"


def model(dims):
    text = f"g (float[{dims}] x, int64[1] fg_target) => (float[{dims}] y) {{ y = Relu (x) }}"
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]>\n{text}')


def test_what_is_fed():
    found = feeds_of(model("N,3,4,4"), 5)
    assert found["x"].shape == (5, 3, 4, 4)
    assert found["fg_target"].tolist() == [-1]  # where it has no default
    assert feeds_of(model("N,3,4,4"), None, target=2)["fg_target"].tolist() == [2]
    own = np.ones((7, 3, 4, 4), np.float32)
    assert feeds_of(model("N,3,H,W"), None, given={"x": own})["x"] is own
    assert feeds_of(model("2,3"), 2)["x"].shape == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"proto": model("1,3,4,4"), "batch": 2}, "fixed-batch"),
        ({"proto": model("N,3,H,W"), "batch": 2}, "open-sizes"),
        ({"proto": model("N,3"), "batch": 1, "given": {"z": np.ones(3)}}, "no-such-input"),
        ({"proto": tiny.residual(), "batch": 1, "target": 1}, "no-target"),
    ],
)
def test_what_cannot_be_fed(arguments, code):
    with pytest.raises(InputError) as caught:
        feeds_of(**arguments)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"device": "toaster"}, "no-such-device"),
        ({"device": "tensorrt"}, "no-profile"),
        ({"runs": 0}, "wrong-runs"),
        ({"runs": 1000}, "wrong-runs"),
        ({"feeds": {"x": np.ones((1, 3, 9), np.float32)}}, "run-fails"),
    ],
)
def test_what_cannot_be_recorded(options, code):
    with pytest.raises(InputError) as caught:
        profile(tiny.residual(), **options)
    assert caught.value.code == code


def test_biases_are_constants_unless_one_is_fed():
    """Constants are folded into the convolutions, which leaves fewer nodes in the forward pass."""
    made = instrument(tiny.residual()).model
    name = next(v.name for v in made.graph.input if v.name.startswith("fg_bias/"))
    (size,) = next(tensor.dims for tensor in made.graph.initializer if tensor.name == name)

    def forward(**options):
        rows = profile(made, runs=1, **options).rows
        return sum(row.origin.part == "forward" for row in rows)

    assert forward() < forward(feeds={name: np.ones(size, np.float32)})


@pytest.mark.parametrize(("size", "light"), [((16, 16), True), (("H", "W"), False)])
def test_a_model_is_loaded_as_a_session_loads_it(monkeypatch, size, light):
    given, inner = [], recording.open_on
    monkeypatch.setattr(
        recording,
        "open_on",
        lambda *plain, **named: given.append(named["patterns"]) or inner(*plain, **named),
    )
    made = instrument(resized_input(two_stages(16, 16), "N", 3, *size))
    profile(made.model, feeds={"x": noise(1, 3, 16, 16)}, runs=1, device="cpu")
    assert given == [light]
