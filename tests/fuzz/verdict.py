"""What fg-onnx makes of a file: a right model, a clean error, or a finding.

A model is right where it passes ONNX's checker, loads, gives the source's own outputs, adds up,
and has the gradient that finite differences have. A source that ONNX Runtime itself does not run
can be compared with nothing: of it any model and any clean error will do.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

import fg_onnx
from fg_onnx.cli import app
from fg_onnx.errors import FgOnnxError
from fg_onnx.manifest import CONTRIBUTIONS, EXPLAINED, INPUT_GRADIENT, SCORE, TARGET
from fg_onnx.session import completeness_residual

RIGHT, REFUSED, INCOMPARABLE, FINDING = "right", "refused", "incomparable", "finding"

_MOST_FED = 1_000_000  # entries of an input; beyond them a source counts as one that does not run
_BATCH = 2
# float32 rounding through at most a few dozen layers, as in the tests of completeness
_RESIDUAL = 1e-4
# The same nodes run, optimisations off: what differs is fused or reordered around promoted biases.
_SAME = 1e-5
_SLOPE = 0.05
_POINTS = 6
_JUMPING = {"Ceil", "Floor", "Round", "Sign", "Cast", "BitShift", "Mod", "Bernoulli", "IsNaN"}


class Finding(Exception):  # noqa: N818  it is what it is called
    """Something that must not happen."""


def judge(path: Path, report: Callable[[str], None], *, commands: bool) -> tuple[str, str]:
    """The outcome of one file and a word on it; ``report`` is told every stage before it begins."""
    try:
        if commands:
            report("inspect")
            _command("inspect", path)
            report("instrument command")
            _command("instrument", path, "-o", path.with_name("made.onnx"))
        report("instrument")
        return _judged(path, report)
    except Finding as finding:
        return FINDING, str(finding)


def _judged(path: Path, report: Callable[[str], None]) -> tuple[str, str]:
    try:
        made = fg_onnx.instrument(path, emit=("contributions", "saliency", "input-gradient"))
    except FgOnnxError as error:
        if error.code == "no-grid":
            return REFUSED, error.code
        _require_clean(error)
        return REFUSED, error.code
    except Exception as error:
        raise Finding(f"{type(error).__name__} out of instrument: {error}"[:300]) from error
    report("source")
    feeds, expected = {}, None
    try:
        source = onnx.load(path)
        feeds = _feeds(source, made.manifest.input)
        session = _session(source)
        names = [value.name for value in session.get_outputs()]
        expected = dict(zip(names, session.run(None, feeds), strict=True))
        _require_as_declared(source, expected)
    except Exception as error:  # noqa: BLE001  whatever the runtime or the feeds have against it
        return INCOMPARABLE, type(error).__name__
    report("result")
    _require_right(made, source, feeds, expected)
    return RIGHT, ""


def _require_clean(error: FgOnnxError) -> None:
    for text in (error.message, error.hint):
        if not text or len(text) > 2000 or any(ord(c) < 32 or ord(c) == 127 for c in text):
            raise Finding(f"unclean message of {error.code}: {text[:200]!r} ({len(text)})")


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
    for value in source.graph.output:
        kind = value.type.tensor_type
        dims = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
        if kind.HasField("shape") and (
            len(dims) != found[value.name].ndim
            or any(
                d not in (None, size) for d, size in zip(dims, found[value.name].shape, strict=True)
            )
        ):
            raise ValueError("an output is not as it is declared")


def _require_right(
    made: Any, source: onnx.ModelProto, feeds: dict[str, np.ndarray], expected: dict[str, Any]
) -> None:
    try:
        onnx.checker.check_model(made.model)
        session = _session(made.model)
    except Exception as error:
        raise Finding(f"the instrumented model does not load: {error}"[:300]) from error
    names = [value.name for value in session.get_outputs()]
    own = [value.name for value in source.graph.output]
    if names[: len(own)] != own:
        raise Finding(f"the outputs are {names[: len(own)]}, not {own}")
    added = names[len(own) :]
    if len({*own, *added}) != len(set(own)) + len(added):
        raise Finding(f"outputs of one name: {names}")
    try:
        found = dict(zip(names, session.run(None, feeds), strict=True))
    except Exception as error:
        raise Finding(f"the instrumented model does not run: {error}"[:300]) from error
    if _random(source):
        return
    for name in own:
        _require_same(name, expected[name], found[name])
    image = feeds[made.manifest.input]
    score = found[SCORE]
    numbers = [score, found[CONTRIBUTIONS], found[INPUT_GRADIENT]]
    if not all(np.isfinite(array).all() for array in numbers):
        if all(np.isfinite(expected[n]).all() for n in own if expected[n].dtype.kind == "f"):
            # An infinite slope where all values are finite: sqrt at 0, say. Nothing can be said.
            return
        return
    if score.shape != image.shape[:1]:
        raise Finding(f"a score of shape {score.shape} for {image.shape[:1]} images")
    tolerance = {2: 1e-2, 4: _RESIDUAL, 8: 1e-10}[image.dtype.itemsize]
    residual = float(np.max(completeness_residual(score, found[CONTRIBUTIONS]), initial=0.0))
    if residual > tolerance:
        raise Finding(f"residual {residual:.1e}")
    operators = {node.op_type for node in source.graph.node}
    if image.size and image.dtype.itemsize > 2 and not operators & _JUMPING:
        _require_slope(session, made.manifest.input, feeds)


def _random(model: onnx.ModelProto) -> bool:
    return any(
        node.op_type.startswith("Random") or node.op_type in ("Bernoulli", "Multinomial")
        for node in model.graph.node
    )


def _require_same(name: str, old: Any, new: Any) -> None:
    if not isinstance(old, np.ndarray):
        if str(old) != str(new):
            raise Finding(f"`{name}` is another {type(old).__name__}")
        return
    if old.shape != new.shape or old.dtype != new.dtype:
        raise Finding(f"`{name}` is {new.dtype} {new.shape}, not {old.dtype} {old.shape}")
    if old.dtype.kind == "f":
        scale = max(float(np.max(np.abs(old), initial=0.0, where=np.isfinite(old))), 1e-30)
        same = np.allclose(old, new, rtol=0, atol=_SAME * scale, equal_nan=True)
    else:
        same = np.array_equal(old, new)
    if not same:
        raise Finding(f"`{name}` has other values")


def _require_slope(session: Any, image: str, feeds: dict[str, np.ndarray]) -> None:
    """Central differences along random directions: at one point at least they have to agree.

    At a kink two correct gradients disagree, and near one a difference looks over it; that all of
    several random points are so close to one that both steps disagree is not to be expected.
    """
    draws = np.random.default_rng(1)
    wrong = []
    for _ in range(_POINTS):
        at = draws.standard_normal(feeds[image].shape).astype(feeds[image].dtype)
        way = draws.standard_normal(at.shape).astype(at.dtype)
        fixed = {**feeds, image: at}
        found = session.run([SCORE, INPUT_GRADIENT, EXPLAINED], fixed)
        gradient = found[1].astype(np.float64)
        slope = float((gradient * way).sum())
        for step in (1e-2, 1e-3):
            scores = [
                session.run(
                    [SCORE],
                    {**fixed, image: (at + sign * step * way).astype(at.dtype), TARGET: found[2]},
                )[0].astype(np.float64)
                for sign in (1, -1)
            ]
            difference = float((scores[0] - scores[1]).sum()) / (2 * step)
            # what float32 leaves of a difference, and a share of the gradient's own size
            noise = 64 * np.finfo(at.dtype).eps * float(np.abs(scores).sum()) / step
            size = float(np.sqrt((gradient**2).sum()))
            if not np.isfinite([slope, difference]).all():
                return
            if abs(slope - difference) <= _SLOPE * max(abs(slope), size) + noise:
                return
            wrong.append((slope, difference))
    raise Finding(f"slopes and differences {[f'{a:.3g} {b:.3g}' for a, b in wrong[:3]]}")


def _command(*arguments: object) -> None:
    """A command has to end in 0, 1 or 2, and to write nothing that a terminal obeys."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app([str(argument) for argument in arguments], standalone_mode=False)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except Exception as error:
            raise Finding(f"{type(error).__name__} out of {arguments[0]}: {error}"[:300]) from error
    said = out.getvalue() + err.getvalue()
    if code not in (0, 1, 2):
        raise Finding(f"{arguments[0]} exits with {code}")
    if "unforeseen" in err.getvalue() or "Traceback" in said:
        raise Finding(f"{arguments[0]}: {err.getvalue()[:300]}")
    if any(ord(c) < 32 and c != "\n" or 127 <= ord(c) < 160 for c in said):
        raise Finding(f"{arguments[0]} writes control characters: {said[:300]!r}")
    if "\u202e" in said:
        raise Finding(f"{arguments[0]} writes text that turns around")
