"""What fg-onnx makes of a file: a right model, a clean error, or a finding.

A model is right where it passes ONNX's checker, loads, gives the source's own outputs, adds up,
and has the gradient that finite differences have. A source that ONNX Runtime itself does not run
can be compared with nothing: of it any model and any clean error will do.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort

import fg_onnx
from fg_onnx.attribution import completeness_residual
from fg_onnx.cli import app
from fg_onnx.errors import FgOnnxError
from fg_onnx.manifest import CONTRIBUTIONS, EXPLAINED, INPUT_GRADIENT, SCORE, TARGET

RIGHT, REFUSED, INCOMPARABLE, FINDING = "right", "refused", "incomparable", "finding"

_MOST_FED = 1_000_000  # entries of an input; a source that wants more counts as one that fails
_BATCH = 2
_LONGEST = 2000  # characters of a message
# float32 rounding through at most a few dozen layers, as in the tests of completeness
_RESIDUALS = {2: 1e-2, 4: 1e-4, 8: 1e-10}
_SAME = 1e-5  # of the largest: nodes are not touched, but BatchNorm shifts that are promoted
_NUDGE = 1e-6  # ten roundings of every entry of the image
_EXPLAINED_FILES = r"explanations\.json|picture\.[\w-]+\.((overlay|map|layers)\.png|npy)"
_SLOPE = 0.05
_ROUNDINGS = 16  # of a score, that may add up in one direction
_POINTS = 6
# Their values jump, or draws decide: differences are not slopes.
# fmt: off
_JUMPING = frozenset(
    {
        "Bernoulli", "BitShift", "Cast", "Ceil", "Floor", "IsNaN", "Mod", "Multinomial",
        "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Round",
        "Shrink", "Sign", "ThresholdedRelu",
    }
)
# fmt: on


class Finding(Exception):  # noqa: N818  it is what it is called
    """Something that must not happen."""


@dataclass(frozen=True, eq=False)
class _Run:
    """The source in ONNX Runtime: what it was fed, and gave.

    Attributes:
        model: the source.
        image: the name of the explained input.
        feeds: by name.
        outputs: by name.
        swing: how far a nudge of the image moves an output, relative to its largest entry.
    """

    model: onnx.ModelProto
    image: str
    feeds: dict[str, np.ndarray]
    outputs: dict[str, Any]
    swing: dict[str, float]


def judge(path: Path, report: Callable[[str], None], *, commands: bool) -> tuple[str, str]:
    """The outcome of one file and a word on it; ``report`` is told every stage before it begins."""
    try:
        if commands:
            report("inspect")
            _command("inspect", path)
            report("instrument command")
            _command("instrument", path, "-o", path.with_name("made.onnx"))
        report("instrument")
        outcome = _judged(path, report)
        if commands and outcome[0] == RIGHT:
            report("explain")
            _explain(path)
    except Finding as finding:
        return FINDING, str(finding)
    return outcome


def _judged(path: Path, report: Callable[[str], None]) -> tuple[str, str]:
    try:
        made = _instrumented(path)
    except FgOnnxError as error:
        _require_clean(error)
        return REFUSED, error.code
    except Exception as error:
        raise Finding(f"{type(error).__name__} out of instrument: {error}"[:300]) from error
    report("source")
    try:
        source = _run(onnx.load(path), made.manifest.input)
    except Exception as error:  # noqa: BLE001  whatever the runtime or the feeds have against it
        return INCOMPARABLE, type(error).__name__
    report("result")
    _require_right(made, source)
    return RIGHT, ""


def _instrumented(path: Path) -> Any:
    try:
        return fg_onnx.instrument(path, emit=("contributions", "saliency", "input-gradient"))
    except FgOnnxError as error:
        if error.code != "no-grid":
            raise
        return fg_onnx.instrument(path, emit=("contributions", "input-gradient"))


def _require_clean(error: FgOnnxError) -> None:
    for text in (error.message, error.hint):
        if not text or len(text) > _LONGEST or not text.isprintable():
            raise Finding(f"unclean message of {error.code}: {text[:200]!r} ({len(text)})")


# --- the source ---------------------------------------------------------------------------------


def _run(source: onnx.ModelProto, image: str) -> _Run:
    feeds = _feeds(source, image)
    session = _session(source)
    names = [value.name for value in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, feeds), strict=True))
    signs = np.random.default_rng(2).choice([-_NUDGE, _NUDGE], feeds[image].shape)
    nudged = {**feeds, image: (feeds[image] * (1 + signs)).astype(feeds[image].dtype)}
    moved = dict(zip(names, session.run(None, nudged), strict=True))
    _require_as_declared(source, {**feeds, **outputs})
    swing = {name: _distance(outputs[name], moved[name]) for name in names}
    return _Run(source, image, feeds, outputs, swing)


def _session(model: onnx.ModelProto) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def _feeds(model: onnx.ModelProto, image: str) -> dict[str, np.ndarray]:
    held = {tensor.name for tensor in model.graph.initializer}
    draws = np.random.default_rng(0)
    feeds = {}
    for value in model.graph.input:
        if value.name in held and value.name != image:
            continue
        kind = value.type.tensor_type
        shape = [
            dim.dim_value if dim.HasField("dim_value") else (8 if axis > 1 else _BATCH)
            for axis, dim in enumerate(kind.shape.dim)
        ]
        if min(shape, default=1) < 0 or np.prod(shape, dtype=np.float64) > _MOST_FED:
            raise ValueError("an input of impossible size")
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        feeds[value.name] = draws.standard_normal(shape).astype(dtype)
    return feeds


def _require_as_declared(source: onnx.ModelProto, found: dict[str, Any]) -> None:
    """Fail where a source belies its own declarations; what is built upon them may fail too."""
    named: dict[str, int] = {}
    for value in (*source.graph.input, *source.graph.output):
        kind = value.type.tensor_type
        if value.name not in found or not kind.HasField("shape"):
            continue
        sizes = found[value.name].shape
        if len(kind.shape.dim) != len(sizes):
            raise ValueError("a rank is not as it is declared")
        for dim, size in zip(kind.shape.dim, sizes, strict=True):
            declared = dim.dim_value if dim.HasField("dim_value") else size
            if dim.dim_param:
                declared = named.setdefault(dim.dim_param, size)
            if size != declared:
                raise ValueError("a size is not as it is declared")


def _distance(old: Any, new: Any) -> float:
    """The largest difference relative to the largest entry; infinite where they cannot be told."""
    if not isinstance(old, np.ndarray) or old.dtype.kind != "f":
        return 0.0 if np.array_equal(old, new) else np.inf
    if old.shape != new.shape or not np.array_equal(np.isfinite(old), np.isfinite(new)):
        return np.inf
    old, new = (array[np.isfinite(array)].astype(np.float64) for array in (old, new))
    scale = max(float(np.max(np.abs(old), initial=0.0)), 1e-30)
    return float(np.max(np.abs(old - new), initial=0.0)) / scale


# --- the result ---------------------------------------------------------------------------------


def _require_right(made: Any, source: _Run) -> None:
    try:
        onnx.checker.check_model(made.model)
        session = _session(made.model)
    except Exception as error:
        raise Finding(f"the instrumented model does not load: {error}"[:300]) from error
    names = [value.name for value in session.get_outputs()]
    own = [value.name for value in source.model.graph.output]
    if names[: len(own)] != own:
        raise Finding(f"the outputs are {names[: len(own)]}, not {own}")
    added = names[len(own) :]
    if len({*own, *added}) != len(set(own)) + len(added):
        raise Finding(f"outputs of one name: {names}")
    try:
        found = dict(zip(names, session.run(None, source.feeds), strict=True))
    except Exception as error:
        raise Finding(f"the instrumented model does not run: {error}"[:300]) from error
    for name in own:
        _require_same(name, source, found[name])
    numbers = [found[name] for name in (SCORE, CONTRIBUTIONS, INPUT_GRADIENT)]
    image = source.feeds[source.image]
    # Of what is not finite (a slope of sqrt at 0, say) nothing can be said.
    if not image.size or not all(np.isfinite(array).all() for array in numbers):
        return
    residual = float(np.max(completeness_residual(*numbers[:2]), initial=0.0))
    if residual > _RESIDUALS[image.dtype.itemsize]:
        raise Finding(f"residual {residual:.1e}")
    if image.dtype.itemsize > 2 and not _operators(source.model) & _JUMPING:
        _require_slope(session, source)


def _operators(model: onnx.ModelProto) -> set[str]:
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    return {node.op_type for node in nodes}


def _require_same(name: str, source: _Run, new: Any) -> None:
    old = source.outputs[name]
    if type(old) is not type(new):
        raise Finding(f"`{name}` is {type(new).__name__}, not {type(old).__name__}")
    if isinstance(old, np.ndarray) and (old.shape != new.shape or old.dtype != new.dtype):
        raise Finding(f"`{name}` is {new.dtype} {new.shape}, not {old.dtype} {old.shape}")
    # Rounding may move an output no further than it would if it came in with the image.
    far = _distance(old, new)
    if far > max(_SAME, 10 * source.swing[name]):
        raise Finding(f"`{name}` has other values, {far:.1e} away")


def _require_slope(session: Any, source: _Run) -> None:
    """Central differences at random points: where two steps agree, the gradient has to, mostly.

    Beside a kink two correct gradients disagree with a difference that looks over it; that most of
    the points where both steps see the same slope are so is not to be expected.
    """
    draws = np.random.default_rng(1)
    name, like = source.image, source.feeds[source.image]
    wrong, right = [], 0
    for _ in range(_POINTS):
        at = draws.standard_normal(like.shape).astype(like.dtype)
        feeds = {**source.feeds, name: at}
        found, explained = session.run([INPUT_GRADIENT, EXPLAINED], feeds)
        gradient = found.astype(np.float64)
        size = float(np.sqrt((gradient**2).sum()))
        if not np.isfinite(size):
            return
        # Along the gradient, where the slope stands out of the noise, and sideways.
        way = draws.standard_normal(like.shape)
        way += gradient * np.sqrt(like.size) / max(size, 1e-30)
        slope = float((gradient * way).sum())
        differences, noises = [], []
        for step in (1e-2, 1e-3):
            sums = []
            for shift in (step, -step):
                fed = {**feeds, name: (at + shift * way).astype(like.dtype), TARGET: explained}
                sums.append(session.run([SCORE], fed)[0].astype(np.float64).sum())
            differences.append((sums[0] - sums[1]) / (2 * step))
            noises.append(_ROUNDINGS * np.finfo(like.dtype).eps * max(map(abs, sums)) / step)
        coarse, fine = differences
        if not abs(coarse - fine) <= _SLOPE * abs(fine) + sum(noises):
            continue
        seen = zip(differences, noises, strict=True)
        if any(abs(slope - d) <= 2 * _SLOPE * abs(slope) + noise for d, noise in seen):
            right += 1
        else:
            wrong.append(f"{slope:.3g} {coarse:.3g} {fine:.3g}")
    if len(wrong) > right:
        raise Finding(f"slopes and differences {wrong}")


# --- the commands -------------------------------------------------------------------------------


def _explain(path: Path) -> None:
    """Explain a picture; what is written lies in the folder, under the picture's name."""
    picture, out = path.with_name("picture.png"), path.with_name("explained")
    cv2.imwrite(str(picture), np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    _command("explain", path, picture, "-o", out, "--preprocess", "unit", "--layers")
    written = {file.relative_to(out).as_posix() for file in out.rglob("*")}
    strange = [name for name in written if not re.fullmatch(_EXPLAINED_FILES, name)]
    if strange:
        raise Finding(f"explain writes {strange}")
    picture.unlink()
    shutil.rmtree(out, ignore_errors=True)


def _command(*arguments: object) -> None:
    """A command has to end in 0, 1 or 2, and to write nothing that a terminal obeys."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app([str(argument) for argument in arguments], standalone_mode=False)
        except SystemExit as stop:
            code = stop.code
        except Exception as error:
            raise Finding(f"{type(error).__name__} out of {arguments[0]}: {error}"[:300]) from error
    said = out.getvalue() + err.getvalue()
    if code not in (0, 1, 2):
        raise Finding(f"{arguments[0]} exits with {code}")
    if "unforeseen" in err.getvalue() or "Traceback" in said:
        raise Finding(f"{arguments[0]}: {err.getvalue()[:300]}")
    unprintable = {c for c in said if not c.isprintable()} - {"\n"}
    if unprintable:
        raise Finding(f"{arguments[0]} writes {sorted(unprintable)}")
