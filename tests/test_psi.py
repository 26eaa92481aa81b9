"""The map is FullGrad: every style against its definition, written plainly (DESIGN, section 3).

The plain definitions below are NumPy in float64 and take a layer's whole bias-gradient
[N, C, h, w]: they rescale it, resize every channel on its own and only then sum, as the definitions
read. The tool does none of that (it sums first, and never writes most bias-gradients out).

Without torch they start from the model's own `fg_bias_gradient/*` and `fg_input_gradient`, which
other tests compare with autograd; with torch they start from torch's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import torch_exports
from graphs import (
    HEAD,
    bias_defaults,
    build,
    draw,
    everything,
    noise,
    random_feeds,
    resized_input,
    two_stages,
)

from fg_onnx import Session, instrument
from fg_onnx.fullgrad.psi import STYLES
from fg_onnx.manifest import EMITS
from sample_models import tiny

EPSILON = 1e-6
RESCALED = ("reference", "paper", "positive", "negative")
FASHION = Path(tiny.__file__).parent / "fashion_vgg.onnx"
TINY = tiny.all_models()

# Differences are shares of the map's range, per image. Float32 sums of some hundred entries: 1e-6.
CLOSE = 1e-5
# The project's bound on real nets. Measured: 1e-6.
BOUND = 1e-4


# --- the definitions --------------------------------------------------------------------------


def per_layer(values):
    """Each image's layer moved and scaled to [0, 1) over C, h, w."""
    result = np.empty_like(values)
    for index, image in enumerate(values):
        moved = image - image.min()
        result[index] = moved / (moved.max() + EPSILON)
    return result


def per_channel(values):
    """The same for every channel alone."""
    result = np.empty_like(values)
    for index in np.ndindex(values.shape[:2]):
        moved = values[index] - values[index].min()
        result[index] = moved / (moved.max() + EPSILON)
    return result


DEFINITIONS = {
    "reference": (lambda a: per_layer(np.abs(a)), "align_corners"),
    "paper": (lambda a: per_channel(np.abs(a)), "half_pixel"),
    "abs": (np.abs, "half_pixel"),
    "signed": (lambda a: a, "half_pixel"),
    "positive": (lambda a: per_layer(np.maximum(a, 0)), "half_pixel"),
    "negative": (lambda a: per_layer(np.maximum(-a, 0)), "half_pixel"),
}


def interpolation(old, new, coordinates):
    """[new, old]: each row says how one new position is mixed from the two nearest old ones."""
    rows = np.zeros((new, old))
    for position in range(new):
        if coordinates == "align_corners":
            at = position * (old - 1) / (new - 1) if new > 1 else 0.0
        else:
            at = min(max((position + 0.5) * old / new - 0.5, 0.0), old - 1.0)
        left = min(int(at), old - 1)
        right = min(left + 1, old - 1)
        rows[position, left] += 1 - (at - left)
        rows[position, right] += at - left
    return rows


def resized(values, size, coordinates):
    """[..., h, w] -> [..., *size], bilinear."""
    down = interpolation(values.shape[-2], size[0], coordinates)
    across = interpolation(values.shape[-1], size[1], coordinates)
    return down @ values @ across.T


def plain_map(style, input_term, bias_gradients, *, channels_alone=True):
    """Eq. 2, [N, H, W], from terms [N, C, h, w] in float64; others are left out.

    Every channel is resized alone, which takes a minute for a real net at 224x224; there, the
    channels are summed first, to the same effect up to rounding.
    """
    rescale, coordinates = DEFINITIONS[style]
    total = rescale(input_term).sum(1)
    for values in bias_gradients:
        if values.ndim == 4:
            channels = rescale(values)
            if not channels_alone:
                channels = channels.sum(1, keepdims=True)
            total += resized(channels, total.shape[1:], coordinates).sum(1)
    return total


def terms_of(attribution, images):
    """The input term and the bias-gradients that were emitted, channels first, in float64."""
    gradient = attribution.input_gradient.astype(np.float64)
    input_term = gradient * images
    if attribution.manifest.layout == "nhwc":
        input_term = input_term.transpose(0, 3, 1, 2)
    sites = []
    for site in attribution.manifest.sites:
        values = attribution.bias_gradients[site.name].astype(np.float64)
        if site.spatial:
            sites.append(values.transpose(0, site.channel_axis, *site.spatial_axes))
    return input_term, sites


def plain_map_of(full, style):
    """The same from torch's full-gradients of a real net."""
    bias_gradients = [values.numpy() for values in full.bias_gradients]
    return plain_map(style, full.input_term.numpy(), bias_gradients, channels_alone=False)


def gap(found, expected):
    """The largest difference of all images, as a share of the expected map's range.

    Where the definition has no range, the difference itself.
    """
    assert found.shape == expected.shape
    assert np.isfinite(found).all()
    span = np.ptp(expected, axis=(1, 2))
    return float(np.max(np.abs(found - expected).max((1, 2)) / np.where(span == 0, 1, span)))


def own_gap(session, images, target=None, *, channels_alone=True, **options):
    """How far a session's map is from the definition applied to its own full-gradients."""
    attribution = session.explain(images, target, **options)
    terms = terms_of(attribution, images)
    expected = plain_map(attribution.manifest.psi, *terms, channels_alone=channels_alone)
    return gap(attribution.saliency, expected)


# --- without torch ----------------------------------------------------------------------------


def test_every_style_has_a_definition():
    assert set(STYLES) == set(DEFINITIONS)


def test_plain_interpolation_is_what_the_two_modes_mean():
    """Corners on corners; or pixel centres on pixel centres, clamped at the border."""
    values = np.array([[0.0, 6.0]])
    assert resized(values, (1, 4), "align_corners").round(12).tolist() == [[0, 2, 4, 6]]
    assert resized(values, (1, 4), "half_pixel").tolist() == [[0, 1.5, 4.5, 6]]
    assert resized(np.array([[5.0]]), (2, 3), "align_corners").tolist() == [[5, 5, 5]] * 2
    assert resized(np.array([[5.0]]), (2, 3), "half_pixel").tolist() == [[5, 5, 5]] * 2


@pytest.mark.parametrize("style", DEFINITIONS)
def test_plain_definition_does_not_depend_on_when_channels_are_summed(style):
    terms = [noise(2, channels, 7, 5).astype(float) for channels in (3, 8)]
    alone = plain_map(style, noise(2, 3, 16, 12).astype(float), terms)
    summed = plain_map(style, noise(2, 3, 16, 12).astype(float), terms, channels_alone=False)
    assert gap(summed, alone) <= 1e-14


@pytest.mark.parametrize("style", DEFINITIONS)
@pytest.mark.parametrize("name", [name for name in TINY if name != "saturation"])
def test_map_of_tiny_models(name, style):
    """Eq. 2 on every structural hazard; 'saturation' has one pixel, hence no range."""
    images, others = random_feeds(TINY[name])
    assert own_gap(everything(TINY[name], style), images, feeds=others) <= CLOSE


@pytest.mark.parametrize("style", DEFINITIONS)
def test_map_of_fashion_vgg(style):
    """Eight BatchNorm layers on grids of 28, 14 and 7, and trained weights."""
    images = np.random.default_rng(0).uniform(0, 1, (3, 1, 28, 28)).astype(np.float32)
    session = everything(onnx.load(FASHION), style)
    assert own_gap(session, images) <= CLOSE
    assert own_gap(session, images, target=[9, 0, 4]) <= CLOSE


@pytest.mark.parametrize("style", list(STYLES))
@pytest.mark.parametrize("size", [(12, 20), (21, 9)], ids=str)
def test_map_of_images_that_are_not_square(size, style):
    """Height and width are not mixed up; the second layer's strides differ too."""
    session = everything(two_stages(*size), style)
    assert own_gap(session, noise(2, 3, *size)) <= CLOSE


@pytest.mark.parametrize("style", DEFINITIONS)
def test_map_of_images_of_any_size(style):
    """Height and width are symbolic: only the run knows them."""
    session = everything(resized_input(TINY["grouped"], "N", 3, "H", "W"), style)
    for height, width in ((12, 20), (17, 11)):
        assert own_gap(session, noise(2, 3, height, width)) <= CLOSE


@pytest.mark.parametrize("style", DEFINITIONS)
def test_map_of_layers_with_their_channels_last(style):
    """A bias and what a ReLU6 cuts off lie along the last axis, and others along the first."""
    model = build(
        "c = Conv <pads = [1,1,1,1]> (x, w, b) f = Clip (c, low, high) "
        "t = Transpose <perm = [0,2,3,1]> (f) m = MatMul (t, v) a = Add (m, shift) "
        "l = Clip (a, low, high) h = Transpose <perm = [0,3,1,2]> (l)" + HEAD,
        {
            "w": draw("w", 4, 3, 3, 3), "b": draw("b", 4), "v": draw("v", 4, 6, scale=1.0),
            "shift": draw("shift", 6), "low": np.array(0.0), "high": np.array(0.4),
            "fc_weight": draw("fc_weight", 5, 6), "fc_bias": draw("fc_bias", 5),
        },
    )  # fmt: skip
    model = resized_input(model, "N", 3, 12, 20)
    assert own_gap(everything(model, style), noise(2, 3, 12, 20)) <= CLOSE
    # Only what looks at one channel at a time moves them.
    nodes = instrument(model, psi=style).model.graph.node
    moved = sum(node.name.startswith("fg/psi") and node.op_type == "Transpose" for node in nodes)
    assert (moved > 0) == (style == "paper")


@pytest.mark.parametrize("style", DEFINITIONS)
def test_map_of_nhwc_images_that_are_not_square(style):
    session = everything(resized_input(TINY["nhwc"], "N", 12, 20, 3), style)
    images = noise(2, 12, 20, 3)
    assert session.explain(images).saliency.shape == (2, 12, 20)
    assert own_gap(session, images) <= CLOSE


@pytest.mark.parametrize("style", DEFINITIONS)
@pytest.mark.parametrize("name", ["residual", "bn_unfolded", "nhwc"])
def test_each_image_of_a_batch_is_rescaled_alone(name, style):
    """An image's map does not depend on what it is batched with, here a hundred times larger."""
    images, _ = random_feeds(TINY[name], batch=3)
    images[1] *= 100
    session = everything(TINY[name], style)
    together = session.explain(images).saliency
    alone = np.concatenate([session.explain(image[None]).saliency for image in images])
    assert gap(together, alone) <= CLOSE
    assert own_gap(session, images) <= CLOSE


@pytest.mark.parametrize("style", list(STYLES))
def test_layer_of_one_pixel(style):
    """A 1x1 grid behind global pooling: resized to a constant, whatever the coordinates."""
    nodes = """
        c1 = Conv <pads = [1,1,1,1]> (x, w1, b1)
        r1 = Relu (c1)
        pixel = GlobalAveragePool (r1)
        c2 = Conv (pixel, w2, b2)
        h = Relu (c2)
        features = Flatten (h)
        logits = Gemm <transB = 1> (features, fc_weight, fc_bias)
    """
    weights = {
        "w1": draw("w1", 6, 3, 3, 3),
        "b1": draw("b1", 6),
        "w2": draw("w2", 8, 6, 1, 1),
        "b2": np.abs(draw("b2", 8)),
        "fc_weight": draw("fc_weight", 5, 8),
        "fc_bias": draw("fc_bias", 5),
    }
    session = everything(build(nodes, weights), style)
    images = noise(2, 3, 16, 16)
    pixel = session.explain(images).layer_maps["c2"]
    assert pixel.shape == (2, 1, 1)
    # One value a channel: rescaling each channel leaves nothing, by definition.
    assert np.any(pixel != 0) == (style != "paper")
    assert own_gap(session, images) <= CLOSE


@pytest.mark.parametrize("style", DEFINITIONS)
@pytest.mark.parametrize("name", ["shared_weights", "batchnorm_preact", "nhwc", "old_opset"])
def test_layer_maps_and_the_input_add_up_to_the_map(name, style):
    """`fg_layer_map/*`, before resizing: each the definition's, together with the input the map."""
    images, _ = random_feeds(TINY[name])
    attribution = everything(TINY[name], style).explain(images)
    rescale, coordinates = DEFINITIONS[style]
    input_term, bias_gradients = terms_of(attribution, images)
    spatial = [site.name for site in attribution.manifest.sites if site.spatial]
    assert list(attribution.layer_maps) == spatial
    total = rescale(input_term).sum(1)
    for site, values in zip(spatial, bias_gradients, strict=True):
        layer = attribution.layer_maps[site].astype(np.float64)
        assert gap(layer, rescale(values).sum(1)) <= CLOSE
        total += resized(layer, total.shape[1:], coordinates)
    assert gap(attribution.saliency, total) <= CLOSE


@pytest.mark.parametrize("style", DEFINITIONS)
def test_frozen_biases_give_the_same_map(style):
    images, _ = random_feeds(TINY["bn_unfolded"])
    free = everything(TINY["bn_unfolded"], style).explain(images)
    frozen = everything(TINY["bn_unfolded"], style, freeze_biases=True)
    assert gap(frozen.explain(images).saliency, free.saliency) <= CLOSE
    assert own_gap(frozen, images) <= CLOSE


# --- the edges of rescaling -------------------------------------------------------------------


@pytest.mark.parametrize("style", DEFINITIONS)
def test_biases_of_zero_leave_the_input_alone(style):
    """A layer of zeros is rescaled to zeros, 0 / (0 + eps), and adds nothing."""
    model = TINY["batchnorm_preact"]
    session = everything(model, style)
    images, _ = random_feeds(model)
    zeros = {name: np.zeros_like(value) for name, value in bias_defaults(model).items()}
    attribution = session.explain(images, 0, feeds=zeros)
    assert all(not layer.any() for layer in attribution.layer_maps.values())
    assert not attribution.contributions[:, 1:].any()
    input_term, _ = terms_of(attribution, images)
    assert gap(attribution.saliency, plain_map(style, input_term, [])) <= CLOSE


@pytest.mark.parametrize("style", DEFINITIONS)
def test_image_of_zeros(style):
    """grad * 0 = 0: the map is that of the biases; beside it another image is not disturbed."""
    session = everything(TINY["residual"], style)
    images = np.concatenate([np.zeros((1, 3, 16, 16), np.float32), noise(1, 3, 16, 16)])
    attribution = session.explain(images, 3)
    assert attribution.contributions[0, 0] == 0
    assert own_gap(session, images, 3) <= CLOSE


@pytest.mark.parametrize("style", DEFINITIONS)
def test_cotangent_of_zero_gives_a_map_of_zeros(style):
    """Nothing is explained: no division by a range of zero."""
    session = everything(TINY["bn_unfolded"], style, seed=True)
    images, _ = random_feeds(TINY["bn_unfolded"])
    attribution = session.explain(images, seed=np.zeros((2, 5)))
    assert not attribution.saliency.any()
    assert not attribution.contributions.any()


@pytest.mark.parametrize(
    "style",
    list(STYLES),
)
@pytest.mark.parametrize("scale", [1, 1e4], ids=str)
def test_layer_of_one_value_everywhere(style, scale):
    """All channels and positions alike: the range is 0, and 0 / (0 + eps) adds nothing.

    The rounding of a sum over channels must not be divided by eps. The bound is 1 of the 1e4 that
    the layer's 37 channels could add.
    """
    nodes = """
        c1 = Conv (x, w1, b1)
        pooled = GlobalAveragePool (c1)
        features = Flatten (pooled)
        logits = Gemm <transB = 1> (features, fc_weight)
    """
    weights = {
        "w1": draw("w1", 37, 3, 1, 1),
        "b1": np.full(37, 0.1),
        "fc_weight": np.full((5, 37), 0.3),
    }
    session = everything(build(nodes, weights), style, seed=True)
    images, seed = noise(2, 3, 16, 16), np.full((2, 5), scale)
    if style in RESCALED:
        assert np.abs(session.explain(images, seed=seed).layer_maps["c1"]).max() <= 37e-4
    assert own_gap(session, images, seed=seed) <= BOUND


@pytest.mark.parametrize("style", list(STYLES))
def test_channels_of_one_value_everywhere(style):
    """Behind global pooling, where a ReLU is open at every position, a channel's cotangent is flat.

    `paper` rescales each channel by itself: 0 / (0 + eps) for that one, which must not drown the
    others. The scores are those of a net whose logits are about 1e3.
    """
    model = two_stages(16, 16)
    weights = {weight.name: weight for weight in model.graph.initializer}
    shift = onnx.numpy_helper.to_array(weights["b2"]) + np.float32([0, 9, 0, 9, 0, 9, 0, 0])
    weights["b2"].CopyFrom(onnx.numpy_helper.from_array(shift, "b2"))
    session = everything(model, style, seed=True)
    images, seed = noise(2, 3, 16, 16), np.full((2, 5), 1e3)
    flat = session.explain(images, seed=seed).bias_gradients["c2"].std((2, 3)) == 0
    assert flat.any()
    assert not flat.all()
    assert own_gap(session, images, seed=seed) <= BOUND


@pytest.mark.parametrize("style", RESCALED)
@pytest.mark.parametrize("scale", [1e-7, 1e-5, 1e-4], ids=str)
def test_epsilon_is_added_to_the_range(style, scale):
    """Cotangents so small that eps = 1e-6 counts: the map fades instead of amplifying nothing."""
    session = everything(TINY["residual"], style, seed=True)
    images, _ = random_feeds(TINY["residual"])
    seed = np.zeros((2, 5), np.float32)
    seed[:, 1] = scale
    assert own_gap(session, images, seed=seed) <= CLOSE
    # The gradients of this model are about 1e-3.
    faded = session.explain(images, seed=seed).saliency.max()
    full = session.explain(images, seed=seed / np.float32(scale)).saliency.max()
    assert faded < 0.6 * full


@pytest.mark.parametrize("style", ["abs", "signed"])
def test_styles_without_rescaling_are_linear_in_the_score(style):
    """A power of two scales every float exactly, so the maps agree in every bit."""
    session = everything(TINY["residual"], style, seed=True)
    images, _ = random_feeds(TINY["residual"])
    seed = np.tile(np.float32([0, 1, 0, -1, 0]), (2, 1))
    small, large = (session.explain(images, seed=seed * s).saliency for s in (1, 1024))
    assert np.array_equal(small * 1024, large)
    flipped = session.explain(images, seed=-seed).saliency
    assert np.array_equal(flipped, -small if style == "signed" else small)


def test_positive_and_negative_change_places_with_the_sign_of_the_score():
    images, _ = random_feeds(TINY["bn_unfolded"])
    seed = np.tile(np.float32([0, 0, 1, 0, 0]), (2, 1))
    one = everything(TINY["bn_unfolded"], "positive", seed=True).explain(images, seed=seed)
    other = everything(TINY["bn_unfolded"], "negative", seed=True).explain(images, seed=-seed)
    assert np.array_equal(one.saliency, other.saliency)


@pytest.mark.parametrize("style", ["reference", "paper", "abs", "positive", "negative"])
def test_map_is_not_negative(style):
    """Up to rounding of a sum of magnitudes."""
    for name in ("residual", "bn_unfolded", "two_inputs"):
        images, others = random_feeds(TINY[name])
        saliency = everything(TINY[name], style).explain(images, feeds=others).saliency
        assert saliency.min() >= -CLOSE * saliency.max()


@pytest.mark.parametrize("style", DEFINITIONS)
def test_map_is_never_certified(style):
    """The certificate is of the contributions: a model that emits a map alone has no residual."""
    session = Session(instrument(TINY["residual"], psi=style, emit=["saliency"]), threads=1)
    attribution = session.explain(noise(2, 3, 16, 16))
    assert attribution.saliency.shape == (2, 16, 16)
    assert attribution.contributions is None
    assert attribution.residual is None


# --- with torch -------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["resnet18", "resnet18-unfolded", "squeezenet1_1"])
def exported(request, tmp_path_factory):
    """(path, torch module in float64 with the same layers, images): random weights, 224x224.

    The exporter folds BatchNorm into the Conv before it, so the module is folded likewise; the
    unfolded case keeps both, and so has the bias of either kind at every layer.
    """
    exports = torch_exports()
    import torch

    from sample_models import reference_fullgrad

    name, _, unfolded = request.param.partition("-")
    path = tmp_path_factory.mktemp("psi") / f"{name}.onnx"
    module = exports.build(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images = exports.random_images(2)
    options = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    exports.export_module(module, path, images, **(options if unfolded else {}))
    module = module.double()
    if not unfolded:
        module = reference_fullgrad.fuse_batchnorms(module)
    norms = sum(isinstance(layer, torch.nn.BatchNorm2d) for layer in module.modules())
    assert norms == (20 if unfolded else 0)
    yield path, module, images.numpy()
    path.unlink()


def against_torch(path, module, images, style):
    """What the model says, and torch's full-gradients in float64 in the same linear region.

    Among millions of ReLUs a few lie so near 0 that two correct float32 programs take different
    sides, torch in float32 and in float64 among them (1e-3 of the map's range for one unit), so
    the model also says which side it took. See `regions`.
    """
    import regions
    import torch

    from sample_models import reference_fullgrad

    session, kinks = with_kinks(path, style)
    attribution = session.explain(images)
    with regions.same_region(kinks, attribution.outputs):
        full = reference_fullgrad.full_gradients(module, torch.from_numpy(images).double())
    assert full.targets.tolist() == attribution.targets.tolist()
    assert len(full.bias_gradients) == len(attribution.manifest.sites)
    return attribution, full


def with_kinks(path, style):
    import regions

    instrumented = instrument(path, psi=style, emit=EMITS)
    kinks = regions.expose_kinks(instrumented.model)
    return Session(instrumented), kinks


@pytest.fixture(scope="module")
def compared(exported):
    """The reference map and torch's full-gradients of both images, once for all styles."""
    return against_torch(*exported, "reference")


@pytest.mark.torch
def test_reference_is_the_authors_algorithm(compared):
    """Measured, as a share of the range: 5e-7."""
    from sample_models import reference_fullgrad

    attribution, full = compared
    expected = reference_fullgrad.fullgrad_map(full).numpy()
    assert gap(attribution.saliency, expected) <= BOUND
    # The plain NumPy definition that the other tests use is that very algorithm.
    assert gap(plain_map_of(full, "reference"), expected) <= 1e-10


@pytest.mark.torch
def test_reference_of_a_single_image(exported):
    path, module, images = exported
    from sample_models import reference_fullgrad

    attribution, full = against_torch(path, module, images[1:], "reference")
    assert gap(attribution.saliency, reference_fullgrad.fullgrad_map(full).numpy()) <= BOUND


@pytest.mark.torch
@pytest.mark.parametrize("style", [style for style in DEFINITIONS if style != "reference"])
def test_styles_of_exported_nets(exported, compared, style):
    """Each definition on torch's own full-gradients; then a single image.

    Psi comes after the cotangents and does not change them, so the linear region is that of the
    reference. A single image may be computed by other kernels, and is measured by its own terms.
    """
    path, _, images = exported
    session, _ = with_kinks(path, style)
    assert gap(session.explain(images).saliency, plain_map_of(compared[1], style)) <= BOUND
    assert own_gap(session, images[:1], channels_alone=False) <= BOUND


@pytest.mark.torch
@pytest.mark.parametrize("style", DEFINITIONS)
def test_styles_of_fashion_vgg_as_torch_has_it(style):
    """The committed model, BatchNorm unfolded, against its torch twin with the same weights."""
    torch = pytest.importorskip("torch")
    from sample_models import fashion_vgg, reference_fullgrad

    weights = {
        weight.name: torch.from_numpy(onnx.numpy_helper.to_array(weight).copy())
        for weight in onnx.load(FASHION).graph.initializer
    }
    module = fashion_vgg.network().eval()
    lacking = module.load_state_dict(weights, strict=False)
    assert all(name.endswith("num_batches_tracked") for name in lacking.missing_keys)
    assert not lacking.unexpected_keys
    images = np.random.default_rng(1).uniform(0, 1, (4, 1, 28, 28)).astype(np.float32)
    attribution, full = against_torch(FASHION, module.double(), images, style)
    assert gap(attribution.saliency, plain_map_of(full, style)) <= BOUND
    if style == "reference":
        expected = reference_fullgrad.fullgrad_map(full).numpy()
        assert gap(attribution.saliency, expected) <= BOUND
