"""Check one model, in this process: ``python -m tests.corpus.check MODEL EXPORTER``.

Prints the row as JSON. `tests.corpus` runs this once for each model, so that no more than one is in
memory, and one that crashes or hangs is a row and not the end.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fg_onnx import Session, instrument
from fg_onnx.errors import FgOnnxError
from fg_onnx.instrumentation import Instrumented
from fg_onnx.manifest import BIAS_GRADIENT, EMITS, EXPLAINED, INPUT_GRADIENT, SCORE, Manifest, Site
from fg_onnx.runtime import open_session
from tests.corpus.exported import exported
from tests.corpus.row import Row
from tests.differences import Score, defaults_of, settled_derivative

IMAGES = 3  # not the 2 of the export: the batch is dynamic
BIASES = 5
BIAS_STEPS = [4.0**-k for k in range(2, 8)]
IMAGE_STEPS = [4.0**-k for k in range(3, 9)]  # all pixels at once: f bends sooner
BLOCKS = 16  # along height and width; finer signs would be noise, to which f is the least smooth
# Axis 1 is the channels' for these whatever the rank; elsewhere a flat bias broadcasts from behind.
_CHANNELS_FIRST = {"Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization"}
_UNKNOWN_SIDE = 64  # of an image whose height and width are symbolic


def check(model: str, exporter: str) -> Row:
    """All checks of one model; what goes wrong is the row's `trouble`."""
    row = Row(model, exporter)
    try:
        path = Path(model) if exporter == "file" else exported(model, exporter)
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            row = _checked(row, path, Path(folder))
        row = replace(row, check_s=time.perf_counter() - start)
    except FgOnnxError as error:
        row = replace(row, trouble=error.message, refused=True)
    except Exception as error:  # noqa: BLE001  any error is a row of the table
        text = (str(error).strip().splitlines() or [""])[0]
        row = replace(row, trouble=f"{type(error).__name__}: {text}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return replace(row, peak_mb=peak)


def _checked(row: Row, path: Path, folder: Path) -> Row:
    source = onnx.load(path)
    nodes = len(source.graph.node)
    feeds = feeds_of(source)
    del source
    start = time.perf_counter()
    instrumented = instrument(path)
    instrument_s = time.perf_counter() - start
    found = instrumented.manifest
    row = replace(
        row,
        side="x".join(str(size) for size in feeds[found.input].shape[1:] if size > 4),
        nodes=nodes,
        instrumented=len(instrumented.model.graph.node),
        sites=len(found.sites),
        instrument_s=instrument_s,
    )
    file = instrumented.save(folder / "instrumented.onnx")
    del instrumented
    images = feeds.pop(found.input)
    attribution = Session(file).explain(images, feeds=feeds)
    original = open_session(str(path))
    names = [value.name for value in original.get_outputs()]
    outputs = dict(zip(names, original.run(None, {found.input: images, **feeds}), strict=True))
    del original
    assert attribution.residual is not None
    assert attribution.saliency is not None
    saliency = attribution.saliency
    row = replace(
        row,
        outputs=max(_apart(attribution.outputs[name], outputs[name]) for name in names),
        residual=float(attribution.residual.max()),
        map_varies=bool(np.isfinite(saliency).all() and (np.ptp(saliency, axis=(1, 2)) > 0).all()),
    )
    closer = instrument(path, emit=EMITS)
    one = {found.input: images[:1], **feeds}
    row = replace(row, differences=_differences(closer, found, one, folder))
    if row.exporter == "file":
        return row
    return replace(row, gradient=_against_torch(row.model, closer, found, images[:1], folder))


def feeds_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Images that vary smoothly, and a little noise, for every input that has no default."""
    held = {weight.name for weight in model.graph.initializer}
    draws = np.random.default_rng(0)
    feeds = {}
    for value in model.graph.input:
        if value.name in held:
            continue
        kind = value.type.tensor_type
        shape = [
            dim.dim_value or (IMAGES if axis == 0 else _UNKNOWN_SIDE)
            for axis, dim in enumerate(kind.shape.dim)
        ]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        images = _smooth(draws, shape) + 0.3 * draws.standard_normal(shape)
        if dtype.kind in "iu":
            images = np.clip(128 + 50 * images, 0, 255)
        feeds[value.name] = images.astype(dtype)
    return feeds


def _smooth(draws: np.random.Generator, shape: list[int]) -> np.ndarray:
    """Of about unit variance: waves of a few periods along the axes that are long."""
    waves = np.zeros(shape)
    for _ in range(12):
        phase = 2 * np.pi * draws.random([size if size <= 4 else 1 for size in shape])
        phase[...] += 2 * np.pi * draws.random([shape[0], *[1] * (len(shape) - 1)])
        for axis, size in enumerate(shape):
            if axis and size > 4:
                along = np.linspace(0, 2 * np.pi * draws.uniform(-6, 6), size)
                phase = phase + along.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        waves += np.sin(phase) / np.sqrt(6)
    return waves


def _apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape
    scale = np.abs(theirs).max()
    return float(np.abs(ours - theirs).max() / scale) if scale else float(np.abs(ours).max())


# --- finite differences ---------------------------------------------------------------------------


def _differences(
    closer: Instrumented, found: Manifest, feeds: dict[str, np.ndarray], folder: Path
) -> float:
    """The largest error of any direction, relative to the derivative along it.

    The signs are those of the gradient itself, so that the derivative is the sum of magnitudes: it
    stands out best from rounding, and a gradient that is wrong anywhere is as wrong along it.
    """
    promoted = [site for site in found.sites if site.promoted_input is not None]
    draws = np.random.default_rng(0)
    chosen = [
        promoted[i] for i in draws.choice(len(promoted), min(BIASES, len(promoted)), replace=False)
    ]
    wanted = [INPUT_GRADIENT, *(BIAS_GRADIENT + site.name for site in chosen), EXPLAINED]
    gradients = _run(closer, feeds, wanted, folder)
    defaults = defaults_of(closer.model)
    score = Score(
        open_session(str(_only(closer, [SCORE], folder))),
        {**feeds, "fg_target": gradients[EXPLAINED]},
    )
    x = feeds[found.input]
    totals = x.astype(np.float64) * gradients[INPUT_GRADIENT]
    places = [(found.input, x, totals, _blockwise_sign(totals), IMAGE_STEPS)]
    for site in chosen:
        assert site.promoted_input is not None
        value = defaults[site.promoted_input]
        term = gradients[BIAS_GRADIENT + site.name].astype(np.float64)
        totals = _along_bias(site, term, value)
        places.append((site.promoted_input, value, totals, np.sign(totals), BIAS_STEPS))
    errors = []
    for name, value, totals, sign, steps in places:
        expected = float((totals * sign).sum())
        derivative = float(settled_derivative(score.along(name, value, sign), steps)[0])
        errors.append(abs(derivative - expected) / (abs(expected) or 1.0))
        print(f"{name}: {derivative:.6g}, expected {expected:.6g}", file=sys.stderr)
    return max(errors)


def _blockwise_sign(totals: np.ndarray) -> np.ndarray:
    """The sign of the sum over every block, at every pixel of it."""
    blocks = totals
    indices = []
    for axis, size in enumerate(totals.shape):
        block = np.arange(size) * min(BLOCKS, size) // size
        blocks = np.add.reduceat(blocks, np.flatnonzero(np.diff(block, prepend=-1)), axis=axis)
        indices.append(block)
    return np.sign(blocks)[np.ix_(*indices)]


def _along_bias(site: Site, term: np.ndarray, value: np.ndarray) -> np.ndarray:
    """A bias-gradient summed to the shape of the bias."""
    shape = list(value.shape)
    if value.ndim == 1:
        axis = 1 if site.op in _CHANNELS_FIRST else site.channel_axis or term.ndim - 1
        shape = [-1 if i == axis else 1 for i in range(term.ndim)]
        shape[axis] = len(value)
    shape = [1] * (term.ndim - len(shape)) + shape
    repeated = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return term.sum(axis=repeated, keepdims=True).reshape(value.shape)


# --- torch ----------------------------------------------------------------------------------------


def _against_torch(
    model: str, closer: Instrumented, found: Manifest, image: np.ndarray, folder: Path
) -> float:
    """The largest error of the input gradient, of torch's largest; see `tests.regions`."""
    import torch

    from sample_models import exports
    from tests import regions

    kinks = regions.kinks_of(closer.model)
    wanted = [INPUT_GRADIENT, EXPLAINED, *(kink.tensor for kink in kinks)]
    values = _run(closer, {found.input: image}, wanted, folder)
    del closer.model.graph.initializer[:]  # torch needs the room
    module = exports.build(model).double().requires_grad_(requires_grad=False)
    x = torch.from_numpy(image).double().requires_grad_()
    with regions.same_region(kinks, values):
        logits = module(x)
    logits[0, int(values[EXPLAINED][0])].backward()
    assert x.grad is not None
    return _apart(values[INPUT_GRADIENT], x.grad.numpy())


# --- running --------------------------------------------------------------------------------------


def _run(
    instrumented: Instrumented, feeds: Mapping[str, np.ndarray], wanted: list[str], folder: Path
) -> dict[str, np.ndarray]:
    session = open_session(str(_only(instrumented, wanted, folder)))
    return dict(zip(wanted, session.run(wanted, dict(feeds)), strict=True))


def _only(instrumented: Instrumented, wanted: Iterable[str], folder: Path) -> Path:
    """The same model written with these outputs alone: what nothing needs is not run."""
    proto = instrumented.model
    every = list(proto.graph.output)
    present = {value.name: value for value in every}
    del proto.graph.output[:]
    for name in dict.fromkeys(wanted):
        free = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        proto.graph.output.append(present.get(name, free))
    path = instrumented.save(folder / "some.onnx")
    del proto.graph.output[:]
    proto.graph.output.extend(every)
    return path


def main(arguments: list[str]) -> dict[str, Any]:
    """The row of a model and exporter as a document."""
    return asdict(check(*arguments))


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:])))
