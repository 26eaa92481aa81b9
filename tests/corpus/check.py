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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx

from fg_onnx import Attribution, Session, instrument
from fg_onnx.errors import FgOnnxError
from fg_onnx.instrumentation import Instrumented
from fg_onnx.manifest import BIAS_GRADIENT, EMITS, EXPLAINED, INPUT_GRADIENT, SCORE, Manifest, Site
from fg_onnx.runtime import onnxruntime, open_session
from tests.corpus.exported import exported
from tests.corpus.row import USUAL, Row
from tests.differences import Score, averaged_derivative, defaults_of, finest_derivative

THREADS = 1  # several models may be checked at a time; waiting threads take turns from each other
IMAGES = 3  # not the 2 of the export: the batch is dynamic
BIASES = 5
# Of f. Its rounding, 2^-24, over the longest step is less than a hundredth of that.
FLOOR = 1e-4
BLOCKS = 16  # along height and width; finer signs would be noise, to which f is the least smooth
# Axis 1 is the channels' for these whatever the rank; elsewhere a flat bias broadcasts from behind.
_CHANNELS_FIRST = {"Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization"}
_COARSE = 14
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
    nodes, feeds = _described(path)
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
    attribution = _explain(file, found.input, feeds)
    file.unlink()
    assert attribution.residual is not None
    assert attribution.saliency is not None
    saliency = attribution.saliency
    row = replace(
        row,
        outputs=_outputs_apart(path, feeds, attribution.outputs),
        residual=float(attribution.residual.max()),
        map_varies=bool(np.isfinite(saliency).all() and (np.ptp(saliency, axis=(1, 2)) > 0).all()),
    )
    if row.exporter != "file" and not row.outputs <= USUAL.outputs:
        row = replace(row, rounding=_rounding(row.model, path, feeds))
    closer = _taken_apart(path, folder, with_kinks=row.exporter != "file")
    feeds[found.input] = feeds[found.input][:1]
    values = _run(closer.gradients, feeds, closer.wanted)
    row = replace(row, differences=_differences(closer, found, feeds, values))
    if row.exporter == "file":
        return row
    return replace(row, gradient=_against_torch(row.model, closer, feeds[found.input], values))


def _described(path: Path) -> tuple[int, dict[str, np.ndarray]]:
    """How many nodes a model has, and images for it."""
    model = onnx.load(path, load_external_data=False)
    return len(model.graph.node), feeds_of(model)


def _explain(file: Path, name: str, feeds: Mapping[str, np.ndarray]) -> Attribution:
    rest = {key: value for key, value in feeds.items() if key != name}
    return Session(file, threads=THREADS).explain(feeds[name], feeds=rest)


def _outputs_apart(
    path: Path, feeds: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]
) -> float:
    """How far the original outputs are from those of the source, relative to the largest.

    Where the runtime's optimisations move the source's own outputs beyond the bound (in a net that
    is ill-conditioned in float32, or because one of them is wrong), the source as it is written
    counts.
    """
    for optimised in (True, False):
        outputs = _run(path, feeds, list(found), optimised=optimised)
        apart = max(_apart(found[name], outputs[name]) for name in found)
        if apart <= USUAL.outputs:
            break
    return apart


def _rounding(model: str, path: Path, feeds: Mapping[str, np.ndarray]) -> float:
    """How far the source's logits are from torch's in float64, with or without optimisations.

    The nearer of the two counts: an optimisation that is wrong excuses nothing.
    """
    import torch

    from sample_models import exports

    (images,) = feeds.values()
    with torch.no_grad():
        exact = exports.build(model).double()(torch.from_numpy(images).double()).numpy()
    runs = [_run(path, feeds, ["logits"], optimised=optimised) for optimised in (True, False)]
    return min(_apart(run["logits"], exact) for run in runs)


def feeds_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Smooth images and a little noise, as `exports.random_images`, for what has no default."""
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
    """Noise on a coarse grid along the long axes, cubic in between; of about unit variance."""
    long = [axis for axis, size in enumerate(shape) if axis and size > _COARSE]
    if len(long) != 2:  # no images
        return draws.standard_normal(shape)
    planes = [size for axis, size in enumerate(shape) if axis not in long]
    coarse = draws.standard_normal([int(np.prod(planes)), _COARSE, _COARSE])
    height, width = (shape[axis] for axis in long)
    fine = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC) for plane in coarse]
    return np.moveaxis(np.reshape(fine, [*planes, height, width]), (-2, -1), long)


def _apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape
    scale = np.abs(theirs).max()
    return float(np.abs(ours - theirs).max() / scale) if scale else float(np.abs(ours).max())


# --- finite differences ---------------------------------------------------------------------------


def _differences(
    closer: TakenApart, found: Manifest, feeds: dict[str, np.ndarray], values: Mapping[str, Any]
) -> float:
    """The largest error of any direction, relative to the derivative along it (or to `FLOOR`).

    The signs are those of the gradient itself, so that the derivative is the sum of magnitudes: it
    stands out best from rounding, and a gradient that is wrong anywhere is as wrong along it.

    Where the plain difference is too far off, `averaged_derivative`, which fewer kinks bend,
    decides; the bound stays.
    """
    score = Score(_open(closer.score), {**feeds, "fg_target": values[EXPLAINED]})
    floor = FLOOR * abs(float(score()[0]))
    x = feeds[found.input]
    totals = x.astype(np.float64) * values[INPUT_GRADIENT]
    places = [(found.input, x, totals, _blockwise_sign(totals))]
    for site in closer.sites:
        assert site.promoted_input is not None
        value = closer.defaults[site.promoted_input]
        totals = _along_bias(site, values[BIAS_GRADIENT + site.name].astype(np.float64), value)
        places.append((site.promoted_input, value, totals, np.sign(totals)))
    errors = []
    for name, value, totals, sign in places:
        expected = float((totals * sign).sum())
        for derivative_of in (finest_derivative, averaged_derivative):
            derivative = derivative_of(score.along(name, value, sign))
            error = abs(derivative - expected) / (max(abs(expected), floor) or 1.0)
            print(f"{name}: {derivative:.6g}, expected {expected:.6g}", file=sys.stderr)
            if error <= USUAL.differences:
                break
        errors.append(error)
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
    model: str, closer: TakenApart, image: np.ndarray, values: dict[str, np.ndarray]
) -> float:
    """The largest error of the input gradient, of torch's largest; see `tests.regions`."""
    import torch

    from sample_models import exports
    from tests import regions

    module = exports.build(model).double().requires_grad_(requires_grad=False)
    x = torch.from_numpy(image).double().requires_grad_()
    kinks = [regions.Kink(op, tensor) for op, tensor in closer.kinks]
    with regions.same_region(kinks, values):
        logits = module(x)
    logits[0, int(values[EXPLAINED][0])].backward()
    assert x.grad is not None
    return _apart(values[INPUT_GRADIENT], x.grad.numpy())


# --- instrumented models, taken apart -------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class TakenApart:
    """Files of an instrumented model with few outputs: what nothing needs is not run.

    Attributes:
        gradients: with the outputs ``wanted``: of the input, of ``sites``, and the kinks' tensors.
        score: with that one alone.
        sites: five at random, of those whose bias is promoted.
        defaults: the trained values of their biases.
        kinks: (operator, tensor) of `regions.Kink`.
    """

    gradients: Path
    score: Path
    wanted: tuple[str, ...]
    sites: tuple[Site, ...]
    defaults: Mapping[str, np.ndarray]
    kinks: tuple[tuple[str, str], ...]


def _taken_apart(path: Path, folder: Path, *, with_kinks: bool) -> TakenApart:
    instrumented = instrument(path, emit=EMITS)
    promoted = [site for site in instrumented.manifest.sites if site.promoted_input is not None]
    draws = np.random.default_rng(0)
    chosen = draws.choice(len(promoted), min(BIASES, len(promoted)), replace=False)
    sites = tuple(promoted[index] for index in chosen)
    kinks: tuple[tuple[str, str], ...] = ()
    if with_kinks:
        from tests import regions

        kinks = tuple((kink.op, kink.tensor) for kink in regions.kinks_of(instrumented.model))
    gradients = [BIAS_GRADIENT + site.name for site in sites]
    wanted = [INPUT_GRADIENT, EXPLAINED, *gradients, *(tensor for _, tensor in kinks)]
    wanted = list(dict.fromkeys(wanted))
    every = defaults_of(instrumented.model)
    return TakenApart(
        _only(instrumented, wanted, folder / "gradients.onnx"),
        _only(instrumented, [SCORE], folder / "score.onnx"),
        tuple(wanted),
        sites,
        {name: every[name] for site in sites if (name := site.promoted_input)},
        kinks,
    )


def _only(instrumented: Instrumented, wanted: Sequence[str], path: Path) -> Path:
    """The model written with these outputs alone."""
    outputs = instrumented.model.graph.output
    every = list(outputs)
    present = {value.name: value for value in every}
    del outputs[:]
    for name in wanted:
        free = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        outputs.append(present.get(name, free))
    instrumented.save(path)
    del outputs[:]
    outputs.extend(every)
    return path


def _open(path: Path, *, optimised: bool = True) -> Any:
    options = onnxruntime().SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = THREADS
    if not optimised:
        options.graph_optimization_level = onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL
    return open_session(str(path), options=options)


def _run(
    path: Path, feeds: Mapping[str, np.ndarray], wanted: Sequence[str], *, optimised: bool = True
) -> dict[str, Any]:
    session = _open(path, optimised=optimised)
    return dict(zip(wanted, session.run(list(wanted), dict(feeds)), strict=True))


def main(arguments: list[str]) -> dict[str, Any]:
    """The row of a model and exporter as a document."""
    return asdict(check(*arguments))


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:])))
