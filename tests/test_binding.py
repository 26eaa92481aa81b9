"""Arrays that stay where they are computed, and DLPack in and out; here in the host's memory.

A pointer that is the same on both sides shows that nothing was copied.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import SAMPLES, noise
from graphs import HEAD, build, draw

from fg_onnx import DeviceArray, Session, binding, feeds, instrument
from fg_onnx.devices import HOST
from fg_onnx.errors import InputError
from fg_onnx.manifest import EMITS
from fg_onnx.runtime import open_session

IMAGES = noise(SAMPLES["residual"].model)["x"]
SMALL = ["fg_score", "fg_contributions", "fg_explained"]


@pytest.fixture(scope="module")
def session():
    return Session(SAMPLES["residual"].instrument(emit=EMITS), device="cpu", threads=1)


@pytest.fixture(scope="module")
def plain(session):
    """The same model in the runtime alone, and all it computes of the images."""
    model = SAMPLES["residual"].instrument(emit=EMITS).model
    found = open_session(model.SerializeToString())
    names = [value.name for value in found.get_outputs()]
    return found, names, found.run(names, {"x": IMAGES})


def everything_of(found):
    """The outputs of an `Attribution` that are not small, by their own names and shapes."""
    return {
        "fg_saliency": None if found.saliency is None else found.saliency[:, None],
        "fg_input_gradient": found.input_gradient,
        **{f"fg_layer_map/{name}": value[:, None] for name, value in found.layer_maps.items()},
        **{f"fg_bias_gradient/{name}": value for name, value in found.bias_gradients.items()},
        **found.outputs,
    }


# --- out ------------------------------------------------------------------------------------------


def test_on_the_device_is_the_same_to_the_bit(sample):
    session = Session(sample.instrument(emit=EMITS), device="cpu", threads=1)
    given = dict(sample.feeds)
    images = given.pop(sample.image)
    if session.input_shape[0] == 1:
        images = images[:1]
    wanted = session.explain(images, 0, feeds=given)
    found = session.explain_on_device(images, 0, feeds=given)
    for name in ("scores", "targets", "contributions", "residual"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    expected = everything_of(wanted)
    assert found.arrays.keys() == expected.keys()
    for name, value in expected.items():
        array = found.arrays[name]
        assert (array.shape, array.dtype) == (value.shape, value.dtype)
        np.testing.assert_array_equal(array.numpy(), value)


def test_a_seed_and_one_row_for_all():
    model = SAMPLES["bn_unfolded"].instrument(seed=True)
    session = Session(model, device="cpu", threads=1)
    images = noise(SAMPLES["bn_unfolded"].model)["x"]
    seed = np.arange(5.0)
    found, wanted = (
        explain(images, seed=seed) for explain in (session.explain_on_device, session.explain)
    )
    assert found.targets is None
    np.testing.assert_array_equal(found.scores, wanted.scores)
    np.testing.assert_array_equal(found.arrays["fg_saliency"].numpy()[:, 0], wanted.saliency)


def test_an_array_is_handed_over_without_a_copy(session):
    array = session.explain_on_device(IMAGES).arrays["fg_saliency"]
    shared = np.from_dlpack(array)
    assert shared.ctypes.data == array.pointer == array.numpy().ctypes.data
    assert array.__dlpack_device__() == HOST
    assert repr(array) == "DeviceArray([3, 1, 16, 16], float32, cpu)"
    assert len(array) == 3
    for options in ({"copy": True}, {"dl_device": (2, 0)}):
        with pytest.raises(BufferError):
            array.__dlpack__(**options)


def test_a_result_outlives_its_session_s_next_runs(session):
    first = session.explain_on_device(IMAGES)
    kept = {name: array.numpy().copy() for name, array in first.arrays.items()}
    second = session.explain_on_device(2 * IMAGES, 1)
    for name, array in first.arrays.items():
        assert array.pointer != second.arrays[name].pointer
        np.testing.assert_array_equal(array.numpy(), kept[name])


def test_buffers_are_written_again_where_that_is_asked_for(session):
    first = session.explain_on_device(IMAGES)
    pointers = {name: array.pointer for name, array in first.arrays.items()}
    wanted = {k: v.numpy().copy() for k, v in session.explain_on_device(-IMAGES).arrays.items()}
    second = session.explain_on_device(-IMAGES, into=first)
    for name, array in second.arrays.items():
        assert array.pointer == pointers[name]
        np.testing.assert_array_equal(array.numpy(), wanted[name])
    with pytest.raises(InputError, match=r"`into` holds what images of \[3, 3, 16, 16\] gave"):
        session.explain_on_device(IMAGES[:2], into=first)


def test_buffers_of_another_model_or_device_are_left_alone(session):
    """The images are of one shape, and both models have an output `fg_saliency`."""
    other = Session(SAMPLES["bn_unfolded"].instrument(emit=EMITS), device="cpu", threads=1)
    fewer = Session(SAMPLES["residual"].instrument(), device="cpu", threads=1)
    for into in (other.explain_on_device(IMAGES), fewer.explain_on_device(IMAGES)):
        kept = {name: array.numpy().copy() for name, array in into.arrays.items()}
        with pytest.raises(InputError, match="`into` holds what another model gave") as caught:
            session.explain_on_device(-IMAGES, into=into)
        assert caught.value.code == "other-model"
        for name, array in into.arrays.items():
            np.testing.assert_array_equal(array.numpy(), kept[name])
    own = session.explain_on_device(IMAGES)
    twin = Session(SAMPLES["residual"].instrument(emit=EMITS), device="cpu", threads=1)
    twin.explain_on_device(-IMAGES, into=own)  # the same model, loaded again
    away = replace(own, arrays={"fg_saliency": Elsewhere()})
    with pytest.raises(InputError, match=r"`into.arrays\['fg_saliency'\]` lies on cuda:0"):
        session.explain_on_device(IMAGES, into=away)


def test_numpy_takes_an_array_of_a_device(session):
    array = session.put(IMAGES)
    found = np.asarray(array)
    assert (found.shape, found.dtype, found.ctypes.data) == (IMAGES.shape, "f4", array.pointer)
    np.testing.assert_array_equal(np.asarray(array, np.float64), IMAGES)
    copied = np.array(array)
    assert copied.ctypes.data != array.pointer
    np.testing.assert_array_equal(copied, IMAGES)
    assert array.__array__(copy=False).ctypes.data == array.pointer
    with pytest.raises(ValueError, match="has to be copied"):
        array.__array__(np.float64, copy=False)
    other = session.put(-IMAGES)
    array.update(other)
    np.testing.assert_array_equal(array.numpy(), -IMAGES)


def test_one_image_of_several_is_not_handed_out_as_all_of_them(session):
    array = session.put(IMAGES)
    row = array.row(1)
    np.testing.assert_array_equal(np.asarray(row), IMAGES[1:2])
    with pytest.raises(BufferError, match="one image of several"):
        np.from_dlpack(row)
    with pytest.raises(InputError, match="one image of several") as caught:
        row.update(IMAGES[:1])
    assert caught.value.hint
    np.testing.assert_array_equal(array.numpy(), IMAGES)
    found = session.explain(row, 1)
    np.testing.assert_array_equal(found.scores, session.explain(IMAGES[1:2], 1).scores)


@pytest.mark.parametrize(
    ("asked", "brought"),
    [
        ([], set()),
        (["saliency"], {"fg_saliency"}),
        (["input-gradient", "logits"], {"fg_input_gradient", "logits"}),
        (["fg_layer_map/c1"], {"fg_layer_map/c1"}),
        (["layer-maps"], {"fg_layer_map/c1", "fg_layer_map/c2"}),
    ],
)
def test_only_what_is_asked_for_is_brought(session, plain, asked, brought):
    _, names, values = plain
    contributions = dict(zip(names, values, strict=True))["fg_contributions"]
    there = session.explain_on_device(IMAGES, outputs=asked)
    here = session.explain(IMAGES, outputs=asked)
    assert set(there.arrays) == brought
    assert {k for k, v in everything_of(here).items() if v is not None} == brought
    for found in (there, here):
        np.testing.assert_array_equal(found.contributions, contributions)
        assert np.all(found.residual <= session.tolerance)


def test_an_output_that_is_not_there(session):
    bare = Session(SAMPLES["residual"].instrument(), device="cpu")
    for asked in ("fg_nothing", "layer-maps", ""):
        with pytest.raises(InputError, match="has no output") as caught:
            bare.explain(IMAGES, outputs=[asked])
        assert caught.value.hint == "it emits: saliency, contributions"


# --- in -------------------------------------------------------------------------------------------


def test_images_that_are_put_once(session):
    array = session.put(IMAGES)
    assert isinstance(array, DeviceArray)
    pointer = array.pointer
    for images in (IMAGES, 3 * IMAGES):
        array.update(images)
        assert array.pointer == pointer
        wanted = session.explain(images)
        for found in (session.explain(array), session.explain_on_device(array)):
            np.testing.assert_array_equal(found.contributions, wanted.contributions)
        np.testing.assert_array_equal(session.scores(array), session.scores(images))
    for other in (IMAGES[:1], IMAGES.astype(np.float64)):
        with pytest.raises(InputError, match="cannot hold"):
            array.update(other)
    with pytest.raises(InputError, match="of shape"):
        session.put(IMAGES[:, :1])


def test_a_run_reads_bound_memory_where_it_lies(plain):
    """What an input on a GPU goes through; one image of several is fed by its address."""
    found, names, wanted = plain
    array = binding.imported("x", IMAGES)
    assert array.pointer == IMAGES.ctypes.data
    for left in ([], names[1:]):
        values = binding.run(found, {"x": array}, names, left=left)
        for name, value, expected in zip(names, values, wanted, strict=True):
            assert isinstance(value, DeviceArray) == (name in left)
            value = value.numpy() if name in left else value
            np.testing.assert_array_equal(value, expected)
    row = array.row(2)
    assert (row.shape, row.pointer) == ((1, 3, 16, 16), IMAGES[2:].ctypes.data)
    np.testing.assert_array_equal(row.numpy(), IMAGES[2:])
    (single,) = binding.run(found, {"x": row}, ["fg_saliency"])
    (expected,) = found.run(["fg_saliency"], {"x": IMAGES[2:]})
    np.testing.assert_array_equal(single, expected)


def test_a_default_of_the_model_is_bound_by_name(plain):
    """`fg_target` and `fg_bias/*` are initializers that may be overridden."""
    found, _, _ = plain
    given = {"x": IMAGES, "fg_target": np.array([4]), "fg_bias/logits": np.zeros(5, np.float32)}
    by_binding = binding.run(found, given, SMALL)
    for value, expected in zip(by_binding, found.run(SMALL, given), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_an_array_with_gaps_is_fed_as_it_reads(session):
    wide = np.repeat(IMAGES, 2, axis=3)
    wanted = session.explain(IMAGES).contributions
    for gaps in (wide[..., ::2], np.asfortranarray(IMAGES)):
        np.testing.assert_array_equal(session.explain_on_device(gaps).contributions, wanted)
        np.testing.assert_array_equal(session.explain(session.put(gaps)).contributions, wanted)


@pytest.fixture
def as_if_on_a_gpu(monkeypatch):
    """Whatever is given is bound where it lies, as an array in a GPU's memory is."""

    def bound(name, given, memory):
        return binding.imported(name, np.asarray(given))

    monkeypatch.setattr(feeds, "taken", bound)


@pytest.mark.usefixtures("as_if_on_a_gpu")
@pytest.mark.parametrize("name", ["residual", "two_inputs", "fixed_batch", "nhwc", "fashion_vgg"])
def test_arrays_of_a_device_through_the_front_door(name):
    sample = SAMPLES[name]
    model = sample.instrument(emit=EMITS)
    given = dict(sample.feeds)
    images = given.pop(sample.image)
    session = Session(model, device="cpu", threads=1)
    alone = session.input_shape[0] == 1
    images = IMAGES if alone else images
    found = session.explain(images, 1, feeds=given)
    proto = open_session(model.model.SerializeToString())
    rows = np.split(images, len(images)) if alone else [images]
    runs = [
        proto.run(
            ["fg_contributions", "fg_saliency"],
            {sample.image: r, **given, "fg_target": np.array([1])},
        )
        for r in rows
    ]
    contributions, saliency = (np.concatenate(column) for column in zip(*runs, strict=True))
    np.testing.assert_allclose(found.contributions, contributions, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.saliency, saliency[:, 0], rtol=0, atol=1e-4 * saliency.max())
    ranked = session.scores(images, given)
    assert ranked.argmax(1).tolist() == session.explain(images, feeds=given).targets.tolist()
    if not alone:
        there = session.explain_on_device(images, 1, feeds=given)
        np.testing.assert_array_equal(there.contributions, found.contributions)


@pytest.mark.usefixtures("as_if_on_a_gpu")
def test_arrays_of_a_device_are_neither_converted_nor_repeated():
    session = Session(SAMPLES["bn_unfolded"].instrument(seed=True), device="cpu", threads=1)
    seed = np.eye(5, dtype=np.float32)[:3]
    assert np.all(session.explain(IMAGES, seed=seed).residual <= session.tolerance)
    with pytest.raises(InputError, match=r"`fg_seed` of shape \[1, 5\]") as caught:
        session.explain(IMAGES, seed=seed[:1])
    assert caught.value.hint == "give one row for each"
    with pytest.raises(InputError, match=r"fed tensor\(float\), not tensor\(double\)"):
        session.explain(IMAGES, seed=seed.astype(np.float64))
    with pytest.raises(InputError, match=r"`x` is to be fed .*, not tensor\(float16\)"):
        session.explain(IMAGES.astype(np.float16), seed=seed)
    with pytest.raises(InputError, match=r"takes `x` of shape .* not \[3, 3, 16, 15\]"):
        session.explain(np.ascontiguousarray(IMAGES[..., 1:]), seed=seed)


class Elsewhere:
    """An array on the first GPU, as far as can be seen without one."""

    shape = (3, 3, 16, 16)

    def __dlpack_device__(self):
        return (2, 0)

    def __dlpack__(self, **options):
        raise AssertionError("nothing is taken from a device that is not the session's")


def test_an_array_of_another_device(session):
    for explain in (session.explain, session.explain_on_device, session.scores, session.put):
        with pytest.raises(InputError, match="`x` lies on cuda:0, and the session runs on cpu"):
            explain(Elsewhere())
    with pytest.raises(InputError, match="`fg_bias/logits` lies on cuda:0"):
        session.explain(IMAGES, feeds={"fg_bias/logits": Elsewhere()})


def test_integer_images():
    nodes = """
        x = Cast <to = 1> (pixels)
        c = Conv <pads = [1,1,1,1]> (x, w, b)
        h = Relu (c)
    """
    weights = {"w": draw("w", 4, 3, 3, 3), "b": draw("b", 4)}
    head = {"fc_weight": draw("fc_weight", 5, 4), "fc_bias": draw("fc_bias", 5)}
    model = build(nodes + HEAD, {**weights, **head}, inputs="uint8[N,3,16,16] pixels")
    session = Session(instrument(model), device="cpu", threads=1)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 16, 16))
    array = session.put(pixels)
    assert array.type == "tensor(uint8)"
    wanted = session.explain(pixels)
    np.testing.assert_array_equal(
        session.explain_on_device(array).contributions, wanted.contributions
    )
    with pytest.raises(InputError, match="whole numbers"):
        session.put(pixels + 0.5)


def test_a_batch_of_one():
    """Several images are fed one by one; what they give is joined on the host only."""
    session = Session(SAMPLES["fixed_batch"].instrument(), device="cpu", threads=1)
    wanted = session.explain(IMAGES)
    np.testing.assert_array_equal(session.explain(session.put(IMAGES)).saliency, wanted.saliency)
    with pytest.raises(InputError, match="one image at a time, not 3") as caught:
        session.explain_on_device(IMAGES)
    assert caught.value.code == "fixed-batch"
    single = session.explain_on_device(IMAGES[1:2])
    np.testing.assert_array_equal(single.arrays["fg_saliency"].numpy()[:, 0], wanted.saliency[1:2])


def test_a_run_that_fails(session):
    with pytest.raises(InputError, match="does not run on this input") as caught:
        session.explain_on_device(IMAGES, feeds={"fg_bias/logits": np.zeros(3, np.float32)})
    assert caught.value.code == "run-fails"


# --- torch ----------------------------------------------------------------------------------------


@pytest.mark.torch
def test_torch_shares_what_goes_in_and_comes_out(session):
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(IMAGES.copy())
    assert binding.imported("x", tensor).pointer == tensor.data_ptr()
    assert binding.taken("x", tensor, HOST).ctypes.data == tensor.data_ptr()
    found = session.explain_on_device(tensor)
    wanted = session.explain(IMAGES)
    np.testing.assert_array_equal(found.contributions, wanted.contributions)
    array = found.arrays["fg_saliency"]
    shared = torch.from_dlpack(array)
    assert shared.data_ptr() == array.pointer
    np.testing.assert_array_equal(shared[:, 0].numpy(), wanted.saliency)
    del found, array
    np.testing.assert_array_equal(shared[:, 0].numpy(), wanted.saliency)  # it holds the memory
    np.testing.assert_array_equal(session.explain(tensor.flip(0)).scores, wanted.scores[::-1])


@pytest.mark.torch
def test_a_tensor_that_records_gradients_is_not_taken(session):
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(IMAGES.copy()).requires_grad_()
    with pytest.raises(InputError, match="`x` cannot be shared through DLPack") as caught:
        session.explain(tensor)
    assert "detached" in caught.value.hint
    with pytest.raises(InputError, match="cannot be shared"):
        binding.imported("x", tensor)
    with pytest.raises(InputError, match="contiguous"):
        binding.imported("x", tensor.detach().transpose(2, 3))
