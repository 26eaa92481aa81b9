"""Dead and saturated layers are found where they were killed on purpose, and nowhere else."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import run
from graphs import draw, expose, noise

from audit.nets import audited, checks_of, net, photographs
from fg_onnx import Session, instrument
from fg_onnx.audit.probes import ACTIVITY, activity, add_probes, ends

SCALARS = {"zero": np.array(0.0), "six": np.array(6.0), "three": np.array(3.0)}
DEAD = np.full(6, -100.0)
LARGE = np.full(6, 100.0)


@pytest.fixture
def found(tmp_path):
    """The findings of a net on eight images."""
    paths = photographs(tmp_path / "images", 8)

    def run(activation="r1 = Relu (c1)", policy=None, **changed):
        model = net(tmp_path / "net.onnx", activation, **changed)
        return checks_of(audited(model, paths, tmp_path / "out", policy))

    return run


def test_a_sound_net_has_none(found):
    assert not {"dead", "saturated"} & set(found())


def test_a_killed_relu(found):
    dead = found(b1=DEAD)["dead"]
    # what lies before it counts no more; what lies behind it still does
    assert "Relu r1" in dead.text
    assert "bias c1" in dead.text
    assert "c2" not in dead.text
    assert dead.measured == 2


@pytest.mark.parametrize("policy", [{"dead": {"most": 2}}, {"dead": False}])
def test_what_a_policy_lets_pass(found, policy):
    assert "dead" not in found(b1=DEAD, policy=policy)


def test_a_bias_of_zero_is_not_dead(found):
    assert "dead" not in found(b1=np.zeros(6))


def test_a_clip_at_either_end(found):
    relu6 = "r1 = Clip (c1, zero, six)"
    assert not {"dead", "saturated"} & set(found(relu6, **SCALARS))
    low = found(relu6, b1=DEAD, **SCALARS)
    assert "Clip r1" in low["dead"].text
    assert "saturated" not in low
    high = found(relu6, b1=LARGE, **SCALARS)
    assert "Clip r1" in high["saturated"].text
    # its gradient is 0, and so the bias before it counts no more; but it is not silent itself
    assert "Clip" not in high["dead"].text
    assert "bias c1" in high["dead"].text


@pytest.mark.parametrize("op", ["Sigmoid", "HardSigmoid", "Tanh"])
def test_saturated_gates(found, op):
    assert "saturated" not in found(f"r1 = {op} (c1)")
    for bias in (DEAD, LARGE):
        assert f"{op} r1" in found(f"r1 = {op} (c1)", b1=bias)["saturated"].text


@pytest.mark.parametrize(
    "activation",
    [
        "s = Sigmoid (c1)\n r1 = Mul (c1, s)",
        "s = HardSigmoid <alpha = 0.16666667> (c1)\n r1 = Mul (s, c1)",
        "a = Add (c1, three)\n s = Clip (a, zero, six)\n m = Mul (c1, s)\n r1 = Div (m, six)",
        "a = Add (c1, three)\n s = Clip (a, zero, six)\n d = Div (s, six)\n r1 = Mul (c1, d)",
    ],
    ids=["silu", "hardswish", "clip", "clip and div"],
)
def test_what_is_its_own_gate_does_not_saturate(found, activation):
    used = {key: value for key, value in SCALARS.items() if key in activation}
    assert "saturated" not in found(activation, b1=LARGE, **used)


def test_in_some_images_only(tmp_path):
    # three channels of one colour: dark images never reach the threshold
    kernel = np.zeros((6, 3, 3, 3))
    kernel[:, :, 1, 1] = 1
    model = net(tmp_path / "net.onnx", w1=kernel, b1=np.full(6, -1.5))
    images = np.concatenate([np.full((6, 3, 8, 8), 0.1), np.full((4, 3, 8, 8), 0.9)])
    np.save(tmp_path / "images.npy", images.astype(np.float32))
    for share, expected in ((0.6, True), (0.61, False)):
        policy = {"dead": {"images": share}}
        document = audited(model, [tmp_path / "images.npy"], tmp_path / "out", policy)
        assert ("dead" in checks_of(document)) == expected
    (layer,) = [each for each in document.layers if each.name == "c1"]
    assert layer.silent == pytest.approx(0.6)


def test_nothing_that_the_model_computes_is_changed(tmp_path):
    plain = instrument(net(tmp_path / "net.onnx"))
    probed, activations = add_probes(plain)
    onnx.checker.check_model(probed.model, full_check=True)
    assert [each.op for each in activations] == ["Relu", "Relu"]
    images = noise(5, 3, 8, 8)
    before, after = Session(plain).explain(images), Session(probed).explain(images)
    for name in ("scores", "contributions", "saliency"):
        assert np.array_equal(getattr(before, name), getattr(after, name))
    counted = after.outputs[ACTIVITY]
    assert [end for _, end in ends(activations)] == ["low", "low"]
    passed = run(expose(onnx.load(tmp_path / "net.onnx"), ["r1"]), {"x": images})["r1"]
    assert np.allclose(counted[:, 0], (passed <= 0).mean(axis=(1, 2, 3)), atol=1e-6)


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_in_every_opset(tmp_path, opset):
    path = net(tmp_path / "net.onnx", b2=draw("b2", 8) - 100)
    probed, _ = add_probes(instrument(path, opset=opset) if opset > 17 else instrument(path))
    counted = Session(probed).explain(noise(2, 3, 8, 8)).outputs[ACTIVITY]
    assert np.array_equal(counted[:, 1], [1, 1])


def test_bounds_in_nodes_of_constants(found):
    bounds = "low = Constant <value_float = 0.0> ()\n high = Constant <value = float {6}> ()\n "
    clip = bounds + "r1 = Clip (c1, low, high)"
    assert not {"dead", "saturated"} & set(found(clip))
    assert "Clip r1" in found(clip, b1=DEAD)["dead"].text
    assert "Clip r1" in found(clip, b1=LARGE)["saturated"].text


def test_what_is_no_number_is_not_dead(tmp_path):
    probed, _ = add_probes(instrument(net(tmp_path / "net.onnx")))
    images = noise(3, 3, 8, 8)
    images[1] = np.nan
    found = Session(probed).explain(images)
    assert np.array_equal(activity(found, 1), [0, 0])
    assert np.all([activity(found, 0), activity(found, 2)])


def test_they_cost_no_pass_of_their_own(tmp_path):
    """ONNX Runtime takes their masks and those of the adjoint for the same nodes."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    counts = []
    for model in (made := instrument(net(tmp_path / "net.onnx")), add_probes(made)[0]):
        ort.InferenceSession(model.model.SerializeToString(), options)
        nodes = onnx.load(options.optimized_model_filepath).graph.node
        counts.append(sum(node.op_type == "HardSigmoid" for node in nodes))
    assert counts[0] == counts[1] > 0
