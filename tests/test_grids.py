"""Maps on every layout: tokens, NHWC, signals and volumes.

Wherever a net can be written in two ways, the two have the same map and the same contributions.
Elsewhere the map is compared with Eq. 2 written plainly, as in `test_psi`.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import build, draw, everything, noise
from test_psi import BOUND, CLOSE, DEFINITIONS, gap, interpolation

from fg_onnx import Session, instrument
from fg_onnx.grid.layouts import Layouts
from fg_onnx.manifest import EMITS
from fg_onnx.plan import make_plan
from fg_onnx.source.model import read
from sample_models import tasks

TASKS = tasks.all_models()


def same(one, other, style, images, others=None, sites=None):
    """Whether two models have one map and the same totals, in the order of the sites."""
    a = everything(one, style).explain(images, 1)
    b = everything(other, style).explain(images if others is None else others, 1)
    np.testing.assert_allclose(a.scores, b.scores, rtol=1e-4, atol=1e-5)
    scale = np.abs(a.contributions).max()
    np.testing.assert_allclose(a.contributions, b.contributions, atol=1e-5 * scale)
    shape = a.saliency.shape
    assert gap(b.saliency.reshape(shape).reshape(2, 1, -1), a.saliency.reshape(2, 1, -1)) <= CLOSE
    maps = [[np.squeeze(m) for m in found.layer_maps.values()] for found in (a, b)]
    assert len(maps[0]) == len(maps[1]) == (sites or len(maps[0]))
    for left, right in zip(*maps, strict=True):
        assert left.shape == right.shape
        np.testing.assert_allclose(left, right, atol=1e-4 * max(1e-3, np.abs(left).max()))


# --- one net in several layouts -------------------------------------------------------------------

WEIGHTS = {
    "w1": draw("w1", 6, 3, 3, 3),
    "b1": draw("b1", 6),
    "w2": draw("w2", 12, 6, 1, 1),
    "b2": draw("b2", 12),
    "w3": draw("w3", 6, 12, 1, 1),
    "b3": draw("b3", 6),
    "fc_weight": draw("fc_weight", 5, 6),
    "fc_bias": draw("fc_bias", 5),
}
STEM = "c1 = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w1, b1) r1 = Relu (c1)"
HEAD = "pooled = GlobalAveragePool (h) flat = Flatten (pooled)"
LOGITS = "logits = Gemm <transB = 1> (flat, fc_weight, fc_bias)"
MLP = """
    p2 = MatMul (t, w2t) c2 = Add (p2, b2) r2 = Relu (c2)
    p3 = MatMul (r2, w3t) c3 = Add (b3, p3) m = Add (t, c3)
"""
CONVOLUTIONS = f"""
    {STEM}
    c2 = Conv (r1, w2, b2) r2 = Relu (c2)
    c3 = Conv (r2, w3, b3) h = Add (r1, c3)
    {HEAD} {LOGITS}
"""
FORMS = {
    "nhwc": f"""
        {STEM} t = Transpose <perm = [0,2,3,1]> (r1) {MLP}
        h = Transpose <perm = [0,3,1,2]> (m) {HEAD} {LOGITS}
    """,
    "tokens": f"""
        row = Constant <value_ints = [0,6,-1]> ()
        grid = Constant <value_ints = [0,6,8,5]> ()
        {STEM} f = Reshape (r1, row) t = Transpose <perm = [0,2,1]> (f) {MLP}
        u = Transpose <perm = [0,2,1]> (m) h = Reshape (u, grid) {HEAD} {LOGITS}
    """,
    "tokens of nhwc": f"""
        row = Constant <value_ints = [0,-1,6]> ()
        grid = Constant <value_ints = [0,8,5,6]> ()
        {STEM} l = Transpose <perm = [0,2,3,1]> (r1) t = Reshape (l, row) {MLP}
        u = Reshape (m, grid) h = Transpose <perm = [0,3,1,2]> (u) {HEAD} {LOGITS}
    """,
    "tokens to the end": f"""
        row = Constant <value_ints = [0,6,-1]> ()
        {STEM} f = Reshape (r1, row) t = Transpose <perm = [0,2,1]> (f) {MLP}
        flat = ReduceMean <axes = [1], keepdims = 0> (m) {LOGITS}
    """,
}


def form(nodes):
    weights = dict(WEIGHTS)
    if "w2t" in nodes:
        for name in ("w2", "w3"):
            weights[f"{name}t"] = weights.pop(name)[:, :, 0, 0].T
    return build(nodes, weights, inputs="float[N,3,16,10] x")


@pytest.mark.parametrize("style", DEFINITIONS)
@pytest.mark.parametrize("name", FORMS)
def test_products_on_tokens_are_convolutions(name, style):
    same(form(CONVOLUTIONS), form(FORMS[name]), style, noise(2, 3, 16, 10), sites=3)


def test_grids_of_tokens_are_in_the_manifest():
    sites = {site.name: site for site in instrument(form(FORMS["tokens"])).manifest.sites}
    assert (sites["c1"].spatial_axes, sites["c1"].grid) == ((2, 3), None)
    assert (sites["c2"].channel_axis, sites["c2"].spatial_axes) == (2, (1,))
    assert (sites["c2"].grid, sites["c2"].grid_start) == ((8, 5), 0)
    assert sites["logits"].grid is None


@pytest.mark.parametrize("style", DEFINITIONS)
@pytest.mark.parametrize("task", ["signal", "volume"])
def test_an_axis_of_one_changes_nothing(task, style):
    """A signal is an image of height 1; a flat volume, an image."""
    model = TASKS[task]
    images = noise(2, 2, 64) if task == "signal" else noise(2, 1, 1, 12, 10)
    flat = _flattened(model) if task == "volume" else _heightened(model)
    others = images[:, :, 0] if task == "volume" else images[:, :, None]
    same(_of_shape(model, images.shape), _of_shape(flat, others.shape), style, images, others)


def _heightened(model):
    """The same with Conv2d of height 1."""
    changed = _copy(model)
    for weight in changed.graph.initializer:
        if len(weight.dims) == 3:
            weight.dims.insert(2, 1)
    for node in changed.graph.node:
        for attribute in node.attribute:
            padded = {"pads": [0, *attribute.ints[:1], 0, *attribute.ints[1:]]}
            values = padded.get(attribute.name) or [1, *attribute.ints]
            if attribute.name in ("pads", "strides"):
                del attribute.ints[:]
                attribute.ints.extend(values)
    return changed


def _flattened(model):
    """The same with the middle of every kernel: of one slice, the others see only zeros."""
    changed = _copy(model)
    for weight in changed.graph.initializer:
        if len(weight.dims) == 5:
            middle = onnx.numpy_helper.to_array(weight)[:, :, 1]
            weight.CopyFrom(onnx.numpy_helper.from_array(middle, weight.name))
    for node in changed.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("pads", "strides"):
                del attribute.ints[:: len(attribute.ints) // 2 if attribute.name == "pads" else 3]
    return changed


def _copy(model):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    return changed


def _of_shape(model, shape):
    changed = _copy(model)
    dims = changed.graph.input[0].type.tensor_type.shape
    del dims.dim[:]
    dims.dim.add(dim_param="N")
    for size in shape[1:]:
        dims.dim.add(dim_value=size)
    return onnx.shape_inference.infer_shapes(changed, strict_mode=True)


@pytest.mark.parametrize("style", DEFINITIONS)
@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_signals_through_two_dimensional_convolutions(last, style):
    """As frameworks without Conv1d export it: an axis of height 1 comes and goes."""
    head = {"fc_weight": draw("fc_weight", 5, 6), "fc_bias": draw("fc_bias", 5)}
    weight, bias = draw("w", 6, 2, 5), {"b": draw("b", 6), "b2": draw("b2", 1, 6, 1)}
    plain = f"""
        c = Conv <pads = [2,2], strides = [2]> (x, w, b) r = Relu (c) h = Add (r, b2)
        {HEAD} {LOGITS}
    """
    height = "two = Constant <value_ints = [2]> ()"
    stand = "i = Unsqueeze (x, two)"
    if last:
        height = "one = Constant <value_ints = [1]> ()" + height
        stand = "e = Unsqueeze (x, one) i = Transpose <perm = [0,3,1,2]> (e)"
    detour = f"""
        {height} {stand}
        c = Conv <pads = [0,2,0,2], strides = [1,2]> (i, w, b) r = Relu (c)
        s = Squeeze (r, two) h = Add (s, b2)
        {HEAD} {LOGITS}
    """
    images = noise(2, 2, 40)
    given = images.transpose(0, 2, 1) if last else images
    shape = "float[N,40,2] x" if last else "float[N,2,40] x"
    one = build(plain, {"w": weight, **bias, **head}, inputs="float[N,2,40] x")
    other = build(detour, {"w": weight[:, :, None], **bias, **head}, inputs=shape)
    assert instrument(other).manifest.layout == ("nlc" if last else "ncl")
    same(one, other, style, images, given, sites=2)


# --- against the definition -----------------------------------------------------------------------


def plain_map(style, input_term, bias_gradients):
    """Eq. 2 on a grid of any number of axes, from terms [N, C, *grid] in float64."""
    rescale, coordinates = DEFINITIONS[style]
    total = rescale(input_term).sum(1)
    for values in bias_gradients:
        layer = rescale(values).sum(1)
        for axis in range(1, layer.ndim):
            rows = interpolation(layer.shape[axis], total.shape[axis], coordinates)
            layer = np.moveaxis(np.tensordot(rows, layer, (1, axis)), 0, axis)
        total = total + layer
    return total


def on_grid(values, site):
    """A bias-gradient as [N, C, *grid]."""
    if site.unfolded is not None:
        values = values.reshape(-1, *site.unfolded)
    named = (0, site.channel_axis, *site.spatial_axes)
    others = [axis for axis in range(values.ndim) if axis not in named]
    moved = values.astype(np.float64).transpose(*named[:2], *others, *named[2:])
    moved = moved.reshape(len(moved), -1, *(values.shape[axis] for axis in site.spatial_axes))
    if site.grid is None:
        return moved
    end = site.grid_start + int(np.prod(site.grid))
    return moved[:, :, site.grid_start : end].reshape(*moved.shape[:2], *site.grid)


def own_gap(session, images):
    """How far the map and the layer maps are from the definition applied to the session's terms."""
    found = session.explain(images)
    assert found.residual.max() <= 1e-5
    style = found.manifest.psi
    sites = [site for site in found.manifest.sites if site.spatial]
    terms = [on_grid(found.bias_gradients[site.name], site) for site in sites]
    input_term = (found.input_gradient * images).astype(np.float64)
    gaps = [_flat_gap(found.saliency, plain_map(style, input_term, terms))]
    rescale, _ = DEFINITIONS[style]
    for site, values in zip(sites, terms, strict=True):
        gaps.append(_flat_gap(found.layer_maps[site.name], rescale(values).sum(1)))
    return max(gaps)


def _flat_gap(found, expected):
    assert found.shape == expected.shape
    return gap(found.reshape(len(found), 1, -1), expected.reshape(len(found), 1, -1))


@pytest.mark.parametrize("style", DEFINITIONS)
@pytest.mark.parametrize("task", ["signal", "volume", "tokens"])
def test_map_of_other_grids(task, style):
    session = everything(TASKS[task], style)
    assert own_gap(session, noise(2, *session.input_shape[1:])) <= CLOSE


def test_behind_a_class_token_the_grid_begins_at_one():
    sites = {site.name: site for site in instrument(TASKS["tokens"]).manifest.sites}
    for name in ("placed", "u2", "d2"):
        assert (sites[name].grid, sites[name].grid_start) == ((4, 4), 1)
    for name in ("alike", "attention", "logits"):
        assert not sites[name].spatial


@pytest.mark.parametrize("style", ["reference", "paper"])
def test_a_signal_of_any_length(style):
    model = _copy(TASKS["signal"])
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "L"
    session = Session(instrument(model, psi=style, emit=EMITS))
    for length in (40, 75):
        found = session.explain(noise(2, 2, length))
        assert found.saliency.shape == (2, length)
        fixed = _of_shape(TASKS["signal"], (2, 2, length))
        expected = everything(fixed, style).explain(noise(2, 2, length)).saliency
        assert gap(found.saliency[:, None], expected[:, None]) <= CLOSE


# --- where there is no grid -----------------------------------------------------------------------


def spatial(nodes, weights, inputs):
    model = build(nodes, weights, inputs=inputs)
    found = instrument(model).manifest
    return {site.name: site.spatial for site in found.sites}


def test_frames_that_are_folded_into_the_batch_count_but_are_not_in_the_map():
    """[N,T,3,8,8] -> [N*T,3,8,8]: a frame's feature map is not one of the clip."""
    nodes = """
        folded = Constant <value_ints = [-1,3,8,8]> ()
        clips = Constant <value_ints = [-1,24]> ()
        frames = Reshape (x, folded)
        c = Conv (frames, w, b)
        h = Relu (c)
        pooled = GlobalAveragePool (h)
        flat = Reshape (pooled, clips)
        logits = Gemm <transB = 1> (flat, fc_weight, fc_bias)
    """
    weights = {
        "w": draw("w", 6, 3, 3, 3),
        "b": draw("b", 6),
        "fc_weight": draw("fc_weight", 5, 24),
        "fc_bias": draw("fc_bias", 5),
    }
    model = build(nodes, weights, inputs="float[N,4,3,8,8] x")
    session = Session(instrument(model), threads=1)
    assert not session.manifest.sites[0].spatial
    clips = noise(3, 4, 3, 8, 8)
    together = session.explain(clips, 2)
    assert together.residual.max() <= 1e-5
    for index in range(3):
        alone = session.explain(clips[index : index + 1], 2)
        np.testing.assert_allclose(together.contributions[index], alone.contributions[0], atol=1e-5)


def test_a_batch_that_is_not_the_first_axis_is_not_mixed():
    """Sequence first, as recurrent and old transformer layers have it: [L,N,C]."""
    nodes = """
        c = Conv <pads = [1,1]> (x, w, b)
        t = Transpose <perm = [2,0,1]> (c)
        e = Tanh (t)
        s = Add (e, place)
        flat = ReduceMean <axes = [0], keepdims = 0> (s)
        logits = Gemm <transB = 1> (flat, fc_weight, fc_bias)
    """
    weights = {
        "w": draw("w", 6, 2, 3),
        "b": draw("b", 6),
        "place": draw("place", 12, 1, 6),
        "fc_weight": draw("fc_weight", 5, 6),
        "fc_bias": draw("fc_bias", 5),
    }
    session = Session(instrument(build(nodes, weights, inputs="float[N,2,12] x")), threads=1)
    assert [s.spatial for s in session.manifest.sites] == [True, False, False, False]
    signals = noise(3, 2, 12)
    together = session.explain(signals, 2)
    assert together.residual.max() <= 1e-5
    for index in range(3):
        alone = session.explain(signals[index : index + 1], 2)
        np.testing.assert_allclose(together.contributions[index], alone.contributions[0], atol=1e-5)


def test_a_convolution_over_channels_has_no_grid():
    """ECA: Conv1d slides over the channels of [N,1,C], which are no positions of the signal."""
    nodes = """
        h0 = Conv <pads = [1,1]> (x, w, b)
        pooled = GlobalAveragePool (h0)
        turned = Transpose <perm = [0,2,1]> (pooled)
        mixed = Conv <pads = [1,1]> (turned, eca, eca_bias)
        back = Transpose <perm = [0,2,1]> (mixed)
        gate = Sigmoid (back)
        h = Mul (h0, gate)
        again = GlobalAveragePool (h)
        flat = Flatten (again)
        logits = Gemm <transB = 1> (flat, fc_weight, fc_bias)
    """
    weights = {
        "w": draw("w", 6, 2, 3),
        "b": draw("b", 6),
        "eca": draw("eca", 1, 1, 3),
        "eca_bias": draw("eca_bias", 1),
        "fc_weight": draw("fc_weight", 5, 6),
        "fc_bias": draw("fc_bias", 5),
    }
    found = spatial(nodes, weights, "float[N,2,12] x")
    assert found["h0"]
    assert not found["mixed"]


def test_two_grids_of_tokens_side_by_side_have_no_place():
    """The levels of a pyramid, as detectors join them."""
    nodes = """
        row = Constant <value_ints = [0,6,-1]> ()
        a = Conv <pads = [1,1,1,1]> (x, w, b)
        c = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w, b)
        fa = Reshape (a, row)
        fc = Reshape (c, row)
        both = Concat <axis = 2> (fa, fc)
        s = Sigmoid (both)
        axes = Constant <value_ints = [2]> ()
        flat = ReduceMean <axes = [2], keepdims = 0> (s)
        logits = Gemm <transB = 1> (flat, fc_weight, fc_bias)
    """
    weights = {
        "w": draw("w", 6, 3, 3, 3),
        "b": draw("b", 6),
        "fc_weight": draw("fc_weight", 5, 6),
        "fc_bias": draw("fc_bias", 5),
    }
    found = spatial(nodes, weights, "float[N,3,8,8] x")
    assert found == {"a": True, "c": True, "s": False, "logits": False}


# --- entries in another shape ---------------------------------------------------------------------

GROUPED = {
    "w": draw("w", 6, 3, 3, 3),
    "b": draw("b", 6),
    "gain": 1 + draw("gain", 1, 6, 1, 1),
    "beta": draw("beta", 1, 6, 1, 1),
    "fc_weight": draw("fc_weight", 5, 6),
    "fc_bias": draw("fc_bias", 5),
}


@pytest.mark.parametrize("style", DEFINITIONS)
def test_a_decomposed_group_normalisation_is_on_the_grid(style):
    """Exporters write it as Reshape to [N,2,-1], InstanceNormalization, Reshape back."""
    nodes = f"""
        folded = Constant <value_ints = [0,2,-1]> ()
        back = Constant <value_ints = [0,6,8,5]> ()
        one = Constant <value_floats = [1.5,0.5]> ()
        two = Constant <value_floats = [0.25,-0.5]> ()
        c = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w, b)
        f = Reshape (c, folded)
        i = InstanceNormalization (f, one, two)
        u = Reshape (i, back)
        g = Mul (u, gain)
        h = Add (g, beta)
        {HEAD} {LOGITS}
    """
    session = everything(build(nodes, GROUPED, inputs="float[N,3,16,10] x"), style)
    sites = {site.name: site for site in session.manifest.sites}
    for name in ("i", "i/implicit"):
        assert (sites[name].unfolded, sites[name].spatial_axes) == ((6, 8, 5), (2, 3))
    # eps leaves an implicit part of 1e-5, a difference of numbers near 1, and rescaling blows it up
    assert own_gap(session, noise(2, 3, 16, 10)) <= BOUND


@pytest.mark.parametrize("style", DEFINITIONS)
def test_branches_side_by_side_on_an_axis_of_their_own(style):
    """Selective kernels: [N,2,C,H,W], each branch with a gate, are added up."""
    nodes = f"""
        one = Constant <value_ints = [1]> ()
        a = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w, b)
        z = Conv <strides = [2,2]> (x, w2, b)
        ra = Relu (a)
        rz = Relu (z)
        ua = Unsqueeze (ra, one)
        uz = Unsqueeze (rz, one)
        both = Concat <axis = 1> (ua, uz)
        moved = Add (both, shift)
        bent = Tanh (moved)
        h = ReduceSum <keepdims = 0> (bent, one)
        {HEAD} {LOGITS}
    """
    weights = {
        **GROUPED,
        "w2": draw("w2", 6, 3, 1, 1),
        "shift": draw("shift", 1, 1, 6, 1, 1),
    }
    del weights["gain"], weights["beta"]
    session = everything(build(nodes, weights, inputs="float[N,3,16,10] x"), style)
    sites = {site.name: site for site in session.manifest.sites}
    assert [site.spatial for site in sites.values()] == [True, True, True, True, False]
    assert (sites["moved"].channel_axis, sites["moved"].spatial_axes) == (2, (3, 4))
    assert own_gap(session, noise(2, 3, 16, 10)) <= CLOSE


@pytest.mark.parametrize("style", DEFINITIONS)
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "tokens"])
def test_channels_that_are_taken_apart(last, style):
    """A channel shuffle, and heads of attention: two axes of channels beside the grid."""
    shuffle = """
        apart = Constant <value_ints = [0,2,3,8,5]> ()
        back = Constant <value_ints = [0,6,8,5]> ()
        f = Reshape (c, apart)
        e = Tanh (f)
        t = Transpose <perm = [0,2,1,3,4]> (e)
        s = Sigmoid (t)
        h = Reshape (s, back)
    """
    heads = """
        row = Constant <value_ints = [0,6,-1]> ()
        apart = Constant <value_ints = [0,40,2,3]> ()
        back = Constant <value_ints = [0,6,8,5]> ()
        r = Reshape (c, row)
        l = Transpose <perm = [0,2,1]> (r)
        f = Reshape (l, apart)
        e = Tanh (f)
        t = Transpose <perm = [0,3,2,1]> (e)
        s = Sigmoid (t)
        h = Reshape (s, back)
    """
    stem = "c = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w, b)"
    weights = {name: GROUPED[name] for name in ("w", "b", "fc_weight", "fc_bias")}
    nodes = f"{stem} {heads if last else shuffle} {HEAD} {LOGITS}"
    session = everything(build(nodes, weights, inputs="float[N,3,16,10] x"), style)
    assert [site.spatial for site in session.manifest.sites] == [True, True, True, False]
    assert own_gap(session, noise(2, 3, 16, 10)) <= CLOSE


def test_windows_have_no_place():
    """[N,C,8,8] -> [N,C,2,4,2,4] -> windows: what was permuted while folded is not followed."""
    nodes = f"""
        apart = Constant <value_ints = [0,6,2,4,2,4]> ()
        rows = Constant <value_ints = [0,6,16,4]> ()
        c = Conv <pads = [1,1,1,1]> (x, w, b)
        f = Reshape (c, apart)
        t = Transpose <perm = [0,1,2,4,3,5]> (f)
        h0 = Reshape (t, rows)
        h = Tanh (h0)
        {HEAD} {LOGITS}
    """
    weights = {name: GROUPED[name] for name in ("w", "b", "fc_weight", "fc_bias")}
    assert not spatial(nodes, weights, "float[N,3,8,8] x")["h"]


def test_channels_that_are_folded_into_the_batch_have_no_map():
    """Each channel convolved as an image of its own: [N,3,8,8] -> [3N,1,8,8]."""
    nodes = """
        folded = Constant <value_ints = [-1,1,8,8]> ()
        images = Constant <value_ints = [-1,18]> ()
        channels = Reshape (x, folded)
        c = Conv (channels, w, b)
        h = Relu (c)
        pooled = GlobalAveragePool (h)
        flat = Reshape (pooled, images)
        logits = Gemm <transB = 1> (flat, fc_weight, fc_bias)
    """
    weights = {
        "w": draw("w", 6, 1, 3, 3),
        "b": draw("b", 6),
        "fc_weight": draw("fc_weight", 5, 18),
        "fc_bias": draw("fc_bias", 5),
    }
    session = everything(build(nodes, weights, inputs="float[N,3,8,8] x"))
    assert [site.spatial for site in session.manifest.sites] == [False, False]
    assert session.explain(noise(3, 3, 8, 8)).residual.max() <= 1e-5


def test_a_product_over_the_positions_has_no_map():
    """MLP-Mixer: the tokens themselves are mixed, into as many others."""
    nodes = f"""
        row = Constant <value_ints = [0,6,-1]> ()
        grid = Constant <value_ints = [0,6,8,8]> ()
        c = Conv <pads = [1,1,1,1]> (x, w, b)
        t = Reshape (c, row)
        m = MatMul (t, mix)
        h0 = Tanh (m)
        h = Reshape (h0, grid)
        {HEAD} {LOGITS}
    """
    weights = {name: GROUPED[name] for name in ("w", "b", "fc_weight", "fc_bias")}
    weights["mix"] = draw("mix", 64, 64)
    plan = make_plan(read(build(nodes, weights, inputs="float[N,3,8,8] x")))
    found = {step.y.name: step for step in plan.primals}
    assert Layouts(plan.primals[:3], plan.x).of(found["m"].y) is None
    assert Layouts(plan.primals[:2], plan.x).of(found["t"].y).tokens.grid == (8, 8)


def test_tokens_that_some_have_left_are_no_grid():
    nodes = f"""
        row = Constant <value_ints = [0,6,-1]> ()
        first = Constant <value_ints = [0]> ()
        last = Constant <value_ints = [-1]> ()
        axis = Constant <value_ints = [2]> ()
        c = Conv <pads = [1,1,1,1]> (x, w, b)
        t = Reshape (c, row)
        before = Tanh (t)
        s = Slice (before, first, last, axis)
        after = Tanh (s)
        flat = ReduceMean <axes = [2], keepdims = 0> (after)
        {LOGITS}
    """
    weights = {name: GROUPED[name] for name in ("w", "b", "fc_weight", "fc_bias")}
    found = spatial(nodes, weights, "float[N,3,8,8] x")
    assert found == {"c": True, "before": True, "after": False, "logits": False}


def test_a_convolution_along_one_of_two_axes_has_no_map():
    """CRNN: an image's height is averaged away, then its width is read as a sequence."""
    nodes = """
        c = Conv <pads = [1,1,1,1]> (x, w, b)
        line = ReduceMean <axes = [2], keepdims = 0> (c)
        d = Conv <pads = [1,1]> (line, w1d, b)
        h = Relu (d)
        pooled = GlobalAveragePool (h)
        flat = Flatten (pooled)
        logits = Gemm <transB = 1> (flat, fc_weight, fc_bias)
    """
    weights = {name: GROUPED[name] for name in ("w", "b", "fc_weight", "fc_bias")}
    weights["w1d"] = draw("w1d", 6, 6, 3)
    assert not spatial(nodes, weights, "float[N,3,8,8] x")["d"]


@pytest.mark.parametrize("style", ["reference", "paper"])
def test_an_image_of_height_1_behind_what_is_not_followed_is_a_signal(style):
    nodes = """
        order = Constant <value_ints = [1,0]> ()
        two = Constant <value_ints = [2]> ()
        swapped = Gather <axis = 1> (x, order)
        i = Unsqueeze (swapped, two)
        c = Conv <pads = [0,2,0,2], strides = [1,2]> (i, w, b)
        h = Relu (c)
        pooled = GlobalAveragePool (h)
        flat = Flatten (pooled)
        logits = Gemm <transB = 1> (flat, fc_weight, fc_bias)
    """
    weights = {name: GROUPED[name] for name in ("b", "fc_weight", "fc_bias")}
    weights["w"] = draw("w", 6, 2, 1, 5)
    session = everything(build(nodes, weights, inputs="float[N,2,40] x"), style)
    assert session.manifest.sites[0].spatial_axes == (3,)
    assert own_gap(session, noise(2, 2, 40)) <= CLOSE
