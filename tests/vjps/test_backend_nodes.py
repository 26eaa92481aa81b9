"""The onnx package's own node tests as a check of gradients.

Each of them is a model of one node with inputs. Every float input in turn is the explained one, the
others become constants, and the dot-product test of harness.py is done on what instrumenting
emits: ``<ct, J v> = <J^T ct, v>``, with ``J v`` by differences through the node itself. Where
instrumenting says that an output does not depend on an input, the differences have to be 0.

The models are widened to float64 where the reference evaluator can, and inputs moved a little, for
many lie on a kink or a tie. Not looked at are the twins ``*_expanded`` (a function body in the
place of its node: here bodies are expanded anyway), models of several nodes, and sequences.
"""

from __future__ import annotations

import warnings
import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, version_converter
from onnx.backend.test.case.node import collect_testcases
from onnx.reference import ReferenceEvaluator

from fg_onnx.errors import UnsupportedModelError
from fg_onnx.source import model
from fg_onnx.vjps import RULES, ZERO, expanded

from .harness import Arrays
from .kernels import KERNELS
from .planned import attributed, plan_adjoint

OPERATORS = sorted(
    op for op in {*RULES, *ZERO, *expanded()} if ZERO.get(op) != "it draws at random"
)

_WEIGHTS = "its weights are constants in a network that is explained by its input"
_TRAINING = "instrumented models are for inference"
_NO_EXPORTER = "no exporter writes it"
_UNKNOWN_SIZE = "how many steps it takes is no differentiable matter"

# What is refused in these tests, by a part of the reason, and why that is right.
REFUSED: dict[str, dict[str, str]] = {
    "BatchNormalization": {
        "its parameters depend on the explained input": _WEIGHTS,
        "it is in training mode": _TRAINING,
        "knows no derivative of its result `output_mean`": _TRAINING,
        "knows no derivative of its result `output_var`": _TRAINING,
    },
    "CausalConvWithState": {"Conv: its weight or bias depends on the explained input": _WEIGHTS},
    "Clip": {"its bounds depend on the explained input": "nobody clips by activations"},
    "Conv": {"its weight or bias depends on the explained input": _WEIGHTS},
    "ConvTranspose": {"its weight or bias depends on the explained input": _WEIGHTS},
    "DequantizeLinear": {"its scale depends on the explained input": _WEIGHTS},
    "DeformConv": {"its weight or bias depends on the explained input": _WEIGHTS},
    "Dropout": {
        "it is in training mode": _TRAINING,
        "knows no derivative by its operand `r`": _TRAINING,
    },
    "Einsum": {"it takes a diagonal of `x`": _NO_EXPORTER},
    "GroupNormalization": {"its scale or bias depends on the explained input": _WEIGHTS},
    "InstanceNormalization": {"its scale or bias depends on the explained input": _WEIGHTS},
    "LayerNormalization": {
        "its scale or bias depends on the explained input": _WEIGHTS,
        "its Mean or InvStdDev leads to the explained output": "only training reads them",
    },
    "MaxUnpool": {"runtimes disagree": "a gradient would be right in one of them"},
    "MeanVarianceNormalization": {"it mixes the images of a batch": "scores are of one image each"},
    "Pad": {"knows no derivative by its operand `value`": "nobody pads by an activation"},
    "RMSNormalization": {"its scale or bias depends on the explained input": _WEIGHTS},
    "Resize": {
        "knows no derivative by its operand `scales`": _UNKNOWN_SIZE,
        "knows no derivative by its operand `roi`": "no exporter computes it from activations",
        "`not_smaller` rounds its sizes up": _NO_EXPORTER,
    },
    "RoiAlign": {
        "its regions depend on the explained input": "detectors are explained with regions given",
        "mode `max` has no rule": _NO_EXPORTER,
    },
    "ScatterElements": {"what it multiplies by depends on the explained input": _NO_EXPORTER},
    "ScatterND": {"what it multiplies by depends on the explained input": _NO_EXPORTER},
}

_SLOW = "takes the reference evaluator seconds; 3d_dilations_small has the same form"
_MASKED = "a row that is masked as a whole: Softmax is NaN there, and so is its derivative"

# Node tests that are left out, and why.
EXCLUDED: dict[str, str] = {
    "test_acosh_example": "one of its values is 1, where the domain ends",
    "test_averagepool_3d_default": _SLOW,
    **{
        f"test_averagepool_3d_dilations_large_count_include_pad_is_{pad}_ceil_mode_is_{ceil}": _SLOW
        for pad in (0, 1)
        for ceil in (False, True)
    },
    "test_l2normalization_axis_0": "it divides 0 by 0, and onnx.reference does not yield 0 for it",
    **{
        f"test_maxpool_with_argmax_2d_precomputed_{form}": "kernels.py has no Indices"
        for form in ("pads", "strides")
    },
    **{
        f"test_mod_float_edge_cases_fmod_0_float{bits}": "its values are infinite or no numbers"
        for bits in (16, 32, 64)
    },
    "test_attention_4d_causal_padded_kv_bf16": _MASKED,
    "test_attention_causal_boolmask_nan_robustness": _MASKED,
    "test_attention_23_boolmask_fullymasked_row_nan_robustness": _MASKED,
    "test_attention_4d_causal_nonpad_negative_offset_structural_empty": _MASKED,
    "test_attention_23_fullymasked_qk_matmul_output_mode3_zero": _MASKED,
    "test_attention_24_fullymasked_qk_matmul_output_mode3_zero": _MASKED,
    "test_attention_24_qk_matmul_output_mode3_softmax_precision": _MASKED,
    "test_attention_local_window_gqa_rank4_mask": _MASKED,
}

# Of an operator with more node tests, each test looks at one input or output, in turn.
MANY = 50

# The values that the node tests give are rounded to float32 or float16, or to bfloat16.
ROUGH = {False: 2e-3, True: 2e-2}
# Bodies hold float32 constants (1 / sqrt(d)), and some compute in float32 for any type.
FORWARD = COMPLETE = 1e-6

_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
_KINDS = ("to", "stash_type", "dtype", "softmax_precision")


@dataclass(frozen=True, eq=False)
class NodeTest:
    """A model of one node, with a value for every input.

    Attributes:
        name: of the test.
        proto: opset 17 or newer, of float64 where that can be.
        feeds: by input name; floats as float64.
        agrees: whether the reference evaluator yields the values that the test gives.
    """

    name: str
    proto: onnx.ModelProto
    feeds: Arrays
    agrees: bool

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Explained input and output: each input with the first output, the first one with all."""
        floats = _float_names(self.proto.graph.input)
        inputs = [name for name in floats if self.feeds[name].size]
        outputs = _float_names(self.proto.graph.output)
        return [(x, outputs[0]) for x in inputs] + [(x, y) for x in inputs[:1] for y in outputs[1:]]


@pytest.fixture(scope="module")
def node_tests() -> dict[str, list[Any]]:
    """The node tests that are models of one node on tensors, with a float in and out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs: overflow and division by zero on purpose
        cases = collect_testcases(None)
    found = defaultdict(list)
    for case in cases:
        graph = case.model.graph if case.model else None
        if graph is None or len(graph.node) != 1 or case.name.endswith("_expanded"):
            continue
        tensors = all(v.type.HasField("tensor_type") for v in (*graph.input, *graph.output))
        if tensors and _float_names(graph.input) and _float_names(graph.output):
            found[graph.node[0].op_type].append(case)
    return found


@pytest.mark.parametrize("op_type", OPERATORS)
def test_gradients(op_type: str, node_tests: dict[str, list[Any]]) -> None:
    problems, refusals = [], set()
    cases = [case for case in node_tests[op_type] if case.name not in EXCLUDED]
    for index, case in enumerate(cases):
        test = _prepared(case)
        if not test.agrees:
            problems.append(f"{case.name}: onnx.reference does not compute what it says")
        pairs = test.pairs
        if len(cases) > MANY and pairs:
            pairs = [pairs[index % len(pairs)]]
        for x, y in pairs:
            try:
                problem = _problem(test, x, y)
            except UnsupportedModelError as error:
                refusals.add(f"{error.op}: {error.reason}")
                continue
            if problem:
                problems.append(f"{case.name}, {y} by {x}: {problem}")
    assert not problems, "\n".join(problems)
    reviewed = REFUSED.get(op_type, {})
    new = {why for why in refusals if not any(known in why for known in reviewed)}
    assert not new, "refusals that nobody has judged: " + "; ".join(new)
    old = [known for known in reviewed if not any(known in why for why in refusals)]
    assert not old, f"no longer refused: {old}"


def test_what_is_left_out_is_there(node_tests: dict[str, list[Any]]) -> None:
    names = {case.name for op_type in OPERATORS for case in node_tests[op_type]}
    assert sorted(set(EXCLUDED) - names) == []
    assert sorted(set(REFUSED) - set(OPERATORS)) == []


# --- one derivative -------------------------------------------------------------------------------


def _problem(test: NodeTest, x: str, y: str) -> str:
    """What is wrong with the derivative of an output by an input, or ``""``."""
    generator = np.random.default_rng(zlib.crc32(f"{test.name}/{x}/{y}".encode()))
    proto = _with_constants(test, x)
    forward = _evaluator(proto)
    start = _moved(test.feeds[x], generator)
    result = forward({x: start})[y]
    finite = np.isfinite(result)  # masked scores are not
    ct = np.where(finite, generator.normal(size=result.shape), 0.0)
    v = generator.normal(size=start.shape)

    def at(step: float) -> np.ndarray:
        return np.where(finite, forward({x: start + step * v})[y], 0.0)

    try:
        planned = plan_adjoint(proto, x, y)
    except UnsupportedModelError as error:
        if error.code != "no-path":
            raise
        return "it is said not to depend on it" if np.any(at(1e-5) != at(-1e-5)) else ""
    out = _evaluator(planned)({x: start, "ct": ct})
    result, found = np.where(finite, [result, out[y]], 0.0)
    pulled, size = out["pulled"], float(np.abs(ct * result).sum())
    if pulled.shape != start.shape:
        return f"a cotangent of shape {pulled.shape} for {start.shape}"
    changed = np.abs(found - result).max(initial=0)
    if not changed <= FORWARD * np.abs(result).max(initial=0):
        return f"expanding it changes {y} by {changed:.1e}"
    rest = abs(float((ct * result).sum()) - attributed(out, start))
    if not rest <= COMPLETE * (size + float(np.abs(pulled * start).sum())):
        return f"incomplete by {rest:.1e} of {size:.1e}"
    return _disagreement(at, ct, size, pulled * v)


def _disagreement(
    at: Callable[[float], np.ndarray], ct: np.ndarray, size: float, pulled: np.ndarray
) -> str:
    """``<J^T ct, v>`` against differences, with the first of three steps that agrees.

    1e-5 is right for smooth functions in float64. 1e-7 does not cross the kinks that lie within
    1e-5 of some of many thousand values. Where these two disagree with each other, the node
    computes in float32: then 0.03 is taken, in a formula whose error is of fourth order (rounding
    1e-7 / 0.03, truncation 0.03^4 |v|^5 / 30 of the fifth derivative).
    """
    whole, absolute = float(pulled.sum()), float(np.abs(pulled).sum())
    said = []
    for step, tolerance in ((1e-5, 1e-6), (1e-7, 1e-5)):
        left = ct * (at(step) - at(-step)) / (2 * step)
        scale = max(float(np.abs(left).sum()), absolute)
        said.append(float(left.sum()))
        if abs(said[-1] - whole) <= tolerance * scale + 1e-15 / step * size:
            return ""
    if abs(said[0] - said[1]) > 1e-5 * scale:
        near, far = (ct * (at(step) - at(-step)) / (2 * step) for step in (0.03, 0.06))
        left = (4 * near - far) / 3
        scale = max(float(np.abs(left).sum()), absolute)
        said.append(float(left.sum()))
        if abs(said[-1] - whole) <= 1e-4 * scale + 1e-7 / 0.03 * size:
            return ""
    return f"{whole:.6g} where differences say {said}"


def _moved(x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Nearer to 0 by up to 2 %, and off it: no kink and no tie is met but by chance."""
    finite = np.nan_to_num(x, posinf=1e4, neginf=-1e4)
    nearer = finite * (1 - 0.02 * generator.random(x.shape))
    return np.where(nearer == 0, generator.uniform(0.01, 0.02, x.shape), nearer)


# --- models ---------------------------------------------------------------------------------------


def _prepared(case: Any) -> NodeTest:
    proto = case.model
    if model.opset_of(proto) < model.LOWEST_OPSET:
        proto = version_converter.convert_version(proto, model.LOWEST_OPSET)
    inputs, outputs = case.data_sets[0]
    names = [value.name for value in proto.graph.input]
    feeds = {name: _double(given) for name, given in zip(names, inputs, strict=False)}
    wide = _widened(proto)
    try:
        found = _evaluator(wide)(feeds)
    except Exception:  # noqa: BLE001  a kernel of the reference, or a body, for float32 alone
        wide = proto
        found = _evaluator(proto)(feeds)
    rough = ROUGH[
        any(v.type.tensor_type.elem_type == TensorProto.BFLOAT16 for v in proto.graph.input)
    ]
    agrees = all(
        np.allclose(found[value.name], _double(given), rough, rough, equal_nan=True)
        for value, given in zip(proto.graph.output, outputs, strict=True)
        if value.type.tensor_type.elem_type in _FLOATS
    )
    return NodeTest(case.name, wide, feeds, agrees)


def _float_names(values: Any) -> list[str]:
    return [value.name for value in values if value.type.tensor_type.elem_type in _FLOATS]


def _double(given: Any) -> np.ndarray:
    """An array, with the floats that have a rule as float64."""
    array = numpy_helper.to_array(given) if isinstance(given, TensorProto) else np.asarray(given)
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    return array.astype(np.float64) if kind in _FLOATS else array


def _evaluator(proto: onnx.ModelProto) -> Callable[[Arrays], Arrays]:
    """The reference evaluator; results as float64."""
    session = ReferenceEvaluator(proto, new_ops=KERNELS)
    dtypes = {
        value.name: helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        for value in proto.graph.input
    }

    def run(feeds: Arrays) -> Arrays:
        cast = {name: array.astype(dtypes[name]) for name, array in feeds.items()}
        with np.errstate(all="ignore"):
            results = session.run(None, cast)
        named = zip(session.output_names, results, strict=True)
        return {name: _double(result) for name, result in named}

    return run


def _with_constants(test: NodeTest, x: str) -> onnx.ModelProto:
    """The model with the other inputs as constants."""
    proto = onnx.ModelProto()
    proto.CopyFrom(test.proto)
    declared = {value.name: value for value in test.proto.graph.input}
    del proto.graph.input[:]
    proto.graph.input.append(declared.pop(x))
    for name, value in declared.items():
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        array = test.feeds[name].astype(dtype)
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


def _widened(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A model of one node with every float as float64."""
    wide = onnx.ModelProto()
    wide.CopyFrom(proto)
    for value in (*wide.graph.input, *wide.graph.output):
        if value.type.tensor_type.elem_type in _FLOATS:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for attribute in wide.graph.node[0].attribute:
        if attribute.name in _KINDS and attribute.i in _FLOATS:
            attribute.i = TensorProto.DOUBLE
    return wide
